//! Standard streams of a process, and terminals of apps.
//!
//! A terminal is made inside the app, on the app's own devpts, so that its name is right in there; its other end goes
//! to the supervisor (pty(7)).

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Gid, OFlags, Uid, fchown, fcntl_getfl, fstat};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::apply::{Named as _, Refusal};
use crate::channel::TerminalSize;

/// The group of terminals in the images of every distribution (Debian's base-passwd: `tty`).
const TTY_GROUP: u32 = 5;

/// Puts the three descriptors in the places of standard input, output and errors.
pub(crate) fn replace_streams(streams: &[OwnedFd; 3]) -> Result<(), Refusal> {
    dup2_stdin(&streams[0]).named(|| "dup2(0)".into())?;
    dup2_stdout(&streams[1]).named(|| "dup2(1)".into())?;
    dup2_stderr(&streams[2]).named(|| "dup2(2)".into())
}

/// Has pipes among these descriptors belong to `owner` (uid, gid). Other files are those of whoever has opened them.
pub(crate) fn give_pipes(streams: &[OwnedFd], (uid, gid): (u32, u32)) {
    let is_pipe = |fd: &&OwnedFd| fstat(fd).is_ok_and(|it| FileType::from_raw_mode(it.st_mode) == FileType::Fifo);
    for pipe in streams.iter().filter(is_pipe) {
        let _ = fchown(pipe, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    }
}

/// Makes a terminal in this process's root, owned by `owner` (uid, gid), and makes it this session's controlling
/// terminal and its three streams. Returns the supervisor's end.
///
/// Without an owner it belongs to whoever this process is. The process must lead a session without a terminal.
pub(crate) fn open(size: TerminalSize, owner: Option<(u32, u32)>) -> Result<OwnedFd, Refusal> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let outer = openpt(flags).named(|| "open(\"/dev/ptmx\")".into())?;
    unlockpt(&outer).named(|| "ioctl(TIOCSPTLCK)".into())?;
    resize(&outer, size).named(|| "ioctl(TIOCSWINSZ)".into())?;
    let inner = ioctl_tiocgptpeer(&outer, flags).named(|| "ioctl(TIOCGPTPEER)".into())?;
    if let Some((uid, _)) = owner {
        fchown(&inner, Some(Uid::from_raw(uid)), Some(Gid::from_raw(TTY_GROUP)))
            .named(|| format!("fchown(<terminal>, {uid}, {TTY_GROUP})"))?;
    }
    rustix::process::ioctl_tiocsctty(&inner).named(|| "ioctl(TIOCSCTTY)".into())?;
    replace_streams(&[clone(&inner)?, clone(&inner)?, inner])?;
    Ok(outer)
}

fn clone(fd: &OwnedFd) -> Result<OwnedFd, Refusal> {
    fd.try_clone().named(|| "fcntl(F_DUPFD_CLOEXEC)".into())
}

/// Sets the size of a terminal; the programs in it are told by SIGWINCH.
///
/// # Errors
/// Those of ioctl_tty(2), `TIOCSWINSZ`.
pub fn resize(terminal: &OwnedFd, size: TerminalSize) -> rustix::io::Result<()> {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size)
}

/// What a stream is that would let an app out of its root: from a directory an app could walk the host, and neither
/// mounts nor Landlock keep it from looking, changing modes or connecting to sockets there.
#[must_use]
pub fn way_out(fd: impl std::os::fd::AsFd) -> Option<&'static str> {
    let stat = fstat(&fd).ok()?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Some("directory");
    }
    fcntl_getfl(&fd).is_ok_and(|flags| flags.contains(OFlags::PATH)).then_some("mere path")
}
