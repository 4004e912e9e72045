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
        AppStreams::Given(fds) => Stdio::Given(copies(fds)?),
        AppStreams::Kept(fds) => Stdio::Kept(copies(fds)?),
    })
}

fn copies(fds: &[OwnedFd; 3]) -> Result<[OwnedFd; 3], Refusal> {
    let copy = |fd: &OwnedFd| fd.try_clone().named(|| "fcntl(F_DUPFD_CLOEXEC)".into());
    Ok([copy(&fds[0])?, copy(&fds[1])?, copy(&fds[2])?])
}

/// What came with a message: three streams, which are `kept` by the supervisor or somebody else's, a terminal that was asked
/// for, or neither.
pub(super) fn received(fds: Vec<OwnedFd>, terminal: Option<TerminalSize>, kept: bool) -> Stdio {
    match (<[OwnedFd; 3]>::try_from(fds), terminal) {
        (_, Some(size)) => Stdio::Terminal(size),
        (Ok(fds), None) if kept => Stdio::Kept(fds),
        (Ok(fds), None) => Stdio::Given(fds),
        (Err(_), None) => Stdio::Inherited,
    }
}
