//! The walk through a tree that removes it, innermost first.
//!
//! Everything is relative to open directories, nothing follows a symbolic link, nothing is removed on another mount,
//! and neither the depth nor the width of the tree costs stack or more than [`MAX_OPEN`] descriptors: a directory
//! that lies deeper is first moved up into the root of the tree.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, RenameFlags, SeekFrom, StatxFlags};
use rustix::fs::{chmodat, fchmod, openat, renameat_with, seek, statx, unlinkat};
use rustix::io::Errno;

use crate::RemovalError;

/// Open directories at a time. Far below every limit on descriptors, far above the depth of ordinary trees.
const MAX_OPEN: usize = 32;

/// One `getdents64` of this size returns some 800 names.
const BUFFER: usize = 32 << 10;

/// How long a directory may refuse to become empty, or be busy, before that is an error. After a kill -9 of the
/// monitor, pid 1 and the apps live on for 1 to 12 ms (measured) and may still create files.
const PATIENCE: Duration = Duration::from_millis(300);

/// An open directory on the way from the root of the tree to where the walk is.
struct Frame {
    fd: OwnedFd,
    name: CString,
    /// Directories of the batch read last that are still to be entered.
    pending: Vec<CString>,
    /// Whether missing permission bits were added already: a second refusal has another reason.
    opened_up: bool,
}

/// A removal under way.
pub(crate) struct Walk<'p> {
    parent: BorrowedFd<'p>,
    stack: Vec<Frame>,
    buffer: Vec<MaybeUninit<u8>>,
    mount: u64,
    /// When the first sign of life was met.
    waiting_since: Option<Instant>,
    /// How many directories were moved up into the root; part of their new names.
    moved_up: u64,
    /// Whether the root has to be read again for them.
    reread_root: bool,
}

/// What an attempt to remove one entry came to.
enum Entry {
    Gone,
    Directory,
}

impl<'p> Walk<'p> {
    pub(crate) fn new(parent: BorrowedFd<'p>, name: CString) -> Result<Self, RemovalError> {
        let mut walk = Self {
            parent,
            stack: Vec::new(),
            buffer: Vec::with_capacity(BUFFER),
            mount: mount_id(parent, c"").map_err(|source| RemovalError::Call {
                call: "statx",
                path: shown(&name),
                source,
            })?,
            waiting_since: None,
            moved_up: 0,
            reread_root: false,
        };
        walk.buffer.resize(BUFFER, MaybeUninit::uninit());
        walk.enter(name)?;
        Ok(walk)
    }

    pub(crate) fn run(mut self) -> Result<(), RemovalError> {
        while let Some(frame) = self.stack.last_mut() {
            if let Some(child) = frame.pending.pop() {
                self.enter(child)?;
            } else if !self.read_batch()? {
                self.leave()?;
            }
        }
        Ok(())
    }

    /// Reads some names of the innermost directory, removes what is no directory, and notes the rest. `false` at the
    /// end of the directory.
    fn read_batch(&mut self) -> Result<bool, RemovalError> {
        let mut names = Vec::new();
        {
            let Some(frame) = self.stack.last() else { return Ok(false) };
            let mut entries = RawDir::new(frame.fd.as_fd(), &mut self.buffer);
            while let Some(entry) = entries.next() {
                let entry = match entry {
                    Ok(entry) => entry,
                    // Somebody else removed the directory meanwhile.
                    Err(Errno::NOENT) => break,
                    Err(source) => return Err(self.error("getdents64", c"", source)),
                };
                names.push((entry.file_name().to_owned(), entry.file_type()));
                if entries.is_buffer_empty() {
                    break;
                }
            }
        }
        let found = !names.is_empty();
        for (name, kind) in names {
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if let Entry::Directory = self.remove_entry(&name, kind)?
                && let Some(frame) = self.stack.last_mut()
            {
                frame.pending.push(name);
            }
        }
        Ok(found)
    }

