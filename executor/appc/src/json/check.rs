//! The check of a whole document's syntax, before any of it is given a meaning.
//!
//! The messages are those of Go's scanner, because `actool` prints them.

use std::borrow::Cow;
use std::collections::HashSet;

use super::syntax::{SyntaxError, SyntaxProblem};
use super::{Dialect, MAX_DEPTH, view};

/// Checks that `text` is one JSON value and nothing else.
pub(crate) fn check(text: &str, dialect: Dialect) -> Result<(), SyntaxError> {
    let mut checker = Checker { text, bytes: text.as_bytes(), at: 0, dialect };
    checker.document().map_err(|problem| SyntaxError::locate(text.as_bytes(), checker.at, problem))
}

/// A reader of `bytes` whose `at` counts the bytes read, the offending one included once it fails.
struct Checker<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    dialect: Dialect,
}

type Checked = Result<(), SyntaxProblem>;

/// The keys of one object. Most objects have few, which are compared faster than hashed.
#[derive(Default)]
struct Keys<'a> {
    few: Vec<Cow<'a, str>>,
    many: HashSet<Cow<'a, str>>,
}

impl<'a> Keys<'a> {
    const FEW: usize = 16;

    fn is_empty(&self) -> bool {
        self.few.is_empty()
    }

    /// Whether the key is a new one.
    fn insert(&mut self, key: Cow<'a, str>) -> bool {
        if self.few.contains(&key) {
            return false;
        }
        if self.few.len() < Self::FEW {
            self.few.push(key);
            return true;
        }
        self.many.insert(key)
    }
}

impl<'a> Checker<'a> {
    fn document(&mut self) -> Checked {
        self.value(0)?;
        match self.next_solid() {
            None => Ok(()),
            Some(_) => Err(self.invalid("after top-level value")),
        }
    }

    fn value(&mut self, depth: usize) -> Checked {
        let first = self.next_solid().ok_or(SyntaxProblem::UnexpectedEnd)?;
        match first {
            b'{' | b'[' if depth == MAX_DEPTH => Err(SyntaxProblem::TooDeep { limit: MAX_DEPTH }),
            b'{' => self.object(depth + 1),
            b'[' => self.array(depth + 1),
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(first),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => Err(self.invalid("looking for beginning of value")),
        }
    }

