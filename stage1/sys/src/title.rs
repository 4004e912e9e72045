//! What `/proc/PID/cmdline` shows of this process (proc_pid_cmdline(5)).
//!
//! Everybody who sees a process may read its arguments; being not dumpable does not change that. A forked process has
//! those of its parent, in memory of its own, and can overwrite them.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

static START: AtomicPtr<u8> = AtomicPtr::new(null_mut());
static LENGTH: AtomicUsize = AtomicUsize::new(0);

/// The C library calls it before main with main's arguments (glibc's extension of ELF's `.init_array`).
#[used]
#[unsafe(link_section = ".init_array")]
static REMEMBER: extern "C" fn(libc::c_int, *const *mut libc::c_char, *const *const libc::c_char) = remember;

/// Notes where the arguments lie: the kernel puts them one after another (execve's stack layout).
extern "C" fn remember(argc: libc::c_int, argv: *const *mut libc::c_char, _envp: *const *const libc::c_char) {
    let Some(last) = usize::try_from(argc).ok().and_then(|argc| argc.checked_sub(1)) else { return };
    // SAFETY: argv has argc elements, so the first exists.
    let first = unsafe { *argv };
    // SAFETY: as above; `last` is argc - 1.
    let place = unsafe { argv.add(last) };
    // SAFETY: likewise.
    let end = unsafe { *place };
    // SAFETY: each argument is a NUL-terminated string.
    let tail = unsafe { libc::strlen(end) };
    let length = (end as usize).wrapping_sub(first as usize).saturating_add(tail);
    // A caller's odd layout: then nothing is overwritten.
    if length < isize::MAX as usize {
        START.store(first.cast(), Ordering::Relaxed);
        LENGTH.store(length, Ordering::Relaxed);
    }
}

/// Replaces the arguments of this process by `title`, cut to the room there is.
///
/// For forked children only: whatever still points into the process's arguments (`std::env::args`) then sees the title.
pub fn set(title: &str) {
    let (start, length) = (START.load(Ordering::Relaxed), LENGTH.load(Ordering::Relaxed));
    if start.is_null() {
        return;
    }
    // SAFETY: `start` and `length` describe the memory of the arguments, which is this process's own and writable, and
    // no reference to it is held anywhere in a process that is single-threaded and past reading its arguments.
    let room = unsafe { std::slice::from_raw_parts_mut(start, length) };
    room.fill(0);
    let shown = title.len().min(length);
    room[..shown].copy_from_slice(&title.as_bytes()[..shown]);
}
