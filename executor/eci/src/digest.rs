//! Digests, `sha256:…` and `sha512:…`, and computing them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};

/// A digest in the one form it can have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// A string that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("digest {0:?} is neither sha256: and 64 nor sha512: and 128 hexadecimal digits")]
pub struct DigestError(String);

impl Digest {
    /// The SHA-256 of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The algorithm's name.
    #[must_use]
    pub fn algorithm(&self) -> &str {
        &self.0[..6]
    }

    /// The hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.0[7..]
    }

    /// The digest as a string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A hasher of the same algorithm.
    #[must_use]
    pub fn hasher(&self) -> Hasher {
        if self.algorithm() == "sha512" { Hasher::Sha512(Sha512::new()) } else { Hasher::default() }
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let length = match text.as_bytes() {
            [b's', b'h', b'a', b'2', b'5', b'6', b':', ..] => 64,
            [b's', b'h', b'a', b'5', b'1', b'2', b':', ..] => 128,
            _ => 0,
        };
        let is_digit = |it: u8| matches!(it, b'0'..=b'9' | b'a'..=b'f');
        if length > 0 && text.len() == 7 + length && text.bytes().skip(7).all(is_digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err(DigestError(text.chars().take(160).collect()))
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A digest being computed; SHA-256 unless another algorithm was asked for.
#[derive(Debug, Clone)]
pub enum Hasher {
    /// SHA-256.
    Sha256(Sha256),
    /// SHA-512.
    Sha512(Sha512),
}

impl Default for Hasher {
    fn default() -> Self {
        Self::Sha256(Sha256::new())
    }
}

impl Hasher {
    /// Takes bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(it) => it.update(bytes),
            Self::Sha512(it) => it.update(bytes),
        }
    }

    /// The digest of all that was taken in.
    #[must_use]
    pub fn finish(self) -> Digest {
        match self {
            Self::Sha256(it) => Digest(format!("sha256:{}", hex::encode(it.finalize()))),
            Self::Sha512(it) => Digest(format!("sha512:{}", hex::encode(it.finalize()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_exact() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), empty);
        assert_eq!(empty.parse(), Ok(Digest::of(b"")));
        let long: Digest = format!("sha512:{}", "0".repeat(128)).parse().expect("a digest");
        assert!(matches!(long.hasher(), Hasher::Sha512(_)));
        for text in [
            "",
            "sha256:",
            "md5:00",
            &empty[1..],
            &empty[..70],
            &empty.to_uppercase(),
            &format!("{empty}0"),
            "sha256:../x",
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
