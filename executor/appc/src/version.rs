//! Semantic versions as `acVersion` holds them, and which of them this crate understands.

use std::fmt;
use std::str::FromStr;

/// The version of the appc specification this crate implements.
pub const SPEC_VERSION: &str = "0.8.11";

/// A text that is no semantic version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VersionError {
    /// Not of the form `MAJOR.MINOR.PATCH[-PRERELEASE][+METADATA]`.
    #[error("SemVer is bad")]
    Bad {
        /// The refused text.
        text: String,
    },
    /// All zero, which stands for no version.
    #[error("SemVer cannot be zero")]
    Zero,
}

/// A semantic version. The default value is the absent version `0.0.0`, which never parses.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct SemVer {
    numbers: [u64; 3],
    prerelease: String,
    metadata: String,
}

/// How the version of a document relates to [`SPEC_VERSION`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compatibility {
    /// Of this specification or an earlier one with the same major version.
    Supported,
    /// Newer than this specification: fields this crate does not know are ignored, which deserves a warning.
    Newer,
    /// Of another major version: its fields may mean something else.
    Incompatible,
}

impl SemVer {
    /// The version manifests made by this crate carry.
    pub fn current() -> Self {
        Self { numbers: [0, 8, 11], prerelease: String::new(), metadata: String::new() }
    }

    /// Whether this is the absent version.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// Major, minor and patch number.
    pub fn numbers(&self) -> [u64; 3] {
        self.numbers
    }

    /// Whether a document of this version can be understood (appc types.md, AC Version). Prerelease and metadata do
    /// not count.
    pub fn compatibility(&self) -> Compatibility {
        let current = Self::current().numbers;
        if self.numbers[0] != current[0] {
            Compatibility::Incompatible
        } else if self.numbers > current {
            Compatibility::Newer
        } else {
            Compatibility::Supported
        }
    }
}

impl FromStr for SemVer {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let bad = || VersionError::Bad { text: text.to_owned() };
        let (rest, metadata) = text.split_once('+').unwrap_or((text, ""));
        let (rest, prerelease) = rest.split_once('-').unwrap_or((rest, ""));
        let mut parts = rest.split('.').map(number);
        let mut next = || parts.next().flatten().ok_or_else(bad);
        let numbers = [next()?, next()?, next()?];
        if parts.next().is_some() {
            return Err(bad());
        }
        let version = Self { numbers, prerelease: prerelease.to_owned(), metadata: metadata.to_owned() };
        if version.is_zero() { Err(VersionError::Zero) } else { Ok(version) }
    }
}

/// A decimal number of Go's int64 range; leading zeros are accepted and lost.
fn number(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|&number| plain && number <= i64::MAX as u64)
}

impl fmt::Display for SemVer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        if !self.prerelease.is_empty() {
            write!(f, "-{}", self.prerelease)?;
        }
        if !self.metadata.is_empty() {
            write!(f, "+{}", self.metadata)?;
        }
        Ok(())
    }
}
