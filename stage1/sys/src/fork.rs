//! Forking a child into new namespaces (clone3(2)).

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::time::Duration;
use std::{fs, io, thread};

use crate::check;

/// Namespaces for the child, as the `CLONE_NEW*` bits of clone(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Namespaces(u64);

impl Namespaces {
    /// No new namespace.
    pub const NONE: Self = Self(0);
    /// `CLONE_NEWUSER`
    pub const USER: Self = Self(libc::CLONE_NEWUSER as u64);
    /// `CLONE_NEWNS`
    pub const MOUNT: Self = Self(libc::CLONE_NEWNS as u64);
    /// `CLONE_NEWPID`
    pub const PID: Self = Self(libc::CLONE_NEWPID as u64);
    /// `CLONE_NEWNET`
    pub const NET: Self = Self(libc::CLONE_NEWNET as u64);
    /// `CLONE_NEWIPC`
    pub const IPC: Self = Self(libc::CLONE_NEWIPC as u64);
    /// `CLONE_NEWUTS`
    pub const UTS: Self = Self(libc::CLONE_NEWUTS as u64);
    /// `CLONE_NEWCGROUP`
    pub const CGROUP: Self = Self(libc::CLONE_NEWCGROUP as u64);

    /// The union of both sets.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The raw `CLONE_NEW*` bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

/// Which side of a [`fork`] the caller is on.
#[derive(Debug)]
pub enum Fork {
    /// The caller's process.
    Parent {
        /// The child's process id in the caller's pid namespace.
        pid: rustix::process::Pid,
        /// A close-on-exec pidfd of the child (pidfd_open(2)).
        pidfd: OwnedFd,
    },
    /// The new process.
    Child,
}

/// Forks a child into the given new namespaces, with `SIGCHLD` as its exit signal.
///
/// # Errors
/// - `EAGAIN`, `ENOMEM`: process or memory limits.
/// - `ENOSPC`, `EUSERS`: `user.max_user_namespaces` (or another namespace's limit) is reached, or nesting is too deep.
/// - `EPERM`: the host forbids unprivileged user namespaces, or a namespace other than user was asked for without one.
/// - `EINVAL` of our own making: the process has more than one thread, so that a child could inherit a held lock.
pub fn fork(namespaces: Namespaces) -> io::Result<Fork> {
    if !single_threaded() && !alone_again() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "fork in a process with several threads"));
    }
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain old data; all-zero is its documented default.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = namespaces.bits() | libc::CLONE_PIDFD as u64;
    args.pidfd = std::ptr::from_mut(&mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: `args` and `pidfd` outlive the call, and the size is that of the structure. Without CLONE_VM the child
    // gets a copy of the address space; the process has no other thread (checked above), so no lock of the allocator or
    // of std can be held by a thread that does not exist in the child.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) })?;
    match rustix::process::Pid::from_raw(pid as i32) {
        None => Ok(Fork::Child),
        Some(pid) => {
            // SAFETY: the kernel stored a fresh descriptor there, which nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Fork::Parent { pid, pidfd })
        }
    }
}

/// Ends the process at once: no destructor, no exit handler, no flushing of inherited buffers. For forked children.
pub fn exit_now(status: u8) -> ! {
    // SAFETY: _exit(2) has no precondition and does not return.
    unsafe { libc::_exit(i32::from(status)) }
}

/// How often, a millisecond apart, it is looked whether a thread that was joined is gone: the kernel wakes who waits for a
/// thread (`CLONE_CHILD_CLEARTID`) before it takes it from the process.
const LOOKS: u32 = 100;

/// Says whether the threads that glibc has seen are gone, so that nobody is left but the caller, who alone could start
/// another one: glibc does not take back that it has seen one.
fn alone_again() -> bool {
    (0..LOOKS).any(|look| {
        if look > 0 {
            thread::sleep(Duration::from_millis(1));
        }
        // One that ended meanwhile is only counted too often.
        fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1)
    })
}

/// Says whether glibc has seen only one thread in this process (`<sys/single_threaded.h>`).
pub(crate) fn single_threaded() -> bool {
    unsafe extern "C" {
        static __libc_single_threaded: libc::c_char;
    }
    // SAFETY: glibc (2.32 and later) defines the variable; threads only ever change it in pthread_create and _join,
    // and if there were such a thread the answer is "no" already.
    unsafe { __libc_single_threaded != 0 }
}
