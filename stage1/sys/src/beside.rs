//! Processes that share this one's memory (clone(2) with `CLONE_VM`), and run at the same time.
//!
//! fork(2) copies page tables, and posix_spawn(3) has the caller wait until the new program is there. What is started here
//! costs its caller a few ten microseconds, and nothing further. In return it may do next to nothing: system calls, on a
//! stack of its own, with what was prepared for it.

use std::ffi::c_void;
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_send_signal, waitid};

use crate::check;

/// What such a process runs, and what it is given.
pub(crate) type Entry = extern "C" fn(*mut c_void) -> libc::c_int;

/// Enough for system calls, as unoptimised code makes them too.
const STACK: usize = 16 << 10;

/// Such a process. Dropped, it is killed; in any case it is waited for before its stack is given back.
pub(crate) struct Beside {
    pid: Pid,
    pidfd: OwnedFd,
    status: Option<WaitIdStatus>,
    _stack: Box<[u128]>,
}

impl fmt::Debug for Beside {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Beside").field(&self.pid).finish()
    }
}

impl Beside {
    /// Starts `entry` with `argument`, and these flags of clone(2) besides `CLONE_VM`. Its exit signal is SIGCHLD.
    ///
    /// # Safety
    /// - `argument` is valid for `entry` until the process has executed a program or was waited for.
    /// - Until then `entry` makes only system calls. It shares everything with the caller's thread, the C library's `errno`
    ///   too, and must not call what sets that unless it is about to end.
    ///
    /// # Errors
    /// As [`crate::fork::fork`].
    pub(crate) unsafe fn start(flags: libc::c_int, entry: Entry, argument: *mut c_void) -> io::Result<Self> {
        let mut stack = vec![0_u128; STACK / size_of::<u128>()].into_boxed_slice();
        let mut pidfd: RawFd = -1;
        let flags = flags | libc::CLONE_VM | libc::CLONE_PIDFD | libc::SIGCHLD;
        let top = stack.as_mut_ptr_range().end.cast();
        // SAFETY: the stack is aligned as the processor wants it, nobody else's, and given back only when the process has been
        // waited for (`drop`). What the process does with the memory that it shares is the caller's promise.
        let pid = unsafe { libc::clone(entry, top, flags, argument, &raw mut pidfd) };
        check(libc::c_long::from(pid))?;
        // SAFETY: the kernel stored a fresh descriptor there, which nobody else owns.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { pid, pidfd, status: None, _stack: stack })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> io::Result<WaitIdStatus> {
        loop {
            if let Some(status) = self.status {
                return Ok(status);
            }
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Ok(status) => self.status = status,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if self.status.is_none() {
            // It may have ended already.
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
            let _ = self.wait();
        }
    }
}
