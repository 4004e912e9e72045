//! Requests to the kernel about the network (netlink(7), rtnetlink(7)), of the network namespace that the thread is in.

use std::io;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

/// Length of a message's header.
const HEADER: usize = 16;

/// A request that the kernel acknowledges: a header of its kind and attributes, all in the machine's byte order.
#[derive(Debug)]
pub struct Request {
    bytes: Vec<u8>,
    /// Whether an attribute was longer than its length can say. Such a request is never sent: a length that wraps would
    /// make the kernel take content for attributes (CVE-2021-43784).
    too_long: bool,
}

impl Request {
    /// A request of this kind (`RTM_…`), with further flags beside `NLM_F_REQUEST` and `NLM_F_ACK`, and the fixed part
    /// that requests of this kind have, whose length is a multiple of four.
    #[must_use]
    pub fn new(kind: u16, flags: i32, fixed: &[u8]) -> Self {
        let flags = (flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        // Sequence number, and the port of the sender: the kernel knows both from the socket.
        bytes.extend([0; 8]);
        bytes.extend(fixed);
        Self { bytes, too_long: false }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(self, kind: u16, value: &[u8]) -> Self {
        self.with_all(kind, |request| {
            let mut request = request;
            request.bytes.extend(value);
            request
        })
    }

    /// Adds an attribute that consists of others.
    #[must_use]
    pub fn with_all(mut self, kind: u16, add: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend(kind.to_ne_bytes());
        self = add(self);
        match u16::try_from(self.bytes.len() - start) {
            Ok(length) => self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes()),
            Err(_) => self.too_long = true,
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// The message, if its lengths can be said.
    fn message(mut self) -> io::Result<Vec<u8>> {
        let length = u32::try_from(self.bytes.len()).map_err(|_| io::Error::from(Errno::MSGSIZE))?;
        if self.too_long {
            return Err(Errno::MSGSIZE.into());
        }
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        Ok(self.bytes)
    }

    /// Has the kernel do it.
    ///
    /// # Errors
    /// What the kernel says, `EPERM` without CAP_NET_ADMIN over the network namespace; `EMSGSIZE` for a request that is
    /// too long to be one.
    pub fn send(self) -> io::Result<()> {
        let message = self.message()?;
        // Protocol 0 is NETLINK_ROUTE.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        sendto(&socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        // An error brings the request along, which is not looked at: the rest of a datagram goes when it is read.
        let mut answer = [0; 256];
        let (_, length) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
        acknowledged(&answer[..length.min(answer.len())])
    }
}

/// What an acknowledgement says: a header of type NLMSG_ERROR, and a negative errno or zero.
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let code = answer.get(HEADER..HEADER + 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match (kind.map(i32::from), code) {
        (Some(libc::NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(libc::NLMSG_ERROR), Some(code)) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        _ => Err(Errno::BADMSG.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_nested() {
        let request = Request::new(36, 0, &[7; 4]).with(1, b"tbf\0").with_all(2, |all| all.with(3, &[9]).with(4, &[]));
        let message = request.message().unwrap();
        let u16_at = |at: usize| u16::from_ne_bytes([message[at], message[at + 1]]);
        assert_eq!(message.len(), 44);
        assert_eq!(message[..4], 44_u32.to_ne_bytes());
        assert_eq!((u16_at(20), u16_at(22), &message[24..28]), (8, 1, &b"tbf\0"[..]));
        assert_eq!((u16_at(28), u16_at(30)), (16, 2));
        assert_eq!((u16_at(32), u16_at(34), message[36]), (5, 3, 9));
        assert_eq!((u16_at(40), u16_at(42)), (4, 4));
    }

    /// A length of 16 bits that wrapped would have the kernel read content as attributes (CVE-2021-43784).
    #[test]
    fn net_07_what_is_too_long_is_refused_and_never_cut() {
        let fits = vec![0; usize::from(u16::MAX) - 4];
        assert!(Request::new(1, 0, &[]).with(1, &fits).message().is_ok());
        let long = vec![0; 70 << 10];
        for request in [
            Request::new(1, 0, &[]).with(1, &[0; 65_532]),
            Request::new(1, 0, &[]).with(1, &long),
            Request::new(1, 0, &[]).with_all(1, |all| all.with(2, &fits).with(3, &fits)),
            Request::new(1, 0, &[]).with_all(1, |all| all.with(2, &long)).with(4, &[0]),
        ] {
            let error = request.send().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
        }
    }

    #[test]
    fn acknowledgements() {
        let answer = |kind: u16, code: i32| {
            let mut answer = vec![0; 20];
            answer[4..6].copy_from_slice(&kind.to_ne_bytes());
            answer[16..20].copy_from_slice(&code.to_ne_bytes());
            acknowledged(&answer)
        };
        assert!(answer(2, 0).is_ok());
        assert_eq!(answer(2, -17).unwrap_err().raw_os_error(), Some(17));
        assert!(answer(3, 0).is_err() && acknowledged(&[2; 10]).is_err());
    }
}
