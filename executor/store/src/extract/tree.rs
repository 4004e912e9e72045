//! Every system call of an extraction: relative to a directory descriptor, never through a symbolic link.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmod, chownat,
    fchmod, fchown, fsetxattr, fstat, futimens, linkat, makedev, mkdirat, mknodat, openat, statat, symlinkat, unlinkat,
    utimensat,
};
use rustix::io::Errno;

use super::descent::Descent;
use super::directories::Attributes;
use super::error::{ExtractError, Fault};
use super::path::EntryPath;
use super::replaced;
use crate::beneath::open_beneath;
use crate::os_error::OsError;
use crate::recipe::Recorder;
use crate::removal;
use crate::shown::Shown;

/// The tree that is being written.
///
/// All directories stay writable by us until the end ([`Directories`](super::directories::Directories)), so no entry
/// can take away the right to write the next one.
#[derive(Debug)]
pub(super) struct Tree<'r> {
    /// The root, and the way to the last entry.
    descent: Descent,
    /// Who keeps what is replaced.
    recorder: Option<&'r Recorder>,
    /// Directories made because an entry needed them, in order, until [`Tree::take_made`].
    made: Vec<Vec<u8>>,
    whiteouts: bool,
    chown: bool,
}

/// Marks a directory of an upper layer as hiding the lower ones' (overlayfs.rst, `userxattr`).
pub(super) const OPAQUE: &str = "user.overlay.opaque";

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Of directories that an entry needs: what most of them are to be in the end ([`Attributes::IMPLICIT`]).
const MADE: Mode = Mode::from_raw_mode(0o755);

type Result<T> = std::result::Result<T, ExtractError>;

/// A failed call on behalf of an entry, as an [`ExtractError`].
pub(super) fn failed(entry: &[u8], call: impl Into<String>, errno: Errno) -> ExtractError {
    ExtractError::System { entry: Shown::new(entry), call: call.into(), errno: errno.into() }
}

/// A broken rule, as an [`ExtractError`].
pub(super) fn refused(entry: &[u8], fault: Fault) -> ExtractError {
    ExtractError::Entry { entry: Shown::new(entry), fault }
}

impl<'r> Tree<'r> {
    /// A tree in the empty directory `root`. `whiteouts`: this is an OCI layer; `chown`: set owners.
    pub(super) fn open(
        root: BorrowedFd<'_>,
        whiteouts: bool,
        chown: bool,
        recorder: Option<&'r Recorder>,
    ) -> Result<Self> {
        // The caller's descriptor may be O_PATH; what is set on the root in the end needs a real one.
        let root = openat(root, ".", DIRECTORY | OFlags::RDONLY, Mode::empty()).map_err(|e| failed(b".", "open", e))?;
        // Also drops a set-group-id bit inherited from where the store lies, which would give files a wrong group.
        fchmod(&root, Mode::RWXU).map_err(|e| failed(b".", "fchmod", e))?;
        Ok(Self { descent: Descent::new(root), recorder, made: Vec::new(), whiteouts, chown })
    }

