//! A stored image as an OCI image: manifest, configuration, and each layer as a file. What is pushed and exported.

use std::fs::File;
use std::io;
use std::rc::Rc;

use appc::ImageManifest;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use store::flatten::{FlattenError, Wrapping, flatten};
use store::ingest::Compression;
use store::stack::Stack;
use store::{Algorithm, BlobRef, BlobRole, Digest, ImageKind, ImageRecord, LayerKey};

use crate::error::{CommandError, Explain};
use crate::import::{Images, sniff};
use crate::layer_writer::{LayerWriter, Packing, Written};
use crate::{idmap, images, packed};

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";

/// An image in the form of the OCI image specification.
#[derive(Debug)]
pub(crate) struct OciForm {
    /// Its manifest.
    pub(crate) manifest: Vec<u8>,
    /// What kind of manifest that is.
    pub(crate) manifest_type: String,
    /// Its configuration.
    pub(crate) config: Vec<u8>,
    /// Its layers, the lowest first.
    pub(crate) layers: Vec<LayerFile>,
    /// What an ACI's manifest says and a configuration has no place for.
    pub(crate) lost: Vec<&'static str>,
}

/// A layer, packed.
#[derive(Clone, Debug)]
pub(crate) struct LayerFile {
    /// The bytes; the position means nothing.
    pub(crate) file: Rc<File>,
    /// Their digest.
    pub(crate) digest: Digest,
    /// Their number.
    pub(crate) size: u64,
    /// How they are packed.
    pub(crate) media_type: String,
    /// The digest of the archive.
    pub(crate) diff_id: Digest,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotations: Option<Box<RawValue>>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
}

impl OciForm {
    /// The OCI form of a stored image. An OCI image is as it came if its packed layers were kept and are wanted packed;
    /// else its layers are packed now, which changes the manifest and nothing else. An ACI becomes an image of one layer,
    /// its dependencies in it.
    ///
    /// # Errors
    ///
    /// Something of the image is missing or damaged.
    pub(crate) fn of(images: &Images, record: &ImageRecord, packing: Packing) -> Result<Self, CommandError> {
        match record.kind {
            ImageKind::Oci => Self::of_oci(images, record, packing),
            ImageKind::Aci => Self::of_aci(images, record, packing),
        }
    }

    fn of_oci(images: &Images, record: &ImageRecord, packing: Packing) -> Result<Self, CommandError> {
        let document = |role| images::document(&images.store, record, role);
        let (manifest, config) = (document(BlobRole::Manifest)?, document(BlobRole::Config)?);
        let stored: Manifest = serde_json::from_slice(&manifest).during(|| "manifest of the image".into())?;
        let mut layers: Vec<LayerFile> = Vec::with_capacity(record.layers.len());
        let mut as_it_came = true;
        for (layer, blob) in record.layers.iter().zip(&record.blobs) {
            let kept = if packing == Packing::Plain { None } else { kept(images, layer, blob)? };
            as_it_came &= kept.is_some();
            let again = || layers.iter().find(|other| other.diff_id == layer.digest()).cloned();
            layers.push(match kept.or_else(again) {
                Some(file) => file,
                None => packed_now(images, layer, packing)?,
            });
        }
        if as_it_came {
            let manifest_type = if stored.media_type.is_empty() { MANIFEST_TYPE.into() } else { stored.media_type };
            return Ok(Self { manifest, manifest_type, config, layers, lost: Vec::new() });
        }
        let manifest = manifest_of(&config, &layers, stored.annotations)?;
        Ok(Self { manifest, manifest_type: MANIFEST_TYPE.to_owned(), config, layers, lost: Vec::new() })
    }

    fn of_aci(images: &Images, record: &ImageRecord, packing: Packing) -> Result<Self, CommandError> {
        let (stack, _guards) = images.stack(record)?;
        Self::of_stack(images, &stack, &record.manifest, packing)
    }

    /// An image of one layer, which holds what the trees show, with the configuration that an ACI's manifest comes to.
    ///
    /// # Errors
    ///
    /// A tree cannot be read, or the manifest's platform has no name there.
    pub(crate) fn of_stack(
        images: &Images,
        stack: &Stack,
        manifest: &ImageManifest,
        packing: Packing,
    ) -> Result<Self, CommandError> {
        let scratch = images.store.scratch()?;
        let out = scratch.try_clone()?;
        let written = idmap::run_in(&images.mapping, || -> Result<Written, FlattenError> {
            let failed = |error: io::Error| FlattenError::Write(error.into());
            let mut out = LayerWriter::new(out, packing).map_err(failed)?;
            flatten(stack, Wrapping::Layer, &mut out)?;
            out.finish().map_err(failed)
        })??;
        let diff_id = written.diff_id.to_string().parse().expect("both crates write digests the same way");
        let config = fetch::oci::from_app(manifest, &[diff_id])?;
        let layers = vec![layer_file(scratch, written, packing)];
        let manifest = manifest_of(&config.config, &layers, None)?;
        let (config, lost) = (config.config, config.lost);
        Ok(Self { manifest, manifest_type: MANIFEST_TYPE.to_owned(), config, layers, lost })
    }

    /// The digest of the configuration: the ID that the image has as an OCI image.
    pub(crate) fn config_digest(&self) -> Digest {
        Digest::of(Algorithm::Sha256, &self.config)
    }
}

/// A layer as it came, if it was kept.
fn kept(images: &Images, layer: &LayerKey, blob: &BlobRef) -> Result<Option<LayerFile>, CommandError> {
    let Some(mut file) = images.store.blob(&blob.digest)? else { return Ok(None) };
    let media_type = match sniff(&mut file)? {
        Compression::None => "application/vnd.oci.image.layer.v1.tar",
        Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
        Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        // Such a layer was never taken in.
        _ => return Ok(None),
    };
    Ok(Some(LayerFile {
        file: Rc::new(file),
        digest: blob.digest,
        size: blob.size,
        media_type: media_type.to_owned(),
        diff_id: layer.digest(),
    }))
}

fn packed_now(images: &Images, layer: &LayerKey, packing: Packing) -> Result<LayerFile, CommandError> {
    let file = images.store.scratch()?;
    let written = packed::pack(&images.store, &images.mapping, layer, &file, packing)?;
    Ok(layer_file(file, written, packing))
}

fn layer_file(file: File, written: Written, packing: Packing) -> LayerFile {
    let Written { diff_id, digest, size } = written;
    LayerFile { file: Rc::new(file), digest, size, media_type: packing.media_type().to_owned(), diff_id }
}

/// The manifest of an image of this configuration and these layers.
///
/// # Errors
///
/// None that could be.
pub(crate) fn manifest_of(
    config: &[u8],
    layers: &[LayerFile],
    annotations: Option<Box<RawValue>>,
) -> Result<Vec<u8>, CommandError> {
    let layers = layers.iter().map(|layer| Descriptor {
        media_type: layer.media_type.clone(),
        digest: layer.digest.to_string(),
        size: layer.size,
    });
    let config = Descriptor {
        media_type: CONFIG_TYPE.to_owned(),
        digest: Digest::of(Algorithm::Sha256, config).to_string(),
        size: config.len() as u64,
    };
    let manifest =
        Manifest { schema_version: 2, media_type: MANIFEST_TYPE.into(), config, layers: layers.collect(), annotations };
    Ok(serde_json::to_vec(&manifest)?)
}
