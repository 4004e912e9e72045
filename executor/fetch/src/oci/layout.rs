//! An OCI layout directory: files opened below one descriptor, by digest, bounded and checked.
//!
//! ```text
//! DIR/oci-layout               {"imageLayoutVersion":"1.0.0"}
//! DIR/index.json               the index to begin with
//! DIR/blobs/ALGORITHM/HEX      everything else, named by its digest
//! ```
//! (image-spec, image-layout.md)

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use serde::Deserialize;

use super::document::{Documents, MAX_DOCUMENT, parse};
use super::image::LayerBytes;
use super::{Blob, OciError};
use crate::quote::Quoted;

/// The only layout version there is.
const LAYOUT_VERSION: &str = "1.0.0";

/// An open layout directory.
#[derive(Debug)]
pub(crate) struct Layout {
    dir: OwnedFd,
}

#[derive(Deserialize)]
struct LayoutHeader {
    #[serde(rename = "imageLayoutVersion")]
    version: String,
}

impl Layout {
    /// Opens the layout at `path`, which is the operator's own and may lead through symbolic links; nothing below
    /// it may.
    pub(crate) fn open(path: &Path) -> Result<Self, OciError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|e| OciError::OpenDir(e.into()))?;
        let layout = Self { dir };
        let header: LayoutHeader = parse("oci-layout", &layout.read_named("oci-layout")?)?;
        if header.version != LAYOUT_VERSION {
            return Err(OciError::LayoutVersion(Quoted::new(&header.version)));
        }
        Ok(layout)
    }

    /// The bytes of `index.json`.
    pub(crate) fn index(&self) -> Result<Vec<u8>, OciError> {
        self.read_named("index.json")
    }

    /// Opens a blob whose content is not looked at, only its size.
    pub(crate) fn blob(&self, blob: &Blob) -> Result<File, OciError> {
        let file = self.open_file(&blob.digest.blob_path())?.ok_or_else(|| OciError::Missing(blob.digest.clone()))?;
        let found = size_of(&file, &blob.digest.blob_path())?;
        if found != blob.size {
            return Err(OciError::Size { digest: blob.digest.clone(), expected: blob.size, found });
        }
        Ok(file)
    }

    fn read_named(&self, name: &'static str) -> Result<Vec<u8>, OciError> {
        let file = self.open_file(name)?.ok_or(OciError::NotALayout { missing: name })?;
        let size = size_of(&file, name)?;
        if size > MAX_DOCUMENT {
            return Err(OciError::TooLarge { name: name.to_owned(), size, limit: MAX_DOCUMENT });
        }
        read_bounded(file, name)
    }

    /// Opens a regular file below the directory; `None` where there is none.
    fn open_file(&self, name: &str) -> Result<Option<File>, OciError> {
        // NO_SYMLINKS covers every component: a layout is data, and data must not send us to other files of the
        // user's. O_NONBLOCK: a fifo must fail the type check instead of hanging the open.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(&self.dir, name, flags, Mode::empty(), resolve) {
            Ok(fd) => Ok(Some(fd.into())),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP) => Err(OciError::Symlink(name.to_owned())),
            Err(error) => Err(OciError::Open { name: name.to_owned(), source: error.into() }),
        }
    }
}

impl Documents for Layout {
    fn manifest(&self, blob: &Blob) -> Result<Vec<u8>, OciError> {
        read_bounded(self.blob(blob)?, &blob.digest.to_string())
    }

    fn config(&self, blob: &Blob) -> Result<Vec<u8>, OciError> {
        self.manifest(blob)
    }

    fn layer(&self, blob: &Blob) -> Result<LayerBytes, OciError> {
        Ok(LayerBytes::File { file: self.blob(blob)?, start: 0 })
    }
}

fn size_of(file: &File, name: &str) -> Result<u64, OciError> {
    let metadata = file.metadata().map_err(|source| OciError::Open { name: name.to_owned(), source })?;
    if !metadata.is_file() {
        return Err(OciError::NotRegular(name.to_owned()));
    }
    Ok(metadata.len())
}

/// Reads to the end, and fails should the file have grown past the bound since its size was asked.
fn read_bounded(file: File, name: &str) -> Result<Vec<u8>, OciError> {
    let mut bytes = Vec::new();
    let read = file.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes);
    read.map_err(|source| OciError::Read { name: name.to_owned(), source })?;
    if bytes.len() as u64 > MAX_DOCUMENT {
        return Err(OciError::TooLarge { name: name.to_owned(), size: bytes.len() as u64, limit: MAX_DOCUMENT });
    }
    Ok(bytes)
}
