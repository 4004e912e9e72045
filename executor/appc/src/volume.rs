//! Volumes: directories and files that apps of a pod share with one another or with the host.

use std::fmt;

use crate::json::decode::{Cx, FromJson, Invalid};
use crate::json::print::{Printer, ToJson};
use crate::json::view::View;
use crate::name::AcName;

/// The mode of an empty volume whose manifest does not tell (appc pods.md, volumes).
pub const DEFAULT_MODE: &str = "0755";

/// A volume that breaks the schema's rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeError {
    /// No name.
    #[error("name must be set")]
    NameMissing,
    /// An empty volume with a source.
    #[error("source for empty volume must be empty")]
    SourceOfEmpty {
        /// The source.
        path: String,
    },
    /// A host volume without a source.
    #[error("source for host volume cannot be empty")]
    SourceMissing,
    /// A host volume with a field that only an empty one has.
    #[error("{field} for host volume cannot be set")]
    FieldOfHost {
        /// `mode`, `uid` or `gid`.
        field: &'static str,
    },
    /// A host volume whose source depends on the working directory.
    #[error("source for host volume must be absolute path")]
    SourceRelative {
        /// The source.
        path: String,
    },
    /// Neither kind.
    #[error("unrecognized volume kind: should be one of \"empty\", \"host\"")]
    BadKind {
        /// The refused kind.
        kind: String,
    },
}

/// A volume of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// What mounts refer to it by.
    pub name: AcName,
    /// What it is.
    pub kind: VolumeKind,
    /// Whether it is read-only wherever it is mounted; if not told, the mount points decide.
    pub read_only: Option<bool>,
}

/// Where a volume's content comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeKind {
    /// A new empty directory that lives as long as the pod.
    Empty {
        /// Permission bits in octal, as text; any text is accepted on reading.
        mode: String,
        /// The owner, as the apps see it.
        uid: i64,
        /// The group, as the apps see it.
        gid: i64,
    },
    /// A file or directory of the host.
    Host {
        /// Its absolute path.
        source: String,
        /// Whether what is mounted below it comes along; if not told, it does.
        recursive: Option<bool>,
    },
}

/// The fields of a volume before they are known to fit together.
#[derive(Debug, Default)]
pub(crate) struct VolumeParts {
    pub(crate) name: AcName,
    pub(crate) kind: String,
    pub(crate) source: String,
    pub(crate) read_only: Option<bool>,
    pub(crate) recursive: Option<bool>,
    pub(crate) mode: Option<String>,
    pub(crate) uid: Option<i64>,
    pub(crate) gid: Option<i64>,
}

impl VolumeParts {
    pub(crate) fn build(self) -> Result<Volume, VolumeError> {
        if self.name.is_empty() {
            return Err(VolumeError::NameMissing);
        }
        let kind = match self.kind.as_str() {
            "empty" if !self.source.is_empty() => return Err(VolumeError::SourceOfEmpty { path: self.source }),
            "empty" => VolumeKind::Empty {
                mode: self.mode.unwrap_or_else(|| DEFAULT_MODE.to_owned()),
                uid: self.uid.unwrap_or(0),
                gid: self.gid.unwrap_or(0),
            },
            "host" => {
                let set = [("mode", self.mode.is_some()), ("uid", self.uid.is_some()), ("gid", self.gid.is_some())];
                check_source_present(&self.source)?;
                if let Some((field, _)) = set.into_iter().find(|&(_, is_set)| is_set) {
                    return Err(VolumeError::FieldOfHost { field });
                }
                check_source_absolute(&self.source)?;
                VolumeKind::Host { source: self.source, recursive: self.recursive }
            }
            _ => return Err(VolumeError::BadKind { kind: self.kind }),
        };
        Ok(Volume { name: self.name, kind, read_only: self.read_only })
    }
}

fn check_source_present(source: &str) -> Result<(), VolumeError> {
    if source.is_empty() { Err(VolumeError::SourceMissing) } else { Ok(()) }
}

