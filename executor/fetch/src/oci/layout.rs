//! An OCI layout, as a directory or a tar archive of one: files opened below one descriptor, by digest, bounded and
//! checked.
//!
//! ```text
//! DIR/oci-layout               {"imageLayoutVersion":"1.0.0"}
//! DIR/index.json               the index to begin with
//! DIR/blobs/ALGORITHM/HEX      everything else, named by its digest
//! ```
//! (image-spec, image-layout.md)

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use serde::Deserialize;

use super::document::{Documents, MAX_DOCUMENT, parse};
use super::image::LayerBytes;
use super::{Blob, OciError};
use crate::quote::Quoted;
use crate::tar_index::{Place, TarIndex};

/// The only layout version there is.
const LAYOUT_VERSION: &str = "1.0.0";

/// An open layout.
#[derive(Debug)]
pub(crate) enum Layout {
    /// A directory.
    Directory(OwnedFd),
    /// A tar archive of one.
    Archive(TarIndex),
}

/// A file of a layout, or the part of an archive that is one.
#[derive(Debug)]
pub(crate) struct Piece {
    file: File,
    start: u64,
    size: u64,
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
        Self::Directory(dir).checked()
    }

    /// Opens the layout in the tar archive `path`.
    pub(crate) fn open_archive(path: &Path) -> Result<Self, OciError> {
        Self::Archive(open_archive(path)?).checked()
    }

    fn checked(self) -> Result<Self, OciError> {
        let header: LayoutHeader = parse("oci-layout", &self.read_named("oci-layout")?)?;
        if header.version != LAYOUT_VERSION {
            return Err(OciError::LayoutVersion(Quoted::new(&header.version)));
        }
        Ok(self)
    }

    /// The bytes of `index.json`.
    pub(crate) fn index(&self) -> Result<Vec<u8>, OciError> {
        self.read_named("index.json")
    }

    /// Opens a blob whose content is not looked at, only its size.
    pub(crate) fn blob(&self, blob: &Blob) -> Result<Piece, OciError> {
        let piece = self.open_file(&blob.digest.blob_path())?.ok_or_else(|| OciError::Missing(blob.digest.clone()))?;
        if piece.size != blob.size {
            return Err(OciError::Size { digest: blob.digest.clone(), expected: blob.size, found: piece.size });
        }
        Ok(piece)
    }

    fn read_named(&self, name: &'static str) -> Result<Vec<u8>, OciError> {
        self.open_file(name)?.ok_or(OciError::NotALayout { missing: name })?.bytes(name)
    }

    /// Opens a regular file of the layout; `None` where there is none.
    fn open_file(&self, name: &str) -> Result<Option<Piece>, OciError> {
        let dir = match self {
            Self::Directory(dir) => dir,
            Self::Archive(archive) => return piece_of(archive, name),
        };
        // NO_SYMLINKS covers every component: a layout is data, and data must not send us to other files of the
        // user's. O_NONBLOCK: a fifo must fail the type check instead of hanging the open.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let file = match rustix::fs::openat2(dir, name, flags, Mode::empty(), resolve) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(OciError::Symlink(name.to_owned())),
            Err(error) => return Err(OciError::Open { name: name.to_owned(), source: error.into() }),
        };
        let metadata = file.metadata().map_err(|source| OciError::Open { name: name.to_owned(), source })?;
        if !metadata.is_file() {
            return Err(OciError::NotRegular(name.to_owned()));
        }
        Ok(Some(Piece { file, start: 0, size: metadata.len() }))
    }
}

/// The archive at `path`, with the index of its members.
pub(crate) fn open_archive(path: &Path) -> Result<TarIndex, OciError> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file = file.map_err(OciError::OpenArchive)?;
    if !file.metadata().map_err(OciError::OpenArchive)?.is_file() {
        return Err(OciError::NotRegular("the archive".to_owned()));
    }
    Ok(TarIndex::read(file)?)
}

/// The file `name` of an archive, if it is there.
pub(crate) fn piece_of(archive: &TarIndex, name: &str) -> Result<Option<Piece>, OciError> {
    let Some(Place { start, size }) = archive.find(name) else { return Ok(None) };
    let file = archive.file().try_clone().map_err(|source| OciError::Open { name: name.to_owned(), source })?;
    Ok(Some(Piece { file, start, size }))
}

impl Piece {
    /// Its size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// All of it, if it is no larger than documents may be. `name` is what errors call it.
    pub(crate) fn bytes(&self, name: &str) -> Result<Vec<u8>, OciError> {
        if self.size > MAX_DOCUMENT {
            return Err(OciError::TooLarge { name: name.to_owned(), size: self.size, limit: MAX_DOCUMENT });
        }
        let mut bytes = vec![0; usize::try_from(self.size).expect("documents are small")];
        let read = self.file.read_exact_at(&mut bytes, self.start);
        read.map_err(|source| OciError::Read { name: name.to_owned(), source })?;
        Ok(bytes)
    }

    /// Hands its first `most` bytes to `take`, piece by piece.
    pub(crate) fn each(&self, most: u64, name: &str, mut take: impl FnMut(&[u8])) -> Result<(), OciError> {
        let mut buffer = vec![0; 256 << 10];
        let (mut offset, end) = (self.start, self.start + self.size.min(most));
        while offset < end {
            let length = usize::try_from(end - offset).unwrap_or(usize::MAX).min(buffer.len());
            let read = self.file.read_exact_at(&mut buffer[..length], offset);
            read.map_err(|source| OciError::Read { name: name.to_owned(), source })?;
            take(&buffer[..length]);
            offset += length as u64;
        }
        Ok(())
    }

    /// The same as a layer.
    pub(crate) fn into_layer(self) -> LayerBytes {
        LayerBytes::File { file: self.file, start: self.start }
    }
}

impl Documents for Layout {
    fn manifest(&self, blob: &Blob) -> Result<Vec<u8>, OciError> {
        self.blob(blob)?.bytes(&blob.digest.to_string())
    }

    fn config(&self, blob: &Blob) -> Result<Vec<u8>, OciError> {
        self.manifest(blob)
    }

    fn layer(&self, blob: &Blob) -> Result<LayerBytes, OciError> {
        Ok(self.blob(blob)?.into_layer())
    }
}
