//! How text that an image supplied is shown in a message: quoted, escaped and cut short.

use std::fmt;

/// The most characters of one foreign value that a message repeats; a longer one ends in `…`.
const MAX_SHOWN: usize = 200;

/// Text from an untrusted document. It displays in double quotes with control bytes escaped, so that an image can
/// neither move the reader's cursor nor add lines of its own to an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted(String);

impl Quoted {
    /// Keeps at most the first 200 characters of `text`.
    pub(crate) fn new(text: &str) -> Self {
        match text.char_indices().nth(MAX_SHOWN) {
            Some((cut, _)) => Self(format!("{}…", &text[..cut])),
            None => Self(text.to_owned()),
        }
    }

    /// `text` escaped and cut, but without the quotes: for messages of parsers.
    pub(crate) fn bare(text: &str) -> String {
        Self::new(text).0.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'")
    }
}

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_bytes_are_escaped_and_length_is_bounded() {
        assert_eq!(Quoted::new("a\u{1b}[31m\nb").to_string(), r#""a\u{1b}[31m\nb""#);
        assert_eq!(Quoted::bare("say \"x\"\r"), "say \"x\"\\r");
        let long = Quoted::new(&"é".repeat(5000)).to_string();
        assert_eq!(long.chars().count(), MAX_SHOWN + 3);
        assert!(long.ends_with("…\""));
    }
}
