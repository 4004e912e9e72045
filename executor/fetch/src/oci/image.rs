//! From a selected manifest to an image whose manifest, config and layer list agree.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use oci_spec::image::{Config, Descriptor, ImageConfiguration, ImageManifest};
use serde::Deserialize;

use super::chunked::TableOfContents;
use super::document::{self, Documents, check_head, parse};
use super::layout::Layout;
use super::media::{Document, LayerMediaType, is_config};
use super::select::{Selected, select};
use super::{Blob, OciError};
use crate::digest::Digest;
use crate::platform::Platform;
use crate::quote::Quoted;

/// The most layers of an image. Docker stops at 127; each one is an open file here and a lower directory later.
const MAX_LAYERS: usize = 128;

/// An image of a layout: documents verified, layers opened.
#[derive(Debug)]
pub struct OciImage {
    /// A name for people: the name recorded in the layout if it is a full one, else the directory's. Without tag.
    pub name: String,
    /// The tag recorded in the layout, for instance `latest`.
    pub tag: Option<String>,
    /// The manifest, byte for byte.
    pub manifest: Vec<u8>,
    /// Its digest, checked.
    pub manifest_digest: Digest,
    /// The config, byte for byte.
    pub config: Vec<u8>,
    /// Its digest, checked. It identifies the image.
    pub config_digest: Digest,
    /// The digest of each uncompressed layer, lowest first; as many as there are layers.
    pub diff_ids: Vec<Digest>,
    /// The layers, lowest first. Their content is not yet checked.
    pub layers: Vec<OciLayer>,
    /// Operating system in Go's name; always this machine's.
    pub os: String,
    /// Architecture in Go's name; always this machine's.
    pub architecture: String,
    /// What to execute, and how.
    pub config_section: OciConfig,
}

/// One layer of an image.
#[derive(Debug)]
pub struct OciLayer {
    /// The digest of the bytes in `file`, to be checked by whoever reads them.
    pub digest: Digest,
    /// How they are packed.
    pub media_type: LayerMediaType,
    /// Their number, as the manifest says.
    pub size: u64,
    /// Where they are.
    pub bytes: LayerBytes,
    /// What is said to be where in them.
    pub contents: Option<TableOfContents>,
}

/// Where the bytes of a layer are.
#[derive(Debug)]
#[non_exhaustive]
pub enum LayerBytes {
    /// In a file, found to be long enough.
    File {
        /// The file; its position means nothing.
        file: File,
        /// Where in it they begin.
        start: u64,
    },
    /// In the registry that the image came from.
    Remote,
}

/// The `config` section of an image's config (image-spec, config.md, Properties), absent values being empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OciConfig {
    /// The program and its fixed arguments.
    pub entrypoint: Vec<String>,
    /// Default arguments, or the program where there is no entrypoint.
    pub cmd: Vec<String>,
    /// `NAME=VALUE` each, as written.
    pub env: Vec<String>,
    /// `user`, `uid`, `user:group`, … as written.
    pub user: String,
    /// The working directory, as written.
    pub working_dir: String,
    /// Directories that want a volume, sorted.
    pub volumes: Vec<String>,
    /// `PORT[/PROTOCOL]` each, sorted.
    pub exposed_ports: Vec<String>,
    /// The signal that asks the program to end.
    pub stop_signal: Option<String>,
    /// The health check as JSON, which images of docker's have beside what the specification knows.
    pub healthcheck: Option<String>,
    /// Free-form labels.
    pub labels: BTreeMap<String, String>,
}

impl OciImage {
    /// Opens the image that `reference` means in the layout at `dir`, for this machine.
    ///
    /// # Errors
    /// [`OciError`] says which document or blob is missing, too large, not of its digest, of an unknown type, or for
    /// another machine; with several images and no reference it lists the references.
    pub fn open(dir: &Path, reference: Option<&str>) -> Result<Self, OciError> {
        Self::open_for(dir, reference, &Platform::host())
    }

    /// As [`OciImage::open`], for a machine other than this.
    pub(crate) fn open_for(dir: &Path, reference: Option<&str>, host: &Platform) -> Result<Self, OciError> {
        Self::of_layout(&Layout::open(dir)?, dir, reference, host)
    }

    fn of_layout(layout: &Layout, path: &Path, reference: Option<&str>, host: &Platform) -> Result<Self, OciError> {
        let selected = select(layout, reference, host)?;
        let bytes = document::manifest(layout, &Blob::of(&selected.descriptor)?)?;
        let (name, tag) = name_and_tag(path, &selected);
        Self::assemble(layout, &selected.descriptor, bytes, Name { name, tag }, host)
    }

    /// Opens the image that `reference` means in the archive of a layout (`oci-archive:`), for this machine.
    ///
    /// # Errors
    /// As [`OciImage::open`].
    pub fn open_archive(path: &Path, reference: Option<&str>) -> Result<Self, OciError> {
        Self::of_layout(&Layout::open_archive(path)?, path, reference, &Platform::host())
    }

    /// Opens an image of an archive that `docker save` wrote (`docker-archive:`), for this machine.
    ///
    /// # Errors
    /// [`OciError`].
    pub fn open_docker_archive(path: &Path, reference: Option<&str>) -> Result<Self, OciError> {
        super::docker::open(path, reference, &Platform::host())
    }

