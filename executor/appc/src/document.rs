//! A manifest as a document: the way from bytes to a value and back, and what can go wrong on it.

use std::borrow::Cow;
use std::fmt;

use crate::json::decode::{Cx, Invalid};
use crate::json::path::JsonPath;
use crate::json::print::{Printer, ToJson};
use crate::json::syntax::{SyntaxError, SyntaxProblem};
use crate::json::view::View;
use crate::json::{Dialect, MAX_MANIFEST_BYTES, check, pretty};
use crate::problem::Problem;

/// A manifest that cannot be read, or one made in code that cannot be printed.
///
/// Displays the message of the Go implementation, without the place; [`ManifestError::located`] adds it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// More bytes than a manifest may have.
    #[error("manifest of {size} bytes is larger than {limit} bytes")]
    TooLarge {
        /// The size of the manifest in bytes.
        size: usize,
        /// The largest size allowed.
        limit: usize,
    },
    /// Not JSON.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// A value that breaks a rule of the schema.
    #[error("{problem}")]
    Invalid {
        /// Where it is.
        path: JsonPath,
        /// The rule.
        problem: Problem,
    },
}

impl ManifestError {
    /// The place of the value that breaks a rule; a syntax error tells its own line and column.
    pub fn path(&self) -> Option<&JsonPath> {
        match self {
            Self::Invalid { path, .. } => Some(path),
            _ => None,
        }
    }

    /// Displays the message behind the JSON path of the value it is about: `$.app.user: user is required`.
    pub fn located(&self) -> impl fmt::Display + '_ {
        fmt::from_fn(move |f| match self.path() {
            Some(path) => write!(f, "{path}: {self}"),
            None => write!(f, "{self}"),
        })
    }
}

impl From<Invalid> for ManifestError {
    fn from(Invalid { path, problem }: Invalid) -> Self {
        Self::Invalid { path, problem }
    }
}

/// Checks `bytes` as a document and lets `read_value` make something of its top value.
pub(crate) fn read<T>(
    bytes: &[u8],
    dialect: Dialect,
    read_value: impl FnOnce(&mut Cx, View<'_>) -> Result<T, Invalid>,
) -> Result<T, ManifestError> {
    check_size(bytes)?;
    let text = text(bytes, dialect)?;
    check::check(&text, dialect)?;
    Ok(read_value(&mut Cx::new(dialect), View::document(&text))?)
}

fn text(bytes: &[u8], dialect: Dialect) -> Result<Cow<'_, str>, SyntaxError> {
    match dialect {
        Dialect::Actool => Ok(String::from_utf8_lossy(bytes)),
        Dialect::Proa => std::str::from_utf8(bytes)
            .map(Cow::Borrowed)
            .map_err(|error| SyntaxError::locate(bytes, error.valid_up_to() + 1, SyntaxProblem::InvalidUtf8)),
    }
}

/// Prints a value as canonical JSON; one that would be too large to read back is an error.
pub(crate) fn print(value: &impl ToJson) -> Result<Vec<u8>, ManifestError> {
    let printed = Printer::print(value)?;
    check_size(&printed)?;
    Ok(printed)
}

/// Prints a value as canonical JSON spread over lines.
pub(crate) fn print_pretty(value: &impl ToJson) -> Result<Vec<u8>, ManifestError> {
    Ok(pretty::indent(&print(value)?))
}

fn check_size(manifest: &[u8]) -> Result<(), ManifestError> {
    match manifest.len() {
        size if size > MAX_MANIFEST_BYTES => Err(ManifestError::TooLarge { size, limit: MAX_MANIFEST_BYTES }),
        _ => Ok(()),
    }
}
