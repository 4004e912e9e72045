//! Locks that die with their owner: flock(2) on regular files.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, openat};
use rustix::io::Errno;

use crate::error::{StoreError, failed};

/// How long the index lock is waited for. It is held for milliseconds; a stopped process must not stop everybody.
const PATIENCE: Duration = Duration::from_secs(20);

/// A shared lock on an open file that keeps others from removing what the file stands for.
///
/// It lasts as long as any descriptor of the same open file, also in child processes.
#[derive(Debug)]
pub(crate) struct Guard(OwnedFd);

impl AsFd for Guard {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Guard {
    /// Opens `path` and locks it; `None` if it is not there, or is being removed.
    pub(crate) fn take(dir: BorrowedFd<'_>, path: &str) -> rustix::io::Result<Option<Self>> {
        match openat(dir, path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => Self::on(file, FlockOperation::NonBlockingLockShared),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// The exclusive counterpart, for the one who removes; `None` if it is in use or not there.
    pub(crate) fn take_exclusive(dir: BorrowedFd<'_>, path: &str) -> rustix::io::Result<Option<Self>> {
        match openat(dir, path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => Self::on(file, FlockOperation::NonBlockingLockExclusive),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Locks an open file.
    pub(crate) fn on(file: OwnedFd, operation: FlockOperation) -> rustix::io::Result<Option<Self>> {
        match flock(&file, operation) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(errno),
        }
        // Whoever removes it unlinks it under the exclusive lock. If that came first, this is the lock of a dead name.
        if fstat(&file)?.st_nlink == 0 {
            return Ok(None);
        }
        Ok(Some(Self(file)))
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.0
    }
}

/// The lock under which image records change and garbage is chosen.
#[derive(Debug)]
pub(crate) struct IndexLock {
    _file: OwnedFd,
}

impl IndexLock {
    /// The lock file, below the store.
    pub(crate) const FILE: &'static str = "locks/index";

    /// Waits for the lock, up to 20 seconds.
    pub(crate) fn take(store: BorrowedFd<'_>) -> Result<Self, StoreError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(store, Self::FILE, flags, Mode::RUSR | Mode::WUSR).map_err(failed("open", Self::FILE))?;
        let since = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(Errno::WOULDBLOCK) if since.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(Errno::WOULDBLOCK) => {
                    return Err(StoreError::Busy { lock: Self::FILE, seconds: PATIENCE.as_secs() });
                }
                Err(errno) => return Err(failed("flock", Self::FILE)(errno)),
            }
        }
    }
}
