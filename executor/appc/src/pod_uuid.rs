//! The UUID of a pod.

use std::fmt;
use std::str::FromStr;

/// A text that is no pod UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UuidError {
    /// Not 32 digits once the dashes are gone.
    #[error("bad UUID length != 32")]
    Length {
        /// The refused text.
        text: String,
    },
    /// Something other than a hexadecimal digit.
    #[error("bad UUID digit {digit:?}")]
    Digit {
        /// The first such character.
        digit: char,
    },
    /// All zero, which stands for no UUID.
    #[error("UUID cannot be empty")]
    Empty,
}

/// Identifies a pod on its host. Never used as a secret.
///
/// Parses with dashes anywhere or nowhere, in either case; displays lower-case as 8-4-4-4-12.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodUuid(uuid::Uuid);

impl PodUuid {
    /// A new random UUID (version 4).
    pub fn new_v4() -> Self {
        Self(uuid::Uuid::new_v4())
    }

    /// The random UUID (version 4) that these bytes make, for callers who have their own source of them.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }

    /// The sixteen bytes, in the order of the digits.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl FromStr for PodUuid {
    type Err = UuidError;

    fn from_str(text: &str) -> Result<Self, UuidError> {
        // A longer text cannot hold 32 digits and is not worth copying; 64 leaves room for any dashes.
        let digits: String = text.chars().filter(|&c| c != '-').take(64).collect();
        if digits.len() != 32 {
            return Err(UuidError::Length { text: text.chars().take(64).collect() });
        }
        if let Some(digit) = digits.chars().find(|c| !c.is_ascii_hexdigit()) {
            return Err(UuidError::Digit { digit });
        }
        let bits = u128::from_str_radix(&digits, 16).map_err(|_| UuidError::Length { text: text.to_owned() })?;
        if bits == 0 { Err(UuidError::Empty) } else { Ok(Self(uuid::Uuid::from_u128(bits))) }
    }
}

impl fmt::Display for PodUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}
