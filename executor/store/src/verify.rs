//! Whether a tree is still what was extracted.
//!
//! The recipe beside a tree has all that the archive said of its files but their contents. So two things are looked at:
//! the archive that tree and recipe are together must have the layer's digest, which proves the contents; and a second,
//! hollow tree, extracted from the recipe alone, must show the same names, kinds, owners, modes, times, links and
//! attributes. Nothing had to be computed for this when the layer was fetched.

mod compare;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Hasher};
use crate::extract::{ExtractError, ExtractLimits, ExtractOptions, Extracted, Lower, extract};
use crate::layer::LayerKey;
use crate::recipe::{RecipeError, Skeleton, rebuild};
use crate::shown::Shown;

/// A tree to be looked at.
#[derive(Debug)]
pub struct Job {
    /// The layer it is the tree of.
    pub layer: LayerKey,
    /// Its root.
    pub root: OwnedFd,
    /// Its recipe.
    pub recipe: File,
    /// An empty directory on the same file system, owned by container root; filled with a hollow copy.
    pub hollow: OwnedFd,
    /// An empty file for what was replaced in the archive; used only if anything was.
    pub scratch: File,
    /// Whether only one id is mapped; see [`ExtractOptions::single_id`].
    pub single_id: bool,
    /// The trees of the layers below; see [`ExtractOptions::below`].
    pub below: Vec<Arc<Lower>>,
}

/// What is wrong with a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The recipe is damaged, or a file is missing or shorter than it was.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// Contents of files are others.
    #[error("contents of files were changed: the archive they give back has the digest {found}")]
    Contents {
        /// The digest of the archive that tree and recipe are together.
        found: Box<Digest>,
    },
    /// The archive could not be extracted again.
    #[error("extract it again: {0}")]
    Extract(ExtractError),
    /// Something in the tree is not as the archive says.
    #[error("{path}: {difference}")]
    Differs {
        /// Its path.
        path: Shown,
        /// What it is, and what it should be.
        difference: String,
    },
}

/// Looks at a tree. Meant to run in a child process that is root of the tree's id map. Returns what the hollow copy came
/// to, which is what is on record of the tree.
///
/// Reads every file once. Uses little memory beside that for the names of the largest directory.
///
/// # Errors
/// The first damage that is found.
pub fn run(job: Job) -> Result<Extracted, Damage> {
    let mut recipe = job.recipe;
    let expected = job.layer.digest();
    let mut hash = Hash(Hasher::new(expected.algorithm()));
    let copy = recipe.try_clone().map_err(|error| RecipeError::Damaged(error.to_string()))?;
    rebuild(copy, job.root.as_fd(), &mut hash, &mut || job.scratch.try_clone())?;
    let found = hash.0.finish();
    if found != expected {
        return Err(Damage::Contents { found: Box::new(found) });
    }
    let options = ExtractOptions {
        form: job.layer.form(),
        limits: ExtractLimits::default(),
        single_id: job.single_id,
        below: job.below.into(),
        hollow: true,
    };
    let mut skeleton = Skeleton::open(&mut recipe)?;
    let extracted = match extract(&mut skeleton, job.hollow.as_fd(), &options) {
        Ok(extracted) => extracted,
        Err(error) => return Err(skeleton.take_fault().map_or(Damage::Extract(error), Damage::Recipe)),
    };
    compare::compare(&job.root, &job.hollow, false)?;
    Ok(extracted)
}

/// Looks at a tree that images were merged into: `again` is the same made once more. Files must be the very same, or have
/// the same contents where they had to be copied.
///
/// # Errors
/// The first difference that is found.
pub fn run_merged(root: &OwnedFd, again: &OwnedFd) -> Result<(), Damage> {
    compare::compare(root, again, true)
}

struct Hash(Hasher);

impl Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
