//! Attaching mounts: in file systems of ours by name, in an app's root with nothing trusted.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags, fstat, mkdirat, openat2, statx};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, move_mount};

use super::{Fds, Named as _, Refusal, c_path, move_to};
use crate::op::{At, Slot};

/// Attaches a slot's mount at a place in a file system of ours.
pub(super) fn at_own_place(fds: &Fds, slot: Slot, at: &At) -> Result<(), Refusal> {
    move_to(fds.get(slot)?, fds.get(at.slot)?, &c_path(&at.path)?, || format!("move_mount(<{slot}>, {at})"))
}

/// Moves a mount of the sandbox into the app's root. The place must be a directory of the root or become one: an image
/// in which `/proc` is a symbolic link asks for a mount somewhere else (security.md MNT-03).
pub(super) fn move_into_root(fds: &Fds, from: &str, path: &str) -> Result<(), Refusal> {
    let base = if path.starts_with("dev/") { Slot::Dev } else { Slot::Root };
    let name = path.strip_prefix("dev/").unwrap_or(path);
    let target = own_dir(fds.get(base)?, name)?;
    let flags = MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(CWD, format!("/{from}"), &target, c"", flags)
        .named(|| format!("move_mount(<sandbox/{from}>, <rootfs/{path}>)"))
}

/// Attaches a slot's mount at a path of the image.
pub(super) fn in_root(fds: &Fds, slot: Slot, path: &str) -> Result<(), Refusal> {
    let root = fds.get(Slot::Root)?;
    let relative = path.trim_start_matches('/');
    // /dev is ours to make and must be the root's own; elsewhere the image may use links inside its root.
    let target = if relative == "dev" { own_dir(root, relative)? } else { dir_in_root(root, relative)? };
    move_to(fds.get(slot)?, target.as_fd(), c"", || format!("move_mount(<{slot}>, <rootfs>{path:?})"))
}

/// The directory `name` in `dir`, made if missing, refused if it is anything else.
fn own_dir(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Refusal> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let call = || format!("openat2(<rootfs/{name}>, O_DIRECTORY, RESOLVE_NO_SYMLINKS)");
    match openat2(dir, name, flags, Mode::empty(), resolve) {
        Err(Errno::NOENT) => {
            mkdirat(dir, name, Mode::from_raw_mode(0o755)).named(|| format!("mkdirat(<rootfs/{name}>)"))?;
            openat2(dir, name, flags, Mode::empty(), resolve).named(call)
        }
        Err(errno @ (Errno::LOOP | Errno::NOTDIR)) => {
            Err(Refusal::because(call(), errno, "the image has something else than a directory there"))
        }
        opened => opened.named(call),
    }
}

/// The directory that `path` means inside `root`, with missing ones made (appc ace.md: 0755, owned by root).
///
/// Each component is resolved by itself with RESOLVE_IN_ROOT, so that a directory is only ever made in one that is
/// known to be inside. The image cannot change while this runs: no process of the app exists yet, and other apps have
/// other roots; what they can change (a shared volume) is on another mount, and those are refused.
fn dir_in_root(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Refusal> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut reached = String::from(".");
    let mut dir = openat2(root, ".", flags, Mode::empty(), resolve).named(|| "openat2(<rootfs>)".into())?;
    for component in path.split('/').filter(|component| !component.is_empty()) {
        reached = format!("{reached}/{component}");
        let call = || format!("openat2(<rootfs>, {reached:?}, O_DIRECTORY, RESOLVE_IN_ROOT)");
        let next = match openat2(root, reached.as_str(), flags, Mode::empty(), resolve) {
            Err(Errno::NOENT) => {
                on_roots_own_mount(root, dir.as_fd(), path)?;
                mkdirat(&dir, component, Mode::from_raw_mode(0o755))
                    .named(|| format!("mkdirat(<rootfs>, {reached:?})"))?;
                openat2(root, reached.as_str(), flags, Mode::empty(), resolve)
            }
            opened => opened,
        };
        dir = next.named(call)?;
    }
    on_roots_own_mount(root, dir.as_fd(), path)?;
    let inode = |fd: BorrowedFd<'_>| fstat(fd).map(|stat| stat.st_ino).named(|| format!("fstat(<rootfs>{path:?})"));
    if inode(root)? == inode(dir.as_fd())? {
        return Err(Refusal::because(format!("attach at {path:?}"), Errno::BUSY, "the place is the image's root"));
    }
    Ok(dir)
}

/// Nothing is made or attached in what another mount brings: a volume, or the kernel's file systems.
fn on_roots_own_mount(root: BorrowedFd<'_>, dir: BorrowedFd<'_>, path: &str) -> Result<(), Refusal> {
    if mount_id(root)? == mount_id(dir)? {
        return Ok(());
    }
    let call = format!("attach at {path:?}");
    Err(Refusal::because(call, Errno::XDEV, "the place is not on the image's own file system"))
}

fn mount_id(fd: BorrowedFd<'_>) -> Result<u64, Refusal> {
    let stat = statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).named(|| "statx(STATX_MNT_ID)".into())?;
    Ok(stat.stx_mnt_id)
}
