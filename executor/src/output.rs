//! How data gets to stdout, and messages to stderr.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;

use crate::error::CommandError;
use crate::escape;

/// Writes `data` to stdout.
///
/// A reader that went away (`proa list | head -1`) has all it wanted: that is a success.
///
/// # Errors
///
/// Everything else, such as a full disk behind a redirection.
pub(crate) fn write(data: &str) -> Result<(), CommandError> {
    write_bytes(data.as_bytes())
}

/// [`write()`] for what need not be text.
///
/// # Errors
///
/// As [`write()`].
pub(crate) fn write_bytes(data: &[u8]) -> Result<(), CommandError> {
    write_shown(data).map(|_| ())
}

/// Has a terminal show `data` from its top, and nothing else.
///
/// # Errors
///
/// As [`write()`].
pub(crate) fn write_screen(data: &str) -> Result<(), CommandError> {
    write_raw(b"\x1b[H\x1b[2J")?;
    write(data)
}

/// Prints what the parser of a command line has to say: a help text to stdout, in colours on a terminal.
///
/// # Errors
///
/// As [`write()`].
pub(crate) fn print(said: &clap::Error) -> Result<(), CommandError> {
    match said.print().and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.map_err(failed),
    }
}

/// [`write()`], and whether the reader went away meanwhile.
///
/// # Errors
///
/// As [`write()`].
pub(crate) fn write_while_read(data: &str) -> Result<bool, CommandError> {
    write_shown(data.as_bytes())
}

/// To a terminal, without what an image or a server could change it with.
fn write_shown(data: &[u8]) -> Result<bool, CommandError> {
    if io::stdout().is_terminal() {
        return write_raw(escape::on_terminal(&String::from_utf8_lossy(data)).as_bytes());
    }
    write_raw(data)
}

/// Whether the reader went away meanwhile.
fn write_raw(data: &[u8]) -> Result<bool, CommandError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(data).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(true),
        written => written.map(|()| false).map_err(failed),
    }
}

/// Whether this path stands for stdout, as with tar. A file of that name is `./-`.
pub(crate) fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Lets `write` write an archive to stdout. A reader that goes away has all it wanted, as with [`write()`](self::write).
///
/// # Errors
///
/// Stdout is a terminal; those of `write`.
pub(crate) fn archive(write: impl FnOnce(File) -> Result<(), CommandError>) -> Result<(), CommandError> {
    if io::stdout().is_terminal() {
        return Err(CommandError::failed("standard output is a terminal, which takes no archive")
            .hint("redirect standard output, or name a file instead of -"));
    }
    let stdout = File::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?);
    while_read(write(stdout)).map(|_| ())
}

/// What became of work that wrote to stdout: `None` if it failed because the reader went away.
///
/// # Errors
///
/// It failed for another reason.
pub(crate) fn while_read<T>(done: Result<T, CommandError>) -> Result<Option<T>, CommandError> {
    match done {
        // The error may be another process's, of which there is but the text.
        Err(error) if error.chain().ends_with("Broken pipe") && is_unread() => Ok(None),
        done => done.map(Some),
    }
}

/// Whether stdout is a pipe or a socket that nobody reads from any more.
fn is_unread() -> bool {
    let stdout = rustix::stdio::stdout();
    let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
    poll(&mut polled, Some(&Timespec::default())).is_ok()
        && polled[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

/// Data for programs: JSON on one line.
///
/// # Errors
///
/// It has no form in JSON.
pub(crate) fn json<T: Serialize + ?Sized>(data: &T) -> Result<String, CommandError> {
    Ok(serde_json::to_string(data)? + "\n")
}

/// [`json`] that people can read as well, on many lines.
///
/// # Errors
///
/// As [`json`].
pub(crate) fn pretty_json<T: Serialize + ?Sized>(data: &T) -> Result<String, CommandError> {
    Ok(serde_json::to_string_pretty(data)? + "\n")
}

/// Why stdout takes nothing.
fn failed(error: io::Error) -> CommandError {
    let is_full = error.kind() == io::ErrorKind::StorageFull;
    let failed = CommandError::from(error).during("write to stdout");
    if is_full { failed.hint("free space on the disk that standard output leads to") } else { failed }
}

/// Writes a message to stderr. Nothing can be done about one that is closed or full.
pub(crate) fn complain(message: &str) {
    let _ = io::stderr().write_all(message.as_bytes());
}
