//! Borrowed access to the values of a document that [`check`](super::check) has passed.

use std::borrow::Cow;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    /// The kind with its article, for messages.
    pub(crate) fn described(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

/// One value of a checked document: its text, without the space around it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    text: &'a str,
}

impl<'a> View<'a> {
    /// The value that makes up the whole of a checked document.
    pub(crate) fn document(text: &'a str) -> Self {
        Self { text: text.trim_matches(|c: char| c.is_ascii() && is_space(c as u8)) }
    }

    pub(crate) fn kind(self) -> Kind {
        match self.text.as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') | None => Kind::Null,
            Some(_) => Kind::Number,
        }
    }

    /// The value as it is written in the document.
    pub(crate) fn text(self) -> &'a str {
        self.text
    }

    /// The decoded text of a string.
    pub(crate) fn string(self) -> Option<Cow<'a, str>> {
        (self.kind() == Kind::String).then(|| unescape(self.text))
    }

    pub(crate) fn boolean(self) -> Option<bool> {
        (self.kind() == Kind::Bool).then(|| self.text == "true")
    }

    /// The digits of a number, as written.
    pub(crate) fn number(self) -> Option<&'a str> {
        (self.kind() == Kind::Number).then_some(self.text)
    }

    /// The members of an object in document order; nothing for any other value.
    pub(crate) fn members(self) -> impl Iterator<Item = (Cow<'a, str>, View<'a>)> {
        let mut inside = Inside::new(self.text, b'{');
        std::iter::from_fn(move || {
            let key = inside.next_value()?;
            let value = inside.next_value()?;
            Some((unescape(key.text), value))
        })
    }

    /// The elements of an array; nothing for any other value.
    pub(crate) fn elements(self) -> impl Iterator<Item = View<'a>> {
        let mut inside = Inside::new(self.text, b'[');
        std::iter::from_fn(move || inside.next_value())
    }
}

/// Walks over the values directly inside an array or object; keys count as values.
struct Inside<'a> {
    rest: &'a str,
}

impl<'a> Inside<'a> {
    fn new(text: &'a str, open: u8) -> Self {
        let rest = if text.as_bytes().first() == Some(&open) { &text[1..] } else { "" };
        Self { rest }
    }

    fn next_value(&mut self) -> Option<View<'a>> {
        let skip = |b: u8| is_space(b) || b == b',' || b == b':';
        let start = self.rest.bytes().position(|b| !skip(b))?;
        let rest = &self.rest[start..];
        let end = value_length(rest.as_bytes());
        self.rest = &rest[end..];
        (end > 0).then(|| View { text: &rest[..end] })
    }
}

/// The length of the value at the start of `bytes`; 0 if what stands there closes the surrounding value.
fn value_length(bytes: &[u8]) -> usize {
    match bytes[0] {
        b'"' => string_length(bytes),
        b'{' | b'[' => {
            let mut depth = 0usize;
            let mut at = 0;
            while at < bytes.len() {
                match bytes[at] {
                    b'"' => at += string_length(&bytes[at..]) - 1,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    break;
                }
            }
            at
        }
        _ => bytes.iter().position(|&b| is_space(b) || matches!(b, b',' | b'}' | b']')).unwrap_or(bytes.len()),
    }
}

fn string_length(bytes: &[u8]) -> usize {
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The characters JSON allows between values.
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Decodes a checked string literal, quotes included. Half a surrogate pair becomes U+FFFD, as in Go.
pub(crate) fn unescape(literal: &str) -> Cow<'_, str> {
    let inner = literal.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default();
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut decoded = String::with_capacity(inner.len());
    let mut units = Vec::new();
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        let (plain, escape) = rest.split_at(at);
        flush_units(&mut units, plain.is_empty(), &mut decoded);
        decoded.push_str(plain);
        if let Some(unit) = escape.get(2..6).filter(|_| escape[1..].starts_with('u')) {
            units.push(u16::from_str_radix(unit, 16).unwrap_or(0xfffd));
            rest = &escape[6..];
            continue;
        }
        flush_units(&mut units, false, &mut decoded);
        let c = escape[1..].chars().next().unwrap_or('\\');
        decoded.push(match c {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            c => c,
        });
        rest = escape.get(1 + c.len_utf8()..).unwrap_or_default();
    }
    flush_units(&mut units, false, &mut decoded);
    decoded.push_str(rest);
    Cow::Owned(decoded)
}

/// Decodes the run of `\u` escapes gathered so far, unless the run goes on.
fn flush_units(units: &mut Vec<u16>, goes_on: bool, decoded: &mut String) {
    if !goes_on {
        decoded.extend(char::decode_utf16(units.drain(..)).map(|unit| unit.unwrap_or('\u{fffd}')));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_members_and_elements() {
        let view = View::document(" { \"a\" : [1, \"x]\\\"\" ,{\"b\":null}] , \"c\":true}\n");
        let members: Vec<_> = view.members().map(|(key, value)| (key.into_owned(), value.text())).collect();
        assert_eq!(members, [("a".to_owned(), "[1, \"x]\\\"\" ,{\"b\":null}]"), ("c".to_owned(), "true")]);
        let array = view.members().next().expect("one member").1;
        let elements: Vec<_> = array.elements().map(View::text).collect();
        assert_eq!(elements, ["1", "\"x]\\\"\"", "{\"b\":null}"]);
        assert_eq!(View::document("[]").elements().count(), 0);
        assert_eq!(View::document("{ }").members().count(), 0);
        assert_eq!(View::document("\"{\"").members().count(), 0);
    }

    #[test]
    fn decodes_escapes() {
        let table = [
            (r#""""#, ""),
            (r#""plain""#, "plain"),
            (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
            (r#""\u0041b\u00e9""#, "Abé"),
            (r#""\ud83d\ude00!""#, "😀!"),
            (r#""\ud83dx\ude00""#, "\u{fffd}x\u{fffd}"),
            (r#""\u0041\n\u0042""#, "A\nB"),
            (r#""é\u0041é""#, "éAé"),
        ];
        for (literal, decoded) in table {
            assert_eq!(unescape(literal), decoded, "{literal}");
        }
    }
}
