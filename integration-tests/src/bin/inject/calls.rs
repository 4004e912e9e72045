//! Which system calls it makes a difference to be killed at, how each can fail, and which of their arguments say what
//! they are about.

use syscalls::{Errno, Sysno};

/// Whether a process that is killed when it enters this call may leave something else than one killed when it enters its
/// next one. Calls that concern nothing but the process's own memory, its waiting and what it knows of itself do not, and
/// how many there are of them differs from run to run.
pub(crate) fn is_point(call: Sysno) -> bool {
    !matches!(
        call,
        Sysno::mmap
            | Sysno::munmap
            | Sysno::mprotect
            | Sysno::madvise
            | Sysno::mremap
            | Sysno::brk
            | Sysno::futex
            | Sysno::sched_yield
            | Sysno::sched_getaffinity
            | Sysno::clock_gettime
            | Sysno::clock_nanosleep
            | Sysno::nanosleep
            | Sysno::gettimeofday
            | Sysno::getrandom
            | Sysno::rt_sigaction
            | Sysno::rt_sigprocmask
            | Sysno::rt_sigreturn
            | Sysno::restart_syscall
            | Sysno::sigaltstack
            | Sysno::epoll_wait
            | Sysno::epoll_pwait
            | Sysno::poll
            | Sysno::ppoll
            | Sysno::select
            | Sysno::pselect6
            | Sysno::set_robust_list
            | Sysno::set_tid_address
            | Sysno::rseq
            | Sysno::arch_prctl
            | Sysno::prlimit64
            | Sysno::getrlimit
            | Sysno::uname
            | Sysno::sysinfo
            | Sysno::getpid
            | Sysno::getppid
            | Sysno::gettid
            | Sysno::getuid
            | Sysno::geteuid
            | Sysno::getgid
            | Sysno::getegid
            | Sysno::getgroups
            | Sysno::getsockopt
            | Sysno::getsockname
            | Sysno::getpeername
    )
}

/// Whether the call does nothing but wait until what was written is on the disk. Nothing that ends with a process shows
/// whether it happened, so it is left out: that makes a campaign independent of the disk.
pub(crate) fn is_sync(call: Sysno) -> bool {
    matches!(call, Sysno::fsync | Sysno::fdatasync | Sysno::syncfs | Sysno::sync_file_range | Sysno::sync)
}

/// How a call can fail for lack of space or of descriptors, and on a broken disk. `subject` is what it is about,
/// `creates` whether it is an open that makes its file.
pub(crate) fn errors(call: Sysno, subject: &str, creates: bool) -> &'static [Errno] {
    // Kernel file systems, sockets and pipes lie on no disk.
    let on_disk = !["/proc", "/sys", "/dev", "socket", "pipe", "anon_inode", "/memfd"]
        .iter()
        .any(|prefix| subject.starts_with(prefix));
    let errors: &[Errno] = match call {
        Sysno::open | Sysno::openat | Sysno::openat2 | Sysno::creat if creates => {
            &[Errno::EMFILE, Errno::EIO, Errno::ENOSPC]
        }
        Sysno::open | Sysno::openat | Sysno::openat2 if on_disk => &[Errno::EMFILE, Errno::EIO],
        Sysno::open
        | Sysno::openat
        | Sysno::openat2
        | Sysno::socket
        | Sysno::socketpair
        | Sysno::accept
        | Sysno::accept4
        | Sysno::pipe
        | Sysno::pipe2
        | Sysno::dup
        | Sysno::memfd_create
        | Sysno::epoll_create1
        | Sysno::eventfd2
        | Sysno::pidfd_open
        | Sysno::inotify_init1
        | Sysno::signalfd4
        | Sysno::timerfd_create => &[Errno::EMFILE],
        Sysno::clone | Sysno::clone3 | Sysno::fork | Sysno::vfork => &[Errno::EAGAIN],
        _ if !on_disk => &[],
        Sysno::write
        | Sysno::writev
        | Sysno::pwrite64
        | Sysno::pwritev
        | Sysno::mkdir
        | Sysno::mkdirat
        | Sysno::mknod
        | Sysno::mknodat
        | Sysno::link
        | Sysno::linkat
        | Sysno::symlink
        | Sysno::symlinkat
        | Sysno::rename
        | Sysno::renameat
        | Sysno::renameat2
        | Sysno::fallocate
        | Sysno::setxattr
        | Sysno::lsetxattr
        | Sysno::fsetxattr
        | Sysno::copy_file_range
        | Sysno::sendfile
        | Sysno::splice
        | Sysno::fsync
        | Sysno::fdatasync
        | Sysno::syncfs
        | Sysno::sync_file_range => &[Errno::ENOSPC, Errno::EIO],
        Sysno::read
        | Sysno::readv
        | Sysno::pread64
        | Sysno::preadv
        | Sysno::stat
        | Sysno::lstat
        | Sysno::fstat
        | Sysno::newfstatat
        | Sysno::statx
        | Sysno::statfs
        | Sysno::fstatfs
        | Sysno::access
        | Sysno::faccessat
        | Sysno::faccessat2
        | Sysno::getdents64
        | Sysno::readlink
        | Sysno::readlinkat
        | Sysno::getxattr
        | Sysno::lgetxattr
        | Sysno::fgetxattr
        | Sysno::listxattr
        | Sysno::llistxattr
        | Sysno::flistxattr
        | Sysno::unlink
        | Sysno::unlinkat
        | Sysno::rmdir
        | Sysno::truncate
        | Sysno::ftruncate
        | Sysno::chmod
        | Sysno::fchmod
        | Sysno::fchmodat
        | Sysno::chown
        | Sysno::lchown
        | Sysno::fchown
        | Sysno::fchownat
        | Sysno::utimensat => &[Errno::EIO],
        _ => &[],
    };
    errors
}

