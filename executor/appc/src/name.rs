//! AC names and AC identifiers, the two alphabets everything in appc is named with (appc types.md).

use std::fmt;
use std::str::FromStr;

/// A text that is no AC name or AC identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// An empty AC identifier.
    #[error("ACIdentifier cannot be empty")]
    IdentifierEmpty,
    /// An AC identifier holds another character.
    #[error("ACIdentifier must contain only lower case alphanumeric characters plus \"-._~/\"")]
    IdentifierCharacters {
        /// The refused text.
        text: String,
    },
    /// An AC identifier begins or ends with punctuation.
    #[error("ACIdentifier must start and end with only lower case alphanumeric characters")]
    IdentifierEdges {
        /// The refused text.
        text: String,
    },
    /// An empty AC name.
    #[error("ACName cannot be empty")]
    NameEmpty,
    /// An AC name holds another character.
    #[error("ACName must contain only lower case alphanumeric characters plus \"-\"")]
    NameCharacters {
        /// The refused text.
        text: String,
    },
    /// An AC name begins or ends with a dash.
    #[error("ACName must start and end with only lower case alphanumeric characters")]
    NameEdges {
        /// The refused text.
        text: String,
    },
    /// Nothing is left of a text once the characters that cannot be in a name are gone.
    #[error("must contain at least one valid character")]
    NothingLeft {
        /// The refused text.
        text: String,
    },
}

/// Names an app in a pod, a volume, a mount point or a port: lower-case letters, digits and inner dashes.
///
/// Several dashes in a row are accepted, as by the Go code; the spec's regular expression would not. The default
/// value is the *absent* name, which the schema allows in a few places on reading and which never parses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AcName(String);

/// Names an image, a label, an annotation or an isolator: like [`AcName`], with `.`, `_`, `~` and `/` besides the dash.
///
/// The default value is the absent identifier, which never parses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AcIdentifier(String);

fn is_plain(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn is_edged(text: &str) -> bool {
    text.starts_with(is_plain) && text.ends_with(is_plain)
}

fn is_in_name(c: char) -> bool {
    is_plain(c) || c == '-'
}

fn is_in_identifier(c: char) -> bool {
    is_plain(c) || matches!(c, '-' | '.' | '_' | '~' | '/')
}

/// Lower-cases, replaces every run-breaking character one by one, and trims what cannot stand at an edge.
fn sanitized(text: &str, allowed: fn(char) -> bool, replacement: char) -> Result<String, NameError> {
    let lower = text.to_lowercase();
    let replaced: String = lower.chars().map(|c| if allowed(c) { c } else { replacement }).collect();
    let trimmed = replaced.trim_matches(|c| !is_plain(c));
    if trimmed.is_empty() {
        return Err(NameError::NothingLeft { text: text.to_owned() });
    }
    Ok(trimmed.to_owned())
}

impl AcName {
    /// Makes the nearest AC name of any text: lower case, a dash for every other character, none at the edges.
    ///
    /// # Errors
    /// [`NameError::NothingLeft`] if the text holds no letter or digit.
    pub fn sanitize(text: &str) -> Result<Self, NameError> {
        sanitized(text, is_in_name, '-').map(Self)
    }
}

impl FromStr for AcName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            Err(NameError::NameEmpty)
        } else if !text.chars().all(is_in_name) {
            Err(NameError::NameCharacters { text: text.to_owned() })
        } else if !is_edged(text) {
            Err(NameError::NameEdges { text: text.to_owned() })
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

impl AcIdentifier {
    /// Makes the nearest AC identifier of any text: lower case, `_` for every other character, no punctuation at the
    /// edges.
    ///
    /// # Errors
    /// [`NameError::NothingLeft`] if the text holds no letter or digit.
    pub fn sanitize(text: &str) -> Result<Self, NameError> {
        sanitized(text, is_in_identifier, '_').map(Self)
    }
}

impl FromStr for AcIdentifier {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            Err(NameError::IdentifierEmpty)
        } else if !text.chars().all(is_in_identifier) {
            Err(NameError::IdentifierCharacters { text: text.to_owned() })
        } else if !is_edged(text) {
            Err(NameError::IdentifierEdges { text: text.to_owned() })
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

macro_rules! name_type {
    ($name:ident) => {
        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether this is the absent name.
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.0 == *other
            }
        }
    };
}

name_type!(AcName);
name_type!(AcIdentifier);

impl From<AcName> for AcIdentifier {
    fn from(name: AcName) -> Self {
        Self(name.0)
    }
}
