//! Labels: what tells images of one name apart.

use std::collections::HashSet;

use crate::json::decode::{Cx, FromJson, Invalid};
use crate::json::print::{Printer, ToJson};
use crate::json::quote::Quoted;
use crate::json::view::View;
use crate::name::AcIdentifier;
use crate::platform::{self, PlatformError};

/// A list of labels that breaks the schema's rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelError {
    /// `name` is what an image is called, not a label.
    #[error("invalid label name: \"name\"")]
    ReservedName,
    /// The same label twice.
    #[error("duplicate labels of name {}", Quoted(.name.as_str()))]
    Duplicate {
        /// The label's name.
        name: AcIdentifier,
    },
    /// Labels `os` and `arch` that do not name a platform.
    #[error(transparent)]
    Platform(#[from] PlatformError),
}

/// One label.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Label {
    /// What is told, for example `version`, `os` or `arch`.
    pub name: AcIdentifier,
    /// Any text.
    pub value: String,
}

/// The labels of an image, in the order they were written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels(Vec<Label>);

impl Labels {
    /// The value of the label called `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|label| label.name == name).map(|label| label.value.as_str())
    }

    /// Gives the label a value: in place if it is there, at the end otherwise.
    pub fn set(&mut self, name: AcIdentifier, value: impl Into<String>) {
        let value = value.into();
        match self.0.iter_mut().find(|label| label.name == name) {
            Some(label) => label.value = value,
            None => self.0.push(Label { name, value }),
        }
    }

    /// Takes the label called `name` away and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        let index = self.0.iter().position(|label| label.name == name)?;
        Some(self.0.remove(index).value)
    }

    /// The labels in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Label> {
        self.0.iter()
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every label of `wanted` is here with the same value: how a dependency or a request names an image.
    pub fn satisfy(&self, wanted: &Self) -> bool {
        wanted.iter().all(|label| self.get(label.name.as_str()) == Some(&label.value))
    }

    /// Checks the rules for the list as a whole (appc aci.md, Image Manifest).
    ///
    /// # Errors
    /// See [`LabelError`].
    pub fn validate(&self) -> Result<(), LabelError> {
        let mut seen = HashSet::with_capacity(self.0.len());
        for label in &self.0 {
            if label.name == "name" {
                return Err(LabelError::ReservedName);
            }
            if !seen.insert(&label.name) {
                return Err(LabelError::Duplicate { name: label.name.clone() });
            }
        }
        Ok(platform::check(self.get("os"), self.get("arch"))?)
    }
}

impl From<Vec<Label>> for Labels {
    fn from(labels: Vec<Label>) -> Self {
        Self(labels)
    }
}

impl FromIterator<(AcIdentifier, String)> for Labels {
    fn from_iter<I: IntoIterator<Item = (AcIdentifier, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| Label { name, value }).collect())
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = &'a Label;
    type IntoIter = std::slice::Iter<'a, Label>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl FromJson for Labels {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        cx.typed(|cx| Ok(Self(cx.list(view)?.unwrap_or_default())), Self::validate)
    }
}

impl FromJson for Label {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        let mut label = Self::default();
        cx.fields(view, &["name", "value"], |cx, field, view| {
            match field {
                "name" => label.name = AcIdentifier::from_json(cx, view)?,
                _ => cx.string(view, &mut label.value),
            }
            Ok(())
        })?;
        Ok(label)
    }
}

impl ToJson for Labels {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.rules(self.validate())?;
        printer.list(&self.0)
    }
}

impl ToJson for Label {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.object(|object| {
            object.field("name", &self.name)?;
            object.field("value", &self.value)
        })
    }
}
