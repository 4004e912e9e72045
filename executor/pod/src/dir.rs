//! An open directory whose calls report what they were applied to.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use crate::CallError;

/// Bits of every open of ours: never follow a symbolic link in the last component, never leak into an exec,
/// never hang in the open of a FIFO that somebody put in the place of a file.
const ALWAYS: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// A directory that is only ever used as the start of `*at` calls (`O_PATH`), with the text to show for it.
#[derive(Debug)]
pub(crate) struct Dir {
    /// `None`: there is no such directory, and every call says so (ENOENT).
    fd: Option<OwnedFd>,
    shown: String,
}

impl Dir {
    pub(crate) const fn new(fd: OwnedFd, shown: String) -> Self {
        Self { fd: Some(fd), shown }
    }

    /// A directory that does not exist, and in which nothing is found therefore.
    pub(crate) const fn absent(shown: String) -> Self {
        Self { fd: None, shown }
    }

    /// The descriptor of a directory that was opened.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().expect("only `pods/` may be absent, and its descriptor is asked for here alone").as_fd()
    }

    /// What `*at` calls take.
    pub(crate) fn at(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.fd.as_ref().map(AsFd::as_fd).ok_or(Errno::NOENT)
    }

    /// `path` below this directory, for messages.
    pub(crate) fn shown(&self, path: &str) -> String {
        format!("{}/{path}", self.shown)
    }

    pub(crate) fn error(&self, call: &'static str, path: &str, source: Errno) -> CallError {
        CallError { call, path: self.shown(path), source }
    }

    pub(crate) fn mkdir(&self, path: &str, mode: u32) -> Result<(), CallError> {
        self.at()
            .and_then(|at| fs::mkdirat(at, path, Mode::from_raw_mode(mode)))
            .map_err(|e| self.error("mkdirat", path, e))
    }

    pub(crate) fn open(&self, path: &str, flags: OFlags) -> Result<OwnedFd, CallError> {
        self.at()
            .and_then(|at| fs::openat(at, path, flags | ALWAYS, Mode::empty()))
            .map_err(|e| self.error("openat", path, e))
    }

    /// A new regular file; there must be nothing at `path`.
    pub(crate) fn create(&self, path: &str, flags: OFlags, mode: u32) -> Result<OwnedFd, CallError> {
        let flags = flags | ALWAYS | OFlags::CREATE | OFlags::EXCL;
        self.at()
            .and_then(|at| fs::openat(at, path, flags, Mode::from_raw_mode(mode)))
            .map_err(|e| self.error("openat", path, e))
    }

    /// An empty regular file, in one call.
    pub(crate) fn touch(&self, path: &str, mode: u32) -> Result<(), CallError> {
        self.at()
            .and_then(|at| fs::mknodat(at, path, FileType::RegularFile, Mode::from_raw_mode(mode), 0))
            .map_err(|e| self.error("mknodat", path, e))
    }

    pub(crate) fn open_dir(&self, path: &str, shown: String) -> Result<Self, CallError> {
        Ok(Self::new(self.open(path, OFlags::PATH | OFlags::DIRECTORY)?, shown))
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), CallError> {
        self.at().and_then(|at| fs::renameat(at, from, at, to)).map_err(|e| self.error("renameat", from, e))
    }

    pub(crate) fn unlink(&self, path: &str) -> Result<(), CallError> {
        self.at().and_then(|at| fs::unlinkat(at, path, AtFlags::empty())).map_err(|e| self.error("unlinkat", path, e))
    }

    pub(crate) fn rmdir(&self, path: &str) -> Result<(), CallError> {
        self.at().and_then(|at| fs::unlinkat(at, path, AtFlags::REMOVEDIR)).map_err(|e| self.error("rmdir", path, e))
    }

    pub(crate) fn stat(&self, path: &str) -> Result<Stat, CallError> {
        self.at()
            .and_then(|at| fs::statat(at, path, AtFlags::SYMLINK_NOFOLLOW))
            .map_err(|e| self.error("newfstatat", path, e))
    }

    pub(crate) fn exists(&self, path: &str) -> Result<bool, CallError> {
        match self.stat(path) {
            Ok(_) => Ok(true),
            Err(e) if e.source == Errno::NOENT => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Makes `dir`, opened below `self` at `path`, what an image or a volume asks for, whatever the umask is.
    pub(crate) fn adorn(
        &self,
        dir: &OwnedFd,
        path: &str,
        mode: Option<u32>,
        owner: Option<(u32, u32)>,
    ) -> Result<(), CallError> {
        // chown before chmod: chown clears set-id bits.
        if let Some((uid, gid)) = owner {
            fs::fchown(dir, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .map_err(|e| self.error("fchown", path, e))?;
        }
        if let Some(mode) = mode {
            fs::fchmod(dir, Mode::from_raw_mode(mode)).map_err(|e| self.error("fchmod", path, e))?;
        }
        Ok(())
    }
}

/// Seconds and nanoseconds of a `stat` as nanoseconds since the epoch; times before it count as 0.
pub(crate) fn nanoseconds(seconds: i64, nanoseconds: u64) -> u64 {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

pub(crate) fn mtime_ns(stat: &Stat) -> u64 {
    nanoseconds(stat.st_mtime, stat.st_mtime_nsec)
}

pub(crate) fn ctime_ns(stat: &Stat) -> u64 {
    nanoseconds(stat.st_ctime, stat.st_ctime_nsec)
}
