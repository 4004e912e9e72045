//! Manifests, indexes and configs: reading them within bounds, and choosing an image for a platform.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::media;
use crate::transfer::{Named, Source, TransferError};

/// The most bytes of a document: what registries have to take.
pub const MAX_DOCUMENT: u64 = 4 << 20;

/// What an image is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Go's name of the processor.
    #[serde(default)]
    pub architecture: String,
    /// Go's name of the operating system.
    #[serde(default)]
    pub os: String,
}

/// Why documents make no image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The place does not give it.
    #[error("{what} {digest}")]
    Source {
        /// `manifest` or `config`.
        what: &'static str,
        /// Its digest.
        digest: Digest,
        /// Why.
        source: TransferError,
    },
    /// The place does not have the image.
    #[error(transparent)]
    Named(TransferError),
    /// It is no JSON of the right form.
    #[error("{what} {digest} is not what it should be")]
    Json {
        /// `manifest`, `index` or `config`.
        what: &'static str,
        /// Its digest.
        digest: Digest,
        /// The parser's words.
        source: serde_json::Error,
    },
    /// The bytes are not those that were promised.
    #[error("{what} {expected} has {found}")]
    Mismatch {
        /// `manifest` or `config`.
        what: &'static str,
        /// The promised digest.
        expected: Digest,
        /// The digest or size it has.
        found: String,
    },
    /// It is larger than documents may be.
    #[error("{what} {digest} has {size} bytes, the limit is {MAX_DOCUMENT}")]
    TooLarge {
        /// `manifest` or `config`.
        what: &'static str,
        /// Its digest.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// It is neither manifest nor index.
    #[error("the image is of type {0:?}, neither manifest nor index")]
    MediaType(String),
    /// An index names an index.
    #[error("index {outer} names the index {inner}; only images may be in one")]
    Nested {
        /// The index.
        outer: Digest,
        /// The index in it.
        inner: Digest,
    },
    /// No image is for the platform.
    #[error("the index {index} has no image for {wanted}: {found}")]
    Platform {
        /// The index.
        index: Digest,
        /// OS and architecture.
        wanted: String,
        /// What it has.
        found: String,
    },
}

/// A manifest with its config: all that is known of an image before its layers come.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of what the name meant: of the index, if it was one.
    pub named: Digest,
    /// The manifest.
    pub manifest: Descriptor,
    /// Its bytes.
    pub manifest_bytes: Vec<u8>,
    /// The layers, the lowest first.
    pub layers: Vec<Descriptor>,
    /// The config.
    pub config: Descriptor,
    /// Its bytes.
    pub config_bytes: Vec<u8>,
    /// The labels in it; none, if it is no image config.
    pub labels: BTreeMap<String, String>,
    /// The platform in it.
    pub platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    // A document that could be taken for an index as well is refused.
    manifests: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
    layers: Option<serde_json::Value>,
    config: Option<serde_json::Value>,
}

/// The fields of an image config that matter here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Config {
    /// Go's name of the processor.
    #[serde(default)]
    pub architecture: String,
    /// Go's name of the operating system.
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    config: Option<ConfigConfig>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
struct ConfigConfig {
    #[serde(default, rename = "Labels")]
    labels: Option<BTreeMap<String, String>>,
}

