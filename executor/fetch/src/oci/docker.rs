//! Archives that `docker save` and `podman save` write.
//!
//! ```text
//! manifest.json        [ { "Config": PATH, "RepoTags": [ NAME ], "Layers": [ PATH, … ] }, … ]
//! PATH of Config       the image's configuration
//! PATH of each layer   its archive, mostly as a plain tar file; a link to another one where two images share it
//! ```
//!
//! There is no manifest with digests. One is made up, always the same for the same image: the configuration names the
//! digests of the uncompressed layers, and those of plain ones are the digests of the files as well.

use std::path::Path;

use oci_spec::image::{Descriptor, ImageConfiguration, MediaType};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::document::{Documents, parse};
use super::image::{LayerBytes, Name};
use super::layout::{Piece, open_archive, piece_of};
use super::media::LayerMediaType;
use super::{Blob, OciError, OciImage};
use crate::digest::{Algorithm, Digest};
use crate::platform::Platform;
use crate::quote::Quoted;
use crate::registry::RegistryRef;
use crate::tar_index::TarIndex;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// The most names that an error lists.
const MAX_LISTED: usize = 20;

#[derive(Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Opens the image of `path` that `reference` means: one of its names, or `@N`, its place from 0 on.
pub(super) fn open(path: &Path, reference: Option<&str>, host: &Platform) -> Result<OciImage, OciError> {
    let archive = open_archive(path)?;
    let listing = piece(&archive, "manifest.json")?.bytes("manifest.json")?;
    let entries: Vec<Entry> = parse("manifest.json", &listing)?;
    let (entry, name) = choose(&entries, reference)?;
    let config = piece(&archive, &entry.config)?.bytes(&entry.config)?;
    let layers = layers(&archive, entry, &config)?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": descriptor(CONFIG, &Digest::of(Algorithm::Sha256, &config), config.len() as u64),
        "layers": layers.iter().map(|layer| descriptor(layer.media_type, &layer.digest, layer.size)).collect::<Vec<_>>(),
    });
    let manifest = manifest.to_string().into_bytes();
    let name = name.unwrap_or_else(|| Name {
        name: path.file_stem().map_or_else(|| "image".to_owned(), |name| name.to_string_lossy().into_owned()),
        tag: None,
    });
    let digest = Digest::of(Algorithm::Sha256, &manifest).to_string();
    let digest = digest.parse::<oci_spec::image::Digest>().expect("it was computed here");
    let of_manifest = Descriptor::new(MediaType::from(MANIFEST), manifest.len() as u64, digest);
    let documents = DockerArchive { archive, config, layers };
    OciImage::assemble(&documents, &of_manifest, manifest, name, host)
}

/// The names of each image in such an archive, in its order; none if it is another kind of archive.
///
/// # Errors
///
/// The file is no tar archive, or its list of images makes no sense.
pub fn names_in_docker_archive(path: &Path) -> Result<Option<Vec<Vec<String>>>, OciError> {
    let archive = open_archive(path)?;
    let Some(listing) = piece_of(&archive, "manifest.json")? else { return Ok(None) };
    let entries: Vec<Entry> = parse("manifest.json", &listing.bytes("manifest.json")?)?;
    Ok(Some(entries.into_iter().map(|entry| entry.repo_tags.unwrap_or_default()).collect()))
}

#[derive(Debug)]
struct Layer {
    path: String,
    digest: Digest,
    size: u64,
    media_type: &'static str,
}

/// The files of one image.
#[derive(Debug)]
struct DockerArchive {
    archive: TarIndex,
    config: Vec<u8>,
    layers: Vec<Layer>,
}

impl Documents for DockerArchive {
    fn manifest(&self, blob: &Blob) -> Result<Vec<u8>, OciError> {
        Err(OciError::Missing(blob.digest.clone()))
    }

    fn config(&self, _: &Blob) -> Result<Vec<u8>, OciError> {
        Ok(self.config.clone())
    }

    fn layer(&self, blob: &Blob) -> Result<LayerBytes, OciError> {
        let layer = self.layers.iter().find(|layer| layer.digest == blob.digest);
        let layer = layer.ok_or_else(|| OciError::Missing(blob.digest.clone()))?;
        Ok(piece(&self.archive, &layer.path)?.into_layer())
    }
}

