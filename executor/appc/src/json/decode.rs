//! Reading typed values out of a checked document, in the order and with the leniency of Go's `encoding/json`.
//!
//! Two kinds of failure must be kept apart to report the same one of several mistakes as the Go implementation. A rule
//! of the schema that is broken ends the reading at once. A plain field of the wrong JSON type is remembered, the
//! reading goes on, and the first one remembered is reported when the innermost type with rules of its own is
//! complete ([`Cx::typed`]), before those rules are looked at.

use super::Dialect;
use super::path::JsonPath;
use super::view::{Kind, View};
use crate::problem::Problem;

/// A problem and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invalid {
    pub(crate) path: JsonPath,
    pub(crate) problem: Problem,
}

/// A field holds another JSON type than the schema says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldError {
    /// The value is of another JSON type.
    #[error("expected {expected}, found {found}")]
    Mismatch {
        /// What the schema wants, for example `a string`.
        expected: &'static str,
        /// What stands there.
        found: &'static str,
    },
    /// A number that is not a whole one, or out of range.
    #[error("expected {expected}, found {found}")]
    Number {
        /// What the schema wants.
        expected: &'static str,
        /// The number as written.
        found: String,
    },
    /// Two keys of one object mean the same field: they differ only in case.
    #[error("key {found:?} repeats the field {field:?}")]
    Repeated {
        /// The field's name in the schema.
        field: &'static str,
        /// The second key.
        found: String,
    },
}

/// The state of reading one document.
#[derive(Debug)]
pub(crate) struct Cx {
    path: JsonPath,
    remembered: Option<Invalid>,
    dialect: Dialect,
}

/// A type that can be read from a JSON value.
pub(crate) trait FromJson: Sized {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid>;
}

impl Cx {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self { path: JsonPath::default(), remembered: None, dialect }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Places a problem at the value being read.
    pub(crate) fn invalid(&self, problem: impl Into<Problem>) -> Invalid {
        Invalid { path: self.path.clone(), problem: problem.into() }
    }

