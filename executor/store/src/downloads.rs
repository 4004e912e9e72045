//! Downloads that take long: kept as far as they came, so that the next attempt goes on from there.
//!
//! A file below `downloads` is named by the digest of what it is the beginning of. Its flock says that somebody is at it;
//! nobody waits for that: who does not get the lock downloads without keeping. Nothing in here is durable or checked. Who
//! goes on with a download checks the digest of the whole, and discards it when that is wrong.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, fstat, mkdirat, openat, statat, unlinkat};
use rustix::io::Errno;

use crate::digest::Digest;
use crate::error::{StoreError, failed};
use crate::layout::Store;
use crate::removal::for_each_entry;

/// Where they are, below the store.
const DIRECTORY: &str = "downloads";

/// The beginning of a download. Dropped, it stays for the next attempt.
#[derive(Debug)]
pub struct Partial<'s> {
    store: &'s Store,
    name: String,
    file: File,
    length: u64,
}

impl Store {
    /// What there is of the download of `digest`, maybe nothing; `None` if somebody else is at it.
    ///
    /// # Errors
    /// [`StoreError::NewerFormat`], [`StoreError::System`].
    pub fn partial(&self, digest: &Digest) -> Result<Option<Partial<'_>>, StoreError> {
        self.check_writable()?;
        match mkdirat(self.dir(), DIRECTORY, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed("mkdir", DIRECTORY)(errno)),
        }
        let name = format!("{DIRECTORY}/{}-{}", digest.algorithm().name(), digest.hex());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(self.dir(), name.as_str(), flags, Mode::RUSR | Mode::WUSR);
        let file = File::from(file.map_err(failed("open", name.as_str()))?);
        if !lock(&file, &name)? || !self.is_at(&file, &name)? {
            return Ok(None);
        }
        let length = fstat(&file).map_err(failed("fstat", name.as_str()))?.st_size.cast_unsigned();
        Ok(Some(Partial { store: self, name, file, length }))
    }

    /// Removes downloads that nobody is at. Returns how many.
    pub(crate) fn collect_downloads(&self) -> Result<usize, StoreError> {
        let mut names = Vec::new();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = match openat(self.dir(), DIRECTORY, flags, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::NOENT) => return Ok(0),
            Err(errno) => return Err(failed("open", DIRECTORY)(errno)),
        };
        let read = for_each_entry(&directory, |name, _| {
            names.push(name.to_vec());
            Ok(())
        });
        read.map_err(|error| failed("read", DIRECTORY)(error))?;
        let mut removed = 0;
        // Others in here are named by the URL they came from, and are not ours.
        for name in names.into_iter().filter(|name| name.starts_with(b"sha")) {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let Ok(file) = openat(&directory, name.as_slice(), flags, Mode::empty()) else { continue };
            if lock(&File::from(file), DIRECTORY)? {
                match unlinkat(&directory, name.as_slice(), AtFlags::empty()) {
                    Ok(()) => removed += 1,
                    Err(Errno::NOENT) => {}
                    Err(errno) => return Err(failed("unlink", DIRECTORY)(errno)),
                }
            }
        }
        Ok(removed)
    }

    /// Whether the file is still what has the name: it may have been removed before it was locked.
    fn is_at(&self, file: &File, name: &str) -> Result<bool, StoreError> {
        let ours = fstat(file).map_err(failed("fstat", name))?;
        match statat(self.dir(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(theirs) => Ok((ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(failed("stat", name)(errno)),
        }
    }
}

fn lock(file: &File, name: &str) -> Result<bool, StoreError> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(failed("flock", name)(errno)),
    }
}

impl Partial<'_> {
    /// How many bytes there are.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Reads bytes that are there, from `offset` on. Returns how many; 0 at the end.
    ///
    /// # Errors
    /// Those of pread(2).
    pub fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(into, offset)
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    /// Those of write(2). The length is then what it was.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.length)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Removes it: the download is complete, wrong, or not worth keeping.
    ///
    /// # Errors
    /// [`StoreError::System`].
    pub fn discard(mut self) -> Result<(), StoreError> {
        // Nothing of it is to reach the disk, even where somebody has it open.
        let _ = self.file.flush();
        let _ = self.file.set_len(0);
        match unlinkat(self.store.dir(), self.name.as_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed("unlink", self.name)(errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;

    fn store(dir: &tempfile::TempDir) -> Store {
        Store::ensure(&dir.path().join("data")).unwrap()
    }

    #[test]
    fn a_download_goes_on_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let digest = Digest::of(Algorithm::Sha256, b"whole");
        let mut first = store.partial(&digest).unwrap().expect("nobody is at it");
        first.append(b"who").unwrap();
        assert!(store.partial(&digest).unwrap().is_none(), "one at a time");
        drop(first);
        let mut second = store.partial(&digest).unwrap().expect("nobody is at it");
        second.append(b"le").unwrap();
        let mut bytes = [0; 8];
        assert_eq!((second.length(), second.read_at(&mut bytes, 1).unwrap(), &bytes[..4]), (5, 4, &b"hole"[..]));
        second.discard().unwrap();
        assert_eq!(store.partial(&digest).unwrap().unwrap().length(), 0);
    }

    #[test]
    fn what_nobody_is_at_is_garbage() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        assert_eq!(store.collect_downloads().unwrap(), 0, "there is no directory yet");
        let [used, unused] = [b"used", b"free"].map(|bytes| Digest::of(Algorithm::Sha256, bytes));
        let guard = store.partial(&used).unwrap().unwrap();
        drop(store.partial(&unused).unwrap().unwrap());
        assert_eq!(store.collect_downloads().unwrap(), 1);
        assert_eq!(store.collect_downloads().unwrap(), 0);
        drop(guard);
        assert_eq!(store.collect_downloads().unwrap(), 1);
    }
}
