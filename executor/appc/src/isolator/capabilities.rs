//! Sets of Linux capabilities by name.

use super::IsolatorError;
use crate::json::decode::{Cx, FromJson, Invalid};
use crate::json::print::{Printer, ToJson};
use crate::json::view::View;

/// The capabilities an app has that says nothing about them (appc ace.md, Linux Isolators).
pub const DEFAULT: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETUID",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETFCAP",
    "CAP_SYS_CHROOT",
];

/// A set of capabilities, of at least one. The names are not checked here: `CAP_PONIES` is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapabilitySet(Vec<String>);

impl CapabilitySet {
    /// A set of these names.
    ///
    /// # Errors
    /// [`IsolatorError::SetEmpty`].
    pub fn new(names: Vec<String>) -> Result<Self, IsolatorError> {
        if names.is_empty() { Err(IsolatorError::SetEmpty) } else { Ok(Self(names)) }
    }

    /// The names as they were written.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// Whether `name` is in the set.
    pub fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|member| member == name)
    }
}

impl FromJson for CapabilitySet {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        let read = |cx: &mut Cx| {
            let mut names = Vec::new();
            cx.fields(view, &["set"], |cx, _, view| {
                names = cx.list(view)?.unwrap_or_default();
                Ok(())
            })?;
            Ok(names)
        };
        cx.built(read, Self::new)
    }
}

impl ToJson for CapabilitySet {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.object(|object| object.list("set", &self.0))
    }
}
