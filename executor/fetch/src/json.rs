//! Strict JSON: a document that two readers could understand differently is refused.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};

use crate::quote::Quoted;

/// Nesting beyond this is refused; a real image document needs six levels.
const MAX_DEPTH: usize = 64;

/// Why a document was refused: the parser's own words with line and column, foreign text escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(String);

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        Self(Quoted::bare(&error.to_string()))
    }
}

/// Reads exactly one `T` from `bytes`.
///
/// # Errors
/// Anything that serde_json refuses, bytes after the value, more than 64 levels, and a key that appears twice in one
/// object at any depth: signer, scanner and runtime must not be able to pick different values.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Strict { depth: 0 }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(serde_json::from_slice(bytes)?)
}

/// Walks a value of any shape and keeps nothing of it.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(E::custom(format_args!("nested more than {MAX_DEPTH} levels deep")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            map.next_value_seed(inner)?;
            if let Some(twice) = seen.replace(key) {
                return Err(serde::de::Error::custom(format_args!("duplicate key {}", Quoted::new(&twice))));
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while seq.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn plain_documents_pass() {
        for text in [r#"{"a":1,"b":[{"a":1},{"a":-2.5}],"c":null,"d":"x","e":true}"#, "[]", " {} \n"] {
            assert!(parse::<Value>(text.as_bytes()).is_ok(), "{text}");
        }
        let deep = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert!(parse::<Value>(deep.as_bytes()).is_ok());
    }

    #[test]
    fn hostile_documents_fail_and_say_where() {
        let cases: [(&[u8], &str); 9] = [
            (br#"{"a":1,"a":1}"#, "duplicate key \"a\""),
            (br#"{"a":{"x":[{"k":1,"\u006b":2}]}}"#, "duplicate key \"k\""),
            (br#"{"a\u001b":1,"a\u001b":2}"#, r"\u{1b}"),
            (b"{} {}", "trailing characters"),
            (b"\xef\xbb\xbf{}", "expected value"),
            (b"{\"a\":1e400}", "number out of range"),
            (b"{\"a\":\"\xff\"}", "invalid unicode"),
            (b"{\"a\":", "EOF"),
            (b"", "EOF"),
        ];
        for (text, expected) in cases {
            let error = parse::<Value>(text).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("line 1"), "{error}");
            assert!(!error.contains('\u{1b}'));
        }
    }

    #[test]
    fn depth_is_bounded_before_the_stack_is() {
        for depth in [MAX_DEPTH + 1, 100, 100_000] {
            let error = parse::<Value>("[".repeat(depth).as_bytes()).unwrap_err().to_string();
            assert!(error.contains("nested more than 64"), "{error}");
            let objects = "{\"a\":".repeat(depth);
            assert!(parse::<Value>(objects.as_bytes()).unwrap_err().to_string().contains("nested more than 64"));
        }
    }
}
