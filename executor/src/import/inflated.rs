//! Archives of images that are compressed as a whole (`docker save … | gzip`), inflated to a file without a name: their members
//! are read in any order.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use fetch::{FetchError, ImageRef, Source};
use rustix::fs::{CWD, Mode, OFlags, openat};
use store::Store;
use store::archive::{self, Compression, IngestError};
use store::extract::ExtractLimits;

use super::Images;
use crate::error::{CommandError, Explain as _};

/// So many bytes of a file tell how it is compressed.
const HEAD: usize = 512;

/// An archive that was compressed.
#[derive(Debug)]
pub(crate) struct Inflated {
    /// The archive as it was given.
    given: PathBuf,
    file: File,
}

impl Inflated {
    /// Inflates the archive at `path`; `None` for one that is not compressed, or cannot be read: who reads it says so.
    ///
    /// # Errors
    ///
    /// It is damaged, too large, compressed in a way that is not known, or there is no room.
    fn of(store: &Store, path: &Path) -> Result<Option<Self>, CommandError> {
        // Neither waits for whoever may write to a fifo, nor becomes a terminal's process.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let Ok(packed) = openat(CWD, path, flags, Mode::empty()).map(File::from) else { return Ok(None) };
        if !packed.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return Ok(None);
        }
        let mut head = [0; HEAD];
        let Ok(length) = packed.read_at(&mut head, 0) else { return Ok(None) };
        let compression = Compression::sniff(&head[..length]).during(|| path.display().to_string())?;
        if compression == Compression::None {
            return Ok(None);
        }
        let file = store.scratch()?;
        let mut out = io::BufWriter::new(&file);
        archive::inflate(packed, &ExtractLimits::default(), &mut out, Failure::Write)
            .and_then(|_| out.flush().map_err(Failure::Write))
            .during(|| format!("unpack {}", path.display()))?;
        drop(out);
        Ok(Some(Self { given: path.to_owned(), file }))
    }

    /// Where it is, as long as this lives.
    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// Opens the image in it that `reference` means.
    ///
    /// # Errors
    ///
    /// As [`fetch::open`]; they name the archive that was given.
    pub(super) fn open(&self, reference: &ImageRef) -> Result<Source, FetchError> {
        let mut plain = reference.clone();
        if let ImageRef::OciArchive { file, .. } | ImageRef::DockerArchive { file, .. } = &mut plain {
            *file = self.path();
        }
        fetch::open(&plain).map_err(|error| match error {
            FetchError::Archive { source, .. } => FetchError::Archive { file: self.given.clone(), source },
            error => error,
        })
    }
}

impl Images {
    /// The images in the archive of docker's at `path`, by their names ([`fetch::oci::names_in_docker_archive`]). They are
    /// fetched by that path: an archive that is compressed is inflated once for all of them.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is none.
    pub(crate) fn names_in_archive(&self, path: &Path) -> Result<Option<Vec<Vec<String>>>, CommandError> {
        let inflated = self.inflated(path)?;
        let plain = inflated.map_or_else(|| path.to_owned(), |inflated| inflated.path());
        let named = |source| FetchError::Archive { file: path.to_owned(), source };
        Ok(fetch::oci::names_in_docker_archive(&plain).map_err(named)?)
    }

    /// What the archive that `reference` names inflates to, if it names one that is compressed.
    ///
    /// # Errors
    ///
    /// As [`Inflated::of`].
    pub(super) fn inflated_by(&self, reference: &ImageRef) -> Result<Option<Rc<Inflated>>, CommandError> {
        match reference {
            ImageRef::OciArchive { file, .. } | ImageRef::DockerArchive { file, .. } => self.inflated(file),
            _ => Ok(None),
        }
    }

    fn inflated(&self, path: &Path) -> Result<Option<Rc<Inflated>>, CommandError> {
        let mut last = self.inflated.borrow_mut();
        if last.as_ref().is_none_or(|last| last.given != path) {
            *last = Inflated::of(&self.store, path)?.map(Rc::new);
        }
        Ok(last.clone())
    }
}

/// Why an archive could not be inflated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It cannot be read, or is none.
    #[error(transparent)]
    Read(#[from] IngestError),
    /// What was in it cannot be written.
    #[error("write what was packed")]
    Write(#[source] io::Error),
}