fn piece(archive: &TarIndex, name: &str) -> Result<Piece, OciError> {
    piece_of(archive, name)?
        .ok_or_else(|| OciError::DockerArchive(format!("{} is not in the archive", Quoted::new(name))))
}

/// The entry that is meant, and its name.
fn choose<'a>(entries: &'a [Entry], reference: Option<&str>) -> Result<(&'a Entry, Option<Name>), OciError> {
    let names = |entry: &Entry| -> Vec<RegistryRef> {
        entry.repo_tags.iter().flatten().filter_map(|name| name.parse().ok()).collect()
    };
    let named = |name: &RegistryRef| Name { name: name.name(), tag: name.tag().map(str::to_owned) };
    let not_found = |reference: &str| {
        let mut all: Vec<String> = entries.iter().flat_map(names).map(|name| name.to_string()).collect();
        all.truncate(MAX_LISTED);
        OciError::NoRef { reference: Quoted::new(reference), available: all.join(", ") }
    };
    match reference {
        None => match entries {
            [] => Err(OciError::EmptyIndex),
            [only] => Ok((only, names(only).first().map(named))),
            _ => {
                let OciError::NoRef { available, .. } = not_found("") else { unreachable!("it makes no other") };
                Err(OciError::Ambiguous { available })
            }
        },
        Some(reference) => {
            if let Some(index) = reference.strip_prefix('@') {
                let entry = index.parse::<usize>().ok().and_then(|index| entries.get(index));
                let entry = entry.ok_or_else(|| not_found(reference))?;
                return Ok((entry, names(entry).first().map(named)));
            }
            let wanted = reference.parse::<RegistryRef>().map_err(|_| not_found(reference))?;
            let entry = entries.iter().find(|entry| names(entry).contains(&wanted));
            entry.map(|entry| (entry, Some(named(&wanted)))).ok_or_else(|| not_found(reference))
        }
    }
}

fn layers(archive: &TarIndex, entry: &Entry, config: &[u8]) -> Result<Vec<Layer>, OciError> {
    let parsed: ImageConfiguration = parse(&entry.config, config)?;
    let diff_ids = parsed.rootfs().diff_ids();
    if diff_ids.len() != entry.layers.len() {
        return Err(OciError::LayerCount { layers: entry.layers.len(), diff_ids: diff_ids.len() });
    }
    let layer = |(path, diff_id): (&String, &String)| -> Result<Layer, OciError> {
        let piece = piece(archive, path)?;
        let plain = || diff_id.parse().map_err(|source| OciError::BadDigest { field: "diff_id", source });
        let head = piece.head(4, path)?;
        let (digest, media_type) = if head.starts_with(b"\x1f\x8b") {
            (piece.digest(path)?, "application/vnd.oci.image.layer.v1.tar+gzip")
        } else if head.starts_with(b"\x28\xb5\x2f\xfd") {
            (piece.digest(path)?, "application/vnd.oci.image.layer.v1.tar+zstd")
        } else {
            (plain()?, "application/vnd.oci.image.layer.v1.tar")
        };
        debug_assert!(LayerMediaType::from_media_type(media_type).is_some(), "it is one of ours");
        Ok(Layer { path: path.clone(), digest, size: piece.size(), media_type })
    };
    entry.layers.iter().zip(diff_ids).map(layer).collect()
}

fn descriptor(media_type: &str, digest: &Digest, size: u64) -> serde_json::Value {
    json!({ "mediaType": media_type, "digest": digest, "size": size })
}

impl Piece {
    /// Its first bytes.
    fn head(&self, length: u64, name: &str) -> Result<Vec<u8>, OciError> {
        let mut bytes = Vec::new();
        self.each(length, name, |piece| bytes.extend_from_slice(piece))?;
        Ok(bytes)
    }

    /// The SHA-256 of all of it.
    fn digest(&self, name: &str) -> Result<Digest, OciError> {
        let mut hasher = Sha256::new();
        self.each(u64::MAX, name, |piece| hasher.update(piece))?;
        Ok(format!("sha256:{}", hex::encode(hasher.finalize())).parse().expect("it is one"))
    }
}
