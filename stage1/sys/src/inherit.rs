//! Descriptors that the process was started with, as systemd passes sockets (sd_listen_fds(3)).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{FdFlags, fcntl_setfd};

/// The number of the first one.
const FIRST: RawFd = 3;

/// Takes the `count` descriptors from number 3 on, and makes them close-on-exec. They can be taken once: later calls
/// return none.
///
/// # Errors
/// `EBADF` if one of them is not open; none is taken then.
pub fn take(count: usize) -> io::Result<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let end =
        RawFd::try_from(count).ok().and_then(|count| FIRST.checked_add(count)).ok_or(io::ErrorKind::InvalidInput)?;
    for fd in FIRST..end {
        // SAFETY: F_SETFD works on any number and touches no memory.
        let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
        fcntl_setfd(fd, FdFlags::CLOEXEC)?;
    }
    // SAFETY: they are open (checked above), and were opened by whoever started the process: nothing in it owns them,
    // and the flag above keeps this function from giving them to a second owner.
    Ok((FIRST..end).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect())
}
