//! A layer that is being taken in: its place in the store, and the jobs that fill it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::extract::{Below, ExtractLimits, Lower, OwnersFile};
use crate::ingest::{IngestJob, IngestReport, InputFormat};
use crate::layer::{IdMap, LayerKey};
use crate::verify;

/// A layer that is being taken in.
#[derive(Debug)]
pub struct PendingLayer {
    /// Its place among the layers.
    pub(super) slot: usize,
    pub(super) directory: String,
    pub(super) tree: Arc<Lower>,
    pub(super) owners: Arc<OwnersFile>,
    pub(super) blob: Option<File>,
    pub(super) recipe: Option<File>,
    pub(super) map: IdMap,
    pub(super) below: Below,
}

impl PendingLayer {
    /// The empty directory that becomes the root of the tree.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.tree.root.as_fd()
    }

    /// The job that looks whether the tree of `layer` below `root` is what `recipe` says. This layer's directory takes
    /// the hollow copy; the import is to be abandoned afterwards.
    ///
    /// # Errors
    /// Those of dup(2).
    pub fn verification(
        &self,
        layer: LayerKey,
        root: OwnedFd,
        recipe: File,
        single_id: bool,
        below: Vec<Arc<Lower>>,
    ) -> io::Result<verify::Job> {
        let scratch = self.recipe.as_ref().expect("every layer has a recipe").try_clone()?;
        let hollow = self.tree.root.try_clone()?;
        Ok(verify::Job { layer, root, recipe, hollow, scratch, single_id, below })
    }

    /// The job that takes `input` in as this layer, with the default limits and nothing expected.
    ///
    /// It holds copies of the descriptors, so it can be moved into a child process. Where layers below are still being
    /// taken in, [`IngestJob::below`] has to be told when they are complete.
    ///
    /// # Errors
    /// Those of dup(2).
    pub fn job(&self, input: File, format: InputFormat, single_id: bool) -> io::Result<IngestJob> {
        Ok(IngestJob {
            input,
            length: None,
            format,
            root: self.tree.root.try_clone()?,
            blob: self.blob.as_ref().map(File::try_clone).transpose()?,
            recipe: self.recipe.as_ref().map(File::try_clone).transpose()?,
            limits: ExtractLimits::default(),
            expect_compressed: None,
            expect_uncompressed: None,
            single_id,
            below: self.below.clone(),
            milestones: None,
        })
    }

    /// Tells the layers above that are being taken in at the same time what this one's tree does not show. To be done
    /// before they are told that it is complete.
    ///
    /// # Errors
    /// Those of write(2).
    pub fn tell(&self, report: &IngestReport) -> io::Result<()> {
        self.owners.write(&report.extracted.owners)
    }
}
