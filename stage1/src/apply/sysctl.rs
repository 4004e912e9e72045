//! Kernel parameters of a pod's own namespaces, below /proc/sys.

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Fds, Named as _, Refusal};
use crate::op::Slot;

/// Sets a parameter that every pod gets; a kernel that does not know it has nothing to be kept from.
pub(super) fn set(fds: &Fds, key: &str, value: &str) -> Result<(), Refusal> {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(fds.get(Slot::Sysctls)?, key, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened.named(|| format!("openat(<proc/sys/{key}>, O_WRONLY)"))?,
    };
    rustix::io::write(&file, value.as_bytes()).map(drop).named(|| format!("write(<proc/sys/{key}>, {value:?})"))
}

/// Sets a parameter that was asked for, and reads it back: procfs takes some values in part, and says nothing then.
pub(super) fn set_for_operator(fds: &Fds, path: &str, value: &str) -> Result<(), Refusal> {
    let sysctls = fds.get(Slot::Sysctls)?;
    let open = |flags, how| {
        rustix::fs::openat2(
            sysctls,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
        )
        .named(|| format!("openat2(<proc/sys/{path}>, {how})"))
    };
    let file = open(OFlags::WRONLY, "O_WRONLY")?;
    rustix::io::write(&file, value.as_bytes()).named(|| format!("write(<proc/sys/{path}>, {value:?})"))?;
    let mut buffer = [0; 8192];
    let read = || format!("read(<proc/sys/{path}>)");
    let len = rustix::io::read(open(OFlags::RDONLY, "O_RDONLY")?, &mut buffer).named(read)?;
    let now = String::from_utf8_lossy(&buffer[..len]);
    if now.split_whitespace().eq(value.split_whitespace()) {
        return Ok(());
    }
    let call = format!("read(<proc/sys/{path}>): {:?}", now.trim_end());
    Err(Refusal::because(call, Errno::INVAL, "the kernel did not take the value"))
}
