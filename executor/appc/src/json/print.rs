//! Canonical JSON: what Go's `json.Marshal` prints, byte for byte.
//!
//! Fields stand in the order the schema lists them, there is no space, and `<`, `>`, `&` and the two Unicode line
//! separators are escaped.

use super::decode::Invalid;
use super::path::JsonPath;
use super::view::{self, Kind, View};
use crate::problem::Problem;
use std::collections::BTreeMap;

/// A type that can be printed; one that breaks its own rules is an error, as when reading.
pub(crate) trait ToJson {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid>;
}

/// The output so far and the place in the document it has reached.
#[derive(Debug, Default)]
pub(crate) struct Printer {
    out: Vec<u8>,
    path: JsonPath,
}

impl Printer {
    /// Prints one value.
    pub(crate) fn print(value: &impl ToJson) -> Result<Vec<u8>, Invalid> {
        let mut printer = Self::default();
        value.to_json(&mut printer)?;
        Ok(printer.out)
    }

    /// Fails the printing if the value's own rules are broken.
    pub(crate) fn rules<E: Into<Problem>>(&self, checked: Result<(), E>) -> Result<(), Invalid> {
        checked.map_err(|problem| Invalid { path: self.path.clone(), problem: problem.into() })
    }

    /// Prints an object whose fields `fill` adds.
    pub(crate) fn object(
        &mut self,
        fill: impl FnOnce(&mut ObjectPrinter<'_>) -> Result<(), Invalid>,
    ) -> Result<(), Invalid> {
        self.out.push(b'{');
        fill(&mut ObjectPrinter { printer: self, first: true })?;
        self.out.push(b'}');
        Ok(())
    }

    pub(crate) fn list<T: ToJson>(&mut self, items: &[T]) -> Result<(), Invalid> {
        self.out.push(b'[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            self.path.enter_index(index);
            item.to_json(self)?;
            self.path.leave();
        }
        self.out.push(b']');
        Ok(())
    }

    pub(crate) fn string(&mut self, text: &str) {
        self.out.push(b'"');
        let mut rest = text;
        while let Some((at, c)) = rest.char_indices().find(|&(_, c)| is_escaped(c)) {
            self.raw(&rest[..at]);
            match c {
                '"' => self.raw("\\\""),
                '\\' => self.raw("\\\\"),
                '\n' => self.raw("\\n"),
                '\r' => self.raw("\\r"),
                '\t' => self.raw("\\t"),
                '\u{8}' => self.raw("\\b"),
                '\u{c}' => self.raw("\\f"),
                c => self.raw(&format!("\\u{:04x}", u32::from(c))),
            }
            rest = &rest[at + c.len_utf8()..];
        }
        self.raw(rest);
        self.out.push(b'"');
    }

    /// Prints a value as it was written, but for the space in it and the escapes that Go adds.
    pub(crate) fn verbatim(&mut self, text: &str) {
        let mut in_string = false;
        let mut escaped = false;
        for c in text.chars() {
            if !in_string && c.is_ascii() && view::is_space(c as u8) {
                continue;
            }
            match c {
                '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                    self.out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
                }
                c => self.out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => in_string = !in_string,
                _ => {}
            }
        }
    }

    fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }
}

fn is_escaped(c: char) -> bool {
    matches!(c, '"' | '\\' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}')
}

/// Adds fields to an object being printed.
#[derive(Debug)]
pub(crate) struct ObjectPrinter<'a> {
    printer: &'a mut Printer,
    first: bool,
}

impl ObjectPrinter<'_> {
    pub(crate) fn field<T: ToJson + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Invalid> {
        self.with(name, |printer| value.to_json(printer))
    }

    /// A field that is left out when there is no value.
    pub(crate) fn optional<T: ToJson>(&mut self, name: &str, value: Option<&T>) -> Result<(), Invalid> {
        value.map_or(Ok(()), |value| self.field(name, value))
    }

    /// A list that is left out when empty.
    pub(crate) fn list<T: ToJson>(&mut self, name: &str, items: &[T]) -> Result<(), Invalid> {
        if items.is_empty() { Ok(()) } else { self.with(name, |printer| printer.list(items)) }
    }

    /// A list that is always there: when empty it prints `[]` if it was written so, and `null` otherwise.
    pub(crate) fn nullable_list<T: ToJson>(
        &mut self,
        name: &str,
        items: &[T],
        written_empty: bool,
    ) -> Result<(), Invalid> {
        self.with(name, |printer| {
            if items.is_empty() && !written_empty {
                printer.raw("null");
                return Ok(());
            }
            printer.list(items)
        })
    }

    /// A map that is left out when empty; its keys are sorted.
    pub(crate) fn map(&mut self, name: &str, map: &BTreeMap<String, String>) -> Result<(), Invalid> {
        if map.is_empty() { Ok(()) } else { self.field(name, map) }
    }

    /// A flag that is left out when false.
    pub(crate) fn flag(&mut self, name: &str, value: bool) -> Result<(), Invalid> {
        if value { self.field(name, &true) } else { Ok(()) }
    }

    pub(crate) fn with(
        &mut self,
        name: &str,
        print: impl FnOnce(&mut Printer) -> Result<(), Invalid>,
    ) -> Result<(), Invalid> {
        if !self.first {
            self.printer.out.push(b',');
        }
        self.first = false;
        self.printer.string(name);
        self.printer.out.push(b':');
        self.printer.path.enter_field(name);
        print(self.printer)?;
        self.printer.path.leave();
        Ok(())
    }
}

impl ToJson for str {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.string(self);
        Ok(())
    }
}

impl ToJson for String {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        self.as_str().to_json(printer)
    }
}

impl ToJson for bool {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.raw(if *self { "true" } else { "false" });
        Ok(())
    }
}

impl ToJson for BTreeMap<String, String> {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.object(|object| self.iter().try_for_each(|(key, value)| object.field(key, value)))
    }
}

macro_rules! print_integers {
    ($($integer:ty),*) => {$(
        impl ToJson for $integer {
            fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
                printer.raw(&self.to_string());
                Ok(())
            }
        }
    )*};
}

print_integers!(i32, i64, u16, u32, u64);

/// A value printed as it was written; an absent one prints `null`.
impl ToJson for Option<View<'_>> {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        match self.filter(|view| view.kind() != Kind::Null) {
            Some(view) => printer.verbatim(view.text()),
            None => printer.raw("null"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(value: &impl ToJson) -> String {
        String::from_utf8(Printer::print(value).expect("prints")).expect("UTF-8")
    }

    #[test]
    fn strings_are_escaped_like_go() {
        let text = "a\"b\\c/<&>\n\r\t\u{8}\u{c}\u{1}\u{7f}é\u{2028}".to_owned();
        assert_eq!(printed(&text), "\"a\\\"b\\\\c/\\u003c\\u0026\\u003e\\n\\r\\t\\b\\f\\u0001\u{7f}é\\u2028\"");
    }

    #[test]
    fn verbatim_keeps_spelling_but_not_space() {
        let view = View::document(" {\"b\" : 1.50,\n\"a\": \"x \\\" <\\u0041\"} ");
        assert_eq!(printed(&Some(view)), "{\"b\":1.50,\"a\":\"x \\\" \\u003c\\u0041\"}");
        assert_eq!(printed(&None::<View<'_>>), "null");
    }
}