impl Image {
    /// Reads what leads to the image of a place: of an index, the manifest for `platform`.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn read(source: &dyn Source, platform: &Platform) -> Result<Self, DocumentError> {
        let Named { media_type, bytes } = source.named().map_err(DocumentError::Named)?;
        let named = Digest::of(&bytes);
        let (manifest, manifest_bytes) = if media::is_manifest(&media_type) {
            (Descriptor::of(&media_type, &bytes), bytes)
        } else if media::is_index(&media_type) {
            let chosen = choose(&named, &bytes, platform)?;
            let bytes = fetch(source, &chosen, "manifest")?;
            (chosen, bytes)
        } else {
            return Err(DocumentError::MediaType(media_type));
        };
        let parsed: Manifest = json("manifest", &manifest.digest, &manifest_bytes)?;
        if parsed.manifests.is_some() {
            let both = <serde_json::Error as serde::de::Error>::custom("it has the fields of an index too");
            return Err(DocumentError::Json { what: "manifest", digest: manifest.digest, source: both });
        }
        let config_bytes = fetch(source, &parsed.config, "config")?;
        // A config of one's own may be anything in JSON.
        let value: serde_json::Value = json("config", &parsed.config.digest, &config_bytes)?;
        let config: Config = serde_json::from_value(value).unwrap_or_default();
        let Config { architecture, os, config } = config;
        Ok(Self {
            named,
            manifest,
            manifest_bytes,
            layers: parsed.layers.unwrap_or_default(),
            config: parsed.config,
            config_bytes,
            labels: config.and_then(|it| it.labels).unwrap_or_default(),
            platform: (!architecture.is_empty() || !os.is_empty()).then_some(Platform { architecture, os }),
        })
    }
}

fn json<T: for<'de> Deserialize<'de>>(what: &'static str, digest: &Digest, bytes: &[u8]) -> Result<T, DocumentError> {
    serde_json::from_slice(bytes).map_err(|source| DocumentError::Json { what, digest: digest.clone(), source })
}

fn fetch(source: &dyn Source, descriptor: &Descriptor, what: &'static str) -> Result<Vec<u8>, DocumentError> {
    let Descriptor { digest, size, .. } = descriptor;
    if *size > MAX_DOCUMENT {
        return Err(DocumentError::TooLarge { what, digest: digest.clone(), size: *size });
    }
    let bytes = source.document(descriptor, what == "manifest");
    let bytes = bytes.map_err(|source| DocumentError::Source { what, digest: digest.clone(), source })?;
    let mut hasher = digest.hasher();
    hasher.update(&bytes);
    let (found, length) = (hasher.finish(), bytes.len() as u64);
    let found = match (length == *size, found == *digest) {
        (true, true) => return Ok(bytes),
        (false, _) => format!("{length} bytes, not {size}"),
        (true, false) => format!("the digest {found}"),
    };
    Err(DocumentError::Mismatch { what, expected: digest.clone(), found })
}

/// The manifest of an index that is for the platform, or the only one it has.
fn choose(digest: &Digest, bytes: &[u8], platform: &Platform) -> Result<Descriptor, DocumentError> {
    let index: Index = json("index", digest, bytes)?;
    if index.layers.is_some() || index.config.is_some() {
        let both = <serde_json::Error as serde::de::Error>::custom("it has the fields of a manifest too");
        return Err(DocumentError::Json { what: "index", digest: digest.clone(), source: both });
    }
    if let Some(inner) = index.manifests.iter().find(|it| media::is_index(&it.media_type)) {
        return Err(DocumentError::Nested { outer: digest.clone(), inner: inner.digest.clone() });
    }
    let manifests: Vec<_> = index.manifests.iter().filter(|it| media::is_manifest(&it.media_type)).collect();
    let fits = |it: &&&Descriptor| it.platform.as_ref() == Some(platform);
    if let Some(found) = manifests.iter().find(fits) {
        return Ok((*found).clone());
    }
    if let [only] = manifests[..]
        && only.platform.is_none()
    {
        return Ok(only.clone());
    }
    let shown = |it: &Platform| format!("{}/{}", it.os, it.architecture);
    let found: Vec<String> = manifests.iter().filter_map(|it| it.platform.as_ref().map(shown)).collect();
    let found = match (manifests.len(), found.is_empty()) {
        (0, _) => "it is empty".to_owned(),
        (count, true) => format!("its {count} name no platform"),
        _ => format!("it has only {}", found.join(", ")),
    };
    Err(DocumentError::Platform { index: digest.clone(), wanted: shown(platform), found })
}
