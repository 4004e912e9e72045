//! Quoting of untrusted text in messages the way Go's `%q` does it, which the contract's error texts use.

use std::fmt;

/// Displays a string in double quotes, with everything unprintable escaped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                _ => write_escaped(f, c)?,
            }
        }
        f.write_str("\"")
    }
}

/// Displays one character in single quotes, as Go's JSON scanner names the character it stumbled over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QuotedChar(pub(crate) char);

impl fmt::Display for QuotedChar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("'")?;
        match self.0 {
            '\'' => f.write_str("\\'")?,
            c => write_escaped(f, c)?,
        }
        f.write_str("'")
    }
}

fn write_escaped(f: &mut fmt::Formatter<'_>, c: char) -> fmt::Result {
    match c {
        '\\' => f.write_str("\\\\"),
        '\u{7}' => f.write_str("\\a"),
        '\u{8}' => f.write_str("\\b"),
        '\u{c}' => f.write_str("\\f"),
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        '\u{b}' => f.write_str("\\v"),
        c if u32::from(c) < 0x20 || c == '\u{7f}' => write!(f, "\\x{:02x}", u32::from(c)),
        c if is_printable(c) => write!(f, "{c}"),
        c if u32::from(c) > 0xffff => write!(f, "\\U{:08x}", u32::from(c)),
        c => write!(f, "\\u{:04x}", u32::from(c)),
    }
}

/// Whether the standard library would print the character as it is; it escapes controls, unassigned code points,
/// separators and combining marks, which must not reach a terminal unescaped either.
fn is_printable(c: char) -> bool {
    c == '\'' || c == '"' || c.escape_debug().len() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_like_go() {
        let table = [
            ("", "\"\""),
            ("plain", "\"plain\""),
            ("a\"b", "\"a\\\"b\""),
            ("a'b", "\"a'b\""),
            ("back\\slash", "\"back\\\\slash\""),
            ("tab\tnl\n", "\"tab\\tnl\\n\""),
            ("\u{1b}[31m", "\"\\x1b[31m\""),
            ("grün", "\"grün\""),
            ("\u{202e}", "\"\\u202e\""),
        ];
        for (text, quoted) in table {
            assert_eq!(Quoted(text).to_string(), quoted);
        }
        assert_eq!(QuotedChar('\'').to_string(), "'\\''");
        assert_eq!(QuotedChar('"').to_string(), "'\"'");
        assert_eq!(QuotedChar('}').to_string(), "'}'");
    }
}
