//! What kind of file this is, by its first bytes.

use store::archive::{Compression, IngestError};

/// A kind of file that somebody might take for an image or a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileType {
    /// A tar archive, compressed like this.
    Archive(Compression),
    /// Text, which may be a manifest. An empty file is one too.
    Text,
    /// Something that is recognised but not read: encrypted, or compressed in another way.
    Unreadable(IngestError),
    /// Anything else.
    Unknown,
}

/// How many bytes of a file decide; fewer where it ends before.
pub(super) const DECISIVE: usize = 512;

/// Where a tar header has its magic number (POSIX.1-2017 pax, ustar Interchange Format), and what that is.
const TAR_MAGIC: (usize, &[u8]) = (257, b"ustar");

impl FileType {
    /// Tells the type of a file that begins with `head`, of which the first [`DECISIVE`] bytes count.
    pub fn detect(head: &[u8]) -> Self {
        let head = &head[..head.len().min(DECISIVE)];
        match Compression::sniff(head) {
            Err(error) => Self::Unreadable(error),
            Ok(Compression::None) => {
                let (at, magic) = TAR_MAGIC;
                if head.get(at..at + magic.len()) == Some(magic) {
                    Self::Archive(Compression::None)
                } else if is_text(head) {
                    Self::Text
                } else {
                    Self::Unknown
                }
            }
            Ok(compression) => Self::Archive(compression),
        }
    }
}

/// Beginnings of texts that are no plain text.
const MARKUP: [&[u8]; 17] = [
    b"<!DOCTYPE HTML",
    b"<HTML",
    b"<HEAD",
    b"<SCRIPT",
    b"<IFRAME",
    b"<H1",
    b"<DIV",
    b"<FONT",
    b"<TABLE",
    b"<A",
    b"<STYLE",
    b"<TITLE",
    b"<B",
    b"<BODY",
    b"<BR",
    b"<P",
    b"<!--",
];

/// Whether a web browser would show the bytes as plain text in UTF-8 (WHATWG MIME Sniffing, 7.1), which is how the
/// Go implementation tells a manifest from an image.
fn is_text(head: &[u8]) -> bool {
    if head.starts_with(b"\xfe\xff") || head.starts_with(b"\xff\xfe") || head.starts_with(b"%PDF-") {
        return false;
    }
    let start = head.iter().position(|b| !matches!(b, b'\t' | b'\n' | b'\x0c' | b'\r' | b' ')).unwrap_or(head.len());
    let first = &head[start..];
    let is_markup = MARKUP.iter().any(|tag| {
        let same = first.get(..tag.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(tag));
        same && matches!(first.get(tag.len()), Some(b' ' | b'>'))
    });
    if is_markup || first.starts_with(b"<?xml") {
        return false;
    }
    !head.iter().any(|b| matches!(b, 0..=0x08 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_told_by_the_first_bytes() {
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(FileType::detect(&tar), FileType::Archive(Compression::None));
        assert_eq!(FileType::detect(&tar[..262]), FileType::Archive(Compression::None));
        assert_eq!(FileType::detect(&tar[..261]), FileType::Unknown);
        for (head, compression) in [
            (&b"\x1f\x8b"[..], Compression::Gzip),
            (b"BZh9", Compression::Bzip2),
            (b"\xfd7zXZ\0", Compression::Xz),
            (b"\x28\xb5\x2f\xfd", Compression::Zstd),
        ] {
            assert_eq!(FileType::detect(head), FileType::Archive(compression), "{head:?}");
        }
        for text in [&b""[..], b"{\"acKind\": 1}", b"  \n", "grün".as_bytes(), b"\xef\xbb\xbf{}", b"<apples"] {
            assert_eq!(FileType::detect(text), FileType::Text, "{text:?}");
        }
        for other in [
            &b"\0"[..],
            b"\x7fELF\x02",
            b" <!doctype html>",
            b"<html>",
            b"<?xml version='1.0'?>",
            b"\xff\xfea\0",
            b"%PDF-1.4",
            &[0; 512],
        ] {
            assert_eq!(FileType::detect(other), FileType::Unknown, "{other:?}");
        }
        for (head, name) in [(&b"-----BEGIN PGP MESSAGE-----\n"[..], "OpenPGP"), (b"PK\x03\x04", "zip")] {
            let FileType::Unreadable(error) = FileType::detect(head) else { panic!("{head:?}") };
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn only_the_decisive_bytes_count() {
        let mut head = vec![b'x'; DECISIVE];
        head.push(0);
        assert_eq!(FileType::detect(&head), FileType::Text);
    }
}
