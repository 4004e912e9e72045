//! Where an app wants volumes.

use crate::json::decode::{Cx, FromJson, Invalid};
use crate::json::print::{Printer, ToJson};
use crate::json::view::View;
use crate::name::AcName;

/// A mount point that lacks what it cannot do without.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MountPointError {
    /// No name.
    #[error("name must be set")]
    NameMissing,
    /// No path.
    #[error("path must be set")]
    PathMissing,
}

/// A place in an app's file system where a volume belongs.
///
/// Manifests are not checked on reading, as in Go: name and path may be empty, the path may be anything. Whoever
/// mounts must check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MountPoint {
    /// What the volume, or the mount, is called.
    pub name: AcName,
    /// Where it belongs.
    pub path: String,
    /// Whether the app wants it read-only.
    pub read_only: bool,
}

impl MountPoint {
    /// Checks that name and path are there.
    ///
    /// # Errors
    /// See [`MountPointError`].
    pub fn validate(&self) -> Result<(), MountPointError> {
        if self.name.is_empty() {
            Err(MountPointError::NameMissing)
        } else if self.path.is_empty() {
            Err(MountPointError::PathMissing)
        } else {
            Ok(())
        }
    }
}

impl FromJson for MountPoint {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        let mut mount_point = Self::default();
        cx.fields(view, &["name", "path", "readOnly"], |cx, field, view| {
            match field {
                "name" => mount_point.name = AcName::from_json(cx, view)?,
                "path" => cx.string(view, &mut mount_point.path),
                _ => cx.boolean(view, &mut mount_point.read_only),
            }
            Ok(())
        })?;
        Ok(mount_point)
    }
}

impl ToJson for MountPoint {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.object(|object| {
            object.field("name", &self.name)?;
            object.field("path", &self.path)?;
            object.flag("readOnly", self.read_only)
        })
    }
}
