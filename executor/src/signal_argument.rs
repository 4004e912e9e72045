//! A signal on a command line.

use crate::error::CommandError;

/// The number of a signal by number or name, with or without `SIG`.
///
/// # Errors
///
/// There is no such signal.
pub(crate) fn parse(text: &str) -> Result<i32, CommandError> {
    stage1::signal::parse(text).ok_or_else(|| {
        CommandError::usage(format!("{text:?} is not a signal"))
            .hint("give a name such as TERM or SIGTERM, or a number")
    })
}
