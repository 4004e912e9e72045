//! Content digests: the only names under which a blob is ever opened.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256, Sha512};

use crate::quote::Quoted;

/// The algorithms registered in the OCI image specification that this program computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, 64 hexadecimal digits.
    Sha256,
    /// SHA-512, 128 hexadecimal digits.
    Sha512,
}

impl Algorithm {
    /// The name as it stands before the colon of a digest, and as a directory below `blobs`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The exact number of hexadecimal digits of a digest.
    pub fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// A digest `sha256:HEX` or `sha512:HEX`, the hex lower case and of exactly the right length.
///
/// Because every value went through this check, [`Digest::blob_path`] can hold no `/`, `..` or NUL of an image's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

/// Why a string is no digest. Each variant holds the string.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// There is no colon between algorithm and value.
    #[error("digest {0} is not of the form ALGORITHM:HEX")]
    Form(Quoted),
    /// The algorithm is neither sha256 nor sha512.
    #[error("digest {0} uses an unsupported algorithm (supported: sha256, sha512)")]
    Algorithm(Quoted),
    /// The value has the wrong length.
    #[error("digest {text} has {found} characters after the colon, {} needs {}", algorithm.name(), algorithm.hex_len())]
    Length {
        /// The digest as given.
        text: Quoted,
        /// Its algorithm.
        algorithm: Algorithm,
        /// The number of bytes found.
        found: usize,
    },
    /// The value holds something else than `0-9a-f`.
    #[error("digest {0} is not lower-case hexadecimal")]
    Hex(Quoted),
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let hex = match algorithm {
            Algorithm::Sha256 => hex::encode(Sha256::digest(bytes)),
            Algorithm::Sha512 => hex::encode(Sha512::digest(bytes)),
        };
        Self { algorithm, hex }
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The value in lower-case hexadecimal digits.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// Where an OCI layout keeps the blob, relative to the layout: `blobs/ALGORITHM/HEX`
    /// (image-spec, image-layout.md, Blobs).
    pub fn blob_path(&self) -> String {
        format!("blobs/{}/{}", self.algorithm.name(), self.hex)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (name, hex) = text.split_once(':').ok_or_else(|| DigestError::Form(Quoted::new(text)))?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(DigestError::Algorithm(Quoted::new(text))),
        };
        if hex.len() != algorithm.hex_len() {
            return Err(DigestError::Length { text: Quoted::new(text), algorithm, found: hex.len() });
        }
        if !is_lower_hex(hex) {
            return Err(DigestError::Hex(Quoted::new(text)));
        }
        Ok(Self { algorithm, hex: hex.to_owned() })
    }
}

/// Whether every byte is one of `0-9a-f`. True for the empty string.
pub(crate) fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY_SHA256: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn known_value_and_path() {
        let digest = Digest::of(Algorithm::Sha256, b"");
        assert_eq!(digest.to_string(), EMPTY_SHA256);
        assert_eq!(digest.blob_path(), EMPTY_SHA256.replace("sha256:", "blobs/sha256/"));
        assert_eq!(EMPTY_SHA256.parse(), Ok(digest));
        let long = Digest::of(Algorithm::Sha512, b"");
        assert_eq!(long.hex().len(), 128);
        assert_eq!(long.to_string().parse(), Ok(long));
    }

    #[test]
    fn only_exact_forms_are_digests() {
        let hex = "a".repeat(64);
        let bad = [
            String::new(),
            "sha256".into(),
            "sha256:".into(),
            ":".into(),
            "sha256:../../x".into(),
            format!("sha256:{}", "a".repeat(63)),
            format!("sha256:{}", "a".repeat(65)),
            format!("sha256:{}", "A".repeat(64)),
            format!("sha256:{}g", "a".repeat(63)),
            format!("sha256:{}/{}", "a".repeat(31), "b".repeat(32)),
            format!("sha256: {}", "a".repeat(63)),
            format!("sha256:{}\n", "a".repeat(63)),
            format!("sha256:{}\0", "a".repeat(63)),
            format!("sha256:{}", "é".repeat(32)),
            format!("SHA256:{hex}"),
            format!("sha256-{hex}"),
            format!(" sha256:{hex}"),
            format!("sha384:{}", "a".repeat(96)),
            format!("sha512:{hex}"),
            format!("md5:{}", "a".repeat(32)),
            format!("sha256+b64:{hex}"),
            format!("../sha256:{hex}"),
        ];
        for text in bad {
            assert!(text.parse::<Digest>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn errors_show_the_value_in_one_printable_line() {
        let error = "sha256:\u{1b}]0;x\n".parse::<Digest>().unwrap_err().to_string();
        assert!(error.contains(r"\u{1b}]0;x\n") && !error.contains('\n'), "{error}");
    }
}
