//! From a name to an image whose layers can be downloaded.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use oci_spec::image::{Descriptor, MediaType};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use tracing::debug;

use super::download::Download;
use super::error::RegistryError;
use super::name::{RegistryRef, Version};
use super::repository::{Access, Repository};
use super::secret::Credentials;
use crate::digest::{Algorithm, Digest};
use crate::http::{Client, Request, ShownUrl};
use crate::oci::document::{Documents, MAX_DOCUMENT};
use crate::oci::image::{LayerBytes, Name};
use crate::oci::media::Document;
use crate::oci::select::{descend, parse_index};
use crate::oci::{Blob, OciError, OciImage, OciLayer};
use crate::platform::Platform;
use crate::quote::Quoted;

/// What is understood; registries turn documents into older forms for clients that do not say (and we take none of those).
const DOCUMENTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
                         application/vnd.docker.distribution.manifest.v2+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json";

/// What is configured about registries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registries {
    /// By host: registries with the same content, asked first and in this order.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// By host: hosts of token services that may see its credentials.
    pub token_services: BTreeMap<String, Vec<String>>,
}

/// One image of a registry, to be pulled.
pub struct Puller<'a> {
    client: &'a Client,
    reference: RegistryRef,
    /// Where it may be, mirrors first.
    pub(super) repositories: Vec<Repository<'a>>,
}

impl fmt::Debug for Puller<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Puller").field("reference", &self.reference).finish_non_exhaustive()
    }
}

/// The manifest that a name means now, for this machine.
#[derive(Debug)]
pub struct Found {
    /// Its digest, which is computed or checked.
    pub manifest: Digest,
    /// The digest of what the name stands for: the manifest, or an index that led to it.
    pub named: Digest,
    descriptor: Descriptor,
    /// The manifest, if it was not an index that led to it.
    bytes: Option<Vec<u8>>,
    /// Which repository had it.
    repository: usize,
}

impl<'a> Puller<'a> {
    /// Gets ready; nothing is sent yet.
    ///
    /// # Errors
    /// [`RegistryError::Http`] for a mirror whose name is none.
    pub fn new(
        client: &'a Client,
        credentials: &'a dyn Credentials,
        registries: &Registries,
        reference: RegistryRef,
    ) -> Result<Self, RegistryError> {
        let host = reference.host();
        let mirrors = registries.mirrors.get(host).into_iter().flatten();
        let repositories = mirrors.map(String::as_str).chain(std::iter::once(host)).map(|host| {
            let trusted = registries.token_services.get(host).map_or(&[][..], Vec::as_slice);
            Repository::new(client, credentials, host, reference.repository(), trusted, Access::Pull)
        });
        let repositories = repositories.collect::<Result<_, _>>()?;
        Ok(Self { client, reference, repositories })
    }

