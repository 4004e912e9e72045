//! Where images come from and go to.

use crate::descriptor::Descriptor;
use crate::pack::Blob;
use crate::title::Title;

/// What a place says when it cannot give or take.
pub type TransferError = Box<dyn std::error::Error + Send + Sync>;

/// The document that a name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its media type.
    pub media_type: String,
    /// Its bytes, whose digest was checked if the name has one.
    pub bytes: Vec<u8>,
}

impl Named {
    /// The document that this descriptor is of, with these bytes.
    ///
    /// # Errors
    /// They have another digest.
    pub fn checked(descriptor: &Descriptor, bytes: Vec<u8>) -> Result<Self, TransferError> {
        let mut hasher = descriptor.digest.hasher();
        hasher.update(&bytes);
        if hasher.finish() != descriptor.digest {
            return Err(format!("the blob {} has another digest", descriptor.digest).into());
        }
        Ok(Self { media_type: descriptor.media_type.clone(), bytes })
    }
}

/// Who is told how it goes.
pub trait Progress {
    /// A blob begins; so many of its bytes are there already.
    fn begin(&mut self, blob: &Descriptor, title: Option<&Title>, received: u64);
    /// More bytes of it are there.
    fn advance(&mut self, bytes: u64);
    /// All of it is there.
    fn end(&mut self);
}

/// A place that has one image. What it gives is checked by whoever asked for it.
pub trait Source {
    /// The manifest or index that the image's name means.
    ///
    /// # Errors
    /// There is none, or the place cannot be reached.
    fn named(&self) -> Result<Named, TransferError>;

    /// The bytes of a manifest below an index, or of a config: at most [`crate::MAX_DOCUMENT`].
    ///
    /// # Errors
    /// It is not there.
    fn document(&self, descriptor: &Descriptor, is_manifest: bool) -> Result<Vec<u8>, TransferError>;

    /// Hands a blob's bytes to `take`, from the `from`th on.
    ///
    /// # Errors
    /// Those of `take`; it is not there, or ends early.
    fn blob(
        &self,
        descriptor: &Descriptor,
        from: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<(), TransferError>,
    ) -> Result<(), TransferError>;
}

/// A place that takes one image.
pub trait Destination {
    /// Takes a blob, unless it is there already. Returns whether it was not. `sent` is called with the number of bytes of
    /// each piece that went out.
    ///
    /// # Errors
    /// It cannot be written.
    fn put(&mut self, descriptor: &Descriptor, blob: &Blob, sent: &mut dyn FnMut(u64)) -> Result<bool, TransferError>;

    /// Takes the manifest, and gives it the image's name. Everything it names was taken before.
    ///
    /// # Errors
    /// It cannot be written.
    fn finish(&mut self, manifest: &Descriptor, bytes: &[u8]) -> Result<(), TransferError>;
}