fn check_source_absolute(source: &str) -> Result<(), VolumeError> {
    if source.starts_with('/') { Ok(()) } else { Err(VolumeError::SourceRelative { path: source.to_owned() }) }
}

impl Volume {
    /// An empty volume of the default mode and owner.
    pub fn empty(name: AcName) -> Self {
        let kind = VolumeKind::Empty { mode: DEFAULT_MODE.to_owned(), uid: 0, gid: 0 };
        Self { name, kind, read_only: None }
    }

    /// A file or directory of the host.
    pub fn host(name: AcName, source: impl Into<String>) -> Self {
        Self { name, kind: VolumeKind::Host { source: source.into(), recursive: None }, read_only: None }
    }

    /// Checks the rules a volume made in code could break.
    ///
    /// # Errors
    /// See [`VolumeError`].
    pub fn validate(&self) -> Result<(), VolumeError> {
        if self.name.is_empty() {
            return Err(VolumeError::NameMissing);
        }
        match &self.kind {
            VolumeKind::Empty { .. } => Ok(()),
            VolumeKind::Host { source, .. } => {
                check_source_present(source).and_then(|()| check_source_absolute(source))
            }
        }
    }

    fn kind_name(&self) -> &'static str {
        match self.kind {
            VolumeKind::Empty { .. } => "empty",
            VolumeKind::Host { .. } => "host",
        }
    }
}

impl FromJson for Volume {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        let read = |cx: &mut Cx| {
            let mut parts = VolumeParts::default();
            let known = ["name", "kind", "source", "readOnly", "recursive", "mode", "uid", "gid"];
            cx.fields(view, &known, |cx, field, view| {
                match field {
                    "name" => parts.name = AcName::from_json(cx, view)?,
                    "kind" => cx.string(view, &mut parts.kind),
                    "source" => cx.string(view, &mut parts.source),
                    "readOnly" => parts.read_only = cx.optional(view)?,
                    "recursive" => parts.recursive = cx.optional(view)?,
                    "mode" => parts.mode = cx.optional(view)?,
                    "uid" => parts.uid = cx.optional(view)?,
                    _ => parts.gid = cx.optional(view)?,
                }
                Ok(())
            })?;
            Ok(parts)
        };
        cx.built(read, VolumeParts::build)
    }
}

impl ToJson for Volume {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.rules(self.validate())?;
        printer.object(|object| {
            object.field("name", &self.name)?;
            object.field("kind", self.kind_name())?;
            match &self.kind {
                VolumeKind::Host { source, recursive } => {
                    object.field("source", source)?;
                    object.optional("readOnly", self.read_only.as_ref())?;
                    object.optional("recursive", recursive.as_ref())
                }
                VolumeKind::Empty { mode, uid, gid } => {
                    object.optional("readOnly", self.read_only.as_ref())?;
                    object.field("mode", mode)?;
                    object.field("uid", uid)?;
                    object.field("gid", gid)
                }
            }
        })
    }
}

impl fmt::Display for Volume {
    /// The form the command line takes, see [`parameters`](crate::parameters); defaults are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},kind={}", self.name, self.kind_name())?;
        if let VolumeKind::Host { source, .. } = &self.kind {
            write!(f, ",source={source}")?;
        }
        if let Some(read_only) = self.read_only {
            write!(f, ",readOnly={read_only}")?;
        }
        match &self.kind {
            VolumeKind::Host { recursive, .. } => recursive.map_or(Ok(()), |it| write!(f, ",recursive={it}")),
            VolumeKind::Empty { mode, uid, gid } => {
                if mode != DEFAULT_MODE {
                    write!(f, ",mode={mode}")?;
                }
                if *uid != 0 {
                    write!(f, ",uid={uid}")?;
                }
                if *gid != 0 { write!(f, ",gid={gid}") } else { Ok(()) }
            }
        }
    }
}
