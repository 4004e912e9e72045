//! Why images and request make no pod.

use appc::{AcIdentifier, AcName};
use stage1::limits::MAX_APPS;

use super::platform::{HOST_ARCH, HOST_OS};

/// Why images and request make no pod.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ReifyError {
    /// The image does not say what it was made for; the text is rkt's.
    #[error("image {image}: missing {label} label in the image manifest")]
    NoPlatform { image: String, label: &'static str },
    /// The image was made for another kind of machine.
    #[error("image {image}: bad {label} {value:?}, this machine is {HOST_OS}/{HOST_ARCH}")]
    ForeignPlatform { image: String, label: &'static str, value: String },
    /// The image is not the one that a pod manifest describes.
    #[error("app {app}: the label {label} of image {image} is {found:?}, the pod manifest wants {wanted:?}")]
    OtherLabel { app: AcName, image: String, label: AcIdentifier, wanted: String, found: String },
    /// The image is not meant to be run (it may be a dependency of others), and nothing else says what to execute.
    #[error("app {:?}: image has no app section and the pod manifest gives none", .0.as_str())]
    NoApp(AcName),
    /// Neither image nor command line says what to execute.
    #[error("app {app} has nothing to execute")]
    NoExec { app: AcName },
    /// No app name can be made of the image's.
    #[error("no app name can be made of the image name {image:?}")]
    NoName { image: String },
    /// Two apps of one name.
    #[error("two apps are named {0}")]
    DuplicateApp(AcName),
    /// A name that no file of the pod's directory can have a part of its name from.
    #[error("{what} name {:?}… is longer than {limit} bytes", name.get(..16).unwrap_or(name))]
    LongName { what: &'static str, name: String, limit: usize },
    /// More apps than a pod has room for.
    #[error("a pod of {0} apps: there can be {MAX_APPS}")]
    TooManyApps(usize),
    /// A mount point that no volume can be mounted at.
    #[error("mount point {name} of app {app} has the path {path:?}, which is not an absolute path without `..`")]
    BadMountPoint { app: AcName, name: AcName, path: String },
    /// A mount point that no volume can be told to belong to.
    #[error("app {app}: the mount point at {path:?} has no name")]
    NamelessMountPoint { app: AcName, path: String },
    /// A mount of a pod manifest without an absolute path.
    #[error("app {app}: the mount of volume {volume} has the path {path:?}, which is not absolute")]
    BadMount { app: AcName, volume: AcName, path: String },
    /// Two mount points of one name or path.
    #[error("app {app} has two mount points {what}")]
    DuplicateMountPoint { app: AcName, what: String },
    /// Two volumes of one name; the text is rkt's.
    #[error("duplicate volume name {:?}", .0.as_str())]
    DuplicateVolume(AcName),
    /// The mode of an empty volume is no octal number of permissions.
    #[error("volume {volume} has the mode {mode:?}, which is not an octal number up to 7777")]
    BadMode { volume: AcName, mode: String },
    /// A mount of a volume that was not declared.
    #[error("app {app}: there is no volume {volume} for the mount at {path}")]
    NoVolume { app: AcName, volume: AcName, path: String },
    /// Two mounts of an app, one of which would hide the other.
    #[error("app {app}: the mounts at {one} and {other} overlap")]
    Overlap { app: AcName, one: String, other: String },
    /// No volume name can be made of app and mount point.
    #[error("no volume name can be made of app {app} and mount point {name}")]
    NoVolumeName { app: AcName, name: AcName },
    /// An annotation of ours that is not a JSON array of strings.
    #[error("annotation {annotation} of image {image} is not a JSON array of strings")]
    BadCommand { image: String, annotation: &'static str, source: serde_json::Error },
}