    /// Removes an entry of the innermost directory unless it is a directory with something in it.
    fn remove_entry(&mut self, name: &CStr, kind: FileType) -> Result<Entry, RemovalError> {
        // One call removes an empty directory; that most directories are not empty costs less than entering those.
        let mut flags = if kind == FileType::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        loop {
            let Some(frame) = self.stack.last() else { return Ok(Entry::Gone) };
            match unlinkat(&frame.fd, name, flags) {
                Ok(()) | Err(Errno::NOENT) => return Ok(Entry::Gone),
                Err(Errno::ISDIR) => flags = AtFlags::REMOVEDIR,
                Err(Errno::NOTDIR) if flags == AtFlags::REMOVEDIR => flags = AtFlags::empty(),
                Err(Errno::ACCESS | Errno::PERM) if self.open_up() => {}
                Err(_) if flags == AtFlags::REMOVEDIR => return Ok(Entry::Directory),
                Err(source) if self.is_foreign_mount(name) || source != Errno::BUSY => {
                    return Err(self.refusal("unlinkat", name, source));
                }
                Err(source) => self.wait(name, source)?,
            }
        }
    }

    /// Opens a directory in the innermost one and makes it the innermost.
    fn enter(&mut self, name: CString) -> Result<(), RemovalError> {
        if self.stack.len() >= MAX_OPEN {
            return self.move_up(&name);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let mut made_accessible = false;
        let fd = loop {
            match openat(self.innermost(), &name, flags, Mode::empty()) {
                Ok(fd) => break fd,
                Err(Errno::NOENT) => return Ok(()),
                // It has been exchanged for something else since its name was read.
                Err(Errno::NOTDIR | Errno::LOOP) if !self.stack.is_empty() => {
                    return self.remove_entry(&name, FileType::RegularFile).map(|_| ());
                }
                Err(Errno::ACCESS) if !made_accessible && make_accessible(self.innermost(), &name) => {
                    made_accessible = true;
                }
                Err(Errno::ACCESS) if self.open_up() => {}
                Err(source) => return Err(self.refusal("openat", &name, source)),
            }
        };
        match mount_id(fd.as_fd(), c"") {
            Ok(mount) if mount == self.mount => {}
            Ok(_) => return Err(RemovalError::Mounted { path: self.path(&name) }),
            Err(source) => return Err(self.error("statx", &name, source)),
        }
        self.stack.push(Frame { fd, name, pending: Vec::new(), opened_up: false });
        Ok(())
    }

    /// Removes the innermost directory, which was read to its end, or goes over it again.
    fn leave(&mut self) -> Result<(), RemovalError> {
        if self.stack.len() == 1 && std::mem::take(&mut self.reread_root) {
            return self.rewind();
        }
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        match unlinkat(self.innermost(), &frame.name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(source @ (Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY)) => {
                let name = frame.name.clone();
                self.wait(&name, source)?;
                self.stack.push(frame);
                self.rewind()
            }
            Err(Errno::ACCESS | Errno::PERM) if self.open_up() => {
                self.stack.push(frame);
                Ok(())
            }
            Err(source) => Err(self.refusal("rmdir", &frame.name, source)),
        }
    }

    /// Moves a directory that lies too deep to be entered into the root of the tree.
    fn move_up(&mut self, name: &CStr) -> Result<(), RemovalError> {
        loop {
            let (Some(root), Some(frame)) = (self.stack.first(), self.stack.last()) else { return Ok(()) };
            let target = format!(".moved-up-{}-{}", std::process::id(), self.moved_up);
            self.moved_up += 1;
            match renameat_with(&frame.fd, name, &root.fd, target, RenameFlags::NOREPLACE) {
                Ok(()) => {
                    self.reread_root = true;
                    return Ok(());
                }
                Err(Errno::NOENT) => return Ok(()),
                Err(Errno::EXIST) => {}
                // A directory that gets another parent must itself be writable, for the sake of its `..`.
                Err(Errno::ACCESS | Errno::PERM) if self.open_up() || make_accessible(self.innermost(), name) => {}
                Err(source) => return Err(self.refusal("renameat2", name, source)),
            }
        }
    }

    fn rewind(&self) -> Result<(), RemovalError> {
        let Some(frame) = self.stack.last() else { return Ok(()) };
        seek(&frame.fd, SeekFrom::Start(0)).map(|_| ()).map_err(|source| self.error("lseek", c"", source))
    }

    /// Gives the innermost directory the permission bits that removing its entries takes. `false` if that was done
    /// before or is not allowed.
    fn open_up(&mut self) -> bool {
        match self.stack.last_mut() {
            Some(frame) if !frame.opened_up => {
                frame.opened_up = true;
                fchmod(&frame.fd, Mode::RWXU).is_ok()
            }
            _ => false,
        }
    }

    /// Sleeps a little for a process that is about to die, unless that was done for too long.
    fn wait(&mut self, name: &CStr, source: Errno) -> Result<(), RemovalError> {
        let waited = self.waiting_since.get_or_insert_with(Instant::now).elapsed();
        if waited > PATIENCE {
            return Err(RemovalError::InUse { path: self.path(name), waited_ms: waited.as_millis(), source });
        }
        std::thread::sleep(Duration::from_millis(1));
        Ok(())
    }

    fn innermost(&self) -> BorrowedFd<'_> {
        self.stack.last().map_or(self.parent, |frame| frame.fd.as_fd())
    }