    /// The client that requests go through.
    pub fn client(&self) -> &'a Client {
        self.client
    }

    /// The image that is pulled.
    pub fn reference(&self) -> &RegistryRef {
        &self.reference
    }

    /// Asks which manifest the name means: one request, if nobody has to authenticate.
    ///
    /// # Errors
    /// [`RegistryError`] of the last registry that was asked.
    pub fn find(&self) -> Result<Found, RegistryError> {
        let (repository, (named, descriptor, bytes)) = self.first(|repository| self.find_in(repository))?;
        let manifest = Blob::of(&descriptor)?.digest;
        Ok(Found { manifest, named, descriptor, bytes, repository })
    }

    /// What the first repository says that does not fail, and which it is.
    pub(super) fn first<T>(
        &self,
        ask: impl Fn(&Repository<'a>) -> Result<T, RegistryError>,
    ) -> Result<(usize, T), RegistryError> {
        let mut last = None;
        for (index, repository) in self.repositories.iter().enumerate() {
            match ask(repository) {
                Ok(answer) => return Ok((index, answer)),
                Err(error) => {
                    debug!(registry = repository.host(), error = %error, "no image from here");
                    last = Some(error);
                }
            }
        }
        Err(last.expect("the registry itself was asked"))
    }

    /// The image of a manifest: asks for the manifest, if an index led to it, and for the config.
    ///
    /// # Errors
    /// [`RegistryError::Document`] with [`OciError`].
    pub fn image(&self, found: &Found) -> Result<OciImage, RegistryError> {
        let documents = Remote { client: self.client, repository: &self.repositories[found.repository] };
        let blob = Blob::of(&found.descriptor)?;
        let bytes = match &found.bytes {
            Some(bytes) => bytes.clone(),
            None => crate::oci::document::manifest(&documents, &blob)?,
        };
        let name = Name { name: self.reference.name(), tag: self.reference.tag().map(str::to_owned) };
        Ok(OciImage::assemble(&documents, &found.descriptor, bytes, name, &Platform::host())?)
    }

    /// Begins to download a layer of the image that was found; the first `received` bytes are there already.
    pub fn download(&self, found: &Found, layer: &OciLayer, received: u64) -> Download<'_, 'a> {
        Download::new(&self.repositories[found.repository], layer.digest.clone(), layer.size, received)
    }

    /// Begins to download a part of such a layer.
    pub fn download_part(&self, found: &Found, layer: &OciLayer, part: Range<u64>) -> Download<'_, 'a> {
        let whole = self.download(found, layer, part.start);
        whole.until(part.end)
    }

    /// The manifest or index that the name means in one repository: media type, digest and bytes. What a digest names is
    /// checked against it.
    pub(super) fn named_in(&self, repository: &Repository<'_>) -> Result<(String, Digest, Vec<u8>), RegistryError> {
        let (version, expected) = match self.reference.version() {
            Version::Tag(tag) => (tag.clone(), None),
            Version::Digest { digest, .. } => (digest.to_string(), Some(digest)),
        };
        let separator = if expected.is_some() { '@' } else { ':' };
        let shown = format!("{separator}{version}");
        let (media_type, bytes) = self.client.block_on(manifest(repository, &version, &shown))?;
        let computed = Digest::of(expected.map_or(Algorithm::Sha256, Digest::algorithm), &bytes);
        if let Some(expected) = expected.filter(|expected| **expected != computed) {
            let url = ShownUrl::new(&repository.url(&format!("manifests/{version}")));
            return Err(RegistryError::Digest { url, expected: expected.clone(), computed });
        }
        Ok((media_type, computed, bytes))
    }

    fn find_in(&self, repository: &Repository<'_>) -> Result<(Digest, Descriptor, Option<Vec<u8>>), RegistryError> {
        let (media_type, computed, bytes) = self.named_in(repository)?;
        match Document::from_media_type(&media_type) {
            None => Err(OciError::MediaType {
                what: "image",
                digest: Quoted::new(&computed.to_string()),
                media_type: Quoted::new(&media_type),
            }
            .into()),
            Some(Document::Manifest) => {
                let descriptor = descriptor(&media_type, &computed, bytes.len());
                Ok((computed, descriptor, Some(bytes)))
            }
            Some(Document::Index) => {
                let index = parse_index(&computed.to_string(), &media_type, &bytes)?;
                let documents = Remote { client: self.client, repository };
                let selected = descend(&documents, index.manifests().clone(), &Platform::host())?;
                Ok((computed, selected.descriptor, None))
            }
        }
    }
}

/// A document below `manifests/` and its media type; `shown` is the version with its separator.
pub(super) async fn manifest(
    repository: &Repository<'_>,
    version: &str,
    shown: &str,
) -> Result<(String, Vec<u8>), RegistryError> {
    let path = format!("manifests/{version}");
    let answer = repository.send(&path, |url| Request::get(url).header(ACCEPT, DOCUMENTS)).await?;
    if !answer.status().is_success() {
        return Err(repository.refusal(answer, shown).await);
    }
    let media_type = answer.header(CONTENT_TYPE).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
    if media_type.is_empty() {
        return Err(RegistryError::NoMediaType(ShownUrl::new(answer.url())));
    }
    Ok((media_type, answer.document(MAX_DOCUMENT as usize).await?))
}

/// A small blob: a config, a signed claim.
pub(super) async fn document(repository: &Repository<'_>, digest: &Digest) -> Result<Vec<u8>, RegistryError> {
    let answer = repository.send(&format!("blobs/{digest}"), Request::get).await?;
    if !answer.status().is_success() {
        return Err(repository.refusal(answer, &format!("@{digest}")).await);
    }
    Ok(answer.document(MAX_DOCUMENT as usize).await?)
}

fn descriptor(media_type: &str, digest: &Digest, size: usize) -> Descriptor {
    let digest = digest.to_string().parse::<oci_spec::image::Digest>().expect("it was computed here");
    Descriptor::new(MediaType::from(media_type), size as u64, digest)
}

/// The documents of a repository.
#[derive(Debug)]
struct Remote<'c, 'r, 'a> {
    client: &'c Client,
    repository: &'r Repository<'a>,
}

impl Documents for Remote<'_, '_, '_> {
    fn manifest(&self, blob: &Blob) -> Result<Vec<u8>, OciError> {
        let version = blob.digest.to_string();
        let got = self.client.block_on(manifest(self.repository, &version, &format!("@{version}")));
        got.map(|(_, bytes)| bytes).map_err(|error| OciError::Registry(Box::new(error)))
    }

    fn config(&self, blob: &Blob) -> Result<Vec<u8>, OciError> {
        self.client
            .block_on(document(self.repository, &blob.digest))
            .map_err(|error| OciError::Registry(Box::new(error)))
    }

    fn layer(&self, _: &Blob) -> Result<LayerBytes, OciError> {
        Ok(LayerBytes::Remote)
    }
}
