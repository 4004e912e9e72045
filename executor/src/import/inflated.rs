//! Archives of images that are compressed as a whole (`docker save … | gzip`), inflated to a file without a name: their members
//! are read in any order.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use fetch::ImageRef;
use rustix::fs::{CWD, Mode, OFlags, openat};
use store::Store;
use store::archive::{self, Compression, IngestError};
use store::extract::ExtractLimits;

use crate::error::{CommandError, Explain as _};

/// So many bytes of a file tell how it is compressed.
const HEAD: usize = 512;

/// An archive that was compressed.
#[derive(Debug)]
pub(crate) struct Inflated {
    file: File,
}

impl Inflated {
    /// Inflates the archive at `path`; `None` for one that is not compressed, or cannot be read: who reads it says so.
    ///
    /// # Errors
    ///
    /// It is damaged, too large, compressed in a way that is not known, or there is no room.
    pub(crate) fn of(store: &Store, path: &Path) -> Result<Option<Self>, CommandError> {
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
        Ok(Some(Self { file }))
    }

    /// Where it is, as long as this lives.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// Inflates the archive that `reference` names, if it names one.
    ///
    /// # Errors
    ///
    /// As [`Inflated::of`].
    pub(super) fn meant(store: &Store, reference: &ImageRef) -> Result<Option<(Self, ImageRef)>, CommandError> {
        let (ImageRef::OciArchive { file, .. } | ImageRef::DockerArchive { file, .. }) = reference else {
            return Ok(None);
        };
        let Some(inflated) = Self::of(store, file)? else { return Ok(None) };
        let mut plain = reference.clone();
        if let ImageRef::OciArchive { file, .. } | ImageRef::DockerArchive { file, .. } = &mut plain {
            *file = inflated.path();
        }
        Ok(Some((inflated, plain)))
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
