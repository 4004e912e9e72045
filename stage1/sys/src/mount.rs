//! mount_setattr(2), which rustix does not have.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::check;

/// Attributes of a mount: the `MOUNT_ATTR_*` bits of mount_setattr(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MountAttr(u64);

impl MountAttr {
    /// Nothing set.
    pub const NONE: Self = Self(0);
    /// `MOUNT_ATTR_RDONLY`
    pub const RDONLY: Self = Self(libc::MOUNT_ATTR_RDONLY);
    /// `MOUNT_ATTR_NOSUID`
    pub const NOSUID: Self = Self(libc::MOUNT_ATTR_NOSUID);
    /// `MOUNT_ATTR_NODEV`
    pub const NODEV: Self = Self(libc::MOUNT_ATTR_NODEV);
    /// `MOUNT_ATTR_NOEXEC`
    pub const NOEXEC: Self = Self(libc::MOUNT_ATTR_NOEXEC);
    /// `nosuid,nodev,noexec`: what every kernel file system and every mask gets.
    pub const INERT: Self = Self::NOSUID.with(Self::NODEV).with(Self::NOEXEC);

    /// The union of both sets.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Says whether every bit of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The raw `MOUNT_ATTR_*` bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

/// Sets attributes of the mount at `path` below `dir` (empty: `dir` itself), with `recursive` also of all mounts below.
///
/// # Errors
/// Those of mount_setattr(2): `EPERM` for a locked attribute, `EINVAL` where `path` is no mount point, `ENOSYS`.
pub fn mount_setattr(dir: BorrowedFd<'_>, path: &CStr, recursive: bool, set: MountAttr) -> io::Result<()> {
    let attr = libc::mount_attr { attr_set: set.bits(), attr_clr: 0, propagation: 0, userns_fd: 0 };
    change(dir, path, recursive, &attr)
}

/// Makes the mount at `path` and all below it private: nothing propagates to them or from them (mount_namespaces(7)).
///
/// # Errors
/// Those of mount_setattr(2).
pub fn make_private(dir: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    let attr = libc::mount_attr { attr_set: 0, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    change(dir, path, true, &attr)
}

fn change(dir: BorrowedFd<'_>, path: &CStr, recursive: bool, attr: &libc::mount_attr) -> io::Result<()> {
    let mut flags = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the path is NUL-terminated, the structure and its size belong together, and the kernel only reads both.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir.as_raw_fd(),
            path.as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<libc::mount_attr>(),
        )
    };
    check(result).map(drop)
}
