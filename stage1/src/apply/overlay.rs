//! The root file system of an app: its image's trees below, a directory of the pod above.
//!
//! The directories are given as paths below /proc/self/fd, because passing overlay descriptors needs Linux 6.13; a process
//! may always follow its own links there.
//!
//! `volatile`: nothing of an upper survives a crash anyway, and without it the unmount syncs the whole disk (measured:
//! 8.1 against 3.4 ms a start). `userxattr`: trusted.* attributes are out of reach in a user namespace.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags, openat, readlink};
use rustix::io::Errno;
use rustix::mount::{
    FsOpenFlags, MountFlags, UnmountFlags, fsconfig_set_flag, fsconfig_set_string, fsopen, mount, unmount,
};
use sys::mount::{MountAttr, mount_setattr};

use super::{Fds, Named as _, Refusal, c_path, clone_tree, finish_fs, path_of};
use crate::op::Slot;

/// Longest value that fsconfig(2) takes, without its NUL.
const MAX_FSCONFIG_VALUE: usize = 255;

/// Longest list of options that mount(2) takes, without its NUL: a page.
const MAX_MOUNT_OPTIONS: usize = 4095;

/// The options that are words alone.
const FLAGS: [&str; 2] = ["userxattr", "volatile"];

/// Those of a root that is only looked at, or whose changes are to last.
const LASTING_FLAGS: [&str; 1] = ["userxattr"];

/// Puts the root file system of an app with so many layers into its slot.
pub(super) fn overlay(fds: &mut Fds, layers: usize, attr: MountAttr) -> Result<(), Refusal> {
    overlay_with(fds, layers, attr, &FLAGS)
}

/// The same of an app that does not run, attached nowhere: to look at if there is no upper directory, else to be written
/// to, and what is written stays.
pub(crate) fn still(fds: &mut Fds, layers: usize) -> Result<(), Refusal> {
    overlay_with(fds, layers, MountAttr::NOSUID.with(MountAttr::NODEV), &LASTING_FLAGS)
}

fn overlay_with(fds: &mut Fds, layers: usize, attr: MountAttr, words: &[&str]) -> Result<(), Refusal> {
    // Highest first (the kernel's filesystems/overlayfs.rst, "Multiple lower layers").
    let lower = (0..layers).rev().map(|index| path_of(fds, Slot::Layer(index))).collect::<Result<Vec<_>, _>>()?;
    let root = if lower.join(":").len() <= MAX_FSCONFIG_VALUE {
        configured(fds, &lower, attr, words)?
    } else {
        match configured(fds, &lower, attr, words) {
            // Before Linux 6.8 `lowerdir+` is unknown.
            Err(refusal) if refusal.errno == Errno::INVAL => mounted(fds, &lower, attr, words)?,
            other => other?,
        }
    };
    fds.put(Slot::Root, root);
    for used in (0..layers).map(Slot::Layer).chain([Slot::Upper, Slot::Work]) {
        fds.take(used);
    }
    Ok(())
}

/// Makes it option by option, attached nowhere.
fn configured(fds: &Fds, lower: &[String], attr: MountAttr, words: &[&str]) -> Result<OwnedFd, Refusal> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).named(|| "fsopen(\"overlay\")".into())?;
    let set = |key: &'static str, value: &str| {
        fsconfig_set_string(context.as_fd(), key, value).named(|| format!("fsconfig(overlay, {key:?}, {value:?})"))
    };
    let joined = lower.join(":");
    if joined.len() <= MAX_FSCONFIG_VALUE {
        set("lowerdir", &joined)?;
    } else {
        lower.iter().try_for_each(|layer| set("lowerdir+", layer))?;
    }
    set("source", "overlay")?;
    if fds.find(Slot::Upper).is_some() {
        set("upperdir", &path_of(fds, Slot::Upper)?)?;
        set("workdir", &path_of(fds, Slot::Work)?)?;
    }
    for flag in words {
        fsconfig_set_flag(context.as_fd(), *flag).named(|| format!("fsconfig(overlay, {flag:?})"))?;
    }
    finish_fs(context, "overlay", attr)
}

/// Makes it as one did before Linux 5.2: mount(2) takes all options in one page, and so more than fourteen layers. It
/// attaches what it makes; here to the upper directory, or the highest layer, in this process's own copy of the mount tree, from where it is
/// taken away again.
fn mounted(fds: &Fds, lower: &[String], attr: MountAttr, words: &[&str]) -> Result<OwnedFd, Refusal> {
    let place = if fds.find(Slot::Upper).is_some() { Slot::Upper } else { Slot::Layer(lower.len() - 1) };
    let at = path_of(fds, place)?;
    let mut options = format!("lowerdir={},{}", lower.join(":"), words.join(","));
    if place == Slot::Upper {
        options += &format!(",upperdir={at},workdir={}", path_of(fds, Slot::Work)?);
    }
    let call = || format!("mount(\"overlay\", {at:?}, \"overlay\", 0, <{} layers>)", lower.len());
    if options.len() > MAX_MOUNT_OPTIONS {
        return Err(Refusal::new(call(), Errno::TOOBIG));
    }
    mount("overlay", at.as_str(), "overlay", MountFlags::empty(), Some(&*c_path(&options)?)).named(call)?;
    // The descriptor shows what is below; by its name one comes to what is above.
    let path = readlink(at.as_str(), Vec::new()).named(|| format!("readlink({at:?})"))?;
    let name = path.as_bytes().rsplit(|&b| b == b'/').next().unwrap_or_default();
    let beside = [b"../", name].concat();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = openat(fds.get(place)?, beside.as_slice(), flags, Mode::empty());
    let opened = opened.named(|| "openat(<overlay>, O_PATH)".into())?;
    let root = clone_tree(opened.as_fd(), "").named(|| "open_tree(<overlay>, OPEN_TREE_CLONE)".into())?;
    let attached = format!("/proc/self/fd/{}", opened.as_raw_fd());
    unmount(attached.as_str(), UnmountFlags::DETACH).named(|| "umount2(<overlay>, MNT_DETACH)".into())?;
    mount_setattr(root.as_fd(), c"", false, attr).named(|| format!("mount_setattr(<overlay>, {:#x})", attr.bits()))?;
    Ok(root)
}
