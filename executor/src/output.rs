//! How data gets to stdout, and messages to stderr.

use std::io::{self, Write as _};

use serde::Serialize;

use crate::error::{CommandError, Explain};

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

/// [`write`] for what need not be text.
///
/// # Errors
///
/// As [`write`].
pub(crate) fn write_bytes(data: &[u8]) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(data).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.during(|| "write to stdout".into()),
    }
}

/// Prints what the parser of a command line has to say: a help text to stdout, in colours on a terminal.
///
/// # Errors
///
/// As [`write`].
pub(crate) fn print(said: &clap::Error) -> Result<(), CommandError> {
    match said.print().and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.during(|| "write to stdout".into()),
    }
}

/// [`write`], and whether the reader went away meanwhile.
///
/// # Errors
///
/// As [`write`].
pub(crate) fn write_while_read(data: &str) -> Result<bool, CommandError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(data.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(true),
        written => written.map(|()| false).during(|| "write to stdout".into()),
    }
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

/// Writes a message to stderr. Nothing can be done about one that is closed or full.
pub(crate) fn complain(message: &str) {
    let _ = io::stderr().write_all(message.as_bytes());
}
