//! Where ext4 puts what is in the data directory.
//!
//! Without a journal, as in small virtual machines, ext4 gives an inode that was freed in the last minutes to nobody, and
//! passes over such inodes one by one (fs/ext4/ialloc.c, `recently_deleted`). What a launch makes in `pods/`, a dozen
//! inodes, took half as long again after an image or somebody's build had been removed nearby. With the mark of
//! chattr(1), `T`, the directories in a directory are taken for beginnings of unrelated trees, which `store/` and `pods/` are,
//! and each is put into a part of the disk of its own.

use std::os::fd::OwnedFd;

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

/// Of ext2, ext3 and ext4 alike (statfs(2)).
const EXT: i64 = 0xef53;

/// Marks a data directory on a file system of this kind, in which there is no store yet. Where that cannot be done all works as
/// well, only slower.
pub(crate) fn spread(data: &OwnedFd, kind: i64) {
    if kind == EXT
        && let Ok(flags) = ioctl_getflags(data)
    {
        let _ = ioctl_setflags(data, flags | IFlags::TOPDIR);
    }
}
