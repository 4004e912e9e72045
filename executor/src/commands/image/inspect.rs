//! `proa image inspect`: tells all that is known of an image.

use std::collections::BTreeSet;

use appc::ImageId;
use clap::Args;
use pod::PodEntry;
use serde::Serialize;
use serde_json::Value;
use store::{BlobRef, BlobRole, ImageRecord, Store};

use super::list;
use crate::context::Context;
use crate::error::{CommandError, Explain};
use crate::{images, output};

/// Print all that is known of images, as JSON
///
/// An array with an object for each image: its names, times (nanoseconds since the epoch), layers from the lowest to the
/// uppermost, manifest, configuration, and the pods that were made of it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa image inspect example.com/redis:7
  proa image inspect sha256:0c4f sha512-1b2f8e")]
pub(crate) struct InspectArgs {
    /// The images: IDs, beginnings of IDs, or names
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Inspected {
    id: String,
    kind: String,
    name: String,
    names: Vec<String>,
    labels: serde_json::Map<String, Value>,
    size: u64,
    import_time: u64,
    last_used_time: u64,
    layers: Vec<Layer>,
    /// The App Container manifest; of an OCI image the one its configuration was turned into.
    manifest: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    oci_manifest: Option<Document>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oci_config: Option<Document>,
    pods: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Layer {
    /// Digest of the uncompressed archive.
    digest: String,
    /// Digest of the archive as it came.
    blob: String,
    /// Bytes of that.
    blob_size: u64,
    /// Whether it is in the store.
    blob_stored: bool,
}

#[derive(Debug, Serialize)]
struct Document {
    digest: String,
    content: Value,
}

pub(crate) fn run(context: &Context, args: InspectArgs) -> Result<u8, CommandError> {
    let store = context.stored()?;
    let pods = images::of_pods(&context.pods()?)?;
    let inspect = |needle: &String| {
        let image = images::find(context, &store, needle)?;
        inspected(&store, &pods, image).during(|| needle.clone())
    };
    let inspected = args.images.iter().map(inspect).collect::<Result<Vec<_>, _>>()?;
    output::write(&output::pretty_json(&inspected)?)?;
    Ok(0)
}

fn inspected(
    store: &Store,
    pods: &[(PodEntry, BTreeSet<ImageId>)],
    image: ImageRecord,
) -> Result<Inspected, CommandError> {
    let document = |role| -> Result<Option<Document>, CommandError> {
        let Some(blob) = image.blobs.iter().find(|blob| blob.role == role) else { return Ok(None) };
        let content = serde_json::from_slice(&images::document(store, &image, role)?)?;
        Ok(Some(Document { digest: blob.digest.to_string(), content }))
    };
    let layers =
        image.layers.iter().zip(&image.blobs).map(|(layer, packed): (_, &BlobRef)| -> Result<_, CommandError> {
            Ok(Layer {
                digest: layer.digest().to_string(),
                blob: packed.digest.to_string(),
                blob_size: packed.size,
                blob_stored: store.blob(&packed.digest)?.is_some(),
            })
        });
    let labels = image.manifest.labels.iter();
    Ok(Inspected {
        id: image.id.to_string(),
        kind: image.kind.to_string(),
        name: list::name(&image),
        names: image.names().map(str::to_owned).collect(),
        labels: labels.map(|label| (label.name.to_string(), label.value.clone().into())).collect(),
        size: image.size,
        import_time: image.imported_ns,
        last_used_time: store.last_used(&image.id)?.unwrap_or(image.imported_ns),
        layers: layers.collect::<Result<_, _>>()?,
        manifest: serde_json::from_slice(&image.manifest.to_json()?)?,
        oci_manifest: document(BlobRole::Manifest)?,
        oci_config: document(BlobRole::Config)?,
        pods: pods.iter().filter(|(_, of)| of.contains(&image.id)).map(|(pod, _)| pod.uuid.to_string()).collect(),
    })
}
