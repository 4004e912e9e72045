//! System calls that no safe crate offers, behind safe functions.
//!
//! This is the only crate of the workspace with unsafe code. It makes no decisions: it knows nothing of pods, images or
//! paths, allocates next to nothing, and starts no thread. Everything that [`rustix`] offers safely is used from there
//! directly and is not wrapped again.
//!
//! None of it can touch memory that is not its caller's. [`exec::place`] and [`exec::close_range`] may close descriptors that
//! somebody believes to own, and [`title::set`] overwrites the arguments of the process: these are for forked children alone.

mod beside;
pub mod exec;
pub mod fork;
pub mod inherit;
pub mod lock;
pub mod loopback;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod outpost;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod spawn;
pub mod stack;
pub mod title;

use std::io;

/// Turns the C convention (−1 and errno) into a [`Result`].
fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
