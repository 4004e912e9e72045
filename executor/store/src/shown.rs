//! How bytes chosen by an image are shown to a person.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest name shown whole, in bytes; a hostile archive may hold names of 4 KiB.
const LONGEST: usize = 256;

/// Untrusted bytes made safe for a terminal and a log: control characters, quotes, backslashes and what is not
/// UTF-8 are escaped, the rest is cut after 256 bytes. It prints inside double quotes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown(String);

impl Shown {
    /// Escapes `bytes`.
    pub fn new(bytes: &[u8]) -> Self {
        let (head, cut) = if bytes.len() > LONGEST { (&bytes[..LONGEST], true) } else { (bytes, false) };
        let mut text = escape(head);
        if cut {
            text.push('…');
        }
        Self(text)
    }

    /// The escaped text, without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Writes `bytes` as printable text from which [`unescape`] restores them exactly.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\x22"),
                c if c.is_control() || is_direction_mark(c) => {
                    let mut buffer = [0; 4];
                    c.encode_utf8(&mut buffer).bytes().for_each(|b| push_hex(&mut text, b));
                }
                c => text.push(c),
            }
        }
        chunk.invalid().iter().for_each(|&b| push_hex(&mut text, b));
    }
    text
}

/// Restores what [`escape`] wrote; `None` for text it never writes.
pub(crate) fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first != b'\\' {
            bytes.push(first);
            rest = tail;
            continue;
        }
        match tail {
            [b'\\', after @ ..] => {
                bytes.push(b'\\');
                rest = after;
            }
            [b'x', high, low, after @ ..] => {
                let digits = [*high, *low];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
                rest = after;
            }
            _ => return None,
        }
    }
    Some(bytes)
}

fn push_hex(text: &mut String, byte: u8) {
    use fmt::Write as _;
    write!(text, "\\x{byte:02x}").expect("writing to a string does not fail");
}

/// Characters that reorder the text around them on a terminal, so that a name could disguise itself.
fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_bytes_and_invalid_utf8_are_escaped() {
        assert_eq!(Shown::new(b"a\n\x1b[31m\xff\"\\").to_string(), r#""a\x0a\x1b[31m\xff\x22\\""#);
        assert_eq!(Shown::new("ä\u{202e}".as_bytes()).to_string(), r#""ä\xe2\x80\xae""#);
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(Shown::new(&[b'a'; 5000]).as_str().chars().count(), LONGEST + 1);
    }

    #[test]
    fn escaping_is_reversible() {
        let all: Vec<u8> = (0..=255).chain(*b"\\x41").chain("äß".bytes()).collect();
        assert_eq!(unescape(&escape(&all)).unwrap(), all);
        assert_eq!(unescape("\\q"), None);
        assert_eq!(unescape("\\x1"), None);
    }
}