    /// The image of a manifest whose digest has been checked.
    pub(crate) fn assemble(
        documents: &dyn Documents,
        descriptor: &Descriptor,
        bytes: Vec<u8>,
        Name { name, tag }: Name,
        host: &Platform,
    ) -> Result<Self, OciError> {
        let manifest_blob = Blob::of(descriptor)?;
        let manifest = parse_manifest(descriptor, &bytes)?;
        let config_blob = Blob::of(manifest.config())?;
        if !is_config(manifest.config().media_type().as_ref()) {
            return Err(media_type_error("config", manifest.config()));
        }
        let config_bytes = document::config(documents, &config_blob)?;
        let config: ImageConfiguration = parse(&config_blob.digest.to_string(), &config_bytes)?;
        let platform =
            Platform::new(&config.os().to_string(), &config.architecture().to_string(), config.variant().as_deref());
        if !platform.runs_on(host) {
            return Err(OciError::ForeignPlatform { image: platform.to_string(), host: host.to_string() });
        }
        let mut config_section = config.config().as_ref().map(OciConfig::from).unwrap_or_default();
        config_section.healthcheck = healthcheck(&config_bytes);
        let diff_ids = diff_ids(&config, manifest.layers().len())?;
        let layers = open_layers(documents, manifest.layers())?;
        Ok(Self {
            name,
            tag,
            manifest: bytes,
            manifest_digest: manifest_blob.digest,
            config: config_bytes,
            config_digest: config_blob.digest,
            diff_ids,
            layers,
            os: platform.os,
            architecture: platform.architecture,
            config_section,
        })
    }
}

/// What an image is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// The name without tag.
    pub name: String,
    /// The tag, if it has one.
    pub tag: Option<String>,
}

impl From<&Config> for OciConfig {
    fn from(config: &Config) -> Self {
        let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        // These two are JSON objects used as sets; their order means nothing, so it is made stable.
        let set = |set: &Option<Vec<String>>| {
            let mut sorted = list(set);
            sorted.sort_unstable();
            sorted
        };
        Self {
            entrypoint: list(config.entrypoint()),
            cmd: list(config.cmd()),
            env: list(config.env()),
            user: config.user().clone().unwrap_or_default(),
            working_dir: config.working_dir().clone().unwrap_or_default(),
            volumes: set(config.volumes()),
            exposed_ports: set(config.exposed_ports()),
            stop_signal: config.stop_signal().clone().filter(|signal| !signal.is_empty()),
            healthcheck: None,
            labels: config.labels().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect(),
        }
    }
}

/// The health check of a config, which has been understood otherwise.
fn healthcheck(config: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Whole {
        config: Option<Section>,
    }
    #[derive(Deserialize)]
    struct Section {
        #[serde(rename = "Healthcheck")]
        healthcheck: Option<serde_json::Value>,
    }
    let whole: Whole = serde_json::from_slice(config).ok()?;
    Some(whole.config?.healthcheck?.to_string())
}

fn parse_manifest(descriptor: &Descriptor, bytes: &[u8]) -> Result<ImageManifest, OciError> {
    let name = descriptor.digest().to_string();
    check_head(&name, Document::Manifest, descriptor.media_type().as_ref(), bytes)?;
    let manifest: ImageManifest = parse(&name, bytes)?;
    match manifest.layers().len() {
        0 => Err(OciError::NoLayers),
        count if count > MAX_LAYERS => Err(OciError::TooManyLayers { count, limit: MAX_LAYERS }),
        _ => Ok(manifest),
    }
}

fn diff_ids(config: &ImageConfiguration, layers: usize) -> Result<Vec<Digest>, OciError> {
    let rootfs = config.rootfs();
    if rootfs.typ() != "layers" {
        return Err(OciError::RootfsType(Quoted::new(rootfs.typ())));
    }
    let diff_ids = rootfs.diff_ids();
    if diff_ids.len() != layers {
        return Err(OciError::LayerCount { layers, diff_ids: diff_ids.len() });
    }
    diff_ids
        .iter()
        .map(|text| text.parse().map_err(|source| OciError::BadDigest { field: "diff_id", source }))
        .collect()
}

fn open_layers(documents: &dyn Documents, descriptors: &[Descriptor]) -> Result<Vec<OciLayer>, OciError> {
    // All types before the first blob: an image that cannot be used is refused for its type, not for what is missing.
    let mut typed = Vec::with_capacity(descriptors.len());
    for descriptor in descriptors {
        let media_type = LayerMediaType::from_media_type(descriptor.media_type().as_ref())
            .ok_or_else(|| media_type_error("layer", descriptor))?;
        let annotations = descriptor.annotations().as_ref().filter(|_| media_type == LayerMediaType::TarZstd);
        let contents = annotations.and_then(|it| TableOfContents::of(it, descriptor.size()));
        typed.push((Blob::of(descriptor)?, media_type, contents));
    }
    typed
        .into_iter()
        .map(|(blob, media_type, contents)| {
            let bytes = documents.layer(&blob)?;
            Ok(OciLayer { digest: blob.digest, media_type, size: blob.size, bytes, contents })
        })
        .collect()
}

fn media_type_error(what: &'static str, descriptor: &Descriptor) -> OciError {
    OciError::MediaType {
        what,
        digest: Quoted::new(descriptor.digest().as_ref()),
        media_type: Quoted::new(descriptor.media_type().as_ref()),
    }
}

/// A reference name with a slash is a full image name (buildah and containerd write such); any other is a tag, and
/// the directory lends the name.
fn name_and_tag(dir: &Path, selected: &Selected) -> (String, Option<String>) {
    let full = selected.image_name.as_ref().or(selected.ref_name.as_ref().filter(|name| name.contains('/')));
    if let Some(full) = full {
        let without_digest = full.split('@').next().unwrap_or(full);
        return match without_digest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name.to_owned(), Some(tag.to_owned())),
            _ => (without_digest.to_owned(), None),
        };
    }
    let dir = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let stem = if dir.is_dir() { dir.file_name() } else { dir.file_stem() };
    let name = stem.map_or_else(|| "image".to_owned(), |name| name.to_string_lossy().into_owned());
    (name, selected.ref_name.clone())
}