/// Where the arguments of a call say what it is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject {
    Nothing,
    /// A descriptor.
    Open(usize),
    /// A path.
    Path(usize),
    /// A path below a descriptor.
    Below(usize, usize),
    /// Two such.
    Two((usize, usize), (usize, usize)),
}

/// Where this call's do.
pub(crate) fn subject(call: Sysno) -> Subject {
    match call {
        Sysno::open
        | Sysno::creat
        | Sysno::stat
        | Sysno::lstat
        | Sysno::statfs
        | Sysno::access
        | Sysno::mkdir
        | Sysno::rmdir
        | Sysno::unlink
        | Sysno::readlink
        | Sysno::chmod
        | Sysno::chown
        | Sysno::lchown
        | Sysno::truncate
        | Sysno::mknod
        | Sysno::chdir
        | Sysno::execve
        | Sysno::setxattr
        | Sysno::lsetxattr
        | Sysno::getxattr
        | Sysno::lgetxattr
        | Sysno::listxattr
        | Sysno::llistxattr => Subject::Path(0),
        Sysno::openat
        | Sysno::openat2
        | Sysno::newfstatat
        | Sysno::statx
        | Sysno::faccessat
        | Sysno::faccessat2
        | Sysno::mkdirat
        | Sysno::unlinkat
        | Sysno::readlinkat
        | Sysno::fchmodat
        | Sysno::fchownat
        | Sysno::utimensat
        | Sysno::mknodat
        | Sysno::execveat => Subject::Below(0, 1),
        Sysno::symlinkat => Subject::Below(1, 2),
        Sysno::renameat | Sysno::renameat2 | Sysno::linkat => Subject::Two((0, 1), (2, 3)),
        Sysno::read
        | Sysno::readv
        | Sysno::pread64
        | Sysno::preadv
        | Sysno::write
        | Sysno::writev
        | Sysno::pwrite64
        | Sysno::pwritev
        | Sysno::close
        | Sysno::fstat
        | Sysno::fstatfs
        | Sysno::lseek
        | Sysno::ftruncate
        | Sysno::fallocate
        | Sysno::fchmod
        | Sysno::fchown
        | Sysno::flock
        | Sysno::fcntl
        | Sysno::ioctl
        | Sysno::fsync
        | Sysno::fdatasync
        | Sysno::syncfs
        | Sysno::getdents64
        | Sysno::fsetxattr
        | Sysno::fgetxattr
        | Sysno::flistxattr
        | Sysno::dup
        | Sysno::dup2
        | Sysno::dup3
        | Sysno::sendto
        | Sysno::recvfrom
        | Sysno::sendmsg
        | Sysno::recvmsg
        | Sysno::shutdown
        | Sysno::connect
        | Sysno::setsockopt
        | Sysno::copy_file_range => Subject::Open(0),
        _ => Subject::Nothing,
    }
}

/// Whether this call is an open that makes its file, by its arguments. (openat2 has its flags in memory: it counts as one
/// that does not.)
pub(crate) fn creates(call: Sysno, arguments: &[u64; 6]) -> bool {
    const O_CREAT: u64 = 0o100;
    match call {
        Sysno::open => arguments[1] & O_CREAT != 0,
        Sysno::openat => arguments[2] & O_CREAT != 0,
        Sysno::creat => true,
        _ => false,
    }
}
