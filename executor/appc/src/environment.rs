//! The environment variables of an app.

use std::collections::HashSet;

use crate::json::decode::{Cx, FromJson, Invalid};
use crate::json::print::{Printer, ToJson};
use crate::json::quote::Quoted;
use crate::json::view::View;

/// A list of environment variables that breaks the schema's rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// A variable without a name.
    #[error("environment variable name must not be empty")]
    NameEmpty,
    /// A name that is not a letter or `_` followed by letters, digits, `_`, `.` and `-`.
    #[error("environment variable does not have valid identifier {}", Quoted(.name))]
    BadName {
        /// The refused name.
        name: String,
    },
    /// The same variable twice.
    #[error("duplicate environment variable of name {}", Quoted(.name))]
    Duplicate {
        /// The variable's name.
        name: String,
    },
}

/// One environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EnvVar {
    /// The name; dots and dashes are allowed in it.
    pub name: String,
    /// Any text, line breaks included.
    pub value: String,
}

impl EnvVar {
    fn validate(&self) -> Result<(), EnvironmentError> {
        let mut bytes = self.name.bytes();
        let Some(first) = bytes.next() else { return Err(EnvironmentError::NameEmpty) };
        let valid = (first.is_ascii_alphabetic() || first == b'_')
            && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        if valid { Ok(()) } else { Err(EnvironmentError::BadName { name: self.name.clone() }) }
    }
}

/// The environment variables of an app, in the order they were written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment(Vec<EnvVar>);

impl Environment {
    /// The value of the variable called `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|variable| variable.name == name).map(|variable| variable.value.as_str())
    }

    /// Gives the variable a value: in place if it is there, at the end otherwise.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let (name, value) = (name.into(), value.into());
        match self.0.iter_mut().find(|variable| variable.name == name) {
            Some(variable) => variable.value = value,
            None => self.0.push(EnvVar { name, value }),
        }
    }

    /// Takes the variable called `name` away and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        let index = self.0.iter().position(|variable| variable.name == name)?;
        Some(self.0.remove(index).value)
    }

    /// The variables in order.
    pub fn iter(&self) -> std::slice::Iter<'_, EnvVar> {
        self.0.iter()
    }

    /// How many variables there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks the names (appc aci.md, environment).
    ///
    /// # Errors
    /// See [`EnvironmentError`].
    pub fn validate(&self) -> Result<(), EnvironmentError> {
        let mut seen = HashSet::with_capacity(self.0.len());
        for variable in &self.0 {
            variable.validate()?;
            if !seen.insert(&variable.name) {
                return Err(EnvironmentError::Duplicate { name: variable.name.clone() });
            }
        }
        Ok(())
    }
}

impl From<Vec<EnvVar>> for Environment {
    fn from(variables: Vec<EnvVar>) -> Self {
        Self(variables)
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| EnvVar { name: name.into(), value: value.into() }).collect())
    }
}

impl<'a> IntoIterator for &'a Environment {
    type Item = &'a EnvVar;
    type IntoIter = std::slice::Iter<'a, EnvVar>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl FromJson for Environment {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        cx.typed(|cx| Ok(Self(cx.list(view)?.unwrap_or_default())), Self::validate)
    }
}

impl FromJson for EnvVar {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        let mut variable = Self::default();
        cx.fields(view, &["name", "value"], |cx, field, view| {
            match field {
                "name" => cx.string(view, &mut variable.name),
                _ => cx.string(view, &mut variable.value),
            }
            Ok(())
        })?;
        Ok(variable)
    }
}

impl ToJson for Environment {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.rules(self.validate())?;
        printer.list(&self.0)
    }
}

impl ToJson for EnvVar {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.object(|object| {
            object.field("name", &self.name)?;
            object.field("value", &self.value)
        })
    }
}
