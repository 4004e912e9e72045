//! Images of any kind, whose parts are for others to understand and to check.

use super::download::Download;
use super::error::RegistryError;
use super::pull::{Puller, document, manifest};
use crate::digest::Digest;

/// What a name means, and which repository says so: all that belongs to it comes from there.
#[derive(Clone, Debug)]
pub struct Named {
    /// Its media type, as the registry tells it.
    pub media_type: String,
    /// Its digest, which is computed or checked.
    pub digest: Digest,
    /// The manifest or index.
    pub bytes: Vec<u8>,
    repository: usize,
}

impl<'a> Puller<'a> {
    /// The manifest or index that the name means.
    ///
    /// # Errors
    /// [`RegistryError`] of the last registry that was asked.
    pub fn named(&self) -> Result<Named, RegistryError> {
        let (repository, (media_type, digest, bytes)) = self.first(|repository| self.named_in(repository))?;
        Ok(Named { media_type, digest, bytes, repository })
    }

    /// A manifest below an index, or else a config. Whether it has that digest is not looked at.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn document(&self, of: &Named, digest: &Digest, is_manifest: bool) -> Result<Vec<u8>, RegistryError> {
        let repository = &self.repositories[of.repository];
        self.client().block_on(async {
            if !is_manifest {
                return document(repository, digest).await;
            }
            let version = digest.to_string();
            manifest(repository, &version, &format!("@{version}")).await.map(|(_, bytes)| bytes)
        })
    }

    /// Begins to download a blob of `size` bytes; the first `received` are there already.
    pub fn blob(&self, of: &Named, digest: Digest, size: u64, received: u64) -> Download<'_, 'a> {
        Download::new(&self.repositories[of.repository], digest, size, received)
    }
}
