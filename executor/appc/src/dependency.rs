//! Images that an image's file system is built upon.

use crate::hash::Hash;
use crate::json::decode::{Cx, FromJson, Invalid};
use crate::json::print::{Printer, ToJson};
use crate::json::view::View;
use crate::labels::Labels;
use crate::name::AcIdentifier;

/// A dependency that breaks the schema's rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DependencyError {
    /// A dependency on nothing.
    #[error("imageName cannot be empty")]
    NameEmpty,
}

/// An image whose files lie below those of the image that names it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dependency {
    /// The image's name.
    pub image_name: AcIdentifier,
    /// The image's ID; if given, the image found by name must have it.
    pub image_id: Option<Hash>,
    /// Labels the image must have.
    pub labels: Labels,
    /// The size of the image's file in bytes, 0 if not told; to be checked when fetching.
    pub size: u64,
}

impl Dependency {
    fn validate(&self) -> Result<(), DependencyError> {
        if self.image_name.is_empty() { Err(DependencyError::NameEmpty) } else { Ok(()) }
    }
}

impl FromJson for Dependency {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        let read = |cx: &mut Cx| {
            let mut dependency = Self::default();
            cx.fields(view, &["imageName", "imageID", "labels", "size"], |cx, field, view| {
                match field {
                    "imageName" => dependency.image_name = AcIdentifier::from_json(cx, view)?,
                    "imageID" => dependency.image_id = cx.optional(view)?,
                    "labels" => dependency.labels = Labels::from_json(cx, view)?,
                    _ => cx.integer(view, "a whole number of bytes", &mut dependency.size),
                }
                Ok(())
            })?;
            Ok(dependency)
        };
        cx.typed(read, Self::validate)
    }
}

impl ToJson for Dependency {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.rules(self.validate())?;
        printer.object(|object| {
            object.field("imageName", &self.image_name)?;
            object.optional("imageID", self.image_id.as_ref())?;
            if !self.labels.is_empty() {
                object.field("labels", &self.labels)?;
            }
            object.optional("size", Some(&self.size).filter(|&&size| size != 0))
        })
    }
}