    fn object(&mut self, depth: usize) -> Checked {
        let mut keys = Keys::default();
        loop {
            match self.next_solid() {
                Some(b'"') => {}
                Some(b'}') if keys.is_empty() => return Ok(()),
                Some(_) => return Err(self.invalid("looking for beginning of object key string")),
                None => return Err(SyntaxProblem::UnexpectedEnd),
            }
            let start = self.at - 1;
            self.string()?;
            let text: &'a str = self.text;
            let key = view::unescape(&text[start..self.at]);
            if !keys.insert(key.clone()) && self.dialect == Dialect::Proa {
                return Err(SyntaxProblem::DuplicateKey { key: key.into_owned() });
            }
            match self.next_solid() {
                Some(b':') => self.value(depth)?,
                Some(_) => return Err(self.invalid("after object key")),
                None => return Err(SyntaxProblem::UnexpectedEnd),
            }
            match self.next_solid() {
                Some(b',') => {}
                Some(b'}') => return Ok(()),
                Some(_) => return Err(self.invalid("after object key:value pair")),
                None => return Err(SyntaxProblem::UnexpectedEnd),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Checked {
        if self.peek_solid() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(depth)?;
            match self.next_solid() {
                Some(b',') => {}
                Some(b']') => return Ok(()),
                Some(_) => return Err(self.invalid("after array element")),
                None => return Err(SyntaxProblem::UnexpectedEnd),
            }
        }
    }

    /// The rest of a string, whose opening quote was read.
    fn string(&mut self) -> Checked {
        loop {
            match self.next().ok_or(SyntaxProblem::UnexpectedEnd)? {
                b'"' => return Ok(()),
                b'\\' => self.escape()?,
                byte if byte < 0x20 => return Err(self.invalid("in string literal")),
                _ => {}
            }
        }
    }

    fn escape(&mut self) -> Checked {
        match self.next_in("in string escape code")? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => {
                let unit = self.hex_unit()?;
                if self.dialect == Dialect::Actool {
                    return Ok(());
                }
                match unit {
                    0 => Err(SyntaxProblem::Nul),
                    0xdc00..=0xdfff => Err(SyntaxProblem::LoneSurrogate { unit }),
                    0xd800..=0xdbff => self.low_surrogate(unit),
                    _ => Ok(()),
                }
            }
            _ => Err(self.invalid("in string escape code")),
        }
    }

    /// The second half of the pair that `high` begins.
    fn low_surrogate(&mut self, high: u16) -> Checked {
        if !self.bytes[self.at..].starts_with(b"\\u") {
            return Err(SyntaxProblem::LoneSurrogate { unit: high });
        }
        self.at += 2;
        match self.hex_unit()? {
            0xdc00..=0xdfff => Ok(()),
            _ => Err(SyntaxProblem::LoneSurrogate { unit: high }),
        }
    }

    fn hex_unit(&mut self) -> Result<u16, SyntaxProblem> {
        const CONTEXT: &str = "in \\u hexadecimal character escape";
        let mut unit = 0;
        for _ in 0..4 {
            let byte = self.next_in(CONTEXT)?;
            let digit = (byte as char).to_digit(16).ok_or_else(|| self.invalid(CONTEXT))?;
            unit = unit << 4 | digit as u16;
        }
        Ok(unit)
    }

    /// The rest of a number, whose first byte was read.
    fn number(&mut self, first: u8) -> Checked {
        let first = if first == b'-' { self.digit("in numeric literal")? } else { first };
        if first != b'0' {
            self.digits();
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digit("after decimal point in numeric literal")?;
            self.digits();
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digit("in exponent of numeric literal")?;
            self.digits();
        }
        Ok(())
    }

    fn digit(&mut self, context: &str) -> Result<u8, SyntaxProblem> {
        match self.next_in(context)? {
            byte @ b'0'..=b'9' => Ok(byte),
            _ => Err(self.invalid(context)),
        }
    }

    fn digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    /// The rest of `word`, whose first letter was read.
    fn literal(&mut self, word: &str) -> Checked {
        for expected in word.bytes().skip(1) {
            let context = || format!("in literal {word} (expecting '{}')", expected as char);
            if self.peek() != Some(expected) {
                self.next_in(&context())?;
                return Err(self.invalid(&context()));
            }
            self.at += 1;
        }
        Ok(())
    }

    /// The next byte of something that the end of the text would cut in two. Go's scanner feeds itself a space there
    /// and complains about that.
    fn next_in(&mut self, context: &str) -> Result<u8, SyntaxProblem> {
        self.next().ok_or_else(|| SyntaxProblem::InvalidCharacter { found: ' ', context: context.to_owned() })
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next_solid(&mut self) -> Option<u8> {
        self.peek_solid()?;
        self.next()
    }

    fn peek_solid(&mut self) -> Option<u8> {
        while self.peek().is_some_and(view::is_space) {
            self.at += 1;
        }
        self.peek()
    }

    /// The byte just read does not belong where it stands.
    fn invalid(&self, context: &str) -> SyntaxProblem {
        // The last byte read may be inside a longer character; the whole character is named then.
        let start = self.text.floor_char_boundary(self.at.saturating_sub(1));
        let found = self.text[start..].chars().next().unwrap_or('\u{fffd}');
        SyntaxProblem::InvalidCharacter { found, context: context.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        check(text, Dialect::Proa).expect_err(text).problem.to_string()
    }

    #[test]
    fn messages_are_those_of_go() {
        let table = [
            ("", "unexpected end of JSON input"),
            ("  ", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            ("[1,", "unexpected end of JSON input"),
            ("\"abc", "unexpected end of JSON input"),
            ("tru", "invalid character ' ' in literal true (expecting 'e')"),
            ("-", "invalid character ' ' in numeric literal"),
            ("1.", "invalid character ' ' after decimal point in numeric literal"),
            ("1e+", "invalid character ' ' in exponent of numeric literal"),
            ("\"\\", "invalid character ' ' in string escape code"),
            ("\"\\u12", "invalid character ' ' in \\u hexadecimal character escape"),
            ("}", "invalid character '}' looking for beginning of value"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("{1:2}", "invalid character '1' looking for beginning of object key string"),
            ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 \"b\":2}", "invalid character '\"' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("{} x", "invalid character 'x' after top-level value"),
            ("01", "invalid character '1' after top-level value"),
            ("\"a\nb\"", "invalid character '\\n' in string literal"),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            ("\"\\u12g4\"", "invalid character 'g' in \\u hexadecimal character escape"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1ex", "invalid character 'x' in exponent of numeric literal"),
            ("nul!", "invalid character '!' in literal null (expecting 'l')"),
            (
                "\u{feff}{}",
                "invalid character '\u{feff}' looking for beginning of value".replace('\u{feff}', "\\ufeff").as_str(),
            ),
            ("{\"a\":1,\"b\":2,\"a\":3}", "duplicate key \"a\""),
            ("{\"a\":1,\"\\u0061\":3}", "duplicate key \"a\""),
            ("\"\\ud800\"", "lone surrogate \\ud800 in string literal"),
            ("\"\\udc00\\ud800\"", "lone surrogate \\udc00 in string literal"),
            ("\"\\u0000\"", "NUL character in string literal"),
        ]
        .map(|(text, message)| (text.to_owned(), message.to_owned()));
        for (text, message) in table {
            assert_eq!(problem(&text), message, "{text}");
        }
    }

    #[test]
    fn every_kind_of_value_passes() {
        for text in
            ["{}", "[]", " [ ] ", "\"\\ud83d\\ude00\"", "-0.5e+10", "1e400", "true", "false", "null", "{\"\":[{}]}"]
        {
            assert_eq!(check(text, Dialect::Proa), Ok(()), "{text}");
        }
    }

    #[test]
    fn depth_is_bounded_at_the_limit_exactly() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(check(&nested(MAX_DEPTH), Dialect::Proa), Ok(()));
        assert_eq!(problem(&nested(MAX_DEPTH + 1)), "nested more than 64 levels deep");
        assert_eq!(problem(&nested(100_000)), "nested more than 64 levels deep");
        assert_eq!(problem(&"{\"a\":".repeat(100_000)), "nested more than 64 levels deep");
    }

    #[test]
    fn actool_takes_what_go_takes() {
        for text in ["{\"a\":1,\"a\":2}", "\"\\ud800\"", "\"\\u0000\""] {
            assert_eq!(check(text, Dialect::Actool), Ok(()), "{text}");
        }
    }
}
