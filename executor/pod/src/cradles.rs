//! The directories in which pods are born: 64 in `embryo/`, each for the UUIDs with its first six bits.
//!
//! ext4 puts a new directory, and what is made in it later, into its parent's part of the disk, wherever it is moved then. Without
//! a journal, as in small virtual machines, it gives an inode that was freed in the last seconds to nobody, and each search
//! passes over all such inodes of its part one by one (fs/ext4/ialloc.c, `recently_deleted`). Where 150 pods come and go in a second,
//! each with a dozen inodes, that was a tenth of a launch. The cradles are in parts of their own: with the mark of chattr(1), `T`, the
//! directories in a directory are taken for beginnings of unrelated trees. (The mark on the cradles themselves would make each
//! launch search all parts of the disk for the emptiest.)

use appc::PodUuid;
use rustix::fs::{IFlags, OFlags, ioctl_getflags, ioctl_setflags};

use crate::dir::Dir;
use crate::root::make_dir;
use crate::{CallError, Place};

const COUNT: u8 = 64;

/// The cradle of a pod, below `pods/`.
pub(crate) fn of(uuid: PodUuid) -> String {
    path(uuid.as_bytes()[0] / (u8::MAX / COUNT + 1))
}

/// All cradles, below `pods/`.
pub(crate) fn all() -> impl Iterator<Item = String> {
    (0..COUNT).map(path)
}

fn path(number: u8) -> String {
    format!("{}/{number:02}", Place::Embryo)
}

/// Makes those that are missing.
///
/// # Errors
/// If `embryo/` is missing, or a directory cannot be made.
pub(crate) fn make(pods: &Dir) -> Result<(), CallError> {
    // Other file systems refuse the mark; there all works as well.
    if let Ok(embryos) = pods.open(Place::Embryo.dir_name(), OFlags::RDONLY | OFlags::DIRECTORY)
        && let Ok(flags) = ioctl_getflags(&embryos)
    {
        let _ = ioctl_setflags(&embryos, flags | IFlags::TOPDIR);
    }
    for cradle in all() {
        make_dir(pods, &cradle)?;
    }
    Ok(())
}
