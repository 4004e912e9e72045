//! The signatures that an image's repository has of it (cosign's convention: a manifest under the tag `ALGORITHM-HEX.sig`).

use oci_spec::image::{Descriptor, ImageManifest};
use tracing::debug;

use super::error::RegistryError;
use super::pull::{Found, Puller, document, manifest};
use super::repository::Repository;
use crate::digest::Digest;
use crate::http::{HttpError, ShownUrl};
use crate::oci::Blob;
use crate::sigstore::{ANNOTATION, Claim, MEDIA_TYPE};

/// The most signatures of one image that are looked at.
const MAX_CLAIMS: usize = 64;

/// A claim larger than this many bytes is none.
const MAX_CLAIM: u64 = 64 << 10;

impl Puller<'_> {
    /// The digests by which the image that was found may have been signed: that of its manifest, and of the index that its
    /// name stands for.
    pub fn signable(&self, found: &Found) -> Vec<Digest> {
        let mut digests = vec![found.manifest.clone()];
        if found.named != found.manifest {
            digests.push(found.named.clone());
        }
        digests
    }

    /// The signatures that there are of these digests. Whether they are good is not looked at.
    ///
    /// # Errors
    /// [`RegistryError`]; that there are none is none.
    pub fn claims(&self, signable: &[Digest]) -> Result<Vec<Claim>, RegistryError> {
        let mut claims = Vec::new();
        for digest in signable {
            let tag = format!("{}.sig", digest.to_string().replace(':', "-"));
            // A mirror may have the image without its signatures.
            for repository in &self.repositories {
                match self.claims_in(repository, &tag) {
                    Ok(found) if found.is_empty() => {}
                    Ok(found) => {
                        claims.extend(found);
                        break;
                    }
                    Err(RegistryError::NotFound { .. }) => debug!(registry = repository.host(), tag, "no signatures"),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(claims)
    }

    fn claims_in(&self, repository: &Repository<'_>, tag: &str) -> Result<Vec<Claim>, RegistryError> {
        let (_, bytes) = self.client().block_on(manifest(repository, tag, &format!(":{tag}")))?;
        let manifest: ImageManifest = crate::json::parse(&bytes).map_err(|error| RegistryError::Protocol {
            url: ShownUrl::new(&repository.url(&format!("manifests/{tag}"))),
            reason: format!("the signatures are in no manifest: {error}"),
        })?;
        let mut claims = Vec::new();
        for layer in manifest.layers().iter().filter(|layer| layer.media_type().to_string() == MEDIA_TYPE) {
            if claims.len() == MAX_CLAIMS {
                break;
            }
            let signature = layer.annotations().as_ref().and_then(|annotations| annotations.get(ANNOTATION));
            let Some(signature) = signature else { continue };
            claims.push(Claim { payload: self.payload(repository, layer)?, signature: signature.clone() });
        }
        Ok(claims)
    }

    fn payload(&self, repository: &Repository<'_>, layer: &Descriptor) -> Result<Vec<u8>, RegistryError> {
        let blob = Blob::of(layer)?;
        let url = || ShownUrl::new(&repository.url(&format!("blobs/{}", blob.digest)));
        if layer.size() > MAX_CLAIM {
            return Err(HttpError::TooLarge { url: url(), limit: MAX_CLAIM }.into());
        }
        let payload = self.client().block_on(document(repository, &blob.digest))?;
        let computed = Digest::of(blob.digest.algorithm(), &payload);
        if computed != blob.digest {
            return Err(RegistryError::Digest { url: url(), expected: blob.digest, computed });
        }
        Ok(payload)
    }
}
