//! Documents: where they come from, and whether one is what its descriptor says it is.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::image::LayerBytes;
use super::media::Document;
use super::{Blob, OciError};
use crate::digest::Digest;
use crate::json;
use crate::quote::Quoted;

/// The most bytes of an index, manifest or config. Registries and other engines draw the line at 4 MiB as well.
pub(crate) const MAX_DOCUMENT: u64 = 4 << 20;

/// Where the documents and layers of an image are: a layout, an archive, a registry.
pub(crate) trait Documents: fmt::Debug {
    /// The bytes of an index or manifest, not yet compared with their digest.
    fn manifest(&self, blob: &Blob) -> Result<Vec<u8>, OciError>;

    /// The bytes of a config, not yet compared with their digest.
    fn config(&self, blob: &Blob) -> Result<Vec<u8>, OciError>;

    /// Where the bytes of a layer are.
    fn layer(&self, blob: &Blob) -> Result<LayerBytes, OciError>;
}

/// The index or manifest `blob`, after its size and digest have been found to be what they should.
pub(crate) fn manifest(documents: &dyn Documents, blob: &Blob) -> Result<Vec<u8>, OciError> {
    check_size(blob)?;
    verify(blob, documents.manifest(blob)?)
}

/// The config `blob`, after its size and digest have been found to be what they should.
pub(crate) fn config(documents: &dyn Documents, blob: &Blob) -> Result<Vec<u8>, OciError> {
    check_size(blob)?;
    verify(blob, documents.config(blob)?)
}

fn check_size(blob: &Blob) -> Result<(), OciError> {
    if blob.size > MAX_DOCUMENT {
        return Err(OciError::TooLarge { name: blob.digest.to_string(), size: blob.size, limit: MAX_DOCUMENT });
    }
    Ok(())
}

fn verify(blob: &Blob, bytes: Vec<u8>) -> Result<Vec<u8>, OciError> {
    if bytes.len() as u64 != blob.size {
        let found = bytes.len() as u64;
        return Err(OciError::Size { digest: blob.digest.clone(), expected: blob.size, found });
    }
    let computed = Digest::of(blob.digest.algorithm(), &bytes);
    if computed != blob.digest {
        return Err(OciError::Digest { expected: blob.digest.clone(), computed });
    }
    Ok(bytes)
}

/// Parses a document, `name` being what errors call it.
pub(crate) fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, OciError> {
    json::parse(bytes).map_err(|source| OciError::Json { name: name.to_owned(), source })
}

/// The fields that tell an index from a manifest, and either from Docker's schema 1.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    schema_version: u64,
    media_type: Option<String>,
    manifests: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
    fs_layers: Option<IgnoredAny>,
}

/// Refuses a document that could be read as something else than `kind`: one with the fields of both (CVE-2021-41190),
/// one whose own `mediaType` contradicts the descriptor's `media_type`, one of another schema.
pub(crate) fn check_head(name: &str, kind: Document, media_type: &str, bytes: &[u8]) -> Result<(), OciError> {
    let head: Head = parse(name, bytes)?;
    if head.schema_version != 2 || head.fs_layers.is_some() {
        return Err(OciError::Schema { name: name.to_owned(), version: head.schema_version });
    }
    let is_index = head.manifests.is_some();
    let is_manifest = head.layers.is_some() || head.config.is_some();
    if (is_index && is_manifest) || (is_index != (kind == Document::Index)) {
        return Err(OciError::Confused { name: name.to_owned() });
    }
    match head.media_type {
        Some(own) if own != media_type => Err(OciError::MediaTypeMismatch {
            name: name.to_owned(),
            own: Quoted::new(&own),
            descriptor: Quoted::new(media_type),
        }),
        _ => Ok(()),
    }
}
