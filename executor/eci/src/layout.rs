//! OCI layout directories (image-spec, image-layout.md) as places for images; several share one.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, ResolveFlags, flock, mkdirat, openat2, renameat};
use rustix::io::Errno;

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::document::MAX_DOCUMENT;
use crate::file::is_zero;
use crate::index::{Index, LAYOUT_FILE};
use crate::pack::Blob;
use crate::sparse;
use crate::transfer::{Destination, Named, Source, TransferError};

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// A system call failed.
    #[error("{what}")]
    Io {
        /// The file or directory.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// It is no layout.
    #[error("{0} is no OCI layout: it has no index.json")]
    NoIndex(String),
    /// Its index cannot be read.
    #[error("{path}/index.json: {reason}")]
    Index {
        /// The directory.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The image is not in it.
    #[error("{path}: {reason}")]
    NotFound {
        /// The directory.
        path: String,
        /// What is in it.
        reason: String,
    },
    /// A blob's file does not have the size it should have.
    #[error("blob {digest} has {found} bytes, not {expected}")]
    Size {
        /// Its digest.
        digest: Digest,
        /// As promised.
        expected: u64,
        /// As it is.
        found: u64,
    },
    /// What was to be written has changed since its digest was computed.
    #[error("the file of {0} has changed while it was read")]
    Changed(Digest),
}

fn failed(what: impl Into<String>) -> impl FnOnce(Errno) -> LayoutError {
    let what = what.into();
    move |error| LayoutError::Io { what, source: error.into() }
}

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

fn open_dir(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Reads a small file of the layout.
fn small(dir: &OwnedFd, name: &str) -> Result<Option<Vec<u8>>, LayoutError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat2(dir, name, flags, Mode::empty(), BENEATH) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(failed(name)(error)),
    };
    let mut bytes = Vec::new();
    let read = file.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes);
    read.map_err(|source| LayoutError::Io { what: name.to_owned(), source })?;
    if bytes.len() as u64 > MAX_DOCUMENT {
        let source = io::Error::other(format!("more than {MAX_DOCUMENT} bytes"));
        return Err(LayoutError::Io { what: name.to_owned(), source });
    }
    Ok(Some(bytes))
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

/// An image in a layout directory.
#[derive(Debug)]
pub struct LayoutSource {
    dir: OwnedFd,
    manifest: Descriptor,
}

impl LayoutSource {
    /// Finds an image by one of its names. (The original's layouts lack the file `oci-layout`; it is not asked for.)
    ///
    /// # Errors
    /// [`LayoutError`].
    pub fn open(path: &Path, names: &[String]) -> Result<Self, LayoutError> {
        let shown = path.display().to_string();
        let dir = open_dir(path).map_err(failed(&*shown))?;
        let index = small(&dir, "index.json")?.ok_or_else(|| LayoutError::NoIndex(shown.clone()))?;
        let index = Index::parse(&index).map_err(|reason| LayoutError::Index { path: shown.clone(), reason })?;
        let manifest = index.find(names).map_err(|reason| LayoutError::NotFound { path: shown, reason })?;
        Ok(Self { dir, manifest })
    }

    fn open_blob(&self, descriptor: &Descriptor) -> Result<File, LayoutError> {
        let path = blob_path(&descriptor.digest);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat2(&self.dir, &*path, flags, Mode::empty(), BENEATH).map_err(failed(&*path))?;
        let file = File::from(file);
        let found = file.metadata().map_err(|source| LayoutError::Io { what: path, source })?.len();
        if found != descriptor.size {
            let (digest, expected) = (descriptor.digest.clone(), descriptor.size);
            return Err(LayoutError::Size { digest, expected, found });
        }
        Ok(file)
    }
}

impl Source for LayoutSource {
    fn named(&self) -> Result<Named, TransferError> {
        Named::checked(&self.manifest, self.document(&self.manifest, true)?)
    }

