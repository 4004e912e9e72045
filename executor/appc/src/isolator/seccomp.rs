//! Sets of system calls by name, and the error a refused call returns.

use super::IsolatorError;
use crate::json::decode::{Cx, FromJson, Invalid};
use crate::json::print::{Printer, ToJson};
use crate::json::view::View;

/// The wildcard for no system call: alone in a remove set it takes away all other filtering.
pub const EMPTY: &str = "@appc.io/empty";
/// The wildcard for every system call: in a retain set it takes away all filtering.
pub const ALL: &str = "@appc.io/all";

/// A set of system calls, of at least one entry.
///
/// Entries are not checked here: they may be names of calls or wildcards, `@scope/name`. Nor is the error name known
/// to exist; the specification's example writes `EACCESS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeccompSet {
    entries: Vec<String>,
    errno: Option<String>,
}

impl SeccompSet {
    /// A set of these entries. Without an error name, or with an empty one, a refused call kills.
    ///
    /// # Errors
    /// [`IsolatorError::SetEmpty`], [`IsolatorError::ErrnoStart`], [`IsolatorError::ErrnoCharacters`].
    pub fn new(entries: Vec<String>, errno: Option<String>) -> Result<Self, IsolatorError> {
        if entries.is_empty() {
            return Err(IsolatorError::SetEmpty);
        }
        let errno = errno.filter(|errno| !errno.is_empty());
        if let Some(name) = &errno {
            check_errno(name)?;
        }
        Ok(Self { entries, errno })
    }

    /// Names of calls and wildcards, as they were written.
    pub fn entries(&self) -> &[String] {
        &self.entries
    }

    /// The name of the error a refused call returns; without one it kills the process with `SIGSYS`.
    pub fn errno(&self) -> Option<&str> {
        self.errno.as_deref()
    }
}

fn check_errno(errno: &str) -> Result<(), IsolatorError> {
    if !errno.starts_with('E') {
        Err(IsolatorError::ErrnoStart { errno: errno.to_owned() })
    } else if !errno.chars().all(|c| c.is_uppercase() || c.is_numeric()) {
        Err(IsolatorError::ErrnoCharacters { errno: errno.to_owned() })
    } else {
        Ok(())
    }
}

impl FromJson for SeccompSet {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        let read = |cx: &mut Cx| {
            let mut entries = Vec::new();
            let mut errno = String::new();
            cx.fields(view, &["set", "errno"], |cx, field, view| {
                match field {
                    "set" => entries = cx.list(view)?.unwrap_or_default(),
                    _ => cx.string(view, &mut errno),
                }
                Ok(())
            })?;
            Ok((entries, errno))
        };
        cx.built(read, |(entries, errno)| Self::new(entries, Some(errno)))
    }
}

impl ToJson for SeccompSet {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.object(|object| {
            object.list("set", &self.entries)?;
            object.field("errno", self.errno.as_deref().unwrap_or_default())
        })
    }
}
