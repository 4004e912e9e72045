//! How a name that someone else chose is shown on a terminal, and data that such names may be in.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Returns `text` with every control character written as `\xNN` or `\u{NNNN}`.
///
/// Image names, paths and error texts come from files that nobody has vouched for. An escape sequence in one of them
/// could rewrite what the terminal already shows, a newline could forge a line of ours, and a bidirectional override
/// could make the text read backwards.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(deceives) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            c if !deceives(c) => shown.push(c),
            c if c.is_ascii() => write!(shown, "\\x{:02x}", c as u32).expect("a String never refuses a write"),
            c => write!(shown, "{}", c.escape_unicode()).expect("a String never refuses a write"),
        }
    }
    Cow::Owned(shown)
}

/// Returns data of ours with the characters that would change a terminal written as JSON escapes them, so that what is
/// copied from there is JSON still. Its own line breaks and tabs stay.
pub(crate) fn on_terminal(data: &str) -> Cow<'_, str> {
    let is_odd = |c: char| deceives(c) && !matches!(c, '\n' | '\t');
    if !data.chars().any(is_odd) {
        return Cow::Borrowed(data);
    }
    let mut shown = String::with_capacity(data.len() + 8);
    for c in data.chars() {
        match c {
            // All of them have four digits at most.
            c if is_odd(c) => write!(shown, "\\u{:04x}", c as u32).expect("a String never refuses a write"),
            c => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// Whether a character changes how its neighbours are displayed.
fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_not_copied() {
        assert!(matches!(printable("example.com/redis:7 größer"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_on_a_terminal_is_the_same_json() {
        assert_eq!(
            on_terminal("{\n\t\"a\": \"\u{9b}31m\x7f\u{202e}ö\"\n}\n"),
            "{\n\t\"a\": \"\\u009b31m\\u007f\\u202eö\"\n}\n"
        );
    }

    #[test]
    fn control_characters_become_visible() {
        assert_eq!(printable("a\x1b[2Jb\nc\x7f"), r"a\x1b[2Jb\x0ac\x7f");
        assert_eq!(printable("c1 \u{9b}31m"), r"c1 \u{9b}31m");
        assert_eq!(printable("gpj.\u{202e}exe"), r"gpj.\u{202e}exe");
    }
}
