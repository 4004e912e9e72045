//! What the verifier may still do once it begins to parse: compute, take memory, read and write what is open.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::fstat;
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::set_no_new_privs;
use stage1::seccomp::policy::{Action, Arch, Decision, Policy};
use syscalls::Sysno;

/// The most memory it may map. A job of the largest size, parsed, needs half of it.
const MAX_MEMORY: u64 = 512 << 20;

/// The time it may compute, in seconds, besides hashing the file.
const MAX_SECONDS: u64 = 60;

/// It hashes at least so many bytes in a second, even unoptimised on a slow machine.
const BYTES_PER_SECOND: u64 = 4 << 20;

/// The system calls of a computation: memory, time, random numbers, open descriptors, and its end. None that opens,
/// connects, starts, waits for or looks at anything else. Everything not in here kills the process.
const ALLOWED: &[Sysno] = &[
    Sysno::read,
    Sysno::readv,
    Sysno::write,
    Sysno::writev,
    Sysno::close,
    Sysno::fcntl,
    Sysno::fstat,
    Sysno::lseek,
    Sysno::mmap,
    Sysno::munmap,
    Sysno::mremap,
    Sysno::mprotect,
    Sysno::madvise,
    Sysno::brk,
    Sysno::futex,
    Sysno::getrandom,
    Sysno::clock_gettime,
    Sysno::getpid,
    Sysno::gettid,
    Sysno::tgkill,
    Sysno::rt_sigaction,
    Sysno::rt_sigprocmask,
    Sysno::rt_sigreturn,
    Sysno::sigaltstack,
    Sysno::exit,
    Sysno::exit_group,
];

/// Confines the calling process for the rest of its life. `input` is the file it is to read.
///
/// # Errors
///
/// A limit or the filter is refused by this system. The process must not go on then.
pub(super) fn confine(input: BorrowedFd<'_>) -> io::Result<()> {
    let size = u64::try_from(fstat(input)?.st_size).unwrap_or(0);
    limit(Resource::As, MAX_MEMORY)?;
    limit(Resource::Cpu, MAX_SECONDS + size / BYTES_PER_SECOND)?;
    limit(Resource::Fsize, 0)?;
    limit(Resource::Core, 0)?;
    set_no_new_privs(true)?;
    let program = stage1::seccomp::compile(&policy()?).map_err(io::Error::other)?;
    sys::seccomp::load(program.iter().map(|filter| (filter.code, filter.jt, filter.jf, filter.k)))
}

fn limit(resource: Resource, value: u64) -> io::Result<()> {
    Ok(setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })?)
}

fn policy() -> io::Result<Policy> {
    let arch = Arch::from_rust_name(std::env::consts::ARCH)
        .ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "no filters for this architecture"))?;
    let number = |call: &Sysno| u32::try_from(call.id()).expect("system calls have small numbers");
    let calls = ALLOWED.iter().map(|call| (number(call), Decision::Always(Action::Allow))).collect();
    Ok(Policy { arch, calls, unknown: Action::KillProcess })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_reaches_out_is_allowed() {
        for call in [
            Sysno::openat,
            Sysno::openat2,
            Sysno::socket,
            Sysno::connect,
            Sysno::execve,
            Sysno::clone,
            Sysno::clone3,
            Sysno::ptrace,
            Sysno::sendmsg,
            Sysno::ioctl,
            Sysno::io_uring_setup,
        ] {
            assert!(!ALLOWED.contains(&call), "{call}");
        }
        assert!(stage1::seccomp::compile(&policy().unwrap()).is_ok());
    }
}
