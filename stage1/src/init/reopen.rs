//! Finding files and directories of the host again in this process's own copy of the host's mounts.
//!
//! The monitor's descriptors belong to mounts of the host's mount namespace; the kernel clones and overlays only mounts
//! of the caller's own (measured: EINVAL). So the file is opened again by the path that the kernel gives for the
//! descriptor, and must be the same inode. The path is one of the user's data directory, or a volume's source that the
//! operator named; it is never of an image.

use std::ffi::CString;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags, fstat, open, readlink};
use rustix::io::Errno;

use crate::apply::{Named as _, Refusal};

/// Opens all of the directories again.
pub(crate) fn all(fds: Vec<OwnedFd>) -> Result<Vec<OwnedFd>, Refusal> {
    fds.into_iter().map(directory).collect()
}

/// Opens the directory again. To be called before this process takes the ids of container root: only the caller can
/// pass the directories above.
pub(crate) fn directory(fd: OwnedFd) -> Result<OwnedFd, Refusal> {
    again(&fd, OFlags::DIRECTORY)
}

/// Opens the source of a volume again, whatever kind of file it is. To be called before this process takes the ids of
/// container root, and gives up the caller's groups with them.
pub(crate) fn source(fd: OwnedFd) -> Result<OwnedFd, Refusal> {
    again(&fd, OFlags::empty())
}

fn again(fd: &OwnedFd, more: OFlags) -> Result<OwnedFd, Refusal> {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let path: CString = readlink(link.as_str(), Vec::new()).named(|| format!("readlink({link:?})"))?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC | more;
    let again = open(path.as_c_str(), flags, Mode::empty()).named(|| format!("open({path:?}, O_PATH)"))?;
    let identity = |fd: &OwnedFd| fstat(fd.as_fd()).map(|stat| (stat.st_dev, stat.st_ino));
    let call = || format!("fstat({path:?})");
    if identity(fd).named(call)? != identity(&again).named(call)? {
        return Err(Refusal::because(call(), Errno::STALE, "another file has taken its place"));
    }
    Ok(again)
}
