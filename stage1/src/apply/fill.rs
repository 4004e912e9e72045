//! A named volume that is empty begins with what the image has where it is mounted, as docker has it.
//!
//! The copy is made in a directory of the volume, which gets a second name when it is complete; only then its entries
//! move to where they belong. So a volume whose filling was cut off at any moment is filled by the next pod that mounts it, and
//! one that was filled, and emptied by an app, counts as empty again. Copied are directories, files, links and pipes, with
//! modes, owners and times; sockets and device nodes are nothing without who made them.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{
    AtFlags, FileType, FlockOperation, Gid, Mode, OFlags, RawDir, ResolveFlags, Stat, Timespec, Timestamps, Uid,
    chownat, fchmod, fchown, flock, fstat, futimens, mkdirat, mknodat, openat, readlinkat, renameat, statat, symlinkat,
    unlinkat, utimensat,
};
use rustix::io::Errno;

use super::{Fds, Named as _, Refusal};
use crate::in_root;
use crate::op::Slot;

/// A copy that is not complete.
const BEGUN: &CStr = c".proa-filling";

/// One whose entries are on their way to where they belong.
const COMPLETE: &CStr = c".proa-filled";

/// How deep directories may lie in each other: each costs two descriptors.
const MAX_DEPTH: usize = 256;

/// How long another pod that fills the same volume is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked at meanwhile.
const LOOKS: u32 = 1200;

/// Fills a volume of the host from `path` of the app's root, if there is a directory and the volume is empty.
pub(super) fn fill(fds: &Fds, volume: usize, path: &str) -> Result<(), Refusal> {
    let named = |what: &str| format!("{what}(<volume {volume}>)");
    let volume_dir = fds.get(Slot::VolumeDir(volume))?;
    let into = openat(volume_dir, c".", DIRECTORY, Mode::empty()).named(|| named("openat"))?;
    // Most have been filled long ago.
    if !is_unfilled(&into).named(|| named("getdents"))? {
        return Ok(());
    }
    let from = match in_root::open(fds.get(Slot::Root)?, path, DIRECTORY, ResolveFlags::NO_XDEV) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        opened => opened.named(|| format!("openat2(<rootfs>, {path:?})"))?,
    };
    lock(&into).named(|| named("flock"))?;
    // Whoever had the lock may have filled it.
    if !is_unfilled(&into).named(|| named("getdents"))? {
        return Ok(());
    }
    let copied = copy_all(&from, &into);
    copied.map_err(|(errno, name)| Refusal::new(format!("copy <rootfs>{path:?} to <volume {volume}>: {name:?}"), errno))
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A system call that failed, and what it was about.
type Copied<T> = Result<T, (Errno, String)>;

/// Whether there is nothing in it but what a filling that was cut off has left.
fn is_unfilled(dir: &OwnedFd) -> rustix::io::Result<bool> {
    let mut unfilled = true;
    for_each(dir, |name| {
        unfilled &= name == BEGUN || name == COMPLETE;
        // There is no need to read on.
        if unfilled { Ok(()) } else { Err(Errno::EXIST) }
    })
    .or_else(|errno| if errno == Errno::EXIST { Ok(()) } else { Err(errno) })?;
    // Some entries may have moved already.
    Ok(unfilled || statat(dir, COMPLETE, AtFlags::SYMLINK_NOFOLLOW).is_ok())
}

/// Waits for whoever fills the same volume. An app of another pod may hold the lock for ever: then this pod is not run.
fn lock(dir: &OwnedFd) -> rustix::io::Result<()> {
    for _ in 0..LOOKS {
        match flock(dir, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(PATIENCE / LOOKS),
            done => return done,
        }
    }
    Err(Errno::WOULDBLOCK)
}

fn copy_all(from: &OwnedFd, into: &OwnedFd) -> Copied<()> {
    let about = |name: &CStr| {
        let name = name.to_string_lossy().into_owned();
        move |errno| (errno, name)
    };
    if statat(into, COMPLETE, AtFlags::SYMLINK_NOFOLLOW).is_err() {
        remove(into.as_fd(), BEGUN, 0)?;
        mkdirat(into, BEGUN, Mode::RWXU).map_err(about(BEGUN))?;
        let begun = openat(into, BEGUN, DIRECTORY, Mode::empty()).map_err(about(BEGUN))?;
        copy_entries(from, &begun, 0)?;
        renameat(into, BEGUN, into, COMPLETE).map_err(about(COMPLETE))?;
    }
    let complete = openat(into, COMPLETE, DIRECTORY, Mode::empty()).map_err(about(COMPLETE))?;
    let mut entries = Vec::new();
    for_each(&complete, |name| {
        entries.push(name.to_owned());
        Ok(())
    })
    .map_err(about(COMPLETE))?;
    for name in entries {
        renameat(&complete, &name, into, &name).map_err(about(&name))?;
    }
    // The directory itself is as the image's.
    let stat = fstat(from).map_err(about(c"."))?;
    dress(into, &stat).map_err(about(c"."))?;
    unlinkat(into, COMPLETE, AtFlags::REMOVEDIR).map_err(about(COMPLETE))
}

