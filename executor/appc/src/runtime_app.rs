//! An app's place in a pod: its name there, its image, and what it mounts.

use crate::annotations::Annotations;
use crate::app::App;
use crate::hash::Hash;
use crate::json::decode::{Cx, FromJson, Invalid};
use crate::json::print::{Printer, ToJson};
use crate::json::view::View;
use crate::labels::Labels;
use crate::name::{AcIdentifier, AcName};
use crate::volume::Volume;

/// An app of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuntimeApp {
    /// Its name, unique in the pod. May be absent on reading.
    pub name: AcName,
    /// What it runs from.
    pub image: RuntimeImage,
    /// If given, takes the place of the image's app as a whole (appc pods.md, apps).
    pub app: Option<App>,
    /// Whether its root file system is read-only.
    pub read_only_root_fs: bool,
    /// Which volumes go where.
    pub mounts: Vec<Mount>,
    /// Remarks, which override the image's of the same name.
    pub annotations: Annotations,
}

/// The image an app runs from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuntimeImage {
    /// What it is called.
    pub name: Option<AcIdentifier>,
    /// Its ID; missing only in templates.
    pub id: Option<Hash>,
    /// Labels it has.
    pub labels: Labels,
}

/// A volume's place in an app's file system. Not checked on reading, as in Go: whoever mounts must check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mount {
    /// The name of the volume, or of the app's own volume.
    pub volume: AcName,
    /// Where it belongs.
    pub path: String,
    /// A volume for this app alone, instead of the pod's of the name.
    pub app_volume: Option<Volume>,
}

impl FromJson for RuntimeApp {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        let mut app = Self::default();
        let known = ["name", "image", "app", "readOnlyRootFS", "mounts", "annotations"];
        cx.fields(view, &known, |cx, field, view| {
            match field {
                "name" => app.name = AcName::from_json(cx, view)?,
                "image" => app.image.read_over(cx, view)?,
                "app" => app.app = cx.optional(view)?,
                "readOnlyRootFS" => cx.boolean(view, &mut app.read_only_root_fs),
                "mounts" => app.mounts = cx.list(view)?.unwrap_or_default(),
                _ => app.annotations = Annotations::from_json(cx, view)?,
            }
            Ok(())
        })?;
        Ok(app)
    }
}

impl RuntimeImage {
    /// Reads over what is there: to `actool` a repeated `image` adds to the first one.
    fn read_over(&mut self, cx: &mut Cx, view: View<'_>) -> Result<(), Invalid> {
        cx.fields(view, &["name", "id", "labels"], |cx, field, view| {
            match field {
                "name" => self.name = cx.optional(view)?,
                "id" => self.id = Some(Hash::from_json(cx, view)?),
                _ => self.labels = Labels::from_json(cx, view)?,
            }
            Ok(())
        })
    }
}

impl FromJson for Mount {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        let mut mount = Self::default();
        cx.fields(view, &["volume", "path", "appVolume"], |cx, field, view| {
            match field {
                "volume" => mount.volume = AcName::from_json(cx, view)?,
                "path" => cx.string(view, &mut mount.path),
                _ => mount.app_volume = cx.optional(view)?,
            }
            Ok(())
        })?;
        Ok(mount)
    }
}

impl ToJson for RuntimeApp {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.object(|object| {
            object.field("name", &self.name)?;
            object.field("image", &self.image)?;
            object.optional("app", self.app.as_ref())?;
            object.flag("readOnlyRootFS", self.read_only_root_fs)?;
            object.list("mounts", &self.mounts)?;
            if !self.annotations.is_empty() {
                object.field("annotations", &self.annotations)?;
            }
            Ok(())
        })
    }
}

impl ToJson for RuntimeImage {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.object(|object| {
            object.optional("name", self.name.as_ref())?;
            object.field("id", &self.id)?;
            if !self.labels.is_empty() {
                object.field("labels", &self.labels)?;
            }
            Ok(())
        })
    }
}

impl ToJson for Mount {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.object(|object| {
            object.field("volume", &self.volume)?;
            object.field("path", &self.path)?;
            object.optional("appVolume", self.app_volume.as_ref())
        })
    }
}
