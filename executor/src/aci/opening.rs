//! Opening a file that should be an image.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use fetch::{AciError, AciFile};
use store::archive::{Compression, IngestError};

use super::file_type::{DECISIVE, FileType};

/// A file that cannot be read as an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It cannot be opened, or is no regular file.
    #[error(transparent)]
    File(#[from] AciError),
    /// It cannot be read.
    #[error("read {path}")]
    Read {
        /// The path as given.
        path: String,
        /// The system's answer.
        source: io::Error,
    },
    /// It is text.
    #[error("this is text, not an image archive")]
    Text,
    /// It is encrypted, or compressed in a way that is not read.
    #[error(transparent)]
    Unreadable(IngestError),
    /// It is something else.
    #[error("unknown type of file: an image is a tar archive, plain or compressed with gzip, bzip2, xz or zstd")]
    Unknown,
}

/// An image file, open and recognised, nothing of it read yet.
#[derive(Debug)]
pub struct OpenedImage {
    /// The file, at its start.
    pub file: File,
    /// How it is compressed.
    pub compression: Compression,
}

impl OpenedImage {
    /// Opens the image at `path`, which may lead through symbolic links.
    ///
    /// # Errors
    /// What is there is no image, by its first bytes, or cannot be read. A fifo or device does not block.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::recognise(AciFile::open(path)?.file, path)
    }

    /// Takes an open regular file for an image.
    ///
    /// # Errors
    /// As [`OpenedImage::open`].
    pub fn recognise(file: File, path: &Path) -> Result<Self, OpenError> {
        let file_type =
            type_of(&file).map_err(|source| OpenError::Read { path: path.display().to_string(), source })?;
        match file_type {
            FileType::Archive(compression) => Ok(Self { file, compression }),
            FileType::Text => Err(OpenError::Text),
            FileType::Unreadable(error) => Err(OpenError::Unreadable(error)),
            FileType::Unknown => Err(OpenError::Unknown),
        }
    }
}

/// The type of an open file; its offset stays where it is.
///
/// # Errors
/// Those of read(2).
pub fn type_of(file: &File) -> io::Result<FileType> {
    let mut head = [0; DECISIVE];
    let mut length = 0;
    while length < head.len() {
        match file.read_at(&mut head[length..], length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(FileType::detect(&head[..length]))
}