fn copy_entries(from: &OwnedFd, into: &OwnedFd, depth: usize) -> Copied<()> {
    let mut entries = Vec::new();
    let listed = for_each(from, |name| {
        entries.push(name.to_owned());
        Ok(())
    });
    listed.map_err(|errno| (errno, ".".to_owned()))?;
    for name in entries {
        let about = |errno| (errno, name.to_string_lossy().into_owned());
        if depth == MAX_DEPTH {
            return Err(about(Errno::NAMETOOLONG));
        }
        let stat = statat(from, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(about)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                mkdirat(into, &name, Mode::RWXU).map_err(about)?;
                let copy = openat(into, &name, DIRECTORY, Mode::empty()).map_err(about)?;
                let inner = openat(from, &name, DIRECTORY, Mode::empty()).map_err(about)?;
                copy_entries(&inner, &copy, depth + 1)?;
                dress(&copy, &stat)
            }
            FileType::RegularFile => copy_file(from, into, &name).and_then(|copy| dress(&copy, &stat)),
            FileType::Symlink => copy_link(from, into, &name, &stat),
            FileType::Fifo => mknodat(into, &name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
                .and_then(|()| openat(into, &name, OFlags::RDONLY | OFlags::NONBLOCK | PLAIN, Mode::empty()))
                .and_then(|copy| dress(&copy, &stat)),
            _ => Ok(()),
        }
        .map_err(about)?;
    }
    Ok(())
}

/// How files are opened.
const PLAIN: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);

fn copy_file(from: &OwnedFd, into: &OwnedFd, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let mut source = File::from(openat(from, name, OFlags::RDONLY | OFlags::NONBLOCK | PLAIN, Mode::empty())?);
    let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | PLAIN;
    let mut copy = File::from(openat(into, name, new, Mode::RUSR | Mode::WUSR)?);
    std::io::copy(&mut source, &mut copy).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(copy.into())
}

fn copy_link(from: &OwnedFd, into: &OwnedFd, name: &CStr, stat: &Stat) -> rustix::io::Result<()> {
    let target = readlinkat(from, name, Vec::new())?;
    symlinkat(&target, into, name)?;
    let owner = (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    as_far_as_there_are_ids(chownat(into, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW))?;
    utimensat(into, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
}

/// Gives a copy the owner, mode and times of what it was made from. By its descriptor: an app of another pod that has the
/// same volume could put a link of the same name there meanwhile.
fn dress(copy: &OwnedFd, stat: &Stat) -> rustix::io::Result<()> {
    as_far_as_there_are_ids(fchown(copy, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid))))?;
    // After the owner, whose change takes set-user-id bits away.
    fchmod(copy, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    futimens(copy, &times(stat))
}

fn times(stat: &Stat) -> Timestamps {
    let time = |tv_sec, nanoseconds: u64| Timespec { tv_sec, tv_nsec: nanoseconds.try_into().unwrap_or(0) };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// In a pod of one id all files are that one's.
fn as_far_as_there_are_ids(changed: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match changed {
        Err(Errno::INVAL | Errno::PERM) => Ok(()),
        changed => changed,
    }
}

/// Removes a file or a directory with all that is in it, if it is there.
fn remove(dir: BorrowedFd<'_>, name: &CStr, depth: usize) -> Copied<()> {
    let about = |errno| (errno, name.to_string_lossy().into_owned());
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) if depth < 2 * MAX_DEPTH => {}
        Err(errno) => return Err(about(errno)),
    }
    let inner = openat(dir, name, DIRECTORY, Mode::empty()).map_err(about)?;
    let mut entries = Vec::new();
    for_each(&inner, |name| {
        entries.push(name.to_owned());
        Ok(())
    })
    .map_err(about)?;
    entries.iter().try_for_each(|entry| remove(inner.as_fd(), entry, depth + 1))?;
    unlinkat(dir, name, AtFlags::REMOVEDIR).map_err(about)
}

/// Calls `with` for each entry.
fn for_each(dir: &OwnedFd, mut with: impl FnMut(&CStr) -> rustix::io::Result<()>) -> rustix::io::Result<()> {
    // One of its own: where reading is belongs to the open file.
    let dir = openat(dir, c".", DIRECTORY, Mode::empty())?;
    let mut buffer = Vec::with_capacity(8192);
    let mut entries = RawDir::new(&dir, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            with(entry.file_name())?;
        }
    }
    Ok(())
}
