//! What security modules of the kernel confine an app by: SELinux contexts and AppArmor profiles.

use super::IsolatorError;
use crate::json::decode::{Cx, FromJson, Invalid};
use crate::json::print::{Printer, ToJson};
use crate::json::view::View;

/// An SELinux context. No part is empty, and only the level holds a colon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelinuxContext {
    user: String,
    role: String,
    type_: String,
    level: String,
}

impl SelinuxContext {
    /// A context of these parts.
    ///
    /// # Errors
    /// [`IsolatorError::BadPart`].
    pub fn new(user: String, role: String, type_: String, level: String) -> Result<Self, IsolatorError> {
        for (part, value) in [("user", &user), ("role", &role), ("type", &type_)] {
            if value.is_empty() || value.contains(':') {
                return Err(IsolatorError::BadPart { part, value: value.clone() });
            }
        }
        if level.is_empty() {
            return Err(IsolatorError::BadPart { part: "level", value: level });
        }
        Ok(Self { user, role, type_, level })
    }

    /// The SELinux user.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The role.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// The type, or domain.
    pub fn type_(&self) -> &str {
        &self.type_
    }

    /// The level, with its categories.
    pub fn level(&self) -> &str {
        &self.level
    }
}

impl std::fmt::Display for SelinuxContext {
    /// The form the kernel takes: `user:role:type:level`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}:{}", self.user, self.role, self.type_, self.level)
    }
}

/// The name of an AppArmor profile, never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApparmorProfile(String);

impl ApparmorProfile {
    /// The profile of this name.
    ///
    /// # Errors
    /// [`IsolatorError::BadPart`].
    pub fn new(profile: String) -> Result<Self, IsolatorError> {
        if profile.is_empty() {
            return Err(IsolatorError::BadPart { part: "profile", value: profile });
        }
        Ok(Self(profile))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromJson for SelinuxContext {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        let read = |cx: &mut Cx| {
            let mut parts = [const { String::new() }; 4];
            let known = ["user", "role", "type", "level"];
            cx.fields(view, &known, |cx, field, view| {
                let index = known.iter().position(|&name| name == field).unwrap_or_default();
                cx.string(view, &mut parts[index]);
                Ok(())
            })?;
            Ok(parts)
        };
        cx.built(read, |[user, role, type_, level]| Self::new(user, role, type_, level))
    }
}

impl FromJson for ApparmorProfile {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        let read = |cx: &mut Cx| {
            let mut profile = String::new();
            cx.fields(view, &["profile"], |cx, _, view| {
                cx.string(view, &mut profile);
                Ok(())
            })?;
            Ok(profile)
        };
        cx.built(read, Self::new)
    }
}

impl ToJson for SelinuxContext {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.object(|object| {
            object.field("user", &self.user)?;
            object.field("role", &self.role)?;
            object.field("type", &self.type_)?;
            object.field("level", &self.level)
        })
    }
}

impl ToJson for ApparmorProfile {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.object(|object| object.field("profile", &self.0))
    }
}
