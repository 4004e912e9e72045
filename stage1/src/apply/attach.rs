//! Attaching the mounts that every app has: in file systems of ours by name, in an app's root with nothing trusted.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, mkdirat, openat2};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, move_mount};

use super::{Fds, Named as _, Refusal, c_path, move_to};
use crate::op::{At, Slot};

/// Attaches a slot's mount at a place in a file system of ours.
pub(super) fn at_own_place(fds: &Fds, slot: Slot, at: &At) -> Result<(), Refusal> {
    move_to(fds.get(slot)?, fds.get(at.slot)?, &c_path(&at.path)?, || format!("move_mount(<{slot}>, {at})"))
}

/// Moves a mount of the sandbox into the app's root. The place must be a directory of the root or become one: an image
/// in which `/proc` is a symbolic link asks for a mount somewhere else (docs/security/corpus.md MNT-03).
pub(super) fn move_into_root(fds: &Fds, from: &str, path: &str) -> Result<(), Refusal> {
    let base = if path.starts_with("dev/") { Slot::Dev } else { Slot::Root };
    let name = path.strip_prefix("dev/").unwrap_or(path);
    let target = own_dir(fds, base, name)?;
    let flags = MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(CWD, format!("/{from}"), &target, c"", flags)
        .named(|| format!("move_mount(<sandbox/{from}>, <rootfs/{path}>)"))
}

/// Attaches the app's /dev. It is ours to make and must be the root's own.
pub(super) fn dev(fds: &Fds) -> Result<(), Refusal> {
    let target = own_dir(fds, Slot::Root, "dev")?;
    move_to(fds.get(Slot::Dev)?, target.as_fd(), c"", || "move_mount(<rootfs/dev>, <rootfs>\"/dev\")".into())
}

/// The directory `name` in `dir`, made if missing, refused if it is anything else.
fn own_dir(fds: &Fds, slot: Slot, name: &str) -> Result<OwnedFd, Refusal> {
    let dir = fds.get(slot)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let call = || format!("openat2(<rootfs/{name}>, O_DIRECTORY, RESOLVE_NO_SYMLINKS)");
    match openat2(dir, name, flags, Mode::empty(), resolve) {
        Err(Errno::NOENT) => {
            mkdirat(dir, name, Mode::from_raw_mode(0o755)).named(|| format!("mkdirat(<rootfs/{name}>)"))?;
            let made = openat2(dir, name, flags, Mode::empty(), resolve).named(call)?;
            if fds.root_ids() != (0, 0) {
                let (uid, gid) = fds.root_ids();
                let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
                chownat(&made, "", Some(user), Some(group), AtFlags::EMPTY_PATH)
                    .named(|| format!("fchownat(<rootfs/{name}>, {uid}, {gid})"))?;
            }
            Ok(made)
        }
        Err(errno @ (Errno::LOOP | Errno::NOTDIR)) => {
            Err(Refusal::because(call(), errno, "the image has something else than a directory there"))
        }
        opened => opened.named(call),
    }
}
