//! Removing trees: whatever is in them, however deep, with two descriptors and no recursion.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, chmod, fchmod, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

/// Empties directories whose files belong to mapped ids.
///
/// The store removes as the user; where that is refused (EACCES, EPERM) it asks this. The program implements it by
/// calling [`empty`] in a child process inside the id-mapped user namespace; [`AsUser`] is for when there is none.
pub trait TreeRemover {
    /// Removes everything below the directory `dir`, not `dir` itself.
    ///
    /// # Errors
    /// The first system call that failed.
    fn empty(&self, dir: BorrowedFd<'_>) -> io::Result<()>;
}

/// A [`TreeRemover`] with no more rights than the caller's.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsUser;

impl TreeRemover for AsUser {
    fn empty(&self, _dir: BorrowedFd<'_>) -> io::Result<()> {
        Err(Errno::ACCESS.into())
    }
}

/// Removes everything below `dir`, as the caller.
///
/// Directories that are not empty are first moved up into `dir` under a name of ours, so no path is ever longer than
/// two components and neither stack nor descriptors grow with the depth of the tree. Symbolic links are never followed.
///
/// # Errors
/// The first system call that failed; the rest of the tree is then still there.
pub fn empty(dir: BorrowedFd<'_>) -> io::Result<()> {
    let mut moved = 0_u64;
    loop {
        // A new description each time, to read from the beginning.
        let top = match openat(dir, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(top) => top,
            // Removed meanwhile: two processes may collect the same garbage.
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        // Removing while reading may make the file system skip entries: until a whole pass finds nothing.
        if !empty_once(&top, &mut moved)? {
            return Ok(());
        }
    }
}

/// Removes `name` in `parent`, of whatever type, as the caller.
///
/// # Errors
/// The first system call that failed. That there is no `name` is no error.
pub fn remove(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        // POSIX lets unlink of a directory say EPERM; so does a real lack of permission.
        Err(error) => match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {}
            _ => return Err(error.into()),
        },
    }
    let Some(dir) = open_directory(parent, name)? else { return Ok(()) };
    empty(dir.as_fd())?;
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// [`remove`], with the help of `remover` where the caller's rights do not suffice.
pub(crate) fn remove_with(parent: BorrowedFd<'_>, name: &[u8], remover: &dyn TreeRemover) -> io::Result<()> {
    let first = match remove(parent, name) {
        Err(error) if is_permission(&error) => error,
        other => return other,
    };
    // The remover gets each directory it may have to empty: `name` and, where that is ours, what is in it.
    let Ok(dir) =
        openat(parent, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    else {
        return Err(first);
    };
    let mut children = Vec::new();
    for_each_entry(&dir, |child, kind| {
        if kind == FileType::Directory {
            children.push(child.to_vec());
        }
        Ok(())
    })?;
    for child in children {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let child = openat(&dir, child.as_slice(), flags, Mode::empty())?;
        remover.empty(child.as_fd())?;
    }
    remove(parent, name)
}

/// Whether an error says that another user's rights are needed.
fn is_permission(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::ACCESS | Errno::PERM))
}

/// One pass over `top`; whether there was anything.
fn empty_once(top: &OwnedFd, moved: &mut u64) -> io::Result<bool> {
    let mut found = false;
    for_each_entry(top, |name, kind| {
        found = true;
        if kind != FileType::Directory {
            return unlink(top.as_fd(), name);
        }
        let Some(dir) = open_directory(top.as_fd(), name)? else { return Ok(()) };
        for_each_entry(&dir, |inner, kind| {
            if kind != FileType::Directory {
                return unlink(dir.as_fd(), inner);
            }
            match unlinkat(&dir, inner, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(Errno::NOTEMPTY | Errno::EXIST) => move_up(&dir, inner, top, moved),
                Err(error) => Err(error.into()),
            }
        })?;
        match unlinkat(top, name, AtFlags::REMOVEDIR) {
            // Entries that this pass over it missed are removed in the next.
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    })?;
    Ok(found)
}

/// Moves the directory `name` from `from` to `top`, where it gets a name that nothing else has.
fn move_up(from: &OwnedFd, name: &[u8], top: &OwnedFd, moved: &mut u64) -> io::Result<()> {
    // Renaming a directory into another one writes its "..", so it must be writable itself.
    if open_directory(from.as_fd(), name)?.is_none() {
        return Ok(());
    }
    loop {
        *moved += 1;
        let new = format!("proa-removing-{moved}");
        // Without NOREPLACE an empty directory of that name would be replaced, which is fine; any other refuses.
        match renameat(from, name, top, new.as_str()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Opens a directory, giving its owner (us) the rights to empty it if the image took them away; `None` if it is gone.
fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(parent, name, flags | OFlags::RDONLY, Mode::empty()) {
        Ok(dir) => {
            let stat = rustix::fs::fstat(&dir)?;
            if stat.st_mode & 0o700 != 0o700 {
                // If this fails the directory is not ours, and emptying it fails with a better error.
                let _ = fchmod(&dir, Mode::RWXU);
            }
            Ok(Some(dir))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::ACCESS) => {
            let path = openat(parent, name, flags | OFlags::PATH, Mode::empty())?;
            // fchmod refuses O_PATH descriptors; this link leads to the same directory, whatever happens to its name.
            if chmod(format!("/proc/self/fd/{}", path.as_raw_fd()), Mode::RWXU).is_err() {
                return Err(Errno::ACCESS.into()); // not ours
            }
            Ok(Some(openat(parent, name, flags | OFlags::RDONLY, Mode::empty())?))
        }
        Err(error) => Err(error.into()),
    }
}

fn unlink(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Calls `each` with the name and type of every entry of `dir` except `.` and `..`.
pub(crate) fn for_each_entry(dir: &OwnedFd, mut each: impl FnMut(&[u8], FileType) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Err(Errno::NOENT) => return Ok(()), // the directory was removed meanwhile
            entry => entry?,
        };
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            // Some file systems do not say.
            FileType::Unknown => match statat(dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            },
            kind => kind,
        };
        each(name, kind)?;
    }
    Ok(())
}
