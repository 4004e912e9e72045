//! Content digests: the names of blobs and layers.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

use crate::shown::Shown;

/// A hash algorithm of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256: OCI layers, configurations and every blob whose name is ours to choose.
    Sha256,
    /// SHA-512: ACI image ids (appc aci.md, Image ID).
    Sha512,
}

impl Algorithm {
    /// All of them, in the order of their directories below `blobs`.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// The name before the separator of a digest, and of the directory below `blobs`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }
}

/// A digest. It prints as `sha256:HEX`; both `:` and `-` are read, the hex must be lower case and complete.
///
/// A value of this type is safe in a file name: it can only hold `[a-z0-9]`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Digest {
    /// A SHA-256 hash.
    Sha256([u8; 32]),
    /// A SHA-512 hash.
    Sha512([u8; 64]),
}

/// Why a string is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a digest (sha256: or sha512: and lower-case hex of full length): {0}")]
pub struct DigestError(Shown);

impl DigestError {
    pub(crate) fn new(text: &str) -> Self {
        Self(Shown::new(text.as_bytes()))
    }
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The digest of all that `from` has left to read.
    ///
    /// # Errors
    /// Those of reading.
    pub fn of_reader(algorithm: Algorithm, mut from: impl Read) -> io::Result<Self> {
        let mut hasher = Hasher::new(algorithm);
        let mut buffer = vec![0; 256 << 10];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(length) => hasher.update(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// The raw hash.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Sha256(bytes) => bytes,
            Self::Sha512(bytes) => bytes,
        }
    }

    /// The hash in lower-case hex.
    pub fn hex(&self) -> String {
        hex::encode(self.bytes())
    }
}

impl From<Digest> for appc::ImageId {
    fn from(digest: Digest) -> Self {
        match digest {
            Digest::Sha256(bytes) => Self::sha256(bytes),
            Digest::Sha512(bytes) => Self::sha512(bytes),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm().name(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let refused = || DigestError::new(text);
        let (name, hex) = text.split_once([':', '-']).ok_or_else(refused)?;
        // hex::decode takes upper case too; two spellings of one name would be two files.
        if hex.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(refused());
        }
        match name {
            "sha256" => {
                let mut bytes = [0; 32];
                hex::decode_to_slice(hex, &mut bytes).map(|()| Self::Sha256(bytes)).map_err(|_| refused())
            }
            "sha512" => {
                let mut bytes = [0; 64];
                hex::decode_to_slice(hex, &mut bytes).map(|()| Self::Sha512(bytes)).map_err(|_| refused())
            }
            _ => Err(refused()),
        }
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A running hash of either algorithm.
#[derive(Clone, Debug)]
pub struct Hasher(State);

#[derive(Clone, Debug)]
enum State {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// A hash of nothing yet.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => State::Sha512(sha2::Sha512::new()),
        })
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(hasher) => hasher.update(bytes),
            State::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all that was added.
    pub fn finish(self) -> Digest {
        match self.0 {
            State::Sha256(hasher) => Digest::Sha256(hasher.finalize().into()),
            State::Sha512(hasher) => Digest::Sha512(hasher.finalize().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints() {
        let digest = Digest::of(Algorithm::Sha256, b"");
        let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest.to_string(), text);
        assert_eq!(Digest::of_reader(Algorithm::Sha256, std::io::empty()).unwrap(), digest);
        assert_eq!(text.parse::<Digest>().unwrap(), digest);
        assert_eq!(text.replace(':', "-").parse::<Digest>().unwrap(), digest);
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
    }

    #[test]
    fn unp_20_digests_are_checked_before_they_name_a_file() {
        let upper = format!("sha256:{}", "A".repeat(64));
        for text in [
            "",
            "sha256:",
            "sha256:../../x",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "sha256:abc",
            &"0".repeat(64),
            &format!("sha256:{}", "0".repeat(63)),
            &format!("sha256:{}", "0".repeat(65)),
            &format!("sha512-{}", "0".repeat(64)),
            &format!("sha256:{}/", "0".repeat(63)),
            &upper,
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
