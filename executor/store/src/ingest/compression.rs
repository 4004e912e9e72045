//! Compression formats of layers and ACIs, and how to tell them apart.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::IngestError;
use crate::shown::Shown;

/// A compression format that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// A plain tar archive.
    None,
    /// gzip, of one or more members (RFC 1952).
    Gzip,
    /// Zstandard, of one or more frames (RFC 8878).
    Zstd,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "tar",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// Formats that are recognised only to be named in the refusal. appc allows bzip2 and xz (aci.md, Image Archives).
const UNSUPPORTED: [(&[u8], &str); 6] = [
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"LZIP", "lzip"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x1f\x9d", "compress"),
    (b"PK\x03\x04", "zip"),
];

/// A zstd frame, or a skippable one before it (RFC 8878, 3.1.2).
fn is_zstd(head: &[u8]) -> bool {
    head.starts_with(b"\x28\xb5\x2f\xfd") || matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

impl Compression {
    /// Recognises the format of an ACI by its first bytes, at least 512 where there are that many.
    ///
    /// # Errors
    /// [`IngestError::UnsupportedCompression`]. What is none of the known formats counts as plain tar, whose reader
    /// says better what is wrong with it.
    pub fn sniff(head: &[u8]) -> Result<Self, IngestError> {
        // First of all tar: an archive may begin with a file named "BZh".
        if head.get(257..262) == Some(b"ustar") {
            return Ok(Self::None);
        }
        if head.starts_with(b"\x1f\x8b") {
            return Ok(Self::Gzip);
        }
        if is_zstd(head) {
            return Ok(Self::Zstd);
        }
        match UNSUPPORTED.iter().find(|(magic, _)| head.starts_with(magic)) {
            Some((_, name)) => Err(IngestError::UnsupportedCompression { name: (*name).to_owned() }),
            None => Ok(Self::None),
        }
    }

    /// Checks that a layer has the format its media type declares.
    ///
    /// # Errors
    /// [`IngestError::WrongCompression`].
    pub(super) fn check(self, head: &[u8]) -> Result<(), IngestError> {
        let right = match self {
            Self::Gzip => head.starts_with(b"\x1f\x8b"),
            Self::Zstd => is_zstd(head),
            Self::None => head.get(257..262) == Some(b"ustar") || matches!(Self::sniff(head), Ok(Self::None)),
        };
        if right {
            return Ok(());
        }
        Err(IngestError::WrongCompression { declared: self, found: Shown::new(&head[..head.len().min(8)]) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_recognised() {
        assert_eq!(Compression::sniff(b"\x1f\x8b\x08"), Ok(Compression::Gzip));
        assert_eq!(Compression::sniff(b"\x28\xb5\x2f\xfd"), Ok(Compression::Zstd));
        assert_eq!(Compression::sniff(b"\x51\x2a\x4d\x18"), Ok(Compression::Zstd));
        assert_eq!(Compression::sniff(b"hello"), Ok(Compression::None));
        let mut tar = [0; 512];
        tar[..3].copy_from_slice(b"BZh");
        assert!(
            matches!(Compression::sniff(&tar), Err(IngestError::UnsupportedCompression { name }) if name == "bzip2")
        );
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(Compression::sniff(&tar), Ok(Compression::None));
        let xz = Compression::sniff(b"\xfd7zXZ\0\0").unwrap_err();
        assert_eq!(xz.to_string(), "compression xz is not supported yet (supported: plain tar, gzip, zstd)");
    }

    #[test]
    fn a_layer_must_be_what_it_declares() {
        assert!(Compression::Gzip.check(b"\x1f\x8b").is_ok());
        assert!(Compression::Gzip.check(b"\x28\xb5\x2f\xfd").is_err());
        assert!(Compression::None.check(b"\x1f\x8b").is_err());
        assert!(Compression::Zstd.check(b"").is_err());
        assert!(Compression::None.check(b"garbage").is_ok(), "the tar reader refuses it, and says so better");
    }
}
