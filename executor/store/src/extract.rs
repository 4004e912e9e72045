//! Extracts an archive below a directory descriptor, trusting nothing in it.
//!
//! Meant to run in a child process as the root of an id-mapped user namespace; it works as any user in single-id mode.

mod below;
mod content;
mod descent;
mod directories;
mod error;
mod limits;
mod members;
mod owners;
pub(crate) mod path;
mod paths;
pub(crate) mod reader;
mod replaced;
mod strict;
mod tree;
mod warnings;
mod xattrs;

use std::io::BufRead;
use std::os::fd::BorrowedFd;

use serde::{Deserialize, Serialize};

pub(crate) use self::below::OwnersFile;
pub use self::below::{Below, Lower};
pub use self::error::{ExtractError, Fault};
pub use self::limits::ExtractLimits;
pub use self::owners::{Owner, Owners};
pub use self::paths::Paths;
pub use self::warnings::Warnings;

use self::members::Extraction;
use self::reader::{MemberReader as _, TarReader};
use crate::recipe::Recorder;

/// What the archive is, which decides where its entries go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Form {
    /// An App Container Image: `manifest` and `rootfs/…` (appc aci.md).
    Aci,
    /// An OCI layer: a change set with whiteouts (image-spec layer.md), turned into overlayfs's own marks.
    OciLayer,
}

/// How to extract.
#[derive(Clone, Debug)]
pub struct ExtractOptions {
    /// What the archive is.
    pub form: Form,
    /// Its bounds.
    pub limits: ExtractLimits,
    /// Everything belongs to the caller: set no owners, remember them in [`Extracted::owners`] instead.
    pub single_id: bool,
    /// The trees of the layers below, lowest first: what they say about directories that this layer only implies.
    pub below: Below,
    /// Give files their size and no content: the tree then shows everything else.
    pub hollow: bool,
}

/// What was extracted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extracted {
    /// Entries in the archive.
    pub entries: u64,
    /// Bytes of all regular files, holes included.
    pub content: u64,
    /// The manifest of an ACI.
    pub manifest: Option<String>,
    /// Owners that the tree does not show (single-id mode).
    pub owners: Owners,
    /// Whether the tree depends on the layers below: they were asked about a directory.
    #[serde(default)]
    pub leans_on_below: bool,
    /// Directories of an ACI that no entry describes: what a dependency says of them counts.
    #[serde(default)]
    pub implied: Paths,
    /// What was left out.
    pub warnings: Warnings,
}

/// Reads a tar archive from `tar` and writes its tree into the empty directory `root`.
///
/// Reads up to the end of the archive, not of the stream: the caller hashes the rest.
///
/// # Errors
/// The first thing that is wrong; the tree is then partial, and nothing outside of `root` was touched.
pub fn extract(tar: impl BufRead, root: BorrowedFd<'_>, options: &ExtractOptions) -> Result<Extracted, ExtractError> {
    extract_recorded(tar, root, options, None)
}

/// [`extract`], telling `recorder` whose content it is that passes. What passes at all `tar` reports itself.
pub(crate) fn extract_recorded(
    tar: impl BufRead,
    root: BorrowedFd<'_>,
    options: &ExtractOptions,
    recorder: Option<&Recorder>,
) -> Result<Extracted, ExtractError> {
    let mut reader = TarReader::new(tar, &options.limits);
    let mut extraction = Extraction::new(root, options, recorder)?;
    while let Some(member) = reader.next_member()? {
        extraction.member(member, &mut reader)?;
    }
    extraction.finish()
}
