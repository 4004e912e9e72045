//! Volumes: bound while the host's files are in reach, attached in the app's own mount namespace.

use std::os::fd::AsFd as _;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, fstat, mkdirat, openat};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use sys::mount::{MountAttr, mount_setattr};

use super::place::{self, Around, Kind};
use super::{Attached, Fds, Named as _, Refusal, c_path, clone_tree, clone_with, move_to};
use crate::in_root;
use crate::op::Slot;

/// Gives a directory of the pod to an owner of the pod's ids.
pub(super) fn give(fds: &Fds, slot: Slot, uid: u32, gid: u32) -> Result<(), Refusal> {
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let call = || format!("fchownat(<{slot}>, {uid}, {gid})");
    match chownat(fds.get(slot)?, "", Some(user), Some(group), AtFlags::EMPTY_PATH) {
        Err(Errno::INVAL) => Err(Refusal::because(call(), Errno::INVAL, "the pod's id map does not have that id")),
        done => done.named(call),
    }
}

/// Makes a second mount of a volume. Its source was opened before by whoever may see it, and is not looked up again.
pub(super) fn bind(
    fds: &mut Fds,
    volume: usize,
    recursive: bool,
    attr: MountAttr,
    mount: usize,
) -> Result<(), Refusal> {
    let source = fds.get(Slot::VolumeDir(volume))?;
    let (more, flag) =
        if recursive { (OpenTreeFlags::AT_RECURSIVE, "|AT_RECURSIVE") } else { (OpenTreeFlags::empty(), "") };
    let call = || format!("open_tree(<volume {volume}>, OPEN_TREE_CLONE{flag})");
    let clone = match clone_with(source, "", more) {
        // What is mounted below came from a more privileged mount namespace, and so is locked (mount_namespaces(7)).
        Err(Errno::INVAL) if !recursive => {
            let why = "other file systems are mounted below it, and the kernel lets nobody without privileges leave \
                       them out: make the volume recursive";
            Err(Refusal::because(call(), Errno::INVAL, why))
        }
        cloned => cloned.named(call),
    }?;
    mount_setattr(clone.as_fd(), c"", true, attr)
        .named(|| format!("mount_setattr(<mount {mount}>, AT_RECURSIVE, {:#x})", attr.bits()))?;
    fds.put(Slot::Volume(mount), clone);
    Ok(())
}

/// Attaches a volume at a path of the image, or of a volume that was attached before.
pub(super) fn attach(
    fds: &mut Fds,
    mount: usize,
    name: &str,
    path: &str,
    nested: bool,
    own: bool,
) -> Result<(), Refusal> {
    let source = fds.get(Slot::Volume(mount))?;
    let stat = fstat(source).named(|| format!("fstat(<mount {mount}>)"))?;
    let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let kind = if is_dir { Kind::Dir } else { Kind::File };
    let around = if nested { mounts(fds, |_| true)? } else { Vec::new() };
    let place = place::ensure(fds.get(Slot::Root)?, path, kind, fds.root_ids(), &around)?;
    move_to(source, place.fd.as_fd(), c"", || format!("move_mount(<mount {mount}>, <rootfs>{path:?})"))?;
    // Docker's users expect it.
    if place.hides && !nested {
        fds.remark(format!("volume {name:?} hides what the image has at {path:?}"));
    }
    fds.attached.push(Attached { path: place.path, slot: Slot::Volume(mount), own });
    Ok(())
}

/// The volumes that were attached, as what a place may lie in.
fn mounts(fds: &Fds, wanted: impl Fn(&Attached) -> bool) -> Result<Vec<Around<'_>>, Refusal> {
    let attached = fds.attached.iter().filter(|attached| wanted(attached));
    attached.map(|attached| Ok(Around { path: &attached.path, mount: fds.get(attached.slot)? })).collect()
}

