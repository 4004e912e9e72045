//! Opening what lies below a directory of an app, which may change it meanwhile.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

/// Tries so often when something was renamed meanwhile. With a lease an app could have it try for ever (fcntl(2), F_SETLEASE).
const ATTEMPTS: usize = 1000;

/// Opens what `resolve` lets be reached.
///
/// # Errors
///
/// Those of openat2(2); `EAGAIN` where too much was renamed meanwhile.
pub(super) fn opened(dir: impl AsFd, path: &[u8], access: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    for _ in 0..ATTEMPTS {
        match openat2(&dir, path, access, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
    Err(Errno::AGAIN)
}
