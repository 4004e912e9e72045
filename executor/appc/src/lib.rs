//! The App Container schema, version 0.8.11: names, versions, image manifests, pod manifests.
//!
//! Every other part of proa speaks in these types. They read what the reference implementation in Go reads, with its
//! error texts, and print the bytes it prints; where it is careless (duplicate keys, a known isolator without a
//! value) they are not, unless asked to be by [`Dialect::Actool`].
//!
//! This crate is pure: it opens nothing, asks the host nothing, and does not panic on any input. What it reads is
//! bounded in size ([`MAX_MANIFEST_BYTES`]) and depth ([`MAX_DEPTH`]).

pub mod annotations;
pub mod app;
pub mod date;
pub mod dependency;
pub mod document;
mod embedding;
pub mod environment;
pub mod event_handler;
pub mod hash;
pub mod image;
pub mod image_id;
pub mod image_string;
pub mod isolator;
mod json;
pub mod kind;
pub mod labels;
pub mod lastditch;
pub mod mount_point;
pub mod name;
pub mod parameters;
pub mod platform;
pub mod pod;
pub mod pod_uuid;
pub mod port;
pub mod problem;
pub mod resource;
pub mod runtime_app;
mod scalars;
pub mod url;
pub mod version;
pub mod volume;

pub use annotations::{Annotation, Annotations};
pub use app::App;
pub use dependency::Dependency;
pub use document::ManifestError;
pub use embedding::json_text;
pub use environment::{EnvVar, Environment};
pub use event_handler::{Event, EventHandler};
pub use hash::{Algorithm, Hash};
pub use image::ImageManifest;
pub use image_id::ImageId;
pub use image_string::ImageString;
pub use isolator::{Isolator, IsolatorValue};
pub use json::decode::FieldError;
pub use json::path::JsonPath;
pub use json::syntax::{SyntaxError, SyntaxProblem};
pub use json::{Dialect, MAX_DEPTH, MAX_MANIFEST_BYTES};
pub use kind::Kind;
pub use labels::{Label, Labels};
pub use mount_point::MountPoint;
pub use name::{AcIdentifier, AcName};
pub use parameters::ParameterError;
pub use pod::PodManifest;
pub use pod_uuid::PodUuid;
pub use port::{ExposedPort, Port};
pub use problem::Problem;
pub use runtime_app::{Mount, RuntimeApp, RuntimeImage};
pub use version::{Compatibility, SPEC_VERSION, SemVer};
pub use volume::{Volume, VolumeKind};
