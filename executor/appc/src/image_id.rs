//! The one name of an image's content: complete, exact, comparable.

use std::fmt;
use std::str::FromStr;

use crate::hash::{Algorithm, Hash};

/// A text that is no complete image ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageIdError {
    /// Begins neither with `sha512-` nor with `sha256:`.
    #[error("image ID {text:?} does not begin with \"sha512-\" or \"sha256:\"")]
    Form {
        /// The refused text.
        text: String,
    },
    /// Another number of digits than the hash function gives.
    #[error("image ID {text:?} has {found} digits after {algorithm}, expected {expected}", algorithm = .algorithm.name())]
    Length {
        /// The refused text.
        text: String,
        /// The hash function it names.
        algorithm: Algorithm,
        /// How many characters stand after it.
        found: usize,
        /// How many there must be.
        expected: usize,
    },
    /// Something other than lower-case hexadecimal digits.
    #[error("image ID {text:?} is not in lower-case hexadecimal digits")]
    Digits {
        /// The refused text.
        text: String,
    },
}

/// The ID of an image: of an ACI the SHA-512 of its uncompressed archive, of an OCI image the SHA-256 of its
/// configuration.
///
/// Displays as `sha512-…` and `sha256:…`, the forms the two specifications write; either separator parses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageId(Digest);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Digest {
    Sha256([u8; 32]),
    Sha512([u8; 64]),
}

impl ImageId {
    /// The ID of an ACI.
    pub fn sha512(digest: [u8; 64]) -> Self {
        Self(Digest::Sha512(digest))
    }

    /// The ID of an OCI image.
    pub fn sha256(digest: [u8; 32]) -> Self {
        Self(Digest::Sha256(digest))
    }

    /// The hash function, which also tells the kind of image.
    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
            Digest::Sha256(_) => Algorithm::Sha256,
            Digest::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// The digest itself.
    pub fn bytes(&self) -> &[u8] {
        match &self.0 {
            Digest::Sha256(digest) => digest,
            Digest::Sha512(digest) => digest,
        }
    }

    /// The digest in lower-case hexadecimal digits: 64 or 128 of them.
    pub fn hex(&self) -> String {
        hex::encode(self.bytes())
    }

    /// The beginning of the ID that is shown where space is short: the hash function and 32 digits.
    pub fn short(&self) -> String {
        let mut short = self.to_string();
        short.truncate(self.algorithm().name().len() + 1 + 32);
        short
    }

    /// The ID as a name in a directory: `sha512-…` or `sha256-…`.
    pub fn file_name(&self) -> String {
        format!("{}-{}", self.algorithm().name(), self.hex())
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithm = self.algorithm();
        write!(f, "{}{}{}", algorithm.name(), algorithm.separator(), self.hex())
    }
}

impl FromStr for ImageId {
    type Err = ImageIdError;

    fn from_str(text: &str) -> Result<Self, ImageIdError> {
        let form = || ImageIdError::Form { text: text.to_owned() };
        let (name, digits) = text.split_once(['-', ':']).ok_or_else(form)?;
        match name {
            "sha512" => decode(text, digits, Algorithm::Sha512).map(Self::sha512),
            "sha256" => decode(text, digits, Algorithm::Sha256).map(Self::sha256),
            _ => Err(form()),
        }
    }
}

fn decode<const N: usize>(text: &str, digits: &str, algorithm: Algorithm) -> Result<[u8; N], ImageIdError> {
    if digits.len() != 2 * N {
        let found = digits.chars().count();
        return Err(ImageIdError::Length { text: text.to_owned(), algorithm, found, expected: 2 * N });
    }
    let mut digest = [0; N];
    let lower = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match hex::decode_to_slice(digits, &mut digest) {
        Ok(()) if lower => Ok(digest),
        _ => Err(ImageIdError::Digits { text: text.to_owned() }),
    }
}

impl TryFrom<&Hash> for ImageId {
    type Error = ImageIdError;

    fn try_from(hash: &Hash) -> Result<Self, ImageIdError> {
        hash.to_string().parse()
    }
}

impl From<ImageId> for Hash {
    fn from(id: ImageId) -> Self {
        Self::new(id.algorithm(), id.hex())
    }
}
