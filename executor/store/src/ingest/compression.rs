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
    /// bzip2, of one or more streams. For ACIs; no media type of OCI names it.
    Bzip2,
    /// xz, of one or more streams. For ACIs as well.
    Xz,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "tar",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        })
    }
}

/// The beginnings of formats that can be told by them (appc aci.md, Image Archives, allows gzip, bzip2 and xz).
const KNOWN: [(&[u8], Compression); 4] = [
    (b"\x1f\x8b", Compression::Gzip),
    (b"BZh", Compression::Bzip2),
    (b"\xfd7zXZ\0", Compression::Xz),
    (b"\x28\xb5\x2f\xfd", Compression::Zstd),
];

/// Formats that are recognised only to be named in the refusal.
const UNSUPPORTED: [(&[u8], &str); 4] =
    [(b"LZIP", "lzip"), (b"\x04\x22\x4d\x18", "lz4"), (b"\x1f\x9d", "compress"), (b"PK\x03\x04", "zip")];

/// Beginnings of encrypted files (appc aci.md: an image may be encrypted with PGP after it is compressed).
const ENCRYPTED: [(&[u8], &str); 3] =
    [(b"-----BEGIN PGP MESSAGE-----", "OpenPGP"), (b"age-encryption.org/", "age"), (b"Salted__", "OpenSSL")];

/// Whether the bytes begin with a packet that OpenPGP messages begin with (RFC 9580, 4.2 and 5): a session key for a
/// public key or a passphrase, or encrypted data, with the version octet that belongs to it.
fn is_openpgp(head: &[u8]) -> bool {
    let (tag, version) = match head {
        // New format: the tag in six bits, then a length of one, two or five octets.
        [first @ 0xc0..=0xff, length, ..] => {
            let version = match length {
                192..=223 => 3,
                255 => 6,
                _ => 2,
            };
            (first & 0x3f, version)
        }
        // Old format: the tag in four bits; the last two say how many octets the length has.
        [first @ 0x80..=0xbf, ..] => (first >> 2 & 0xf, [2, 3, 5, 1][usize::from(first & 3)]),
        _ => return false,
    };
    matches!((tag, head.get(version)), (1, Some(2..=6)) | (3, Some(4..=6)) | (18, Some(1..=2)))
}

/// A zstd frame, or a skippable one before it (RFC 8878, 3.1.2).
fn is_zstd(head: &[u8]) -> bool {
    head.starts_with(b"\x28\xb5\x2f\xfd") || matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

impl Compression {
    /// Recognises the format of an ACI by its first bytes, at least 512 where there are that many.
    ///
    /// # Errors
    /// [`IngestError::Encrypted`], [`IngestError::UnsupportedCompression`]. What is none of the known formats counts as
    /// plain tar, whose reader says better what is wrong with it.
    pub fn sniff(head: &[u8]) -> Result<Self, IngestError> {
        // First of all tar: an archive may begin with a file named "BZh".
        if head.get(257..262) == Some(b"ustar") {
            return Ok(Self::None);
        }
        if let Some((_, known)) = KNOWN.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Ok(*known);
        }
        if is_zstd(head) {
            return Ok(Self::Zstd);
        }
        if let Some((_, name)) = UNSUPPORTED.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Err(IngestError::UnsupportedCompression { name: (*name).to_owned() });
        }
        let encrypted = ENCRYPTED.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, name)| *name);
        match encrypted.or_else(|| is_openpgp(head).then_some("OpenPGP")) {
            Some(name) => Err(IngestError::Encrypted { name: name.to_owned() }),
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
            Self::Bzip2 | Self::Xz => Self::sniff(head) == Ok(self),
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
        assert_eq!(Compression::sniff(b"\xfd7zXZ\0\0"), Ok(Compression::Xz));
        let mut tar = [0; 512];
        tar[..3].copy_from_slice(b"BZh");
        assert_eq!(Compression::sniff(&tar), Ok(Compression::Bzip2));
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(Compression::sniff(&tar), Ok(Compression::None));
    }

    #[test]
    fn what_is_not_read_is_named() {
        let named = |head: &[u8]| Compression::sniff(head).map_err(|error| error.to_string());
        let zip = "compression zip is not supported (supported: plain tar, gzip, bzip2, xz, zstd)";
        assert_eq!(named(b"PK\x03\x04"), Err(zip.to_owned()));
        let encrypted = |by: &str| Err(format!("the image is encrypted ({by})"));
        assert_eq!(named(b"-----BEGIN PGP MESSAGE-----\n"), encrypted("OpenPGP"));
        // What `gpg --symmetric`, `gpg --encrypt` and `age` write first.
        assert_eq!(named(b"\x8c\x0d\x04\x09\x03\x0a\x01"), encrypted("OpenPGP"));
        assert_eq!(named(b"\x85\x01\x0c\x03\x12\x34\x56"), encrypted("OpenPGP"));
        assert_eq!(named(b"\xc3\x0d\x04\x09\x03\x0a"), encrypted("OpenPGP"));
        assert_eq!(named(b"age-encryption.org/v1\n"), encrypted("age"));
        for other in [&b"\x8c"[..], b"\xff\xff\xff", b"\xc3\xa9t\xc3\xa9", b"\x80\x02", b""] {
            assert_eq!(named(other), Ok(Compression::None), "{other:?}");
        }
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
