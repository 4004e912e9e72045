//! Whether a document is what its descriptor says it is.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::OciError;
use super::layout::Layout;
use super::media::Document;
use crate::quote::Quoted;

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
pub(crate) fn check_head(
    layout: &Layout,
    name: &str,
    kind: Document,
    media_type: &str,
    bytes: &[u8],
) -> Result<(), OciError> {
    let head: Head = layout.parse(name, bytes)?;
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
