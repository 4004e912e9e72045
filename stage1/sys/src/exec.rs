//! Replacing the process image (execve(2)) and what must happen to descriptors before.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::RawFd;

use crate::check;

/// Argument and environment vectors in the form that execve(2) wants, made before anything can fail late.
#[derive(Debug)]
pub struct ExecArgs {
    // The pointers below point into these strings, whose heap blocks do not move with the vector.
    _strings: Vec<CString>,
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
}

impl ExecArgs {
    /// Prepares the vectors.
    #[must_use]
    pub fn new(args: Vec<CString>, env: Vec<CString>) -> Self {
        let vector = |strings: &[CString]| {
            strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>()
        };
        let (argv, envp) = (vector(&args), vector(&env));
        let mut strings = args;
        strings.extend(env);
        Self { _strings: strings, argv, envp }
    }

    /// Replaces the process image. Returns only on failure, with the reason.
    #[must_use]
    pub fn execve(&self, path: &CStr) -> io::Error {
        // SAFETY: both vectors end with a null pointer, and their strings live in `self`.
        unsafe { libc::execve(path.as_ptr(), self.argv.as_ptr(), self.envp.as_ptr()) };
        io::Error::last_os_error()
    }
}

/// The environment exactly as it was handed down: with names that stand twice, and with what is no `NAME=VALUE`.
///
/// For single-threaded programs: nobody may change the environment meanwhile.
#[must_use]
pub fn environment() -> Vec<CString> {
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    let mut variables = Vec::new();
    // SAFETY: the C library keeps a valid pointer there from before `main`.
    let mut next = unsafe { environ };
    while !next.is_null() {
        // SAFETY: `next` points into a vector that ends with a null pointer, and has not passed it.
        let variable = unsafe { *next };
        if variable.is_null() {
            break;
        }
        // SAFETY: each entry is a string that ends with NUL, and nothing changes it during the copy.
        variables.push(unsafe { CStr::from_ptr(variable) }.to_owned());
        // SAFETY: the entry was not the null pointer at the end, so there is one more.
        next = unsafe { next.add(1) };
    }
    variables
}

/// Makes `fd` the descriptor of this number as well, for the program that is executed next: it stays open there (dup2(2)).
///
/// Whatever had the number is closed, though an `OwnedFd` may believe to own it: call it only in a forked child that ends
/// with an exec or [`crate::fork::exit_now`].
///
/// # Errors
/// `EMFILE` if the number is too large.
pub fn place(fd: std::os::fd::BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    // SAFETY: duplicating descriptors touches no memory; that their owners never run again is the caller's promise above.
    check(libc::c_long::from(unsafe { libc::dup2(fd.as_raw_fd(), number) })).map(drop)
}

/// Closes every descriptor from `first` to `last` (close_range(2)).
///
/// Descriptors that an `OwnedFd` still believes to own are closed as well: call it only where no such destructor runs
/// any more, in a forked child that ends with an exec or [`crate::fork::exit_now`].
///
/// # Errors
/// `ENOSYS` before Linux 5.9; `EINVAL` if `first` is greater than `last`.
pub fn close_range(first: RawFd, last: RawFd) -> io::Result<()> {
    // SAFETY: closing descriptors touches no memory; that their owners never run again is the caller's promise above.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}
