//! App Container Images as files: what they are, whether they are sound, and how they are made.
//!
//! An ACI is a tar archive, mostly compressed, of a file `manifest` and a directory `rootfs` (appc aci.md, Image
//! Archives); a *layout* is a directory with the same two in it. Archives are read in one pass and in bounded memory
//! with the store's reader, so what is called valid here can be stored.
//!
//! Messages that the App Container tools have, these have word for word: scripts look for them.

mod archive;
mod blocks;
mod deflate;
mod file_type;
mod layout;
mod manifest;
mod names;
mod opening;
mod pack;
mod patch;
mod rewrite;
mod sink;
mod target;
mod unpack;
mod walk;
mod xattrs;
mod yaml;

pub use archive::{ArchiveError, Checked, manifest_of, validate_archive};
pub use blocks::{BLOCK, Block, Blocks};
pub use deflate::Gzip;
pub use file_type::FileType;
pub use layout::{Layout, LayoutError};
pub use manifest::{ManifestFile, ManifestFileError};
pub use opening::{OpenError, OpenedImage, type_of};
pub use pack::{BuildError, BuildOptions, Built, SOCKETS_LEFT_OUT, build};
pub use patch::{ManifestPatch, PatchError};
pub use rewrite::{RewriteError, rewrite};
pub use target::{Target, TargetError};
pub use unpack::{UnpackError, Unpacked, unpack};
pub use walk::WalkError;
pub use yaml::{YamlError, yaml_to_json};

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use store::extract::ExtractLimits;

/// The member of an archive, or the file of a layout, that says what the image is.
pub const MANIFEST: &str = "manifest";

/// The directory of an image that becomes the root of the app's file system.
pub const ROOTFS: &str = "rootfs";

/// How names of image files end.
pub const EXTENSION: &str = ".aci";

/// Whether `path` ends as the name of an image must.
///
/// # Errors
/// The extension it has instead, with its dot; empty where it has none.
pub fn check_extension(path: &Path) -> Result<(), String> {
    let bytes = path.as_os_str().as_bytes();
    let name = bytes.rsplit(|&b| b == b'/').next().unwrap_or_default();
    let extension = name.iter().rposition(|&b| b == b'.').map_or(&[][..], |dot| &name[dot..]);
    if extension == EXTENSION.as_bytes() { Ok(()) } else { Err(String::from_utf8_lossy(extension).into_owned()) }
}

/// The bounds on archives that are only read. Nothing of them reaches the disk, so a ratio that would give away a bomb
/// does not matter; the whole size is bounded all the same.
pub fn limits() -> ExtractLimits {
    ExtractLimits { ratio: u64::MAX, ..ExtractLimits::default() }
}
