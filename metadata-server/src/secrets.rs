//! Where secrets are kept: files that their owner alone can read, or none.
//!
//! ```text
//! DATA/metadata/        0700
//! ├── lock              0600, empty; locked while a file is made
//! ├── hmac.key          0600, 64 random bytes, never changed (signatures would lose their meaning)
//! └── identity.json     0600, the keys of identities, changed every week
//! ```

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags, flock, fstat, fsync, mkdirat, openat, renameat};
use rustix::io::Errno;
use rustix::process::geteuid;

const LOCK: &str = "lock";

/// Largest secret that is read.
const MAX_BYTES: u64 = 64 * 1024;

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Others may have read or written it.
    #[error("{}: {problem}", .path.display())]
    Exposed {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Its content is not what it should be.
    #[error("{}: {problem}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A system call failed.
    #[error("{step} {}", .path.display())]
    System {
        /// What was being done.
        step: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// The directory of a user's secrets.
#[derive(Debug)]
pub struct Secrets {
    path: PathBuf,
    dir: OwnedFd,
}

impl Secrets {
    /// Opens the directory `metadata` in the user's data directory, and makes it if it is missing.
    ///
    /// # Errors
    /// Others may write there, or it cannot be made.
    pub fn ensure(data_dir: &Path) -> Result<Self, SecretError> {
        let path = data_dir.join("metadata");
        let failed = |step| {
            let path = path.clone();
            move |errno: Errno| SecretError::System { step, path, source: errno.into() }
        };
        match mkdirat(CWD, &path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed("create")(errno)),
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = openat(CWD, &path, flags, Mode::empty()).map_err(failed("open"))?;
        let stat = fstat(&dir).map_err(failed("look at"))?;
        if stat.st_uid != geteuid().as_raw() {
            return Err(SecretError::Exposed { path, problem: "belongs to another user" });
        }
        if stat.st_mode & 0o022 != 0 {
            return Err(SecretError::Exposed { path, problem: "others may write to this directory" });
        }
        Ok(Self { path, dir })
    }

    /// The secret called `name`. If there is none, `make` makes it; of two that make one at once, both get the first.
    ///
    /// # Errors
    /// The file is not its owner's alone: whoever was meant to be kept out may know it.
    pub fn ensure_file(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<Vec<u8>, Errno>,
    ) -> Result<Vec<u8>, SecretError> {
        if let Some(secret) = self.read(name)? {
            return Ok(secret);
        }
        let lock = self.lock()?;
        if let Some(secret) = self.read(name)? {
            return Ok(secret);
        }
        let secret = make().map_err(|errno| self.failed("make", name, errno.into()))?;
        self.replace(name, &secret, &lock)?;
        Ok(secret)
    }

    /// Reads the secret called `name`, if there is one.
    ///
    /// # Errors
    /// As [`Secrets::ensure_file`].
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, SecretError> {
        // A fifo in its place must not hang the service.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.dir, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.failed("open", name, errno.into())),
        };
        let stat = fstat(&file).map_err(|errno| self.failed("look at", name, errno.into()))?;
        let problem = if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            Some("not a regular file")
        } else if stat.st_uid != geteuid().as_raw() {
            Some("belongs to another user")
        } else if stat.st_mode & 0o077 != 0 {
            Some("a secret that others may read or write")
        } else if stat.st_nlink != 1 {
            Some("a secret with a second name")
        } else {
            None
        };
        if let Some(problem) = problem {
            return Err(SecretError::Exposed { path: self.path.join(name), problem });
        }
        let mut secret = Vec::new();
        let read = File::from(file).take(MAX_BYTES).read_to_end(&mut secret);
        read.map_err(|error| self.failed("read", name, error))?;
        Ok(Some(secret))
    }

    /// Puts a secret in place, whole or not at all. The lock is the proof that nobody else does.
    ///
    /// # Errors
    /// [`SecretError::System`].
    pub fn replace(&self, name: &str, secret: &[u8], _lock: &SecretsLock) -> Result<(), SecretError> {
        let new = format!(".{name}");
        let write = || -> io::Result<()> {
            match rustix::fs::unlinkat(&self.dir, &new, rustix::fs::AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(openat(&self.dir, &new, flags, Mode::RUSR | Mode::WUSR)?);
            file.write_all(secret)?;
            file.sync_all()?;
            renameat(&self.dir, &new, &self.dir, name)?;
            Ok(fsync(&self.dir)?)
        };
        write().map_err(|error| self.failed("write", name, error))
    }

    /// Waits until nobody else changes a secret.
    ///
    /// # Errors
    /// [`SecretError::System`].
    pub fn lock(&self) -> Result<SecretsLock, SecretError> {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = openat(&self.dir, LOCK, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| self.failed("open", LOCK, errno.into()))?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|errno| self.failed("lock", LOCK, errno.into()))?;
        Ok(SecretsLock(lock))
    }

    /// The path of a secret, for messages.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn failed(&self, step: &'static str, name: &str, source: io::Error) -> SecretError {
        SecretError::System { step, path: self.path.join(name), source }
    }
}