    fn is_foreign_mount(&self, name: &CStr) -> bool {
        mount_id(self.innermost(), name).is_ok_and(|mount| mount != self.mount)
    }

    fn refusal(&self, call: &'static str, name: &CStr, source: Errno) -> RemovalError {
        if self.is_foreign_mount(name) {
            return RemovalError::Mounted { path: self.path(name) };
        }
        self.error(call, name, source)
    }

    fn error(&self, call: &'static str, name: &CStr, source: Errno) -> RemovalError {
        RemovalError::Call { call, path: self.path(name), source }
    }

    /// The path of an entry of the innermost directory, its middle left out if it is deep.
    fn path(&self, name: &CStr) -> String {
        const ENDS: usize = 4;
        let mut names: Vec<String> = self.stack.iter().map(|frame| shown(&frame.name)).collect();
        names.push(shown(name));
        if names.len() > 2 * ENDS {
            names.splice(ENDS..names.len() - ENDS, ["…".to_owned()]);
        }
        names.retain(|name| !name.is_empty());
        names.join("/")
    }
}

fn shown(name: &CStr) -> String {
    name.to_string_lossy().into_owned()
}

/// The mount that `name` in `dir` (or `dir` itself, if empty) lies on, without following a link or an automount.
fn mount_id(dir: BorrowedFd<'_>, name: &CStr) -> Result<u64, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH;
    Ok(statx(dir, name, flags, StatxFlags::MNT_ID)?.stx_mnt_id)
}

/// Gives a directory that cannot be opened the bits for it; works for its owner only.
///
/// Through an `O_PATH` descriptor, which needs no permission, and its magic link: `fchmodat` follows symbolic links,
/// and `fchmodat2`, which need not, is not in 6.1.
fn make_accessible(parent: BorrowedFd<'_>, name: &CStr) -> bool {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(fd) = openat(parent, name, flags, Mode::empty()) else { return false };
    chmod_path_fd(&fd, Mode::RWXU).is_ok()
}

/// `chmod` of what an `O_PATH` descriptor stands for.
pub(crate) fn chmod_path_fd(fd: &OwnedFd, mode: Mode) -> Result<(), Errno> {
    chmodat(CWD, format!("/proc/self/fd/{}", fd.as_raw_fd()), mode, AtFlags::empty())
}
