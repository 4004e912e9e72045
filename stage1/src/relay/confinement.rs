//! What a process that carries ports may still do: it has its sockets, makes further ones in the pod's network, and
//! strangers talk to it.

use std::io;

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

use crate::capabilities::reduce_bounding_set;
use crate::seccomp::isolator::NUMBERS;
use crate::seccomp::policy::{Action, Arch, Decision, Policy};

/// Its system calls: sockets, memory, time, and its end. None that opens, executes or looks at anything.
const ALLOWED: &str = "accept4 bind brk clock_gettime close connect exit exit_group fcntl futex getpeername getpid getrandom \
    getsockname getsockopt gettid ioctl madvise mmap mprotect mremap munmap nanosleep clock_nanosleep poll ppoll read \
    readv recvfrom recvmsg restart_syscall rt_sigaction rt_sigprocmask rt_sigreturn sendmsg sendto setsockopt shutdown \
    sigaltstack socket tgkill write writev";

/// Confines the calling process for the rest of its life.
///
/// # Errors
/// The kernel refuses something of it. The process must not go on then.
pub(crate) fn confine() -> io::Result<()> {
    reduce_bounding_set(CapabilitySet::empty()).map_err(|refusal| io::Error::other(refusal.to_string()))?;
    let none = CapabilitySet::empty();
    set_no_new_privs(true)?;
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    // Apps cannot be in its way; other programs of the user's need not look into it.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    let program = crate::seccomp::compile(&policy()?).map_err(io::Error::other)?;
    sys::seccomp::load(program.iter().map(|filter| (filter.code, filter.jt, filter.jf, filter.k)))
}

fn policy() -> io::Result<Policy> {
    let arch = Arch::from_rust_name(std::env::consts::ARCH).ok_or(io::ErrorKind::Unsupported)?;
    let is_allowed = |name: &str| ALLOWED.split_whitespace().any(|allowed| allowed == name);
    let known = NUMBERS.iter().filter(|(name, _)| is_allowed(name));
    let calls = known.map(|(_, number)| (*number, Decision::Always(Action::Allow))).collect();
    // Refused and not killed: what a library tries without need is no reason to lose the pod's ports.
    let refused = u16::try_from(Errno::PERM.raw_os_error()).unwrap_or(1);
    Ok(Policy { arch, calls, unknown: Action::Errno(refused) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_opened_executed_or_traced() {
        let policy = policy().unwrap();
        let number = |wanted| NUMBERS.iter().find(|(name, _)| *name == wanted).unwrap().1;
        for name in ["openat", "openat2", "execve", "clone", "clone3", "ptrace", "mount", "unshare", "io_uring_setup"] {
            assert!(!policy.calls.contains_key(&number(name)), "{name}");
        }
        // Of streams, and of datagrams.
        assert!(["accept4", "connect", "bind", "sendto"].iter().all(|name| policy.calls.contains_key(&number(name))));
        assert!(crate::seccomp::compile(&policy).is_ok());
    }
}