    /// Reads a type that has rules of its own: `read` fills it, then wrong types met on the way count, then `rules`.
    pub(crate) fn typed<T, E: Into<Problem>>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Invalid>,
        rules: impl FnOnce(&T) -> Result<(), E>,
    ) -> Result<T, Invalid> {
        self.built(read, |value| rules(&value).map(|()| value))
    }

    /// Reads a type on its own without rules: only wrong types met on the way count.
    pub(crate) fn complete<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Invalid>) -> Result<T, Invalid> {
        self.built(read, Ok::<T, Problem>)
    }

    /// Reads something that stands in the field called `name`.
    pub(crate) fn enter<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Self) -> Result<T, Invalid>,
    ) -> Result<T, Invalid> {
        self.path.enter_field(name);
        let value = read(self)?;
        self.path.leave();
        Ok(value)
    }

    /// Like [`Cx::typed`], for a type that is made of what was read once that is complete.
    pub(crate) fn built<R, T, E: Into<Problem>>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<R, Invalid>,
        build: impl FnOnce(R) -> Result<T, E>,
    ) -> Result<T, Invalid> {
        let outer = self.remembered.take();
        let parts = read(self)?;
        if let Some(invalid) = self.remembered.take() {
            return Err(invalid);
        }
        self.remembered = outer;
        build(parts).map_err(|problem| self.invalid(problem))
    }

    /// Reads a type that is written as one string and has rules of its own. Null counts as the empty string.
    pub(crate) fn parsed<T, E: Into<Problem>>(
        &mut self,
        view: View<'_>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, Invalid> {
        let read = |cx: &mut Self| {
            let mut text = String::new();
            cx.string(view, &mut text);
            Ok(text)
        };
        self.built(read, |text| parse(&text))
    }

    /// Calls `set` for each member whose key is one of `known`, exactly or but for case; other members are ignored.
    pub(crate) fn fields<'a>(
        &mut self,
        view: View<'a>,
        known: &[&'static str],
        mut set: impl FnMut(&mut Self, &'static str, View<'a>) -> Result<(), Invalid>,
    ) -> Result<(), Invalid> {
        if !self.expect(view, Kind::Object) {
            return Ok(());
        }
        let mut seen = 0u32;
        for (key, value) in view.members() {
            let Some(index) = known.iter().position(|field| folds_to(&key, field)) else { continue };
            let field = known[index];
            if seen & 1 << index != 0 && self.dialect == Dialect::Proa {
                return Err(self.invalid(FieldError::Repeated { field, found: key.into_owned() }));
            }
            seen |= 1 << index;
            self.enter(field, |cx| set(cx, field, value))?;
        }
        Ok(())
    }

    /// Reads a list; null reads as none, which the schema lets stand for the empty list.
    pub(crate) fn list<T: FromJson>(&mut self, view: View<'_>) -> Result<Option<Vec<T>>, Invalid> {
        if !self.expect(view, Kind::Array) {
            return Ok(None);
        }
        let mut list = Vec::new();
        for (index, element) in view.elements().enumerate() {
            self.path.enter_index(index);
            list.push(T::from_json(self, element)?);
            self.path.leave();
        }
        Ok(Some(list))
    }

    /// Reads an optional value: null is none.
    pub(crate) fn optional<T: FromJson>(&mut self, view: View<'_>) -> Result<Option<T>, Invalid> {
        if view.kind() == Kind::Null { Ok(None) } else { T::from_json(self, view).map(Some) }
    }

    /// Reads an object whose keys are free and whose values are strings.
    pub(crate) fn string_map(&mut self, view: View<'_>) -> std::collections::BTreeMap<String, String> {
        let mut map = std::collections::BTreeMap::new();
        if self.expect(view, Kind::Object) {
            for (key, value) in view.members() {
                self.path.enter_field(&key);
                let mut text = String::new();
                self.string(value, &mut text);
                self.path.leave();
                map.insert(key.into_owned(), text);
            }
        }
        map
    }

    /// Reads a string; null leaves `into` as it is, like every plain reader here.
    pub(crate) fn string(&mut self, view: View<'_>, into: &mut String) {
        if let Some(text) = view.string() {
            *into = text.into_owned();
        } else {
            self.expect(view, Kind::String);
        }
    }

    pub(crate) fn boolean(&mut self, view: View<'_>, into: &mut bool) {
        match view.boolean() {
            Some(value) => *into = value,
            None => {
                self.expect(view, Kind::Bool);
            }
        }
    }

    /// Reads a whole number of the type's range.
    pub(crate) fn integer<T: std::str::FromStr>(&mut self, view: View<'_>, expected: &'static str, into: &mut T) {
        match (view.kind(), view.number()) {
            (Kind::Null, _) => {}
            (_, Some(digits)) => match digits.parse() {
                Ok(value) => *into = value,
                Err(_) => self.remember(FieldError::Number { expected, found: digits.to_owned() }),
            },
            (kind, None) => self.remember(FieldError::Mismatch { expected, found: kind.described() }),
        }
    }

    /// Whether the value is of the kind; one of another kind, except null, is remembered as a mistake.
    fn expect(&mut self, view: View<'_>, kind: Kind) -> bool {
        let found = view.kind();
        if found != kind && found != Kind::Null {
            self.remember(FieldError::Mismatch { expected: kind.described(), found: found.described() });
        }
        found == kind
    }

    fn remember(&mut self, error: FieldError) {
        if self.remembered.is_none() {
            self.remembered = Some(self.invalid(error));
        }
    }
}

impl FromJson for String {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        let mut text = Self::new();
        cx.string(view, &mut text);
        Ok(text)
    }
}

impl FromJson for i64 {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        let mut value = 0;
        cx.integer(view, "a whole number", &mut value);
        Ok(value)
    }
}

impl FromJson for bool {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        let mut value = false;
        cx.boolean(view, &mut value);
        Ok(value)
    }
}

/// Whether `key` equals the ASCII field name under Unicode simple case folding, which Go's matching uses: besides
/// upper case it takes the long s and the Kelvin sign.
fn folds_to(key: &str, field: &str) -> bool {
    let fold = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(field.chars().map(fold))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_fold_like_go() {
        assert!(folds_to("SUPPLEMENTARYgids", "supplementaryGIDs"));
        assert!(folds_to("u\u{17f}er", "user"));
        assert!(folds_to("acKind", "ac\u{212a}ind"));
        assert!(!folds_to("user ", "user"));
        assert!(!folds_to("", "user"));
    }
}
