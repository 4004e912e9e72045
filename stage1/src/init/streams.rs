//! The streams that pid 1 hands to its children.

use std::os::fd::OwnedFd;

use crate::apply::{Named as _, Refusal};
use crate::channel::TerminalSize;
use crate::streams::AppStreams;
use crate::stub::Stdio;

/// Copies of an app's streams for its first process.
pub(super) fn for_child(streams: &AppStreams) -> Result<Stdio, Refusal> {
    Ok(match streams {
        AppStreams::Inherited => Stdio::Inherited,
        AppStreams::Terminal(size) => Stdio::Terminal(*size),
        AppStreams::Given(fds) => {
            let clone = |fd: &OwnedFd| fd.try_clone().named(|| "fcntl(F_DUPFD_CLOEXEC)".into());
            Stdio::Given([clone(&fds[0])?, clone(&fds[1])?, clone(&fds[2])?])
        }
    })
}

/// What came with a message: three streams, a terminal that was asked for, or neither.
pub(super) fn received(fds: Vec<OwnedFd>, terminal: Option<TerminalSize>) -> Stdio {
    match (<[OwnedFd; 3]>::try_from(fds), terminal) {
        (_, Some(size)) => Stdio::Terminal(size),
        (Ok(fds), None) => Stdio::Given(fds),
        (Err(_), None) => Stdio::Inherited,
    }
}
