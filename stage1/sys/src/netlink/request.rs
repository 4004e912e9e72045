//! A request, as bytes: a header and attributes, all in the machine's byte order, every part at a multiple of four
//! (netlink(7)).

use std::io;

use rustix::io::Errno;

use super::{HEADER, Socket};

/// A request that the kernel acknowledges.
#[derive(Debug)]
pub struct Request {
    bytes: Vec<u8>,
    /// Why it is never sent, if so. A length that wrapped would make the kernel take content for attributes
    /// (CVE-2021-43784).
    refused: Option<Errno>,
}

impl Request {
    /// A request of this kind (`RTM_…`), with further flags beside `NLM_F_REQUEST` and `NLM_F_ACK`, and the fixed part
    /// that requests of this kind have, whose length is a multiple of four.
    #[must_use]
    pub fn new(kind: u16, flags: i32, fixed: &[u8]) -> Self {
        let flags = (flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        // Its length is put in when it is sent. Sequence number, and the port of the sender: the kernel knows both from
        // the socket.
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes.extend(fixed);
        Self { bytes, refused: None }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(self, kind: u16, value: &[u8]) -> Self {
        self.with_all(kind, |request| request.plain(value))
    }

    /// Adds an attribute that is a text with a zero at its end. One that is empty, longer than the kernel takes or no text is
    /// `EINVAL` when the request is sent.
    #[must_use]
    pub fn with_text(mut self, kind: u16, text: &str, longest: usize) -> Self {
        if text.is_empty() || text.len() > longest || text.contains('\0') {
            self.refused = self.refused.or(Some(Errno::INVAL));
            return self;
        }
        self.with_all(kind, |request| request.plain(text.as_bytes()).plain(&[0]))
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
            Err(_) => self.refused = self.refused.or(Some(Errno::MSGSIZE)),
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// Adds bytes that are no attribute: the inside of one, or a fixed part that others follow.
    #[must_use]
    pub fn plain(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }

    /// Has the kernel do it, in the network namespace that the thread is in.
    ///
    /// # Errors
    /// What the kernel says, `EPERM` without CAP_NET_ADMIN over the network namespace; `EMSGSIZE` for a request that is
    /// too long to be one, `EINVAL` for a text in it that cannot be.
    pub fn send(self) -> io::Result<()> {
        Socket::open()?.ask(self)
    }

    /// The message, if its lengths can be said.
    pub(super) fn message(mut self) -> io::Result<Vec<u8>> {
        if let Some(errno) = self.refused {
            return Err(errno.into());
        }
        let length = u32::try_from(self.bytes.len()).map_err(|_| io::Error::from(Errno::MSGSIZE))?;
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        Ok(self.bytes)
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
    fn texts_that_cannot_be_are_refused() {
        let send = |text: &str| Request::new(1, 0, &[]).with_all(1, |all| all.with_text(2, text, 15)).message();
        assert_eq!(send("fifteen-bytes-a").unwrap().len(), 16 + 4 + 4 + 16);
        for text in ["", "sixteen-bytes-ab", "a\0b"] {
            assert_eq!(send(text).unwrap_err().raw_os_error(), Some(libc::EINVAL), "{text:?}");
        }
    }
}