/// Held by whoever changes a secret.
#[derive(Debug)]
pub struct SecretsLock(#[expect(dead_code, reason = "it is held, not used")] OwnedFd);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn secrets() -> (tempfile::TempDir, Secrets) {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::ensure(dir.path()).unwrap();
        (dir, secrets)
    }

    #[test]
    fn a_secret_is_made_once_for_its_owner_alone() {
        let (_dir, secrets) = secrets();
        assert_eq!(secrets.ensure_file("key", || Ok(vec![1])).unwrap(), [1]);
        assert_eq!(secrets.ensure_file("key", || panic!("it is there")).unwrap(), [1]);
        let file = fs::metadata(secrets.path("key")).unwrap();
        assert_eq!((file.mode() & 0o7777, file.nlink()), (0o600, 1));
        assert_eq!(fs::metadata(&secrets.path).unwrap().mode() & 0o7777, 0o700);
        let names: Vec<_> = fs::read_dir(&secrets.path).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }

    #[test]
    fn makers_at_the_same_time_get_one_secret() {
        let dir = tempfile::tempdir().unwrap();
        let make = |n: u8| {
            let path = dir.path().to_owned();
            std::thread::spawn(move || Secrets::ensure(&path).unwrap().ensure_file("key", || Ok(vec![n])).unwrap())
        };
        let made: Vec<_> = (0..16).map(make).collect();
        let made: Vec<_> = made.into_iter().map(|it| it.join().unwrap()).collect();
        assert!(made.iter().all(|it| *it == made[0]), "{made:?}");
    }

    #[test]
    fn a_secret_that_others_may_know_is_refused() {
        let (_dir, secrets) = secrets();
        secrets.ensure_file("key", || Ok(vec![1])).unwrap();
        let path = secrets.path("key");
        let refused = |why: &str| {
            let error = secrets.ensure_file("key", || panic!("nothing is made in its place")).unwrap_err().to_string();
            assert!(error.starts_with(path.to_str().unwrap()) && error.contains(why), "{error}");
        };
        for mode in [0o604, 0o640, 0o620, 0o602, 0o644, 0o666, 0o610] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            refused("others may read or write");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::hard_link(&path, secrets.path("other")).unwrap();
        refused("second name");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        refused("not a regular file");
        fs::remove_dir(&path).unwrap();
        symlink(secrets.path("other"), &path).unwrap();
        assert!(matches!(secrets.read("key"), Err(SecretError::System { .. })), "a symbolic link");
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        let (dir, secrets) = secrets();
        fs::set_permissions(&secrets.path, fs::Permissions::from_mode(0o770)).unwrap();
        assert!(matches!(Secrets::ensure(dir.path()), Err(SecretError::Exposed { .. })));
    }

    #[test]
    fn what_a_killed_maker_left_is_no_secret() {
        let (_dir, secrets) = secrets();
        fs::write(secrets.path(".key"), [7]).unwrap();
        assert_eq!(secrets.ensure_file("key", || Ok(vec![1])).unwrap(), [1]);
        assert!(!secrets.path(".key").exists());
    }
}
