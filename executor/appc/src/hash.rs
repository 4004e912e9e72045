//! Image IDs as they stand in manifests: accepted leniently, as the specification's own samples need.

use std::fmt;
use std::str::FromStr;

/// A text that cannot stand for an image ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HashError {
    /// Not of the form `TYPE-VALUE`.
    #[error("badly formatted hash string")]
    Format {
        /// The refused text.
        text: String,
    },
    /// Nothing before the dash.
    #[error("unexpected empty hash type")]
    EmptyType,
    /// A hash function that images are not named by.
    #[error("unrecognized hash type: {hash_type}")]
    UnknownType {
        /// The name before the dash.
        hash_type: String,
    },
    /// Nothing after the dash.
    #[error("unexpected empty hash value")]
    EmptyValue,
}

/// Which hash function names an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// OCI images: the SHA-256 of the image configuration.
    Sha256,
    /// ACI images: the SHA-512 of the uncompressed archive.
    Sha512,
}

impl Algorithm {
    /// The name as it stands in IDs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// What stands between name and value: appc writes `sha512-…`, OCI `sha256:…`.
    pub(crate) fn separator(self) -> char {
        match self {
            Self::Sha256 => ':',
            Self::Sha512 => '-',
        }
    }
}

/// An image ID as a manifest gives it: a hash function and any non-empty value.
///
/// The Go code checks neither digits nor length, and the specification's examples write `sha512-...`. To name an
/// image that is really there, convert into an [`ImageId`](crate::ImageId).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hash {
    algorithm: Algorithm,
    value: String,
}

impl Hash {
    pub(crate) fn new(algorithm: Algorithm, value: String) -> Self {
        Self { algorithm, value }
    }

    /// The hash function.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What stands after the name of the function; not necessarily hexadecimal.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Parses as the Go code does, to which `sha512-VALUE` is the only form.
    ///
    /// # Errors
    /// See [`HashError`].
    pub(crate) fn parse_appc(text: &str) -> Result<Self, HashError> {
        let (hash_type, value) = text.split_once('-').ok_or_else(|| HashError::Format { text: text.to_owned() })?;
        if value.contains('-') {
            return Err(HashError::Format { text: text.to_owned() });
        }
        match hash_type {
            "sha512" if value.is_empty() => Err(HashError::EmptyValue),
            "sha512" => Ok(Self::new(Algorithm::Sha512, value.to_owned())),
            "" => Err(HashError::EmptyType),
            _ => Err(HashError::UnknownType { hash_type: hash_type.to_owned() }),
        }
    }
}

impl FromStr for Hash {
    type Err = HashError;

    /// Parses `sha512-VALUE`, `sha256:VALUE` or `sha256-VALUE`.
    fn from_str(text: &str) -> Result<Self, HashError> {
        let oci = text.strip_prefix("sha256").and_then(|rest| rest.strip_prefix([':', '-']));
        match oci {
            Some("") => Err(HashError::EmptyValue),
            Some(value) if !value.contains(['-', ':']) => Ok(Self::new(Algorithm::Sha256, value.to_owned())),
            Some(_) => Err(HashError::Format { text: text.to_owned() }),
            None => Self::parse_appc(text),
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.algorithm.name(), self.algorithm.separator(), self.value)
    }
}
