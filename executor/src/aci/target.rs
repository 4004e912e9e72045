//! The file an image is written to: complete under its name, or not there at all.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags, fchmod, fchown, fsync, linkat, openat, renameat,
    renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

/// A file that cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Something has its name.
    #[error("{} exists", .0.display())]
    Exists(PathBuf),
    /// Something has its name that no file replaces: a device, a pipe, a socket.
    #[error("{} is no regular file", .0.display())]
    NotRegular(PathBuf),
    /// A system call failed.
    #[error("{call} {}", path.display())]
    System {
        /// The call.
        call: &'static str,
        /// The path as given.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// A file without a name yet, or with a temporary one where the file system has no other way. Dropped, it is gone.
#[derive(Debug)]
pub struct Target {
    dir: OwnedFd,
    name: OsString,
    path: PathBuf,
    file: File,
    temporary: Option<OsString>,
    overwrite: bool,
}

impl Target {
    /// Begins a file that is to be called `path`. Its permissions are to be `mode`: the caller takes the umask off. What
    /// is overwritten keeps its own and its group: nobody who could not read the old file can read the new one.
    ///
    /// # Errors
    /// Something has that name and `overwrite` is not given, or it is no regular file; the directory cannot be written.
    pub fn create(path: &Path, overwrite: bool, mode: u32) -> Result<Self, TargetError> {
        let failed = |call, errno: Errno| TargetError::System { call, path: path.into(), source: errno.into() };
        let (mode, group) = match statat(CWD, path, AtFlags::empty()) {
            Ok(_) if !overwrite => return Err(TargetError::Exists(path.into())),
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => (stat.st_mode & 0o777, Some(Gid::from_raw(stat.st_gid))),
                FileType::Directory => return Err(failed("open", Errno::ISDIR)),
                _ => return Err(TargetError::NotRegular(path.into())),
            },
            Err(Errno::NOENT) => (mode, None),
            Err(errno) => return Err(failed("open", errno)),
        };
        // What a link leads to is overwritten, not the link.
        let real = if overwrite { path.canonicalize().unwrap_or_else(|_| path.into()) } else { path.to_owned() };
        let name = real.file_name().ok_or_else(|| failed("open", Errno::ISDIR))?.to_owned();
        let parent = real.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(CWD, parent, flags, Mode::empty()).map_err(|e| failed("open", e))?;
        let (file, temporary) = nameless(&dir, &name).map_err(|e| failed("open", e))?;
        let target = Self { dir, name, path: path.into(), file: File::from(file), temporary, overwrite };
        let mode = group.map_or(mode, |group| given_to(&target.file, group, mode));
        fchmod(&target.file, Mode::from_raw_mode(mode)).map_err(|e| failed("chmod", e))?;
        Ok(target)
    }

    /// The file, for writing.
    ///
    /// # Errors
    /// Those of dup(2).
    pub fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Gives the complete file its name.
    ///
    /// # Errors
    /// Somebody else made a file of that name meanwhile, or a system call fails. The file is gone then.
    pub fn publish(mut self) -> Result<(), TargetError> {
        let result = if self.overwrite { self.replace() } else { self.add() };
        result.map_err(|(call, errno)| match errno {
            Errno::EXIST => TargetError::Exists(self.path.clone()),
            errno => TargetError::System { call, path: self.path.clone(), source: errno.into() },
        })
    }

    fn add(&mut self) -> Result<(), (&'static str, Errno)> {
        let Some(temporary) = &self.temporary else {
            return self.link(&self.name).map_err(|e| ("link", e));
        };
        match renameat_with(&self.dir, temporary, &self.dir, &self.name, RenameFlags::NOREPLACE) {
            Ok(()) => {
                self.temporary = None;
                Ok(())
            }
            // A file system without that flag: the second name may fail, the first goes in any case.
            Err(Errno::INVAL) => {
                linkat(&self.dir, temporary, &self.dir, &self.name, AtFlags::empty()).map_err(|e| ("link", e))
            }
            Err(errno) => Err(("rename", errno)),
        }
    }

    /// What is replaced may be the only copy, so the new one must be on the disk first.
    fn replace(&mut self) -> Result<(), (&'static str, Errno)> {
        fsync(&self.file).map_err(|e| ("sync", e))?;
        if self.temporary.is_none() {
            let temporary = temporary_name(&self.name).map_err(|e| ("getrandom", e))?;
            self.link(&temporary).map_err(|e| ("link", e))?;
            self.temporary = Some(temporary);
        }
        let temporary = self.temporary.as_ref().expect("it was just made sure");
        renameat(&self.dir, temporary, &self.dir, &self.name).map_err(|e| ("rename", e))?;
        self.temporary = None;
        Ok(())
    }

    /// Gives the file without a name this one.
    fn link(&self, name: &OsStr) -> Result<(), Errno> {
        let file = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        linkat(CWD, file, &self.dir, name, AtFlags::SYMLINK_FOLLOW)
    }
}

