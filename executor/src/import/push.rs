//! Puts stored images into registries.

use std::fs::File;
use std::sync::Arc;

use fetch::registry::{Content, Pusher, RegistryError, RegistryRef, Version};
use serde_json::Value;
use store::{Algorithm, BlobRole, Digest, ImageKind, ImageRecord, LayerKey};
use tracing::info_span;

use super::{Images, not_found};
use crate::diagnostics::warn;
use crate::error::{CommandError, Explain};
use crate::layer_writer::Packing;
use crate::oci_form::OciForm;
use crate::progress::{LayerProgress, Progress};
use crate::{images, packed};

/// The media type of a manifest that does not say its own.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The media type of what is packed here in the words of Docker's manifests.
const DOCKER_PACKED: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

impl Images {
    /// Puts the stored image `needle` into the registry that `destination` names, or else its own name. Returns the name
    /// with the digest of the manifest.
    ///
    /// # Errors
    ///
    /// There is no such image, or the registry does not take it.
    pub(crate) fn push(
        &self,
        needle: &str,
        destination: Option<&str>,
        chunk: Option<u64>,
    ) -> Result<String, CommandError> {
        let record = self.store.find(needle).map_err(|error| not_found(error, needle))?;
        let web = self.web()?;
        let destination = match destination {
            Some(text) => web.registries.reference(text.strip_prefix("docker://").unwrap_or(text))?,
            None => own_name(&record)?,
        };
        let Version::Tag(tag) = destination.version() else {
            return Err(CommandError::usage(format!("{destination}: an image is pushed to a tag, not to a digest")));
        };
        let _span = info_span!("push", image = %record.id, to = %destination).entered();
        let single = &web.registries.single;
        let pusher = Pusher::new(&web.client, &web.credentials, single, &destination)?;
        let pushed = match record.kind {
            ImageKind::Oci => self.push_all(&pusher, &record, &destination, tag, chunk),
            ImageKind::Aci => self.push_converted(&pusher, &record, tag, chunk),
        };
        let digest = pushed.during(|| destination.to_string())?;
        Ok(format!("{}:{tag}@{digest}", destination.name()))
    }

    fn push_all(
        &self,
        pusher: &Pusher<'_>,
        record: &ImageRecord,
        destination: &RegistryRef,
        tag: &str,
        chunk: Option<u64>,
    ) -> Result<fetch::Digest, CommandError> {
        let bytes = images::document(&self.store, record, BlobRole::Manifest)?;
        let config = images::document(&self.store, record, BlobRole::Config)?;
        let mut manifest: Value = fetch::json::parse(&bytes).during(|| "the manifest".into())?;
        let (progress, mut changed) = (Progress::new(self.progress), false);
        let layers = record.layers.iter().zip(&record.blobs);
        let origin = origin(record, destination);
        for (index, (layer, blob)) in layers.enumerate() {
            let bar = progress.layer(&blob.digest, blob.size, true);
            let sent = self.push_layer(pusher, origin.as_deref(), layer, &blob.digest, chunk, &bar);
            if let Some((digest, size)) = sent.during(|| format!("layer {}", blob.digest))? {
                name_layer(&mut manifest, index, &digest, size)?;
                changed = true;
            }
            bar.done();
        }
        drop(progress);
        let media_type = manifest["mediaType"].as_str().unwrap_or(MANIFEST).to_owned();
        // What was not changed goes out byte for byte.
        let bytes = if changed { serde_json::to_vec(&manifest)? } else { bytes };
        put(pusher, tag, &media_type, &bytes, config)
    }

    /// Puts an ACI there as an OCI image of one layer.
    fn push_converted(
        &self,
        pusher: &Pusher<'_>,
        record: &ImageRecord,
        tag: &str,
        chunk: Option<u64>,
    ) -> Result<fetch::Digest, CommandError> {
        let form = OciForm::of(self, record, Packing::Gzip)?;
        if !form.lost.is_empty() {
            warn(&format!("an OCI image cannot say this of the app: {}", form.lost.join(", ")));
        }
        let progress = Progress::new(self.progress);
        for layer in &form.layers {
            let bar = progress.layer(&layer.digest, layer.size, true);
            let digest = as_fetch(&layer.digest)?;
            if !is_there(pusher, &digest, None)? {
                send(pusher, &digest, layer.file.try_clone()?, chunk, &bar)?;
            }
            bar.done();
        }
        drop(progress);
        put(pusher, tag, &form.manifest_type, &form.manifest, form.config)
    }

