//! Files out of an image: streamed, checked, and in their places only when they are right.

mod archived;
mod search;
mod writing;

use std::io;

use crate::contents::{Contents, Item, Place};
use crate::descriptor::Descriptor;
use crate::digest::{Digest, Hasher};
use crate::document::Image;
use crate::file::Partial;
use crate::title::Title;
use crate::transfer::{Progress, Source, TransferError};
use crate::untar::{Compression, Members, Untar};

use archived::archived;
use search::by_path;

pub use crate::file::Folder;

/// Where a file of the image is to be.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// Which one.
    pub item: &'a Item,
    /// The folder.
    pub folder: &'a Folder,
    /// The name in it.
    pub title: Title,
}

/// Why files cannot be unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// A blob does not come, or not as it should be.
    #[error("layer {digest}")]
    Blob {
        /// Its digest.
        digest: Digest,
        /// Why.
        source: TransferError,
    },
    /// A file cannot be written.
    #[error("write {title}")]
    Write {
        /// Its title.
        title: Title,
        /// Why.
        source: io::Error,
    },
    /// The bytes are not those that the manifest promises.
    #[error("layer {expected} has {found}")]
    Mismatch {
        /// Its digest.
        expected: Digest,
        /// The digest or size that it has.
        found: String,
    },
    /// The layer is no archive we know.
    #[error("layer {digest} has the unknown type {media_type:?}")]
    Type {
        /// Its digest.
        digest: Digest,
        /// Its media type.
        media_type: String,
    },
    /// The file is not where the image says.
    #[error("the image says that there is a file {path:?}, and it has none")]
    Missing {
        /// Where.
        path: String,
    },
}

/// Writes files. `mode` is theirs.
///
/// # Errors
/// [`UnpackError`]. Files that were complete before stay; of others nothing is left under their names.
pub fn unpack(
    source: &dyn Source,
    image: &Image,
    wanted: &[Wanted<'_>],
    mode: u32,
    progress: &mut dyn Progress,
) -> Result<(), UnpackError> {
    let mut paths = Vec::new();
    for wanted in wanted {
        match &wanted.item.place {
            Place::Blob(blob) => whole(source, wanted, blob, mode, progress)?,
            Place::Layer(layer) => archived(source, wanted, layer, mode, progress)?,
            Place::Path(path) => paths.push((wanted, path.clone())),
        }
    }
    if paths.is_empty() { Ok(()) } else { by_path(source, image, paths, mode, progress) }
}

/// All files of an image by their own titles.
#[must_use]
pub fn everything<'a>(contents: &'a Contents, folder: &'a Folder) -> Vec<Wanted<'a>> {
    contents.items.iter().map(|item| Wanted { item, folder, title: item.title.clone() }).collect()
}

fn open(wanted: &Wanted<'_>, blob: &Descriptor) -> Result<Partial, UnpackError> {
    Partial::open(wanted.folder, &wanted.title, &blob.digest)
        .map_err(|source| UnpackError::Write { title: wanted.title.clone(), source })
}

/// A layer that is the file.
fn whole(
    source: &dyn Source,
    wanted: &Wanted<'_>,
    blob: &Descriptor,
    mode: u32,
    progress: &mut dyn Progress,
) -> Result<(), UnpackError> {
    let written = |source| UnpackError::Write { title: wanted.title.clone(), source };
    let mut partial = open(wanted, blob)?;
    let mut hasher = blob.digest.hasher();
    let received = partial.resume(&mut hasher, blob.size).map_err(written)?;
    let mut own_error = None;
    progress.begin(blob, Some(&wanted.title), received);
    let result = source.blob(blob, received, &mut |bytes| {
        hasher.update(bytes);
        progress.advance(bytes.len() as u64);
        if partial.position() + bytes.len() as u64 > blob.size {
            return Err("there are more bytes than the manifest says".into());
        }
        partial.write(bytes).map_err(|error| {
            own_error = Some(error);
            "it cannot be written".into()
        })
    });
    if let Some(error) = own_error {
        return Err(written(error));
    }
    if let Err(source) = result {
        // The connection, not the content: the next pull goes on from here.
        if partial.position() <= blob.size {
            partial.keep();
        }
        return Err(UnpackError::Blob { digest: blob.digest.clone(), source });
    }
    check(blob, hasher, partial.position())?;
    progress.end();
    partial.publish(mode).map_err(written)
}

/// Compares what came with what was promised.
fn check(blob: &Descriptor, hasher: Hasher, size: u64) -> Result<(), UnpackError> {
    let found = hasher.finish();
    let found = match (size == blob.size, found == blob.digest) {
        (true, true) => return Ok(()),
        (false, _) => format!("{size} bytes, not {}", blob.size),
        (true, false) => format!("the digest {found}"),
    };
    Err(UnpackError::Mismatch { expected: blob.digest.clone(), found })
}

/// Streams a layer through `members`.
fn layer<M: Members>(
    source: &dyn Source,
    blob: &Descriptor,
    title: Option<&Title>,
    members: M,
    progress: &mut dyn Progress,
) -> Result<M, UnpackError> {
    let digest = || blob.digest.clone();
    let Some(compression) = Compression::of_media_type(&blob.media_type) else {
        return Err(UnpackError::Type { digest: digest(), media_type: blob.media_type.clone() });
    };
    let content = |source: io::Error| UnpackError::Blob { digest: digest(), source: source.into() };
    let mut untar = Untar::new(compression, members).map_err(content)?;
    let (mut hasher, mut size, mut own_error) = (blob.digest.hasher(), 0, None);
    progress.begin(blob, title, 0);
    let result = source.blob(blob, 0, &mut |bytes| {
        hasher.update(bytes);
        size += bytes.len() as u64;
        progress.advance(bytes.len() as u64);
        if size > blob.size {
            return Err("there are more bytes than the manifest says".into());
        }
        // A layer that is no archive may not be the layer that was promised either; the digest tells.
        if own_error.is_none() {
            own_error = untar.push(bytes).err();
        }
        Ok(())
    });
    result.map_err(|source| UnpackError::Blob { digest: digest(), source })?;
    check(blob, hasher, size)?;
    progress.end();
    match own_error {
        Some(error) => Err(content(error)),
        None => untar.finish().map_err(content),
    }
}
