//! Where ext4 puts the directories of pods.
//!
//! Without a journal, as in small virtual machines, ext4 gives an inode that was freed in the last minutes to nobody, and
//! looks for another one by one: what a launch makes and removes, a dozen of them, takes the longer the more launches there
//! were, and the more files somebody removed nearby (fs/ext4/ialloc.c, `recently_deleted`). A fifth of a launch's time
//! was seen to go there. With the mark of chattr(1), `T`, the directories in one are taken for beginnings of unrelated
//! trees, each put into a part of the disk where there are few.
//!
//! With a journal nobody looks, and what lies together is found faster.

use std::fs;

use rustix::fs::{IFlags, OFlags, fstat, fstatfs, ioctl_getflags, ioctl_setflags, major, minor};

use crate::dir::Dir;

/// Of ext2, ext3 and ext4 alike (statfs(2)).
const EXT: u64 = 0xef53;

/// Marks `name`, a directory in `parent`, where that helps. Where it cannot be done all works as well, only slower.
pub(crate) fn spread(parent: &Dir, name: &str) {
    let Ok(dir) = parent.open(name, OFlags::RDONLY | OFlags::DIRECTORY) else { return };
    if !fstatfs(&dir).is_ok_and(|file_system| u64::try_from(file_system.f_type) == Ok(EXT)) {
        return;
    }
    let Ok(device) = fstat(&dir).map(|stat| stat.st_dev) else { return };
    if has_journal(major(device), minor(device)) == Some(false)
        && let Ok(flags) = ioctl_getflags(&dir)
    {
        let _ = ioctl_setflags(&dir, flags | IFlags::TOPDIR);
    }
}

/// Whether the file system on a block device has a journal; `None` if nobody says so.
fn has_journal(major: u32, minor: u32) -> Option<bool> {
    let device = fs::read_link(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    let name = device.file_name()?.to_str()?;
    // "NAME-8" for a journal in the file system's own inode 8.
    let of_it = |journal: &str| journal.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'));
    // The directory comes with the first file system that has a journal.
    let journals = match fs::read_dir("/proc/fs/jbd2") {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && fs::exists("/proc/fs/ext4").ok()? => {
            return Some(false);
        }
        journals => journals.ok()?,
    };
    Some(journals.flatten().any(|journal| journal.file_name().to_str().is_some_and(of_it)))
}
