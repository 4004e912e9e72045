//! The permissions of files that are made for the user rather than for proa.

use std::sync::OnceLock;

use rustix::fs::Mode;

/// The umask this program was started with.
static CALLERS: OnceLock<Mode> = OnceLock::new();

/// Makes files of proa's own this user's alone, whatever the caller's umask allows, and remembers that one.
pub(crate) fn tighten() {
    let callers = rustix::process::umask(Mode::RWXG | Mode::RWXO);
    // Called once; a second time the answer would be ours.
    let _ = CALLERS.set(callers);
}

/// Gives the caller's umask back, for a command that makes nothing but what the user asked for.
pub(crate) fn give_back() {
    let _ = rustix::process::umask(callers());
}

/// The mode of a file that a user asked for, an image for instance: as other programs would make it.
pub(crate) fn file_mode() -> u32 {
    0o666 & !callers().as_raw_mode()
}

/// The mode of a directory that a user asked for.
pub(crate) fn directory_mode() -> u32 {
    0o777 & !callers().as_raw_mode()
}

fn callers() -> Mode {
    CALLERS.get().copied().unwrap_or(Mode::WGRP | Mode::WOTH)
}
