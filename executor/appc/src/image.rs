//! The image manifest: what an image is and how its app is run (appc aci.md, Image Manifest).

use crate::annotations::Annotations;
use crate::app::App;
use crate::dependency::Dependency;
use crate::document::{self, ManifestError};
use crate::json::Dialect;
use crate::json::decode::{Cx, FromJson, Invalid};
use crate::json::print::{Printer, ToJson};
use crate::json::view::View;
use crate::kind::Kind;
use crate::labels::Labels;
use crate::name::AcIdentifier;
use crate::problem::Problem;
use crate::version::{Compatibility, SemVer};

/// An image manifest that breaks the rules for the whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// No version.
    #[error("acVersion must be set")]
    VersionMissing,
    /// A major version whose fields may mean something else.
    #[error("acVersion {version} is not supported (must be 0.x)")]
    VersionUnsupported {
        /// The refused version.
        version: SemVer,
    },
    /// No name.
    #[error("name must be set")]
    NameMissing,
}

/// An image manifest. Read, it is valid; made or changed in code, it is checked when printed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageManifest {
    /// The version of the specification it was written for.
    pub ac_version: SemVer,
    /// What the image is called.
    pub name: AcIdentifier,
    /// What tells it from other images of the name.
    pub labels: Labels,
    /// How to run it; an image that others build upon need not have one.
    pub app: Option<App>,
    /// Remarks.
    pub annotations: Annotations,
    /// The images whose files lie below this one's.
    pub dependencies: Vec<Dependency>,
    /// If not empty, the only paths that are kept when the image is rendered. Not checked.
    pub path_whitelist: Vec<String>,
}

const FIELDS: [&str; 8] =
    ["acKind", "acVersion", "name", "labels", "app", "annotations", "dependencies", "pathWhitelist"];

impl ImageManifest {
    /// An image of this name, of the current version, with nothing in it.
    pub fn new(name: AcIdentifier) -> Self {
        Self { name, ..Self::blank() }
    }

    /// A manifest of the current version without a name: what [`ImageManifest::merge_json`] starts from.
    pub fn blank() -> Self {
        Self { ac_version: SemVer::current(), ..Self::default() }
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn from_json(manifest: &[u8]) -> Result<Self, ManifestError> {
        Self::from_json_in(manifest, Dialect::Proa)
    }

    /// Reads a manifest by the rules of `dialect`.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn from_json_in(manifest: &[u8], dialect: Dialect) -> Result<Self, ManifestError> {
        document::read(manifest, dialect, Self::from_json_value)
    }

    /// Reads a manifest in which anything that this one has may be missing, `acKind` included; what it has replaces
    /// this one's, field by field.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn merge_json(self, manifest: &[u8]) -> Result<Self, ManifestError> {
        document::read(manifest, Dialect::Proa, |cx, view| self.read_over(Some(Kind::Image), cx, view))
    }

    /// Prints the manifest canonically: the bytes `json.Marshal` makes of it in Go.
    ///
    /// # Errors
    /// [`ManifestError::Invalid`] if a rule is broken.
    pub fn to_json(&self) -> Result<Vec<u8>, ManifestError> {
        document::print(self)
    }

    /// Prints the manifest canonically, indented by four spaces.
    ///
    /// # Errors
    /// [`ManifestError::Invalid`] if a rule is broken.
    pub fn to_json_pretty(&self) -> Result<Vec<u8>, ManifestError> {
        document::print_pretty(self)
    }

    pub(crate) fn from_json_value(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        Self::default().read_over(None, cx, view)
    }

    fn read_over(mut self, mut kind: Option<Kind>, cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        let dialect = cx.dialect();
        let read = |cx: &mut Cx| {
            cx.fields(view, &FIELDS, |cx, field, view| {
                match field {
                    "acKind" => kind = Some(Kind::from_json(cx, view)?),
                    "acVersion" => self.ac_version = SemVer::from_json(cx, view)?,
                    "name" => self.name = AcIdentifier::from_json(cx, view)?,
                    "labels" => self.labels = Labels::from_json(cx, view)?,
                    "app" => self.app = cx.optional(view)?,
                    "annotations" => self.annotations = Annotations::from_json(cx, view)?,
                    "dependencies" => self.dependencies = cx.list(view)?.unwrap_or_default(),
                    _ => self.path_whitelist = cx.list(view)?.unwrap_or_default(),
                }
                Ok(())
            })?;
            Ok((self, kind))
        };
        cx.built(read, |(manifest, kind)| {
            Kind::Image.require(kind)?;
            manifest.validate_in(dialect)?;
            Ok::<_, Problem>(manifest)
        })
    }

    /// The rules for the whole; the parts were checked when they were read, or will be when they are printed.
    fn validate_in(&self, dialect: Dialect) -> Result<(), ImageError> {
        if self.ac_version.is_zero() {
            return Err(ImageError::VersionMissing);
        }
        if dialect == Dialect::Proa && self.ac_version.compatibility() == Compatibility::Incompatible {
            return Err(ImageError::VersionUnsupported { version: self.ac_version.clone() });
        }
        if self.name.is_empty() { Err(ImageError::NameMissing) } else { Ok(()) }
    }
}

impl ToJson for ImageManifest {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.rules(self.validate_in(Dialect::Actool))?;
        printer.object(|object| {
            object.field("acKind", Kind::Image.name())?;
            object.field("acVersion", &self.ac_version)?;
            object.field("name", &self.name)?;
            if !self.labels.is_empty() {
                object.field("labels", &self.labels)?;
            }
            object.optional("app", self.app.as_ref())?;
            if !self.annotations.is_empty() {
                object.field("annotations", &self.annotations)?;
            }
            object.list("dependencies", &self.dependencies)?;
            object.list("pathWhitelist", &self.path_whitelist)
        })
    }
}