    /// The directories made implicitly since the last call.
    pub(super) fn take_made(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.made)
    }

    /// Opens the directory that holds `path`, making what is missing.
    pub(super) fn parent(&mut self, path: &EntryPath) -> Result<BorrowedFd<'_>> {
        self.make_all(path.split().0, path.as_bytes())
    }

    /// Opens a directory of the tree that must be there: no link anywhere on the way, nothing outside.
    fn open_beneath(&self, path: &[u8], access: OFlags) -> rustix::io::Result<OwnedFd> {
        open_beneath(self.descent.root(), path, OFlags::DIRECTORY | access)
    }

    /// Opens the directory `path` for an entry, making it and its ancestors where they are missing, one component at a time.
    fn make_all(&mut self, path: &[u8], entry: &[u8]) -> Result<BorrowedFd<'_>> {
        let mut end = self.descent.climb(path);
        while end < path.len() {
            let start = if end == 0 { 0 } else { end + 1 };
            end = start + path[start..].iter().position(|&b| b == b'/').unwrap_or(path.len() - start);
            let next = self.open_or_make(&path[..end], &path[start..end], entry)?;
            self.descent.descend(&path[..end], next);
        }
        Ok(self.descent.deepest())
    }

    /// Opens the directory `name`, which is `whole` in the tree, in the deepest open one, making it where it is missing.
    fn open_or_make(&mut self, whole: &[u8], name: &[u8], entry: &[u8]) -> Result<OwnedFd> {
        let dir = self.descent.deepest();
        let open = || openat(dir, name, DIRECTORY | OFlags::PATH, Mode::empty());
        let make = || mkdirat(dir, name, MADE).map_err(|e| failed(whole, "mkdirat", e));
        match open() {
            Ok(next) => return Ok(next),
            Err(Errno::NOENT) => make()?,
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed(whole, "statat", e))?;
                if !self.is_whiteout(&stat) {
                    let link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
                    return Err(refused(entry, if link { Fault::ParentSymlink } else { Fault::ParentNotDirectory }));
                }
                unlinkat(dir, name, AtFlags::empty()).map_err(|e| failed(whole, "unlinkat", e))?;
                make()?;
                set_opaque_at(dir, name, whole)?;
            }
            Err(errno) => return Err(failed(whole, "openat", errno)),
        }
        let made = open().map_err(|e| failed(whole, "openat", e))?;
        self.made.push(whole.to_vec());
        Ok(made)
    }

    fn is_whiteout(&self, stat: &Stat) -> bool {
        self.whiteouts && FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
    }

    /// What stands at `path`, if anything. Does not make parents.
    pub(super) fn stat(&self, path: &EntryPath) -> Result<Option<(Stat, FileType)>> {
        let (parent, name) = path.split();
        let dir = match self.open_beneath(parent, OFlags::PATH) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(Errno::LOOP) => return Err(refused(path.as_bytes(), Fault::ParentSymlink)),
            Err(errno) => return Err(failed(path.as_bytes(), "openat2", errno)),
        };
        match statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some((stat, FileType::from_raw_mode(stat.st_mode)))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed(path.as_bytes(), "statat", errno)),
        }
    }

    /// Creates something with `create(parent, name)`, which must fail with EEXIST where the name is taken;
    /// then what has the name is removed first, with all that is below it. Returns whether that happened.
    fn create<T>(
        &mut self,
        path: &EntryPath,
        call: &str,
        create: impl Fn(BorrowedFd<'_>, &[u8]) -> rustix::io::Result<T>,
    ) -> Result<(T, bool)> {
        let name = path.split().1;
        let dir = self.parent(path)?;
        match create(dir, name) {
            Ok(made) => return Ok((made, false)),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(path.as_bytes(), call, errno)),
        }
        self.remove(path)?;
        let dir = self.parent(path)?;
        let made = create(dir, name).map_err(|e| failed(path.as_bytes(), call, e))?;
        Ok((made, true))
    }

    /// Removes what has the name `path`, and what is below it.
    fn remove(&mut self, path: &EntryPath) -> Result<()> {
        let name = path.split().1;
        let recorder = self.recorder;
        // This makes the cached directory the one that holds `path`, so it is none of those that are removed.
        let dir = self.parent(path)?;
        if let Some(recorder) = recorder {
            replaced::keep(dir, name, path.as_bytes(), recorder)
                .map_err(|error| system(path, "keep what is replaced", &error))?;
        }
        removal::remove(dir, name).map_err(|error| system(path, "remove", &error))
    }

    /// Creates a new, empty, regular file with these permissions, as far as the umask lets them. Returns it and whether
    /// something else had its name.
    pub(super) fn create_file(&mut self, path: &EntryPath, mode: Mode) -> Result<(OwnedFd, bool)> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.create(path, "openat", |dir, name| openat(dir, name, flags, mode))
    }

    /// Makes sure that `path` is a directory, of about the mode that it will have. Returns whether something that was none
    /// had its name.
    pub(super) fn ensure_directory(&mut self, path: &EntryPath, mode: u32) -> Result<bool> {
        if path.is_root() {
            return Ok(false);
        }
        let name = path.split().1;
        let whiteouts = self.whiteouts;
        let mode = permissions(mode) | Mode::RWXU;
        let dir = self.parent(path)?;
        match mkdirat(dir, name, mode) {
            Ok(()) => return Ok(false),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(path.as_bytes(), "mkdirat", errno)),
        }
        let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed(path.as_bytes(), "statat", e))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            return Ok(false);
        }
        self.remove(path)?;
        let dir = self.parent(path)?;
        mkdirat(dir, name, mode).map_err(|e| failed(path.as_bytes(), "mkdirat", e))?;
        if whiteouts && kind == FileType::CharacterDevice {
            // The whiteout said: nothing of the lower layers; the directory must go on saying that.
            set_opaque_at(dir, name, path.as_bytes())?;
        }
        Ok(true)
    }

    /// Creates a symbolic link, its owner and time.
    pub(super) fn symlink(&mut self, path: &EntryPath, target: &[u8], attributes: &Attributes) -> Result<bool> {
        let ((), replaced) = self.create(path, "symlinkat", |dir, name| symlinkat(target, dir, name))?;
        self.set_by_name(path, attributes)?;
        Ok(replaced)
    }

    /// Creates a named pipe with its owner, mode and time. It is never opened for reading or writing.
    pub(super) fn fifo(&mut self, path: &EntryPath, attributes: &Attributes) -> Result<bool> {
        let mode = Mode::RUSR | Mode::WUSR;
        let ((), replaced) = self.create(path, "mknodat", |dir, name| mknodat(dir, name, FileType::Fifo, mode, 0))?;
        self.set_by_name(path, attributes)?;
        let name = path.split().1;
        let dir = self.parent(path)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fifo = openat(dir, name, flags, Mode::empty()).map_err(|e| failed(path.as_bytes(), "openat", e))?;
        // The mode given to mknodat is cut by the umask, and fchmod refuses O_PATH.
        chmod(format!("/proc/self/fd/{}", fifo.as_raw_fd()), Mode::from_raw_mode(attributes.mode))
            .map_err(|e| failed(path.as_bytes(), "chmod", e))?;
        Ok(replaced)
    }

    /// Creates a hard link to `target`, which must be a path of this tree.
    pub(super) fn hard_link(&mut self, path: &EntryPath, target: &EntryPath) -> Result<bool> {
        let (target_parent, target_name) = target.split();
        let from = self.open_beneath(target_parent, OFlags::PATH).map_err(|errno| match errno {
            Errno::LOOP => refused(target.as_bytes(), Fault::ParentSymlink),
            _ => refused(path.as_bytes(), Fault::HardLinkMissing(Shown::new(target.as_bytes()))),
        })?;
        // Without AT_SYMLINK_FOLLOW: of a symbolic link the link itself gets a second name.
        let ((), replaced) =
            self.create(path, "linkat", |dir, name| linkat(&from, target_name, dir, name, AtFlags::empty()))?;
        Ok(replaced)
    }

    /// Hides `path` of the lower layers. Where this layer has it too, that stays, and hides only what is below.
    pub(super) fn whiteout(&mut self, path: &EntryPath) -> Result<()> {
        match self.stat(path)? {
            Some((_, FileType::Directory)) => return self.opaque(path),
            Some(_) => return Ok(()),
            None => {}
        }
        // Any user may make this one device node: it has been the kernel's mark for a whiteout since Linux 5.8.
        self.create(path, "mknodat", |dir, name| {
            mknodat(dir, name, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))
        })?;
        Ok(())
    }

    /// Hides what the lower layers have in the directory `path`, which is made if it is missing.
    pub(super) fn opaque(&mut self, path: &EntryPath) -> Result<()> {
        let path = path.as_bytes();
        let dir = openat(self.make_all(path, path)?, ".", DIRECTORY | OFlags::RDONLY, Mode::empty());
        set_opaque(&dir.map_err(|e| failed(path, "openat", e))?, path)
    }

    /// Opens a directory of the tree to set attributes on; `None` if it is not there or no directory (any more).
    pub(super) fn directory(&mut self, path: &[u8]) -> Result<Option<OwnedFd>> {
        let mut end = self.descent.climb(path);
        loop {
            let start = if end == 0 { 0 } else { end + 1 };
            let rest = path.get(start..).unwrap_or_default();
            let (name, access) = match rest.iter().position(|&b| b == b'/') {
                Some(length) => (&rest[..length], OFlags::PATH),
                // Of itself, where it is the deepest already.
                None => (if rest.is_empty() { &b"."[..] } else { rest }, OFlags::RDONLY),
            };
            let dir = match openat(self.descent.deepest(), name, DIRECTORY | access, Mode::empty()) {
                Ok(dir) => dir,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                Err(errno) => return Err(failed(path, "openat", errno)),
            };
            if access == OFlags::RDONLY {
                return Ok(Some(dir));
            }
            end = start + name.len();
            self.descent.descend(&path[..end], dir);
        }
    }

    /// Sets owner, mode and time of an open file or directory, in the order in which none undoes another.
    pub(super) fn set(&self, file: &OwnedFd, entry: &[u8], attributes: &Attributes) -> Result<()> {
        let stat = self.set_owner(file, entry, attributes)?;
        self.set_mode_and_time(file, entry, attributes, &stat)
    }

    /// Sets the owner. It comes first: chown(2) clears the set-user-id bit and file capabilities. Returns what there was
    /// before: most files and directories have the right owner and mode from the beginning, and a look is much less than
    /// a change, which goes through the file system's journal.
    pub(super) fn set_owner(&self, file: &OwnedFd, entry: &[u8], attributes: &Attributes) -> Result<Stat> {
        let stat = fstat(file).map_err(|e| failed(entry, "fstat", e))?;
        // Of other ids it does not tell that they are the right ones: those without a place in the id map look like one.
        let own = (0, 0);
        if self.chown && ((stat.st_uid, stat.st_gid) != own || (attributes.uid, attributes.gid) != own) {
            let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
            fchown(file, Some(uid), Some(gid)).map_err(|e| owner_error(entry, "fchown", attributes, e))?;
        }
        Ok(stat)
    }

    /// Sets mode and time, where `stat` is what there was before the owner was set.
    pub(super) fn set_mode_and_time(
        &self,
        file: &OwnedFd,
        entry: &[u8],
        attributes: &Attributes,
        stat: &Stat,
    ) -> Result<()> {
        // What chown(2) may have cleared is set again whatever was seen before it.
        if stat.st_mode & 0o7777 != attributes.mode || attributes.mode & 0o7000 != 0 {
            fchmod(file, Mode::from_raw_mode(attributes.mode)).map_err(|e| failed(entry, "fchmod", e))?;
        }
        futimens(file, &times(attributes)).map_err(|e| failed(entry, "futimens", e))
    }

    /// Sets owner and time of what cannot be opened: symbolic links and pipes.
    fn set_by_name(&mut self, path: &EntryPath, attributes: &Attributes) -> Result<()> {
        let chown = self.chown;
        let name = path.split().1;
        let dir = self.parent(path)?;
        if chown {
            let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
            chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|e| owner_error(path.as_bytes(), "fchownat", attributes, e))?;
        }
        utimensat(dir, name, &times(attributes), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| failed(path.as_bytes(), "utimensat", e))
    }
}

