//! How a node goes from one monitor to the next: over a socket at which all monitors of the network listen.
//!
//! Who connects as the same user is sent one byte, the version, and with it the listening socket itself, the node's
//! network namespace and its user namespace, if it has one. Then the connection ends.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, accept_with, recvmsg, sendmsg,
};
use rustix::process::geteuid;

use super::Node;

/// What is sent.
const VERSION: u8 = 1;

/// Hands the node on to those who have asked for it, without waiting for anybody. All monitors of a network do, and
/// whichever is first answers.
///
/// # Errors
/// Those of accept4(2) that go on: `EMFILE`, `ENFILE`, `ENOMEM`. Whoever waits goes on waiting, for another monitor.
pub(super) fn give(node: &Node, listener: &OwnedFd) -> Result<(), Errno> {
    loop {
        let client = match accept_with(listener, SocketFlags::CLOEXEC) {
            Ok(client) => client,
            Err(Errno::AGAIN) => return Ok(()),
            Err(Errno::INTR | Errno::CONNABORTED) => continue,
            Err(errno) => return Err(errno),
        };
        if socket_peercred(&client).is_ok_and(|peer| peer.uid == geteuid()) {
            let mut fds = vec![listener.as_fd()];
            fds.extend(node.fds());
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            // There is room for three.
            ancillary.push(SendAncillaryMessage::ScmRights(&fds));
            // Who is gone does not get it.
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            let _ = sendmsg(&client, &[IoSlice::new(&[VERSION])], &mut ancillary, flags);
        }
    }
}

/// Takes over the node from whoever answers at a socket that is connected: it and the listening socket. `None` if nobody
/// did: the monitor that was about to is gone.
///
/// # Errors
/// A failed recvmsg(2); `EMFILE` where there is no descriptor left for the answer, `EBADMSG` for one of another kind.
pub fn take(socket: &OwnedFd) -> io::Result<Option<(Node, OwnedFd)>> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let message = match recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
        Err(Errno::CONNRESET) => return Ok(None),
        message => message?,
    };
    if message.bytes == 0 {
        return Ok(None);
    }
    let mut fds = ancillary.drain().flat_map(|part| match part {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    let listener = fds.next().filter(|_| byte == [VERSION]);
    let node = Node::from_fds(fds.collect());
    let why = if message.flags.contains(ReturnFlags::CTRUNC) { Errno::MFILE } else { Errno::BADMSG };
    listener.zip(node).map(|(listener, node)| Some((node, listener))).ok_or_else(|| why.into())
}
