//! The trees of stored images: found, made anew where an id map has none yet, and what an app sees of them.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use stage1::idmap::Tier;
use stage1::limits;
use store::extract::{Lower, Owners};
use store::stack::Stack;
use store::{ImageRecord, LayerKey, Tree};
use tracing::info_span;

use super::Images;
use crate::error::{CommandError, Explain};

/// Descriptors of an open tree: its directory, its lock, and a copy of the former for who looks into it.
const FILES_OF_TREE: usize = 3;

impl Images {
    /// Who owns the root of a new tree, if not this user.
    pub(crate) fn owner(&self) -> Option<(u32, u32)> {
        (self.mapping.tier() == Tier::Root).then(|| self.mapping.container_root())
    }

    /// Whether trees belong to a single id.
    pub(crate) fn single_id(&self) -> bool {
        self.mapping.tier() == Tier::Single
    }

    /// The trees of an image, lowest first. One that was never extracted under this id map is extracted now. That is
    /// a use of the image.
    ///
    /// # Errors
    ///
    /// A tree cannot be opened or made.
    pub(crate) fn trees(&self, image: &ImageRecord) -> Result<Vec<Tree>, CommandError> {
        if image.is_rendered() { self.rendered_trees(image) } else { self.own_trees(image) }
    }

    /// The trees of an image's own layers.
    pub(super) fn own_trees(&self, image: &ImageRecord) -> Result<Vec<Tree>, CommandError> {
        self.store.mark_used(&image.id)?;
        if let Some(trees) = self.ready_trees(&image.layers)? {
            return Ok(trees);
        }
        info_span!("render", image = %image.id)
            .in_scope(|| self.render(image))
            .during(|| format!("unpack {}", image.id))?;
        let missing = || CommandError::failed(format!("the trees of {} were removed while it was unpacked", image.id));
        self.ready_trees(&image.layers)?.ok_or_else(missing)
    }

    /// The trees of layers that were there before.
    ///
    /// # Errors
    ///
    /// One is gone.
    pub(crate) fn trees_of(&self, layers: &[LayerKey]) -> Result<Vec<Tree>, CommandError> {
        let gone = || CommandError::failed("a tree of the pod's images was removed from the store");
        self.ready_trees(layers)?.ok_or_else(gone)
    }

    /// What an app of the image sees, and what keeps it in the store. That is a use of the image.
    ///
    /// # Errors
    ///
    /// As [`Images::trees`].
    pub(crate) fn stack(&self, image: &ImageRecord) -> Result<(Stack, Vec<Tree>), CommandError> {
        self.stack_with(self.trees(image)?, None)
    }

    /// What one sees who has these trees, lowest first, and above them what an app has changed.
    ///
    /// # Errors
    ///
    /// A tree cannot be read.
    pub(crate) fn stack_with(
        &self,
        trees: Vec<Tree>,
        upper: Option<OwnedFd>,
    ) -> Result<(Stack, Vec<Tree>), CommandError> {
        let lower = |tree: &Tree| -> Result<_, CommandError> {
            let owners = if self.single_id() { tree.record()?.owners } else { Owners::default() };
            Ok(Arc::new(Lower { root: tree.dir().try_clone_to_owned()?, owners }))
        };
        let mut lowers = trees.iter().map(lower).collect::<Result<Vec<_>, _>>()?;
        lowers.extend(upper.map(|root| Arc::new(Lower { root, owners: Owners::default() })));
        Ok((Stack::new(lowers, self.single_id()), trees))
    }

    /// The trees of layers, if all of them are there. A layer that comes again further up is left out below: what is
    /// in it stands above everything in between, and overlay refuses a tree that is there twice.
    pub(super) fn ready_trees(&self, layers: &[LayerKey]) -> Result<Option<Vec<Tree>>, CommandError> {
        limits::expect_files(FILES_OF_TREE * layers.len());
        let mut trees = Vec::with_capacity(layers.len());
        let comes_again = |index: usize, layer: &LayerKey| layers[index + 1..].contains(layer);
        for (_, layer) in layers.iter().enumerate().filter(|&(index, layer)| !comes_again(index, layer)) {
            match self.store.tree(layer, &self.map)? {
                Some(tree) => trees.push(tree),
                None => return Ok(None),
            }
        }
        Ok(Some(trees))
    }
}