    /// Makes sure that the registry has a layer. Returns its digest and size if they are others than the manifest says.
    fn push_layer(
        &self,
        pusher: &Pusher<'_>,
        origin: Option<&str>,
        layer: &LayerKey,
        digest: &Digest,
        chunk: Option<u64>,
        bar: &LayerProgress,
    ) -> Result<Option<(Digest, u64)>, CommandError> {
        let wanted = as_fetch(digest)?;
        if is_there(pusher, &wanted, origin)? {
            return Ok(None);
        }
        if let Some(file) = self.store.blob(digest)? {
            send(pusher, &wanted, file, chunk, bar)?;
            return Ok(None);
        }
        let file = self.store.scratch()?;
        let written = packed::pack(&self.store, &self.mapping, layer, &file, Packing::Gzip)?;
        let repacked = as_fetch(&written.digest)?;
        if !is_there(pusher, &repacked, None)? {
            send(pusher, &repacked, file, chunk, bar)?;
        }
        Ok(Some((written.digest, written.size)))
    }
}

/// Whether the repository has a blob, or can take it over from the one where the image came from.
fn is_there(pusher: &Pusher<'_>, digest: &fetch::Digest, origin: Option<&str>) -> Result<bool, CommandError> {
    Ok(pusher.client().block_on(async {
        if pusher.has_blob(digest).await? {
            return Ok(true);
        }
        match origin {
            Some(origin) => pusher.mount(digest, origin).await,
            None => Ok::<_, RegistryError>(false),
        }
    })?)
}

fn send(
    pusher: &Pusher<'_>,
    digest: &fetch::Digest,
    file: File,
    chunk: Option<u64>,
    bar: &LayerProgress,
) -> Result<(), CommandError> {
    let length = file.metadata()?.len();
    let content = Content::File { file: Arc::new(file), length };
    Ok(pusher.client().block_on(pusher.upload(digest, &content, chunk, |bytes| bar.received(bytes)))?)
}

/// The name that the image has in the store, if it is one of a registry.
fn own_name(record: &ImageRecord) -> Result<RegistryRef, CommandError> {
    let names = record.names().filter_map(|name| name.parse::<RegistryRef>().ok());
    names.last().ok_or_else(|| {
        CommandError::usage("the image has no name of a registry").hint("say where to: HOST/NAME:TAG after the image")
    })
}

/// The repository where the image came from, if it is one of the same registry.
fn origin(record: &ImageRecord, destination: &RegistryRef) -> Option<String> {
    let source: RegistryRef = record.source.as_deref()?.strip_prefix("docker://")?.parse().ok()?;
    let other = source.host() == destination.host() && source.repository() != destination.repository();
    other.then(|| source.repository().to_owned())
}

/// Puts the documents there, the manifest last: with it the image is there.
fn put(
    pusher: &Pusher<'_>,
    tag: &str,
    media_type: &str,
    manifest: &[u8],
    config: Vec<u8>,
) -> Result<fetch::Digest, CommandError> {
    let digest = as_fetch(&Digest::of(Algorithm::Sha256, &config))?;
    Ok(pusher.client().block_on(async {
        if !pusher.has_blob(&digest).await? {
            pusher.upload(&digest, &Content::Bytes(config.into()), None, |_| {}).await?;
        }
        pusher.put_manifest(tag, media_type, manifest).await
    })?)
}

/// Puts another digest into the place of a layer.
fn name_layer(manifest: &mut Value, index: usize, digest: &Digest, size: u64) -> Result<(), CommandError> {
    let is_docker = manifest["mediaType"].as_str().is_some_and(|it| it.starts_with("application/vnd.docker."));
    let layer = manifest["layers"].get_mut(index);
    let layer = layer.ok_or_else(|| CommandError::failed("the manifest has fewer layers than the image"))?;
    layer["digest"] = digest.to_string().into();
    layer["size"] = size.into();
    layer["mediaType"] = if is_docker { DOCKER_PACKED } else { Packing::Gzip.media_type() }.into();
    Ok(())
}

fn as_fetch(digest: &Digest) -> Result<fetch::Digest, CommandError> {
    Ok(digest.to_string().parse::<fetch::Digest>()?)
}
