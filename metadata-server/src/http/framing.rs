//! Where requests begin and end in a stream, as far as time limits and strictness need to know.
//!
//! hyper takes a bare line feed for the end of a line, as the specification permits (RFC 9112, section 2.2). No client
//! of this service sends one, but whoever smuggles a request past a proxy may: it is made a NUL, which hyper refuses.
//! The same befalls a second `Content-Length`, which hyper takes if it equals the first.

use memchr::memchr;

/// How much of a line is kept until its end arrives: a `Content-Length` and then some.
const MAX_KEPT: usize = 64;

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// A line of a head. In front of a request line, empty lines are passed over.
    Head { begun: bool },
    /// So many bytes of a body.
    Body(u64),
    /// Nothing that matters: hyper or the policy is about to close the connection.
    Anything,
}

/// Reads along.
#[derive(Debug)]
pub(crate) struct Framing {
    next: Next,
    /// The beginning of a line whose end is still to come.
    line: Vec<u8>,
    /// Its last byte so far.
    last: u8,
    /// Length of the body that follows the head, once it has been told.
    length: Option<u64>,
}

impl Framing {
    pub(crate) fn new() -> Self {
        Self { next: Next::Head { begun: false }, line: Vec::new(), last: 0, length: None }
    }

    /// Whether a request has begun and is not whole.
    pub(crate) fn is_amid(&self) -> bool {
        self.next != Next::Head { begun: false } || !self.line.is_empty()
    }

    /// Reads along; returns how many requests have become whole.
    pub(crate) fn read(&mut self, bytes: &mut [u8]) -> u32 {
        let (mut at, mut whole) = (0, 0);
        while at < bytes.len() {
            match self.next {
                Next::Anything => return whole,
                Next::Body(left) => {
                    let here = u64::try_from(bytes.len() - at).unwrap_or(u64::MAX).min(left);
                    at += usize::try_from(here).expect("no more than is here");
                    if here == left {
                        whole += 1;
                        self.next = Next::Head { begun: false };
                    } else {
                        self.next = Next::Body(left - here);
                    }
                }
                Next::Head { begun } => match memchr(b'\n', &bytes[at..]) {
                    None => {
                        self.keep(&bytes[at..]);
                        return whole;
                    }
                    Some(length) => {
                        let end = at + length;
                        let before = match (length, self.line.is_empty()) {
                            (1.., _) => bytes[end - 1],
                            (0, false) => self.last,
                            (0, true) => 0,
                        };
                        if before != b'\r' || !self.line_read(&bytes[at..end], begun, &mut whole) {
                            bytes[end] = 0;
                            self.next = Next::Anything;
                            return whole;
                        }
                        at = end + 1;
                    }
                },
            }
        }
        whole
    }

    fn keep(&mut self, part: &[u8]) {
        let room = MAX_KEPT.saturating_sub(self.line.len());
        self.line.extend_from_slice(&part[..part.len().min(room)]);
        self.last = part.last().copied().unwrap_or(self.last);
    }

    /// Goes on after a line, of which `rest` is what has just arrived, and counts the request if that makes it whole.
    /// Returns whether the line may stand.
    fn line_read(&mut self, rest: &[u8], begun: bool, whole: &mut u32) -> bool {
        let is_empty = self.line.len() + rest.len() == 1;
        if !is_empty {
            self.next = Next::Head { begun: true };
            if self.line.is_empty() {
                return self.field_read(rest);
            }
            self.keep(rest);
            let line = std::mem::take(&mut self.line);
            return self.field_read(&line);
        }
        self.line.clear();
        if begun {
            match self.length.take() {
                None | Some(0) => {
                    *whole += 1;
                    self.next = Next::Head { begun: false };
                }
                Some(length) => self.next = Next::Body(length),
            }
        }
        true
    }

