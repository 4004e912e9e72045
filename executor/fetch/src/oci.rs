//! OCI images: their documents, wherever they are, and layout directories.

mod app;
mod chunked;
mod config;
mod docker;
pub(crate) mod document;
pub(crate) mod image;
mod layout;
pub(crate) mod media;
pub(crate) mod select;

pub use app::{CMD, ENTRYPOINT, HEALTHCHECK, MappingError, STOP_SIGNAL, USER, to_app};
pub use chunked::TableOfContents;
pub use config::{FromApp, from_app};
pub use docker::names_in_docker_archive;
pub use image::{LayerBytes, OciConfig, OciImage, OciLayer};
pub use media::LayerMediaType;

use std::io;

use oci_spec::image::Descriptor;

use crate::digest::{Digest, DigestError};
use crate::json::JsonError;
use crate::quote::Quoted;
use crate::tar_index::TarIndexError;

/// Why a layout yields no image. Every value that came from the layout is shown quoted and cut.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OciError {
    /// The directory itself could not be opened.
    #[error("open the directory")]
    OpenDir(#[source] io::Error),
    /// The archive could not be opened.
    #[error("open the archive")]
    OpenArchive(#[source] io::Error),
    /// The archive has no index.
    #[error(transparent)]
    Archive(#[from] TarIndexError),
    /// What `manifest.json` of a Docker archive says cannot be.
    #[error("manifest.json: {0}")]
    DockerArchive(String),
    /// A file that every layout has is not there.
    #[error("not an OCI layout: {missing} is missing")]
    NotALayout {
        /// `oci-layout` or `index.json`.
        missing: &'static str,
    },
    /// `oci-layout` names another version than 1.0.0.
    #[error("layout version {0} is not supported (supported: 1.0.0)")]
    LayoutVersion(Quoted),
    /// A file could not be opened.
    #[error("open {name}")]
    Open {
        /// Its name below the layout.
        name: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A file could not be read.
    #[error("read {name}")]
    Read {
        /// Its name below the layout, or its digest.
        name: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A symbolic link stands in the way.
    #[error("{0} leads through a symbolic link, which a layout may not hold")]
    Symlink(String),
    /// A file is a directory, fifo, socket or device.
    #[error("{0} is not a regular file")]
    NotRegular(String),
    /// A document is larger than the limit.
    #[error("{name} has {size} bytes, the limit for a document is {limit}")]
    TooLarge {
        /// Its name or digest.
        name: String,
        /// Bytes it has.
        size: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A document is not the JSON it should be.
    #[error("parse {name}")]
    Json {
        /// Its name or digest.
        name: String,
        /// Where and why.
        source: JsonError,
    },
    /// A digest in a document is malformed.
    #[error("bad {field} in the image")]
    BadDigest {
        /// The field it stands in.
        field: &'static str,
        /// What is wrong with it.
        source: DigestError,
    },
    /// A blob is not in the layout.
    #[error("blob {0} is missing from the layout")]
    Missing(Digest),
    /// A document's content is not what its name says.
    #[error("content of {expected} has the digest {computed}: it is damaged or was tampered with")]
    Digest {
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of what was found.
        computed: Digest,
    },
    /// A blob has another size than its descriptor says.
    #[error("blob {digest} has {found} bytes, its descriptor says {expected}")]
    Size {
        /// The blob.
        digest: Digest,
        /// Bytes according to the descriptor.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// A registry did not give a document.
    #[error(transparent)]
    Registry(Box<crate::registry::RegistryError>),
    /// A media type that is not understood.
    #[error("{what} {digest} has the unsupported media type {media_type}")]
    MediaType {
        /// `image`, `config` or `layer`.
        what: &'static str,
        /// Which one.
        digest: Quoted,
        /// Its media type.
        media_type: Quoted,
    },
    /// A document's own media type is not its descriptor's.
    #[error("{name} calls itself {own}, its descriptor says {descriptor}")]
    MediaTypeMismatch {
        /// Its name or digest.
        name: String,
        /// The type inside the document.
        own: Quoted,
        /// The type in the descriptor.
        descriptor: Quoted,
    },
    /// A document with the fields of an index and of a manifest, or with those of the wrong one.
    #[error("{name} mixes the fields of an index and of a manifest")]
    Confused {
        /// Its name or digest.
        name: String,
    },
    /// Another schema than version 2.
    #[error("{name} has schema version {version}, or Docker's schema 1 fields (supported: 2)")]
    Schema {
        /// Its name or digest.
        name: String,
        /// The version it names.
        version: u64,
    },
    /// Indexes within indexes beyond the limit.
    #[error("indexes are nested more than {limit} deep")]
    TooDeep {
        /// Levels allowed below `index.json`.
        limit: usize,
    },
    /// `index.json` lists nothing.
    #[error("the layout holds no image")]
    EmptyIndex,
    /// Several images and no word on which.
    #[error("there are several images, choose one with :REF at the end (available: {available})")]
    Ambiguous {
        /// The references that would be understood.
        available: String,
    },
    /// No image has the reference.
    #[error("the layout holds no image {reference} (available: {available})")]
    NoRef {
        /// What was asked for.
        reference: Quoted,
        /// The references that would be understood.
        available: String,
    },
    /// None of several entries is for this machine.
    #[error("no image for {host} (available: {offered})")]
    NoPlatform {
        /// This machine.
        host: String,
        /// What the index offers.
        offered: String,
    },
    /// The image is for another machine.
    #[error("the image is for {image}, this machine is {host}")]
    ForeignPlatform {
        /// The image's platform.
        image: String,
        /// This machine's.
        host: String,
    },
    /// The manifest lists no layer, so there is no file system.
    #[error("the image has no layers")]
    NoLayers,
    /// More layers than can be stacked.
    #[error("the image has {count} layers, the limit is {limit}")]
    TooManyLayers {
        /// Layers of the manifest.
        count: usize,
        /// Layers allowed.
        limit: usize,
    },
    /// Manifest and config disagree on the number of layers.
    #[error("the manifest lists {layers} layers, the config {diff_ids}")]
    LayerCount {
        /// Layers of the manifest.
        layers: usize,
        /// Entries of `rootfs.diff_ids`.
        diff_ids: usize,
    },
    /// `rootfs.type` is not `layers`.
    #[error("root file system type {0} is not supported (supported: layers)")]
    RootfsType(Quoted),
}

/// What a descriptor promises about a blob, checked as far as it can be without opening it.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    /// The name of the blob.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

impl Blob {
    pub(crate) fn of(descriptor: &Descriptor) -> Result<Self, OciError> {
        let digest = descriptor.digest().as_ref().parse();
        let digest = digest.map_err(|source| OciError::BadDigest { field: "digest", source })?;
        Ok(Self { digest, size: descriptor.size() })
    }
}