/// Marks the directory `name` in `parent` as opaque.
fn set_opaque_at(parent: BorrowedFd<'_>, name: &[u8], entry: &[u8]) -> Result<()> {
    let dir =
        openat(parent, name, DIRECTORY | OFlags::RDONLY, Mode::empty()).map_err(|e| failed(entry, "openat", e))?;
    set_opaque(&dir, entry)
}

/// Marks an open directory as opaque.
fn set_opaque(dir: &OwnedFd, entry: &[u8]) -> Result<()> {
    match fsetxattr(dir, OPAQUE, b"y", XattrFlags::empty()) {
        Err(Errno::OPNOTSUPP) => Err(refused(entry, Fault::NoUserXattrs)),
        other => other.map_err(|e| failed(entry, "fsetxattr", e)),
    }
}

/// EINVAL of a chown says that the id has no place in the user namespace.
fn owner_error(entry: &[u8], call: &str, attributes: &Attributes, errno: Errno) -> ExtractError {
    let (uid, gid) = (u64::from(attributes.uid), u64::from(attributes.gid));
    match errno {
        Errno::INVAL => refused(entry, Fault::OwnerUnmapped { uid, gid }),
        _ => failed(entry, call, errno),
    }
}

/// The bits of a mode with which something can be created; the others are set in the end.
pub(super) fn permissions(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & 0o777)
}

fn times(attributes: &Attributes) -> Timestamps {
    let (seconds, nanoseconds) = attributes.mtime;
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: i64::from(nanoseconds) },
    }
}

fn system(path: &EntryPath, call: &str, error: &io::Error) -> ExtractError {
    ExtractError::System { entry: Shown::new(path.as_bytes()), call: call.to_owned(), errno: OsError::from(error) }
}
