//! Sockets that whoever started this process has opened for it: systemd, for a service with a socket unit (sd_listen_fds(3)).

use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};

use rustix::net::getsockname;
use rustix::net::sockopt::socket_acceptconn;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use crate::error::{CommandError, Explain as _};

/// The number of the first one (sd_listen_fds(3)).
const FIRST: RawFd = 3;

/// Most that are taken: each needs a descriptor for as long as the pod runs.
const MOST: usize = 256;

/// A listening socket that was handed over.
#[derive(Debug)]
pub(crate) struct Handed {
    /// What systemd calls it: `FileDescriptorName=`, or its unit.
    pub(crate) name: String,
    /// Where it listens, if that is an address of the network.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) socket: OwnedFd,
}

/// Takes what was handed to this process, if anything was.
///
/// # Errors
///
/// The environment promises what is not there, or what no app could accept connections on.
pub(crate) fn take() -> Result<Vec<Handed>, CommandError> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    // What was meant for another process says nothing about the descriptors of this one.
    if variable("LISTEN_PID").parse() != Ok(getpid().as_raw_nonzero().get()) {
        return Ok(Vec::new());
    }
    let count = variable("LISTEN_FDS");
    let refused = |why: String| CommandError::failed(format!("LISTEN_FDS={count}: {why}"));
    let number = count.parse::<usize>().ok().filter(|count| *count <= MOST);
    let number = number.ok_or_else(|| refused(format!("that is no number up to {MOST}")))?;
    let names = variable("LISTEN_FDNAMES");
    let mut names = names.split(':');
    let own = pidfd_open(getpid(), PidfdFlags::empty()).during(|| "pidfd_open(<this process>)".into())?;
    let mut handed = Vec::with_capacity(number);
    for fd in (FIRST..).take(number) {
        let taken = pidfd_getfd(&own, fd, PidfdGetfdFlags::empty());
        let socket = taken.map_err(|_| refused(format!("descriptor {fd} is not open")))?;
        if !socket_acceptconn(&socket).unwrap_or(false) {
            let refused = refused(format!("descriptor {fd} is no listening socket"));
            return Err(refused.hint("apps take over listening sockets only: with Accept=no, and of streams"));
        }
        let address = getsockname(&socket).ok().and_then(|address| SocketAddr::try_from(address).ok());
        handed.push(Handed { name: names.next().unwrap_or_default().to_owned(), address, socket });
    }
    Ok(handed)
}
