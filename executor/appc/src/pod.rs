//! The pod manifest: which apps run together and what they share (appc pods.md, Pod Manifest).

use std::collections::{BTreeMap, HashSet};

use crate::annotations::Annotations;
use crate::document::{self, ManifestError};
use crate::isolator::Isolator;
use crate::json::Dialect;
use crate::json::decode::{Cx, FromJson, Invalid};
use crate::json::print::{Printer, ToJson};
use crate::json::quote::Quoted;
use crate::json::view::View;
use crate::kind::Kind;
use crate::name::AcName;
use crate::port::ExposedPort;
use crate::problem::Problem;
use crate::runtime_app::RuntimeApp;
use crate::version::{Compatibility, SemVer};
use crate::volume::Volume;

/// A pod manifest that breaks the rules for the whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PodError {
    /// A major version whose fields may mean something else.
    #[error("acVersion {version} is not supported (must be 0.x)")]
    VersionUnsupported {
        /// The refused version.
        version: SemVer,
    },
    /// Two apps of one name.
    #[error("duplicate apps of name {}", Quoted(.name.as_str()))]
    DuplicateApp {
        /// The name.
        name: AcName,
    },
    /// Two volumes of one name.
    #[error("duplicate volume name {}", Quoted(.name.as_str()))]
    DuplicateVolume {
        /// The name.
        name: AcName,
    },
}

/// A pod manifest. Read, it is valid; made or changed in code, it is checked when printed.
///
/// A manifest read from a file may be a template: without a version, with images that have no ID. Such a one cannot
/// be printed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodManifest {
    /// The version of the specification it was written for.
    pub ac_version: SemVer,
    /// The apps.
    pub apps: Vec<RuntimeApp>,
    /// The volumes apps may mount.
    pub volumes: Vec<Volume>,
    /// Limits and permissions of the pod as a whole. There are no rules for the set: unknown names and repetitions
    /// are accepted.
    pub isolators: Vec<Isolator>,
    /// Remarks.
    pub annotations: Annotations,
    /// Ports of the host that lead into the pod.
    pub ports: Vec<ExposedPort>,
    /// Remarks for whoever runs the pod, without rules.
    pub user_annotations: BTreeMap<String, String>,
    /// Labels for whoever runs the pod, without rules.
    pub user_labels: BTreeMap<String, String>,
    /// Which of the lists were written as `[]` rather than as null or not at all; only printing looks at it.
    pub written_empty: WrittenEmpty,
}

/// The lists of a pod manifest that were written as `[]`. The Go code prints these back as `[]`, and as `null` those
/// that were null or missing; the metadata service's answers are compared with such care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WrittenEmpty {
    /// `apps`
    pub apps: bool,
    /// `volumes`
    pub volumes: bool,
    /// `isolators`
    pub isolators: bool,
    /// `annotations`
    pub annotations: bool,
    /// `ports`
    pub ports: bool,
}

const FIELDS: [&str; 9] =
    ["acVersion", "acKind", "apps", "volumes", "isolators", "annotations", "ports", "userAnnotations", "userLabels"];

impl PodManifest {
    /// A pod of the current version with nothing in it.
    pub fn blank() -> Self {
        Self { ac_version: SemVer::current(), ..Self::default() }
    }

    /// The app called `name`.
    pub fn app(&self, name: &AcName) -> Option<&RuntimeApp> {
        self.apps.iter().find(|app| app.name == *name)
    }

    /// The volume called `name`.
    pub fn volume(&self, name: &AcName) -> Option<&Volume> {
        self.volumes.iter().find(|volume| volume.name == *name)
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
        document::read(manifest, Dialect::Proa, |cx, view| self.read_over(Some(Kind::Pod), cx, view))
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
                if field == "acKind" {
                    kind = Some(Kind::from_json(cx, view)?);
                    return Ok(());
                }
                self.read_field(cx, field, view)
            })?;
            Ok((self, kind))
        };
        cx.built(read, |(manifest, kind)| {
            Kind::Pod.require(kind)?;
            manifest.validate_in(dialect)?;
            Ok::<_, Problem>(manifest)
        })
    }

    fn read_field(&mut self, cx: &mut Cx, field: &'static str, view: View<'_>) -> Result<(), Invalid> {
        let is_empty_list = view.text().starts_with('[') && view.elements().next().is_none();
        match field {
            "acVersion" => self.ac_version = SemVer::from_json(cx, view)?,
            "apps" => {
                self.written_empty.apps = is_empty_list;
                let read = |cx: &mut Cx| Ok(cx.list(view)?.unwrap_or_default());
                self.apps = cx.typed(read, |apps| check_app_names(apps))?;
            }
            "volumes" => {
                self.written_empty.volumes = is_empty_list;
                self.volumes = cx.list(view)?.unwrap_or_default();
            }
            "isolators" => {
                self.written_empty.isolators = is_empty_list;
                self.isolators = cx.list(view)?.unwrap_or_default();
            }
            "annotations" => {
                self.written_empty.annotations = is_empty_list;
                self.annotations = Annotations::from_json(cx, view)?;
            }
            "ports" => {
                self.written_empty.ports = is_empty_list;
                self.ports = cx.list(view)?.unwrap_or_default();
            }
            "userAnnotations" => self.user_annotations = cx.string_map(view),
            _ => self.user_labels = cx.string_map(view),
        }
        Ok(())
    }

    /// The rules for the whole; the parts were checked when they were read, or will be when they are printed.
    fn validate_in(&self, dialect: Dialect) -> Result<(), PodError> {
        let incompatible = self.ac_version.compatibility() == Compatibility::Incompatible;
        if dialect == Dialect::Proa && incompatible {
            return Err(PodError::VersionUnsupported { version: self.ac_version.clone() });
        }
        let mut seen = HashSet::with_capacity(self.volumes.len());
        match self.volumes.iter().find(|volume| !seen.insert(&volume.name)) {
            Some(repeated) => Err(PodError::DuplicateVolume { name: repeated.name.clone() }),
            None => Ok(()),
        }
    }
}

fn check_app_names(apps: &[RuntimeApp]) -> Result<(), PodError> {
    let mut seen = HashSet::with_capacity(apps.len());
    match apps.iter().find(|app| !seen.insert(&app.name)) {
        Some(repeated) => Err(PodError::DuplicateApp { name: repeated.name.clone() }),
        None => Ok(()),
    }
}

impl ToJson for PodManifest {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.rules(self.validate_in(Dialect::Actool))?;
        printer.rules(check_app_names(&self.apps))?;
        printer.object(|object| {
            object.field("acVersion", &self.ac_version)?;
            object.field("acKind", Kind::Pod.name())?;
            object.nullable_list("apps", &self.apps, self.written_empty.apps)?;
            object.nullable_list("volumes", &self.volumes, self.written_empty.volumes)?;
            object.nullable_list("isolators", &self.isolators, self.written_empty.isolators)?;
            object.with("annotations", |printer| {
                if self.annotations.is_empty() && !self.written_empty.annotations {
                    return None::<View<'_>>.to_json(printer);
                }
                ToJson::to_json(&self.annotations, printer)
            })?;
            object.nullable_list("ports", &self.ports, self.written_empty.ports)?;
            object.map("userAnnotations", &self.user_annotations)?;
            object.map("userLabels", &self.user_labels)
        })
    }
}
