//! Processes that share this one's memory (clone(2) with `CLONE_VM`), and run at the same time.
//!
//! fork(2) copies page tables, and posix_spawn(3) has the caller wait until the new program is there. What is started here
//! costs its caller a few tens of microseconds, and no more. In return it may do next to nothing: system calls, on a
//! stack of its own, with what was prepared for it.

use std::ffi::c_void;
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::ptr::null_mut;

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
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
    _stack: Stack,
}

/// Memory of its own, not the allocator's: pages of it that were never used cost nothing, not even in copies of this process.
struct Stack(*mut c_void);

impl Stack {
    fn new() -> io::Result<Self> {
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: the kernel chooses the place; nothing that is there already is touched.
        Ok(Self(unsafe { mmap_anonymous(null_mut(), STACK, protection, flags) }?))
    }

    /// Its upper end, where a stack begins: a page's, and so aligned as any processor wants it.
    fn top(&self) -> *mut c_void {
        self.0.wrapping_byte_add(STACK)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: `new` has made the mapping, nobody else unmaps it, and whoever ran on it was waited for.
        let _ = unsafe { munmap(self.0, STACK) };
    }
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
        let stack = Stack::new()?;
        let mut pidfd: RawFd = -1;
        let flags = flags | libc::CLONE_VM | libc::CLONE_PIDFD | libc::SIGCHLD;
        // SAFETY: the stack is nobody else's, and given back only when the process has been waited for (`drop`). What the
        // process does with the memory that it shares is the caller's promise.
        let pid = unsafe { libc::clone(entry, stack.top(), flags, argument, &raw mut pidfd) };
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