    fn document(&self, descriptor: &Descriptor, _: bool) -> Result<Vec<u8>, TransferError> {
        let mut bytes = Vec::new();
        self.open_blob(descriptor)?.take(MAX_DOCUMENT).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn blob(
        &self,
        descriptor: &Descriptor,
        from: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<(), TransferError>,
    ) -> Result<(), TransferError> {
        let file = self.open_blob(descriptor)?;
        sparse::read(&file, from, descriptor.size, take)
    }
}

/// A layout directory that an image is put into.
#[derive(Debug)]
pub struct LayoutDestination {
    dir: OwnedFd,
    path: PathBuf,
    image: String,
}

impl LayoutDestination {
    /// Opens a directory, which is made if it is not there. Only one process writes to it at a time.
    ///
    /// # Errors
    /// [`LayoutError`]; a directory that has files and is no layout is refused.
    pub fn open(path: &Path, image: &str) -> Result<Self, LayoutError> {
        let shown = path.display().to_string();
        std::fs::create_dir_all(path).map_err(|source| LayoutError::Io { what: shown.clone(), source })?;
        let dir = open_dir(path).map_err(failed(&*shown))?;
        flock(&dir, FlockOperation::LockExclusive).map_err(failed(&*shown))?;
        let empty = std::fs::read_dir(path).map_err(|source| LayoutError::Io { what: shown.clone(), source })?.next();
        match (small(&dir, "index.json")?, empty) {
            (Some(index), _) => {
                Index::parse(&index).map_err(|reason| LayoutError::Index { path: shown.clone(), reason })?;
            }
            (None, None) => {}
            (None, Some(_)) if small(&dir, "oci-layout")?.is_some() => {}
            (None, Some(_)) => return Err(LayoutError::NoIndex(shown)),
        }
        let mode = Mode::from_raw_mode(0o755);
        for name in ["blobs", "blobs/sha256"] {
            match mkdirat(&dir, name, mode) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(failed(format!("{shown}/{name}"))(error)),
            }
        }
        let destination = Self { dir, path: path.to_owned(), image: image.to_owned() };
        if small(&destination.dir, "oci-layout")?.is_none() {
            destination.replace("oci-layout", |file| file.write_all(LAYOUT_FILE))?;
        }
        Ok(destination)
    }

    /// Writes a file under another name first.
    fn replace(&self, name: &str, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), LayoutError> {
        let partial = format!("{name}.part");
        let what = || format!("{}/{name}", self.path.display());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let file = openat2(&self.dir, &*partial, flags, Mode::from_raw_mode(0o644), BENEATH).map_err(failed(what()))?;
        let mut file = File::from(file);
        let written = write(&mut file).and_then(|()| Ok(renameat(&self.dir, &*partial, &self.dir, name)?));
        written.map_err(|source| {
            // The first error is the one to report; what stays is written over.
            let _ = rustix::fs::unlinkat(&self.dir, &*partial, rustix::fs::AtFlags::empty());
            LayoutError::Io { what: what(), source }
        })
    }
}

impl Destination for LayoutDestination {
    fn put(&mut self, descriptor: &Descriptor, blob: &Blob, sent: &mut dyn FnMut(u64)) -> Result<bool, TransferError> {
        let path = blob_path(&descriptor.digest);
        let stat = rustix::fs::statat(&self.dir, &*path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
        if stat.is_ok_and(|it| u64::try_from(it.st_size) == Ok(descriptor.size)) {
            return Ok(false);
        }
        let mut changed = false;
        self.replace(&path, |file| {
            let mut hasher = descriptor.digest.hasher();
            match blob {
                Blob::Bytes(bytes) => {
                    hasher.update(bytes);
                    file.write_all(bytes)?;
                }
                Blob::File(from) => copy(from, file, descriptor.size, &mut |bytes| {
                    hasher.update(bytes);
                    sent(bytes.len() as u64);
                })?,
            }
            changed = hasher.finish() != descriptor.digest;
            if changed { Err(io::Error::other("it has changed")) } else { Ok(()) }
        })
        .map_err(|error| if changed { LayoutError::Changed(descriptor.digest.clone()) } else { error })?;
        Ok(true)
    }

    fn finish(&mut self, manifest: &Descriptor, bytes: &[u8]) -> Result<(), TransferError> {
        self.put(manifest, &Blob::Bytes(bytes.to_vec()), &mut |_| {})?;
        let mut index = match small(&self.dir, "index.json")? {
            Some(bytes) => Index::parse(&bytes)
                .map_err(|reason| LayoutError::Index { path: self.path.display().to_string(), reason })?,
            None => Index::new(),
        };
        index.set(&self.image, manifest);
        self.replace("index.json", |file| file.write_all(&index.to_bytes()))?;
        Ok(())
    }
}

/// Copies a file with its holes, and shows all of its bytes.
fn copy(from: &File, to: &File, size: u64, show: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let mut at = 0;
    sparse::read(from, 0, size, |bytes| {
        show(bytes);
        // Blocks at a time: what is zero need not be written.
        for block in bytes.chunks(1 << 16) {
            if !is_zero(block) {
                to.write_all_at(block, at)?;
            }
            at += block.len() as u64;
        }
        Ok::<(), io::Error>(())
    })?;
    to.set_len(size)
}

/// The folder of a path, for a file that is to be made in it.
pub(crate) fn folder_of(path: &Path) -> Result<OwnedFd, Errno> {
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    rustix::fs::openat(CWD, parent, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}
