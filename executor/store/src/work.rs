//! Places for unfinished work: directories below `tmp` that are recognised as dead once their process is.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::error::{StoreError, failed};
use crate::layout::Store;
use crate::lock::Guard;
use crate::removal::{self, AsUser, TreeRemover};

/// The file in a work directory whose exclusive lock says that somebody works there.
pub(crate) const LOCK: &str = "lock";

/// A work directory of this process. Dropped, it is removed as far as the caller's rights go; the rest is gc's.
#[derive(Debug)]
pub(crate) struct WorkDir {
    /// `tmp` itself.
    parent: OwnedFd,
    name: String,
    dir: OwnedFd,
    /// Held until the directory is gone.
    _lock: Guard,
}

impl WorkDir {
    /// Makes a work directory and locks it.
    pub(crate) fn create(store: &Store) -> Result<Self, StoreError> {
        let parent = store.subdirectory("tmp")?;
        // gc may take a directory without a lock for dead and remove it before we lock it: then make another.
        for _ in 0..16 {
            let mut random = [0; 8];
            getrandom(&mut random, GetRandomFlags::empty()).map_err(failed("getrandom", "tmp"))?;
            let name = hex::encode(random);
            match Self::create_named(&parent, &name) {
                Ok(Some((dir, lock))) => return Ok(Self { parent, name, dir, _lock: lock }),
                Ok(None) | Err(Errno::EXIST | Errno::NOENT) => {}
                Err(errno) => return Err(failed("create", format!("tmp/{name}"))(errno)),
            }
        }
        Err(failed("create", "tmp")(Errno::EXIST))
    }

    fn create_named(parent: &OwnedFd, name: &str) -> rustix::io::Result<Option<(OwnedFd, Guard)>> {
        mkdirat(parent, name, Mode::RWXU)?;
        // Not O_PATH: the data written below is synced through this descriptor, and only errors that happened after
        // it was opened are reported by it.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = openat(parent, name, flags, Mode::empty())?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = openat(&dir, LOCK, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Guard::on(lock, FlockOperation::NonBlockingLockExclusive)?.map(|lock| (dir, lock)))
    }

    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Removes the directory and what is in it.
    pub(crate) fn remove(&self, remover: &dyn TreeRemover) -> Result<(), StoreError> {
        removal::remove_with(self.parent.as_fd(), self.name.as_bytes(), remover)
            .map_err(|error| failed("remove", format!("tmp/{}", self.name))(error))
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // What fails here is found by gc, and reported by it if it fails there too.
        let _ = self.remove(&AsUser);
    }
}

/// Removes `tmp/NAME` if nobody works there (any more). Returns whether it did.
pub(crate) fn remove_dead(tmp: &OwnedFd, name: &[u8], remover: &dyn TreeRemover) -> std::io::Result<bool> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match openat(tmp, name, flags, Mode::empty()) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(false),
        // A file: left by whoever made the store and died while writing `format`.
        Err(Errno::NOTDIR | Errno::LOOP) => {
            unlinkat(tmp, name, AtFlags::empty())?;
            return Ok(true);
        }
        Err(errno) => return Err(errno.into()),
    };
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&dir, LOCK, flags, Mode::empty()) {
        Ok(lock) => {
            let Some(_lock) = Guard::on(lock, FlockOperation::NonBlockingLockExclusive)? else { return Ok(false) };
            removal::remove_with(tmp.as_fd(), name, remover)?;
            Ok(true)
        }
        Err(Errno::NOENT) => match unlinkat(tmp, name, AtFlags::REMOVEDIR) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            // The lock is the first thing made in it: contents without a lock were left by an interrupted removal,
            // unless the lock has been made since we looked.
            Err(Errno::NOTEMPTY | Errno::EXIST) if openat(&dir, LOCK, flags, Mode::empty()).is_err() => {
                removal::remove_with(tmp.as_fd(), name, remover)?;
                Ok(true)
            }
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(errno) => Err(errno.into()),
        },
        Err(errno) => Err(errno.into()),
    }
}
