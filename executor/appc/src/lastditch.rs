//! A reader for manifests that are broken: it gets out names and IDs, to report and to clean up by.
//!
//! Only JSON syntax and `acKind` are checked. Every value is plain text, whatever rule it breaks, and a value of the
//! wrong type reads as empty.

use crate::document::{self, ManifestError};
use crate::json::Dialect;
use crate::json::decode::{Cx, FromJson, Invalid};
use crate::json::view::View;
use crate::kind::Kind;

/// What can be told of a broken image manifest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BrokenImage {
    /// `acVersion`
    pub ac_version: String,
    /// `name`
    pub name: String,
    /// `labels`: names and values, repeated ones included.
    pub labels: Vec<(String, String)>,
}

/// What can be told of a broken pod manifest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BrokenPod {
    /// `acVersion`
    pub ac_version: String,
    /// `apps`, repeated ones included.
    pub apps: Vec<BrokenApp>,
}

/// What can be told of an app of a broken pod manifest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BrokenApp {
    /// `name`
    pub name: String,
    /// `image.name`
    pub image_name: String,
    /// `image.id`
    pub image_id: String,
    /// `image.labels`: names and values, repeated ones included.
    pub image_labels: Vec<(String, String)>,
}

impl BrokenImage {
    /// Reads what can be read.
    ///
    /// # Errors
    /// [`ManifestError`] if it is no JSON, or no image manifest.
    pub fn from_json(manifest: &[u8]) -> Result<Self, ManifestError> {
        read(manifest, Kind::Image, |cx, view| {
            let mut image = Self::default();
            cx.fields(view, &["acVersion", "name", "labels"], |cx, field, view| {
                match field {
                    "acVersion" => cx.string(view, &mut image.ac_version),
                    "name" => cx.string(view, &mut image.name),
                    _ => image.labels = labels(cx, view)?,
                }
                Ok(())
            })?;
            Ok(image)
        })
    }
}

impl BrokenPod {
    /// Reads what can be read.
    ///
    /// # Errors
    /// [`ManifestError`] if it is no JSON, or no pod manifest.
    pub fn from_json(manifest: &[u8]) -> Result<Self, ManifestError> {
        read(manifest, Kind::Pod, |cx, view| {
            let mut pod = Self::default();
            cx.fields(view, &["acVersion", "apps"], |cx, field, view| {
                match field {
                    "acVersion" => cx.string(view, &mut pod.ac_version),
                    _ => pod.apps = cx.list(view)?.unwrap_or_default(),
                }
                Ok(())
            })?;
            Ok(pod)
        })
    }
}

/// Checks the document and its kind; mistakes of type that `read_value` meets are forgotten.
fn read<T>(
    manifest: &[u8],
    kind: Kind,
    read_value: impl FnOnce(&mut Cx, View<'_>) -> Result<T, Invalid>,
) -> Result<T, ManifestError> {
    document::read(manifest, Dialect::Actool, |cx, view| {
        let mut found = String::new();
        cx.fields(view, &["acKind"], |cx, _, view| {
            cx.string(view, &mut found);
            Ok(())
        })?;
        let found = (found == kind.name()).then_some(kind);
        kind.require(found).map_err(|error| cx.invalid(error))?;
        read_value(cx, view)
    })
}

fn labels(cx: &mut Cx, view: View<'_>) -> Result<Vec<(String, String)>, Invalid> {
    let labels: Option<Vec<BrokenLabel>> = cx.list(view)?;
    Ok(labels.unwrap_or_default().into_iter().map(|BrokenLabel(name, value)| (name, value)).collect())
}

struct BrokenLabel(String, String);

impl FromJson for BrokenLabel {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        let mut label = Self(String::new(), String::new());
        cx.fields(view, &["name", "value"], |cx, field, view| {
            cx.string(view, if field == "name" { &mut label.0 } else { &mut label.1 });
            Ok(())
        })?;
        Ok(label)
    }
}

impl FromJson for BrokenApp {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        let mut app = Self::default();
        cx.fields(view, &["name", "image"], |cx, field, view| {
            if field == "name" {
                cx.string(view, &mut app.name);
                return Ok(());
            }
            cx.fields(view, &["name", "id", "labels"], |cx, field, view| {
                match field {
                    "name" => cx.string(view, &mut app.image_name),
                    "id" => cx.string(view, &mut app.image_id),
                    _ => app.image_labels = labels(cx, view)?,
                }
                Ok(())
            })
        })?;
        Ok(app)
    }
}