/// Gives a file to a group, and returns its permissions. Where the caller may not do that, the group that it has then may do no
/// more than everybody.
fn given_to(file: &File, group: Gid, mode: u32) -> u32 {
    match fchown(file, None, Some(group)) {
        Ok(()) => mode,
        Err(_) => mode & (0o707 | (mode & 0o007) << 3),
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Nothing can be done about one that stays.
            let _ = unlinkat(&self.dir, temporary, AtFlags::empty());
        }
    }
}

/// A new file in `dir`: without a name where the file system can do that, so that a killed process leaves nothing.
fn nameless(dir: &OwnedFd, name: &OsStr) -> Result<(OwnedFd, Option<OsString>), Errno> {
    let mode = Mode::RUSR | Mode::WUSR;
    match openat(dir, ".", OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC, mode) {
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT) => {}
        other => return other.map(|file| (file, None)),
    }
    let temporary = temporary_name(name)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok((openat(dir, &temporary, flags, mode)?, Some(temporary)))
}

/// A name beside `name` that nothing has: NAME_MAX leaves room for the random part only if the rest is cut.
pub(super) fn temporary_name(name: &OsStr) -> Result<OsString, Errno> {
    let mut random = [0; 4];
    // Whole, and without a descriptor (getrandom(2)).
    getrandom(&mut random, GetRandomFlags::empty())?;
    let head = &name.as_bytes()[..name.len().min(200)];
    let mut temporary = OsString::from(".proa-tmp.");
    temporary.push(OsStr::from_bytes(head));
    temporary.push("-");
    temporary.push(format!("{:08x}", u32::from_ne_bytes(random)));
    Ok(temporary)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    fn write(target: &Target, text: &str) {
        target.file().unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn nothing_is_seen_before_it_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.aci");
        let target = Target::create(&path, false, 0o640).unwrap();
        write(&target, "all");
        assert!(!path.exists());
        target.publish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "all");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(names(dir.path()), ["x.aci"]);
    }

    #[test]
    fn dropped_it_is_gone_and_what_was_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.aci");
        fs::write(&path, "old").unwrap();
        let target = Target::create(&path, true, 0o644).unwrap();
        write(&target, "half");
        drop(target);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(dir.path()), ["x.aci"]);
    }

    #[test]
    fn what_exists_is_replaced_only_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("x.aci"), dir.path().join("link.aci"));
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink("x.aci", &link).unwrap();
        for name in [&path, &link] {
            assert!(matches!(Target::create(name, false, 0o644).unwrap_err(), TargetError::Exists(_)));
        }
        let target = Target::create(&link, true, 0o644).unwrap();
        write(&target, "new");
        target.publish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(names(dir.path()), ["link.aci", "x.aci"]);
        assert!(Target::create(dir.path(), true, 0o644).is_err());
    }

    #[test]
    fn whoever_comes_first_wins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.aci");
        let target = Target::create(&path, false, 0o644).unwrap();
        fs::write(&path, "theirs").unwrap();
        assert!(matches!(target.publish().unwrap_err(), TargetError::Exists(_)));
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
        assert_eq!(names(dir.path()), ["x.aci"]);
    }

    #[test]
    fn a_file_system_without_nameless_files_gets_a_temporary_name() {
        let dir = tempfile::tempdir().unwrap();
        for (overwrite, old) in [(false, None), (true, None), (true, Some("old"))] {
            let path = dir.path().join("x.aci");
            let _ = fs::remove_file(&path);
            if let Some(old) = old {
                fs::write(&path, old).unwrap();
            }
            let mut target = Target::create(&path, overwrite, 0o644).unwrap();
            let temporary = temporary_name(OsStr::new("x.aci")).unwrap();
            target.link(&temporary).unwrap();
            target.temporary = Some(temporary);
            write(&target, "new");
            assert_eq!(names(dir.path()).len(), 1 + usize::from(old.is_some()));
            target.publish().unwrap();
            assert_eq!(
                (names(dir.path()), fs::read_to_string(&path).unwrap()),
                (vec!["x.aci".to_owned()], "new".to_owned())
            );
        }
    }
}
