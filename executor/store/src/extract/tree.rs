//! Every system call of an extraction: relative to a directory descriptor, never through a symbolic link.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmod,
    chownat, fchmod, fchown, fsetxattr, futimens, linkat, makedev, mkdirat, mknodat, openat, openat2, statat,
    symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::directories::Attributes;
use super::error::{ExtractError, Fault};
use super::path::EntryPath;
use super::replaced;
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
    root: OwnedFd,
    /// Who keeps what is replaced.
    recorder: Option<&'r Recorder>,
    /// The directory of the last entry; archives are mostly sorted by directory.
    last_parent: Option<(Vec<u8>, OwnedFd)>,
    /// Directories made because an entry needed them, in order, until [`Tree::take_made`].
    made: Vec<Vec<u8>>,
    whiteouts: bool,
    chown: bool,
}

/// Marks a directory of an upper layer as hiding the lower ones' (overlayfs.rst, `userxattr`).
pub(super) const OPAQUE: &str = "user.overlay.opaque";

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

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
        Ok(Self { root, recorder, last_parent: None, made: Vec::new(), whiteouts, chown })
    }

    /// The directories made implicitly since the last call.
    pub(super) fn take_made(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.made)
    }

    /// Opens the directory that holds `path`, making what is missing.
    pub(super) fn parent(&mut self, path: &EntryPath) -> Result<BorrowedFd<'_>> {
        let wanted = path.split().0;
        let cached = self.last_parent.as_ref().is_some_and(|(last, _)| last == wanted);
        if !cached {
            let dir = match self.open_beneath(wanted, OFlags::PATH) {
                Err(Errno::NOENT | Errno::NOTDIR) if !wanted.is_empty() => self.make_all(wanted)?,
                Err(Errno::LOOP) => return Err(refused(path.as_bytes(), Fault::ParentSymlink)),
                other => other.map_err(|e| failed(path.as_bytes(), "openat2", e))?,
            };
            self.last_parent = Some((wanted.to_vec(), dir));
        }
        Ok(self.last_parent.as_ref().expect("just set").1.as_fd())
    }

    /// Opens a directory of the tree that must be there: no link anywhere on the way, nothing outside.
    fn open_beneath(&self, path: &[u8], access: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        retry(|| openat2(&self.root, path, DIRECTORY | access, Mode::empty(), RESOLVE))
    }

    /// Makes the directory `path` and its ancestors, one component at a time.
    fn make_all(&mut self, path: &[u8]) -> Result<OwnedFd> {
        let mut dir = self.open_beneath(b"", OFlags::PATH).map_err(|e| failed(path, "openat2", e))?;
        let mut end = 0;
        for name in path.split(|&b| b == b'/') {
            let start = if end == 0 { 0 } else { end + 1 };
            end = start + name.len();
            let whole = &path[..end];
            let open = |dir: &OwnedFd| openat(dir, name, DIRECTORY | OFlags::PATH, Mode::empty());
            let next = match open(&dir) {
                Ok(next) => next,
                Err(Errno::NOENT) => {
                    mkdirat(&dir, name, Mode::RWXU).map_err(|e| failed(whole, "mkdirat", e))?;
                    self.made.push(whole.to_vec());
                    open(&dir).map_err(|e| failed(whole, "openat", e))?
                }
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    let stat = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed(whole, "statat", e))?;
                    if !self.is_whiteout(&stat) {
                        let link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
                        return Err(refused(path, if link { Fault::ParentSymlink } else { Fault::ParentNotDirectory }));
                    }
                    unlinkat(&dir, name, AtFlags::empty()).map_err(|e| failed(whole, "unlinkat", e))?;
                    mkdirat(&dir, name, Mode::RWXU).map_err(|e| failed(whole, "mkdirat", e))?;
                    self.made.push(whole.to_vec());
                    set_opaque_at(dir.as_fd(), name, whole)?;
                    open(&dir).map_err(|e| failed(whole, "openat", e))?
                }
                Err(errno) => return Err(failed(whole, "openat", errno)),
            };
            dir = next;
        }
        Ok(dir)
    }

    fn is_whiteout(&self, stat: &Stat) -> bool {
        self.whiteouts && FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
    }

    /// What stands at `path`, if anything. Does not make parents.
    pub(super) fn stat(&mut self, path: &EntryPath) -> Result<Option<(Stat, FileType)>> {
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
        match retry(|| create(dir, name)) {
            Ok(made) => return Ok((made, false)),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(path.as_bytes(), call, errno)),
        }
        self.remove(path)?;
        let dir = self.parent(path)?;
        let made = retry(|| create(dir, name)).map_err(|e| failed(path.as_bytes(), call, e))?;
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

    /// Creates a new, empty, regular file. Returns it and whether something else had its name.
    pub(super) fn create_file(&mut self, path: &EntryPath) -> Result<(OwnedFd, bool)> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.create(path, "openat", |dir, name| openat(dir, name, flags, Mode::RUSR | Mode::WUSR))
    }

    /// Makes sure that `path` is a directory. Returns whether something that was none had its name.
    pub(super) fn ensure_directory(&mut self, path: &EntryPath) -> Result<bool> {
        if path.is_root() {
            return Ok(false);
        }
        let name = path.split().1;
        let whiteouts = self.whiteouts;
        let dir = self.parent(path)?;
        match mkdirat(dir, name, Mode::RWXU) {
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
        mkdirat(dir, name, Mode::RWXU).map_err(|e| failed(path.as_bytes(), "mkdirat", e))?;
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
        let dir = match self.open_beneath(path, OFlags::RDONLY) {
            Err(Errno::NOENT | Errno::NOTDIR) => {
                drop(self.make_all(path)?);
                self.open_beneath(path, OFlags::RDONLY)
            }
            Err(Errno::LOOP) => return Err(refused(path, Fault::ParentSymlink)),
            other => other,
        };
        set_opaque(&dir.map_err(|e| failed(path, "openat2", e))?, path)
    }

    /// Opens a directory of the tree to set attributes on; `None` if it is not there or no directory (any more).
    pub(super) fn directory(&self, path: &[u8]) -> Result<Option<OwnedFd>> {
        match self.open_beneath(path, OFlags::RDONLY) {
            Ok(dir) => Ok(Some(dir)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(failed(path, "openat2", errno)),
        }
    }

    /// Sets owner, mode and time of an open file or directory, in the order in which none undoes another.
    pub(super) fn set(&self, file: &OwnedFd, entry: &[u8], attributes: &Attributes) -> Result<()> {
        self.set_owner(file, entry, attributes)?;
        self.set_mode_and_time(file, entry, attributes)
    }

    /// Sets the owner. It comes first: chown(2) clears the set-user-id bit and file capabilities.
    pub(super) fn set_owner(&self, file: &OwnedFd, entry: &[u8], attributes: &Attributes) -> Result<()> {
        if self.chown {
            let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
            fchown(file, Some(uid), Some(gid)).map_err(|e| owner_error(entry, "fchown", attributes, e))?;
        }
        Ok(())
    }

    /// Sets mode and time.
    pub(super) fn set_mode_and_time(&self, file: &OwnedFd, entry: &[u8], attributes: &Attributes) -> Result<()> {
        fchmod(file, Mode::from_raw_mode(attributes.mode)).map_err(|e| failed(entry, "fchmod", e))?;
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

/// openat2 with a RESOLVE flag says EAGAIN when a rename somewhere on the system raced with it.
fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    for _ in 0..64 {
        match call() {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    call()
}
