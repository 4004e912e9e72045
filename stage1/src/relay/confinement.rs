//! What a process that carries ports may still do: it has its sockets, makes further ones in the pod's network, and
//! strangers talk to it.

use std::collections::BTreeMap;
use std::io;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

use crate::capabilities::reduce_bounding_set;
use crate::seccomp::isolator::NUMBERS;
use crate::seccomp::policy::{Action, Arch, Compare, Condition, Decision, Op, Policy, Rule};

/// Its system calls: sockets, memory, time, and its end. None that opens, executes or looks at anything.
const ALLOWED: &str = "accept4 bind brk clock_gettime close connect epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait \
    exit exit_group fcntl futex getpeername getpid getrandom getsockname gettid madvise mmap mprotect mremap munmap \
    nanosleep clock_nanosleep poll ppoll read readv recvfrom recvmsg restart_syscall rt_sigaction rt_sigprocmask \
    rt_sigreturn sendmsg sendto shutdown sigaltstack tgkill write writev";

/// What is asked of sockets: options of `SOL_SOCKET` (socket(7)).
const SOL_SOCKET: u32 = 1;

/// What is set, beside [`sys::socket::OPTIONS`]: `SO_REUSEADDR`, `SO_KEEPALIVE` (socket(7)), `TCP_NODELAY`, `TCP_KEEPIDLE`,
/// `TCP_KEEPINTVL` (tcp(7)). The kernel's packet filters are options of sockets, too.
const SET: [(i32, i32); 5] = [(1, 2), (1, 9), (6, 1), (6, 4), (6, 5)];

/// `FIONBIO` (ioctl(2)).
const NOT_WAITING: u32 = 0x5421;

/// Confines the calling process for the rest of its life. It keeps these rights over the pod's network.
///
/// # Errors
/// The kernel refuses something of it. The process must not go on then.
pub(crate) fn confine(keep: CapabilitySet) -> io::Result<()> {
    reduce_bounding_set(CapabilitySet::empty()).map_err(|refusal| io::Error::other(refusal.to_string()))?;
    set_no_new_privs(true)?;
    let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets)?;
    // Apps cannot be in its way; other programs of the user's need not look into it.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    let program = crate::seccomp::compile(&policy()?).map_err(io::Error::other)?;
    sys::seccomp::load(program.iter().map(|filter| (filter.code, filter.jt, filter.jf, filter.k)))
}

fn policy() -> io::Result<Policy> {
    let arch = Arch::from_rust_name(std::env::consts::ARCH).ok_or(io::ErrorKind::Unsupported)?;
    let is_allowed = |name: &str| ALLOWED.split_whitespace().any(|allowed| allowed == name);
    // Refused and not killed: what a library tries without need is no reason to lose the pod's ports.
    let refused = Action::Errno(u16::try_from(Errno::PERM.raw_os_error()).unwrap_or(1));
    let mut calls = BTreeMap::new();
    for (name, number) in NUMBERS {
        if is_allowed(name) {
            calls.insert(*number, Decision::Always(Action::Allow));
        } else if let Some(rules) = by_arguments(name) {
            calls.insert(*number, Decision::ByArguments { rules, otherwise: refused });
        }
    }
    Ok(Policy { arch, calls, unknown: refused })
}

/// The calls that are allowed with some arguments.
fn by_arguments(name: &str) -> Option<Vec<Rule>> {
    let is = |arg: u8, value: u32| Condition { arg, compare: Compare::Low(Op::Eq(value)) };
    let allow = |all_of: Vec<Condition>| Rule { all_of, action: Action::Allow };
    Some(match name {
        "ioctl" => vec![allow(vec![is(1, NOT_WAITING)])],
        "getsockopt" => vec![allow(vec![is(1, SOL_SOCKET)])],
        "setsockopt" => sys::socket::OPTIONS
            .into_iter()
            .chain(SET)
            .map(|(level, name)| allow(vec![is(1, level.cast_unsigned()), is(2, name.cast_unsigned())]))
            .collect(),
        "socket" => [AddressFamily::INET, AddressFamily::INET6]
            .into_iter()
            .flat_map(|family| [SocketType::STREAM, SocketType::DGRAM].map(|kind| (family, kind)))
            .map(|(family, kind)| {
                let kind = Compare::Low(Op::Masked { mask: 0xf, value: kind.as_raw() });
                allow(vec![is(0, family.as_raw().into()), Condition { arg: 1, compare: kind }, is(2, 0)])
            })
            .collect(),
        _ => return None,
    })
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
        assert!(
            ["accept4", "connect", "bind", "sendto", "epoll_ctl"]
                .iter()
                .all(|name| policy.calls.contains_key(&number(name)))
        );
        // Sockets of connections and datagrams, and none that speaks to the kernel.
        for name in ["socket", "setsockopt", "ioctl"] {
            assert!(matches!(policy.calls[&number(name)], Decision::ByArguments { .. }), "{name}");
        }
        assert!(crate::seccomp::compile(&policy).is_ok());
    }
}
