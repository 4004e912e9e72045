//! Which image of a layout is meant: by reference, then by platform, through nested indexes.

use oci_spec::image::{Descriptor, ImageIndex};

use super::document::{self, Documents, check_head, parse};
use super::layout::Layout;
use super::media::Document;
use super::{Blob, OciError};
use crate::digest::Digest;
use crate::platform::Platform;
use crate::quote::Quoted;

/// Indexes inside indexes, `index.json` not counted. Real images have one; the bound keeps a hostile layout from
/// making us read for ever.
const MAX_DEPTH: usize = 4;

/// Indexes opened in search of a digest.
const MAX_INDEXES: usize = 64;

/// The most references or platforms that an error lists.
const MAX_LISTED: usize = 20;

/// How layouts name an image (image-spec, annotations.md).
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// containerd's annotation with the full name.
const IMAGE_NAME: &str = "io.containerd.image.name";

/// The manifest that was asked for.
#[derive(Debug)]
pub(crate) struct Selected {
    /// The manifest's descriptor.
    pub descriptor: Descriptor,
    /// The name under which `index.json` lists it.
    pub ref_name: Option<String>,
    /// The full image name, where containerd wrote the layout.
    pub image_name: Option<String>,
}

/// Finds the manifest that `reference` means on `host`; without a reference, the only one.
pub(crate) fn select(layout: &Layout, reference: Option<&str>, host: &Platform) -> Result<Selected, OciError> {
    let index = parse_index("index.json", "application/vnd.oci.image.index.v1+json", &layout.index()?)?;
    let top = index.manifests();
    if let Some(digest) = reference.and_then(|reference| reference.parse::<Digest>().ok()) {
        let mut budget = MAX_INDEXES;
        let found = find_digest(layout, top, &digest, MAX_DEPTH, &mut budget)?;
        let found = found.ok_or_else(|| not_found(&digest.to_string(), top))?;
        return descend(layout, vec![found], host);
    }
    descend(layout, by_reference(top, reference)?, host)
}

/// The entries of `index.json` that carry the reference, or all when none was given and they share one name.
fn by_reference(top: &[Descriptor], reference: Option<&str>) -> Result<Vec<Descriptor>, OciError> {
    if top.is_empty() {
        return Err(OciError::EmptyIndex);
    }
    let Some(reference) = reference else {
        // Entries that differ only in platform are one image; different names are different images.
        let first = annotation(&top[0], REF_NAME);
        let one_name = top.iter().all(|entry| annotation(entry, REF_NAME) == first);
        let one_image = top.len() == 1 || (one_name && top.iter().all(|entry| entry.platform().is_some()));
        return if one_image { Ok(top.to_vec()) } else { Err(OciError::Ambiguous { available: list_refs(top) }) };
    };
    let named: Vec<Descriptor> =
        top.iter().filter(|entry| annotation(entry, REF_NAME) == Some(reference)).cloned().collect();
    if named.is_empty() { Err(not_found(reference, top)) } else { Ok(named) }
}

/// Goes down from `candidates` to one image manifest.
pub(crate) fn descend(
    documents: &dyn Documents,
    mut candidates: Vec<Descriptor>,
    host: &Platform,
) -> Result<Selected, OciError> {
    let mut names = (None, None);
    for _ in 0..=MAX_DEPTH {
        let chosen = by_platform(&candidates, host)?;
        // The outermost name is the one the user knows.
        names.0 = names.0.or_else(|| annotation(&chosen, REF_NAME).map(str::to_owned));
        names.1 = names.1.or_else(|| annotation(&chosen, IMAGE_NAME).map(str::to_owned));
        match document(&chosen)? {
            Document::Manifest => return Ok(Selected { descriptor: chosen, ref_name: names.0, image_name: names.1 }),
            Document::Index => candidates = open_index(documents, &chosen)?.manifests().clone(),
        }
    }
    Err(OciError::TooDeep { limit: MAX_DEPTH })
}

/// The first entry for this machine (image-spec, image-index.md: "the first matching entry SHOULD be used"). A single
/// entry is taken whatever it says; the config has the last word on the platform.
fn by_platform(candidates: &[Descriptor], host: &Platform) -> Result<Descriptor, OciError> {
    if let [only] = candidates {
        return Ok(only.clone());
    }
    let matching = candidates.iter().find(|entry| platform(entry).is_some_and(|platform| platform.runs_on(host)));
    matching.cloned().ok_or_else(|| {
        let offered = candidates.iter().filter_map(platform).map(|platform| platform.to_string());
        OciError::NoPlatform { host: host.to_string(), offered: join(offered) }
    })
}

/// Depth-first search for the entry with `digest`, which no annotation needs to name.
fn find_digest(
    layout: &Layout,
    entries: &[Descriptor],
    digest: &Digest,
    depth: usize,
    budget: &mut usize,
) -> Result<Option<Descriptor>, OciError> {
    if let Some(found) = entries.iter().find(|entry| entry.digest().as_ref() == digest.to_string()) {
        return Ok(Some(found.clone()));
    }
    for entry in entries.iter().filter(|entry| matches!(document(entry), Ok(Document::Index))) {
        if depth == 0 || *budget == 0 {
            return Err(OciError::TooDeep { limit: MAX_DEPTH });
        }
        *budget -= 1;
        let nested = open_index(layout, entry)?;
        if let Some(found) = find_digest(layout, nested.manifests(), digest, depth - 1, budget)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn document(entry: &Descriptor) -> Result<Document, OciError> {
    Document::from_media_type(entry.media_type().as_ref()).ok_or_else(|| OciError::MediaType {
        what: "image",
        digest: Quoted::new(entry.digest().as_ref()),
        media_type: Quoted::new(entry.media_type().as_ref()),
    })
}

fn open_index(documents: &dyn Documents, entry: &Descriptor) -> Result<ImageIndex, OciError> {
    let blob = Blob::of(entry)?;
    parse_index(&blob.digest.to_string(), entry.media_type().as_ref(), &document::manifest(documents, &blob)?)
}

/// Reads an index whose digest has been checked; `name` is what errors call it.
pub(crate) fn parse_index(name: &str, media_type: &str, bytes: &[u8]) -> Result<ImageIndex, OciError> {
    check_head(name, Document::Index, media_type, bytes)?;
    parse(name, bytes)
}

fn annotation<'a>(entry: &'a Descriptor, key: &str) -> Option<&'a str> {
    entry.annotations().as_ref()?.get(key).map(String::as_str)
}

fn platform(entry: &Descriptor) -> Option<Platform> {
    let platform = entry.platform().as_ref()?;
    Some(Platform::new(&platform.os().to_string(), &platform.architecture().to_string(), platform.variant().as_deref()))
}

fn not_found(reference: &str, top: &[Descriptor]) -> OciError {
    OciError::NoRef { reference: Quoted::new(reference), available: list_refs(top) }
}

/// The references that would be understood: names where there are any, digests for entries without.
fn list_refs(top: &[Descriptor]) -> String {
    join(top.iter().map(|entry| Quoted::bare(annotation(entry, REF_NAME).unwrap_or(entry.digest().as_ref()))))
}

fn join(items: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = items.collect();
    let mut text = all[..all.len().min(MAX_LISTED)].join(", ");
    if all.len() > MAX_LISTED {
        text.push_str(&format!(" and {} more", all.len() - MAX_LISTED));
    }
    if text.is_empty() { "none".to_owned() } else { text }
}