    fn field_read(&mut self, line: &[u8]) -> bool {
        // Most lines are neither: one look at the first letter is enough for them.
        if !matches!(line.first(), Some(b'c' | b'C' | b't' | b'T')) {
            return true;
        }
        let Some(colon) = memchr(b':', line) else { return true };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            match std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()) {
                Some(length) => return self.length.replace(length).is_none(),
                None => self.next = Next::Anything,
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.next = Next::Anything;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the text in one piece and in pieces of every size; all must agree.
    fn read(text: &str) -> (u32, bool, Vec<u8>) {
        let in_pieces_of = |size: usize| {
            let mut bytes = text.as_bytes().to_vec();
            let mut framing = Framing::new();
            let whole = bytes.chunks_mut(size).map(|piece| framing.read(piece)).sum();
            (whole, framing.is_amid(), bytes)
        };
        let expected = in_pieces_of(text.len());
        for size in 1..text.len() {
            assert_eq!(in_pieces_of(size), expected, "{text:?} in pieces of {size}");
        }
        expected
    }

    const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\ncookie: 1\r\n\r\n";
    const POST: &str = "POST /x HTTP/1.1\r\nhost: a\r\ncontent-LENGTH:  5 \r\n\r\na\nb\n\n";

    #[test]
    fn requests_are_counted_and_left_as_they_are() {
        for (text, whole, amid) in [
            (GET.to_owned(), 1, false),
            (POST.to_owned(), 1, false),
            ([GET, POST, GET, "\r\n", GET].concat(), 4, false),
            (GET[..GET.len() - 2].to_owned(), 0, true),
            (GET[..1].to_owned(), 0, true),
            (POST[..POST.len() - 1].to_owned(), 0, true),
            ([GET, "G"].concat(), 1, true),
        ] {
            assert_eq!(read(&text), (whole, amid, text.as_bytes().to_vec()), "{text:?}");
        }
    }

    #[test]
    fn a_bare_line_feed_becomes_what_no_parser_takes() {
        for text in [
            "GET /x HTTP/1.1\nHost: a\r\n\r\n",
            "GET /x HTTP/1.1\r\nHost: a\n\r\n",
            "GET /x HTTP/1.1\r\nHost: a\r\n\n",
            "\nGET /x HTTP/1.1\r\n\r\n",
        ] {
            let (whole, amid, bytes) = read(text);
            assert_eq!((whole, amid), (0, true), "{text:?}");
            let bare =
                text.as_bytes().windows(2).position(|it| it[0] != b'\r' && it[1] == b'\n').map_or(0, |at| at + 1);
            assert_eq!(bytes[bare], 0, "{text:?}");
        }
        let (whole, _, bytes) = read(&[GET, "GET / HTTP/1.1\n\n"].concat());
        assert_eq!((whole, bytes[GET.len() + 14]), (1, 0), "only in the second request");
    }

    #[test]
    fn a_second_length_becomes_what_no_parser_takes() {
        let text = "POST / HTTP/1.1\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\nxx";
        let (whole, amid, bytes) = read(text);
        assert_eq!((whole, amid, bytes[text.find("\r\n\r\n").unwrap() + 1]), (0, true, 0));
        let again = POST.repeat(2);
        assert_eq!(read(&again), (2, false, again.into_bytes()), "one in each request");
    }

    #[test]
    fn what_will_be_refused_is_not_read_any_further() {
        for field in ["Transfer-Encoding: chunked", "Content-Length: +5", "Content-Length: 99999999999999999999"] {
            let text = format!("POST / HTTP/1.1\r\n{field}\r\n\r\nx\n\n");
            let (_, amid, bytes) = read(&text);
            assert!(amid && bytes == text.as_bytes(), "{field}");
        }
    }

    #[test]
    fn a_long_line_takes_no_memory() {
        let mut framing = Framing::new();
        for _ in 0..1000 {
            framing.read(&mut [b'a'; 1000]);
        }
        assert!(framing.line.capacity() <= 2 * MAX_KEPT);
    }
}
