//! Annotations: remarks about an image, an app or a pod that some program may understand.

use std::collections::HashSet;

use crate::date::{Date, DateError};
use crate::document::{self, ManifestError};
use crate::json::decode::{Cx, FromJson, Invalid};
use crate::json::print::{Printer, ToJson};
use crate::json::quote::Quoted;
use crate::json::view::View;
use crate::name::AcIdentifier;
use crate::url::{Url, UrlError};

/// A list of annotations that breaks the schema's rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnnotationError {
    /// The same annotation twice.
    #[error("duplicate annotations of name {}", Quoted(.name.as_str()))]
    Duplicate {
        /// The annotation's name.
        name: AcIdentifier,
    },
    /// `created` is no date.
    #[error(transparent)]
    Date(#[from] DateError),
    /// `homepage` or `documentation` is no web address.
    #[error(transparent)]
    Url(#[from] UrlError),
}

/// One annotation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Annotation {
    /// What is remarked upon.
    pub name: AcIdentifier,
    /// Any text; `created`, `homepage` and `documentation` have a form.
    pub value: String,
}

/// The annotations of an image, an app or a pod, in the order they were written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Annotations(Vec<Annotation>);

impl Annotations {
    /// The value of the annotation called `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|annotation| annotation.name == name).map(|annotation| annotation.value.as_str())
    }

    /// Gives the annotation a value: in place if it is there, at the end otherwise.
    pub fn set(&mut self, name: AcIdentifier, value: impl Into<String>) {
        let value = value.into();
        match self.0.iter_mut().find(|annotation| annotation.name == name) {
            Some(annotation) => annotation.value = value,
            None => self.0.push(Annotation { name, value }),
        }
    }

    /// Takes the annotation called `name` away and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        let index = self.0.iter().position(|annotation| annotation.name == name)?;
        Some(self.0.remove(index).value)
    }

    /// The annotations in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Annotation> {
        self.0.iter()
    }

    /// How many annotations there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These annotations with `over`'s set on top: replaced in place, new ones appended. This is how the metadata
    /// service combines an image's annotations with its app's in the pod (appc ace.md, App Metadata).
    pub fn overridden_by(&self, over: &Self) -> Self {
        let mut merged = self.clone();
        for annotation in over {
            merged.set(annotation.name.clone(), annotation.value.clone());
        }
        merged
    }

    /// Prints the list canonically, an empty one as `[]`.
    ///
    /// # Errors
    /// [`ManifestError::Invalid`] if a rule is broken.
    pub fn to_json(&self) -> Result<Vec<u8>, ManifestError> {
        document::print(self)
    }

    /// Checks the rules for the list as a whole (appc aci.md, Image Manifest).
    ///
    /// # Errors
    /// See [`AnnotationError`].
    pub fn validate(&self) -> Result<(), AnnotationError> {
        let mut seen = HashSet::with_capacity(self.0.len());
        if let Some(repeated) = self.0.iter().find(|annotation| !seen.insert(&annotation.name)) {
            return Err(AnnotationError::Duplicate { name: repeated.name.clone() });
        }
        if let Some(created) = self.get("created") {
            created.parse::<Date>()?;
        }
        for name in ["homepage", "documentation"] {
            if let Some(address) = self.get(name) {
                address.parse::<Url>()?;
            }
        }
        Ok(())
    }
}

impl From<Vec<Annotation>> for Annotations {
    fn from(annotations: Vec<Annotation>) -> Self {
        Self(annotations)
    }
}

impl FromIterator<(AcIdentifier, String)> for Annotations {
    fn from_iter<I: IntoIterator<Item = (AcIdentifier, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| Annotation { name, value }).collect())
    }
}

impl<'a> IntoIterator for &'a Annotations {
    type Item = &'a Annotation;
    type IntoIter = std::slice::Iter<'a, Annotation>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl FromJson for Annotations {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        cx.typed(|cx| Ok(Self(cx.list(view)?.unwrap_or_default())), Self::validate)
    }
}

impl FromJson for Annotation {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        let mut annotation = Self::default();
        cx.fields(view, &["name", "value"], |cx, field, view| {
            match field {
                "name" => annotation.name = AcIdentifier::from_json(cx, view)?,
                _ => cx.string(view, &mut annotation.value),
            }
            Ok(())
        })?;
        Ok(annotation)
    }
}

impl ToJson for Annotations {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.rules(self.validate())?;
        printer.list(&self.0)
    }
}

impl ToJson for Annotation {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.object(|object| {
            object.field("name", &self.name)?;
            object.field("value", &self.value)
        })
    }
}
