//! Image references to verified bytes.
//!
//! [`ImageRef`] is what a person types; [`open`] turns the ones that name something on this machine into an open
//! [`Source`]: an ACI file, or an OCI image whose manifest and config have been checked against their digests.
//! Layer and ACI bytes are handed over as open files; whoever streams them checks their digests.
//!
//! [`discovery`] finds App Container Images by name and [`download`] gets them, [`registry`] speaks with registries;
//! [`keystore`], [`openpgp`] and [`sigstore`] say whose signatures count.
//!
//! This crate never touches the store, never decompresses, writes nothing but trusted keys, and makes no path out of a
//! name that an image supplies: blobs are found by digest alone, below a directory descriptor, through no symbolic link.

mod aci;
mod authorize;
pub mod credentials;
mod digest;
pub mod discovery;
pub mod download;
pub mod http;
pub mod json;
pub mod keystore;
pub mod oci;
pub mod openpgp;
mod platform;
mod quote;
mod reference;
pub mod registry;
pub mod sigstore;
mod tar_index;

pub use aci::{AciError, AciFile};
pub use authorize::{AwsKey, HostCredential, HostCredentials};
pub use digest::{Algorithm, Digest, DigestError};
pub use json::JsonError;
pub use oci::{LayerBytes, LayerMediaType, OciConfig, OciError, OciImage, OciLayer, TableOfContents};
pub use platform::Platform;
pub use quote::Quoted;
pub use reference::{ImageRef, RefError};
pub use tar_index::TarIndexError;

use std::path::PathBuf;

/// An image found and opened, not yet read.
#[derive(Debug)]
#[non_exhaustive]
pub enum Source {
    /// An App Container Image file.
    Aci(AciFile),
    /// An image of an OCI layout directory or of an archive.
    Oci(Box<OciImage>),
}

/// Why [`open`] failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The reference names no file or directory: it is for the store, or built into the program.
    #[error("{0} names a stored or built-in image, not a file or a layout")]
    NotLocal(ImageRef),
    /// The file could not be opened.
    #[error(transparent)]
    Aci(#[from] AciError),
    /// The archive holds no image that can be used.
    #[error("archive {}", file.display())]
    Archive {
        /// The file as it was given.
        file: PathBuf,
        /// What is wrong with it.
        source: OciError,
    },
    /// The layout directory holds no image that can be used.
    #[error("OCI layout {}", dir.display())]
    Oci {
        /// The directory as it was given.
        dir: PathBuf,
        /// What is wrong with it.
        source: OciError,
    },
}

/// Opens what `reference` names on this machine.
///
/// # Errors
/// [`FetchError::NotLocal`] for references that only the store can answer; otherwise what is wrong with the file or
/// layout. Nothing is created or changed in any case.
pub fn open(reference: &ImageRef) -> Result<Source, FetchError> {
    match reference {
        ImageRef::Aci(path) => Ok(Source::Aci(AciFile::open(path)?)),
        ImageRef::OciLayout { dir, reference } => OciImage::open(dir, reference.as_deref())
            .map(|image| Source::Oci(Box::new(image)))
            .map_err(|source| FetchError::Oci { dir: dir.clone(), source }),
        ImageRef::OciArchive { file, reference } => OciImage::open_archive(file, reference.as_deref())
            .map(|image| Source::Oci(Box::new(image)))
            .map_err(|source| FetchError::Archive { file: file.clone(), source }),
        ImageRef::DockerArchive { file, reference } => OciImage::open_docker_archive(file, reference.as_deref())
            .map(|image| Source::Oci(Box::new(image)))
            .map_err(|source| FetchError::Archive { file: file.clone(), source }),
        other => Err(FetchError::NotLocal(other.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_for_the_store() {
        for text in ["hello", "debian:12", "sha512-abcd"] {
            let reference: ImageRef = text.parse().expect("a good reference");
            let error = open(&reference).expect_err("it is no file");
            assert!(matches!(&error, FetchError::NotLocal(other) if *other == reference));
            assert!(error.to_string().starts_with(text), "{error}");
        }
    }
}
