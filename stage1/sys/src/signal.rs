//! Signal masks, dispositions and signalfd(2), for single-threaded processes.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::check;

/// Which signals to block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// Only those that are watched: the others keep their actions.
    Watched,
    /// Every one.
    All,
}

/// Blocks signals and returns a non-blocking, close-on-exec descriptor on which the `watched` ones can be read.
///
/// # Errors
/// Those of signalfd(2): `EMFILE`, `ENFILE`, `ENOMEM`.
pub fn watch(watched: &[i32], block: Block) -> io::Result<OwnedFd> {
    let mut set = empty();
    for &signal in watched {
        // SAFETY: `set` is initialised; a wrong number is refused by the C library.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set_mask(&if block == Block::All { filled() } else { set })?;
    // SAFETY: `set` is initialised and read only during the call.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    check(libc::c_long::from(fd))?;
    // SAFETY: the kernel has just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Gives SIGCHLD its default action. A caller may have it ignored, and then the kernel keeps no status of any child.
pub fn expect_children() {
    // SAFETY: SIG_DFL is a valid handler for SIGCHLD.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Outlives SIGXFSZ: a write beyond the caller's limit of file sizes (`RLIMIT_FSIZE`) then answers `EFBIG` like other failed
/// writes, instead of killing a supervisor and its pod with it.
///
/// It is handled, not ignored: programs that are executed have its default action then, whoever executes them (execve(2)).
pub fn outlive_the_limit_of_file_sizes() {
    extern "C" fn go_on(_: libc::c_int) {}
    let handler: extern "C" fn(libc::c_int) = go_on;
    // SAFETY: the handler does nothing, which is safe wherever a signal strikes.
    unsafe { libc::signal(libc::SIGXFSZ, handler as libc::sighandler_t) };
}

/// SIGPIPE, which Rust's runtime ignores.
pub const PIPE: i32 = libc::SIGPIPE;

/// Gives one signal its default action.
pub fn restore(signal: i32) {
    // SAFETY: SIG_DFL is a valid handler for every signal; a wrong number is refused by the C library.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Takes the next signal off the descriptor, or `None` when there is none now.
///
/// # Errors
/// Those of read(2).
pub fn next(fd: &OwnedFd) -> io::Result<Option<i32>> {
    // SAFETY: signalfd_siginfo is plain old data; all-zero is valid.
    let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: the buffer is as large as stated and any bytes are valid for it.
    let read = unsafe { libc::read(fd.as_raw_fd(), (&raw mut info).cast(), size) };
    match check(read as libc::c_long) {
        Ok(_) => Ok(Some(info.ssi_signo as i32)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives every signal its default action and blocks none: what a program may expect at its start.
///
/// Rust's runtime ignores SIGPIPE; an ignored signal stays ignored across exec, and callers hand down others (nohup).
///
/// # Errors
/// None that a valid kernel gives.
pub fn reset() -> io::Result<()> {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: SIG_DFL is a valid handler for every signal; SIGKILL, SIGSTOP and glibc's own answer EINVAL.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    set_mask(&empty())
}

/// Which signals a process blocks.
#[derive(Clone, Copy)]
pub(crate) struct Mask(libc::sigset_t);

impl Mask {
    /// The caller's.
    pub(crate) fn current() -> io::Result<Self> {
        let mut mask = Self(empty());
        // SAFETY: no new mask is given, and the old one has a valid place.
        check(libc::c_long::from(unsafe { libc::sigprocmask(libc::SIG_SETMASK, std::ptr::null(), &raw mut mask.0) }))?;
        Ok(mask)
    }

    /// Becomes the caller's.
    pub(crate) fn set(&self) -> io::Result<()> {
        set_mask(&self.0)
    }
}

/// As long as it lives, the caller blocks every signal.
pub(crate) struct Blocked(Mask);

impl Blocked {
    pub(crate) fn all() -> io::Result<Self> {
        let before = Mask::current()?;
        set_mask(&filled())?;
        Ok(Self(before))
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // It was valid before.
        let _ = self.0.set();
    }
}

fn set_mask(set: &libc::sigset_t) -> io::Result<()> {
    // SAFETY: `set` is initialised and only read; no old mask is asked for.
    check(libc::c_long::from(unsafe { libc::sigprocmask(libc::SIG_SETMASK, set, std::ptr::null_mut()) })).map(drop)
}

fn empty() -> libc::sigset_t {
    // SAFETY: sigset_t is plain old data; sigemptyset gives it its meaning below.
    let mut set = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a valid place.
    unsafe { libc::sigemptyset(&raw mut set) };
    set
}

fn filled() -> libc::sigset_t {
    let mut set = empty();
    // SAFETY: `set` is a valid place.
    unsafe { libc::sigfillset(&raw mut set) };
    set
}
