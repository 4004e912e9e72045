//! Device nodes, masks and read-only binds: small mounts over single files and directories.
//!
//! Every mask is an inode of ours: the null device of the host, checked when it was bound into the sandbox, or the
//! sandbox's empty directory. None is found through the app's root (CVE-2025-31133, docs/security/corpus.md PROC-01).

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxFlags, makedev, openat, statx};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, move_mount};
use sys::mount::{MountAttr, mount_setattr};

use super::{Fds, Named as _, Refusal, clone_tree};
use crate::op::{At, Slot};

/// Binds the host's device node `name` into the sandbox.
pub(super) fn host_device(fds: &Fds, name: &str, (major, minor): (u32, u32)) -> Result<(), Refusal> {
    let path = format!("/dev/{name}");
    let node = clone_tree(CWD, &path).named(|| format!("open_tree({path:?}, OPEN_TREE_CLONE)"))?;
    let stat = statx(&node, c"", AtFlags::EMPTY_PATH, StatxFlags::TYPE).named(|| format!("statx({path:?})"))?;
    let kind = FileType::from_raw_mode(stat.stx_mode.into());
    let device = makedev(stat.stx_rdev_major, stat.stx_rdev_minor);
    if kind != FileType::CharacterDevice || device != makedev(major, minor) {
        return Err(Refusal::because(format!("bind {path:?}"), Errno::NODEV, "it is not the device of that name"));
    }
    place(fds, node, &At { slot: Slot::Sandbox, path: format!("dev/{name}") })
}

/// Binds the sandbox's device node `from` into the app's /dev.
pub(super) fn device(fds: &Fds, name: &str, from: &str) -> Result<(), Refusal> {
    let path = format!("/dev/{from}");
    let node = clone_tree(CWD, &path).named(|| format!("open_tree(<sandbox{path}>, OPEN_TREE_CLONE)"))?;
    place(fds, node, &At { slot: Slot::Dev, path: name.to_owned() })
}

/// Makes an empty file and attaches the node there, with neither set-id programs nor execution.
fn place(fds: &Fds, node: OwnedFd, at: &At) -> Result<(), Refusal> {
    let attr = MountAttr::NOSUID.with(MountAttr::NOEXEC);
    mount_setattr(node.as_fd(), c"", false, attr).named(|| format!("mount_setattr({at}, nosuid,noexec)"))?;
    let dir = fds.get(at.slot)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, at.path.as_str(), flags, Mode::from_raw_mode(0o666))
        .map(drop)
        .named(|| format!("openat({at}, O_CREAT)"))?;
    attach(&node, fds, at).named(|| format!("move_mount({at})"))
}

/// Puts the null device over a file.
pub(super) fn file(fds: &mut Fds, at: &At) -> Result<(), Refusal> {
    cover(fds, "dev/null", Slot::SpareFileMask, at)
}

/// Puts the empty directory over a directory.
pub(super) fn dir(fds: &mut Fds, at: &At) -> Result<(), Refusal> {
    cover(fds, "empty", Slot::SpareDirMask, at)
}

/// A mask for which there is nothing to hide (much of the list does not exist on a given kernel) is kept for the next
/// place: letting go of a detached mount costs as much as ten attachments, for it waits for all CPUs.
fn cover(fds: &mut Fds, with: &str, spare: Slot, at: &At) -> Result<(), Refusal> {
    let mask = match fds.take(spare) {
        Some(mask) => mask,
        None => clone_tree(fds.get(Slot::Sandbox)?, with)
            .named(|| format!("open_tree(<sandbox/{with}>, OPEN_TREE_CLONE)"))?,
    };
    match attach(&mask, fds, at) {
        Err(Errno::NOENT) => {
            fds.put(spare, mask);
            Ok(())
        }
        attached => attached.named(|| format!("move_mount(<sandbox/{with}>, {at})")),
    }
}

/// Makes a directory read-only by a bind over itself.
pub(super) fn read_only(fds: &Fds, at: &At) -> Result<(), Refusal> {
    let clone = match clone_tree(fds.get(at.slot)?, &at.path) {
        Err(Errno::NOENT) => return Ok(()),
        cloned => cloned.named(|| format!("open_tree({at}, OPEN_TREE_CLONE)"))?,
    };
    let attr = MountAttr::INERT.with(MountAttr::RDONLY);
    mount_setattr(clone.as_fd(), c"", false, attr).named(|| format!("mount_setattr({at}, ro,nosuid,nodev,noexec)"))?;
    attach(&clone, fds, at).named(|| format!("move_mount({at}, {at})"))
}

fn attach(mount: &OwnedFd, fds: &Fds, at: &At) -> rustix::io::Result<()> {
    let Ok(dir) = fds.get(at.slot) else { return Err(Errno::BADF) };
    move_mount(mount, c"", dir, at.path.as_str(), MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}