/// Attaches the directory with the app's own socket. An image or a volume may be in the way: an app without an identity
/// is better than none.
pub(super) fn attach_identity(fds: &mut Fds, path: &str) -> Result<(), Refusal> {
    // In a volume of the host it would be one more directory there.
    let around = mounts(fds, |attached| attached.own)?;
    let attached = place::ensure(fds.get(Slot::Root)?, path, Kind::Dir, fds.root_ids(), &around).and_then(|place| {
        let call = || format!("move_mount(<{}>, <rootfs>{path:?})", Slot::Identity);
        move_to(fds.get(Slot::Identity)?, place.fd.as_fd(), c"", call)
    });
    if let Err(refusal) = attached {
        fds.remark(format!("it has no identity, because its socket cannot be put where it belongs: {refusal}"));
    }
    Ok(())
}

/// Makes a directory if there is nothing at its path. Where it cannot be made, whoever wants to go there says so.
pub(super) fn make_working_directory(fds: &Fds, path: &str) -> Result<(), Refusal> {
    let root = fds.get(Slot::Root)?;
    if in_root::open(root, path, OFlags::PATH, ResolveFlags::empty()).is_err_and(|errno| errno == Errno::NOENT) {
        let _ = place::ensure(root, path, Kind::Dir, fds.root_ids(), &mounts(fds, |_| true)?);
    }
    Ok(())
}

/// Attaches a file in the app's /etc. One that the image has and that says something stays, unless this one replaces it.
pub(super) fn attach_etc(fds: &mut Fds, file: usize, name: &str, replaces: bool) -> Result<(), Refusal> {
    let path = format!("/etc/{name}");
    if !replaces && says_something(fds, &path)? {
        return Ok(());
    }
    let attached = place::ensure(fds.get(Slot::Root)?, &path, Kind::File, fds.root_ids(), &[]).and_then(|place| {
        let call = || format!("move_mount(<{}>, <rootfs>{path:?})", Slot::Etc(file));
        move_to(fds.get(Slot::Etc(file))?, place.fd.as_fd(), c"", call)
    });
    if let Err(refusal) = attached {
        fds.remark(format!("it has the {path} of its image: {refusal}"));
    }
    Ok(())
}

/// Whether the image has something at this path other than an empty file.
fn says_something(fds: &Fds, path: &str) -> Result<bool, Refusal> {
    let there = in_root::open(fds.get(Slot::Root)?, path, OFlags::PATH, ResolveFlags::empty()).and_then(fstat);
    Ok(there.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_size > 0))
}

/// Attaches a device node in the app's /dev, which is a file system of ours.
pub(super) fn attach_device(fds: &Fds, mount: usize, path: &str) -> Result<(), Refusal> {
    let dev = fds.get(Slot::Dev)?;
    let made = |result: rustix::io::Result<()>, call: &str| match result {
        // A directory for two devices, or a node that every app has.
        Err(Errno::EXIST) => Ok(()),
        result => result.named(|| format!("{call}(<rootfs/dev/{path}>)")),
    };
    for (slash, _) in path.match_indices('/') {
        made(mkdirat(dev, &path[..slash], Mode::from_raw_mode(0o755)), "mkdirat")?;
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    made(openat(dev, path, flags, Mode::from_raw_mode(0o666)).map(drop), "openat")?;
    let call = || format!("move_mount(<mount {mount}>, <rootfs/dev/{path}>)");
    move_to(fds.get(Slot::Volume(mount))?, dev, &c_path(path)?, call)
}

/// Makes a mount of the root's directory at `path` over itself, so that it stays writable in a read-only root and has
/// a volume's attributes.
pub(super) fn keep_content(fds: &mut Fds, mount: usize, path: &str, attr: MountAttr) -> Result<(), Refusal> {
    let place = place::ensure(fds.get(Slot::Root)?, path, Kind::Dir, fds.root_ids(), &[])?;
    let clone = clone_tree(place.fd.as_fd(), "").named(|| format!("open_tree(<rootfs>{path:?}, OPEN_TREE_CLONE)"))?;
    mount_setattr(clone.as_fd(), c"", false, attr)
        .named(|| format!("mount_setattr(<rootfs>{path:?}, {:#x})", attr.bits()))?;
    move_to(clone.as_fd(), place.fd.as_fd(), c"", || format!("move_mount(<rootfs>{path:?}, <rootfs>{path:?})"))?;
    fds.put(Slot::Volume(mount), clone);
    fds.attached.push(Attached { path: place.path, slot: Slot::Volume(mount), own: true });
    Ok(())
}
