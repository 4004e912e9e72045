//! An archive of one file, always the same bytes for the same file, name, mode and time.

use std::fs::File;
use std::io::{self, Write};

use flate2::{Compression, GzBuilder};
use tar_core::EntryType;
use tar_core::builder::EntryBuilder;

use crate::digest::{Digest, Hasher};
use crate::sparse;

const BLOCK: usize = 512;

/// What the archive says of the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member<'n> {
    pub(crate) name: &'n str,
    pub(crate) size: u64,
    /// Permission bits.
    pub(crate) mode: u32,
    /// Seconds since the epoch.
    pub(crate) mtime: u64,
}

/// Digests and size of an archive.
#[derive(Debug)]
pub(crate) struct Written {
    /// Of the tar.
    pub(crate) diff_id: Digest,
    /// Of its gzip.
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// Writes the gzip of the tar of `file`. Neither has anything of this machine or of now in it.
pub(crate) fn write(file: &File, member: Member<'_>, to: impl Write) -> io::Result<Written> {
    let sink = Hashed { hasher: Hasher::default(), count: 0, to };
    let gzip = GzBuilder::new().mtime(0).operating_system(255).write(sink, Compression::default());
    let mut tar = Hashed { hasher: Hasher::default(), count: 0, to: gzip };
    tar.write_all(&header(member)?)?;
    sparse::read(file, 0, member.size, |bytes| tar.write_all(bytes))?;
    let padding = member.size.next_multiple_of(BLOCK as u64) - member.size;
    tar.write_all(&vec![0; padding as usize + 2 * BLOCK])?;
    let sink = tar.to.finish()?;
    Ok(Written { diff_id: tar.hasher.finish(), digest: sink.hasher.finish(), size: sink.count })
}

fn header(member: Member<'_>) -> io::Result<Vec<u8>> {
    let wrong = |error: &dyn std::fmt::Display| io::Error::other(format!("tar header: {error}"));
    let mut builder = EntryBuilder::new_ustar();
    builder.path(member.name).entry_type(EntryType::Regular);
    let numbers = builder.mode(member.mode & 0o7777).and_then(|it| it.uid(0)).and_then(|it| it.gid(0));
    let numbers = numbers.and_then(|it| it.size(member.size)).and_then(|it| it.mtime(member.mtime));
    numbers.map_err(|error| wrong(&error))?;
    Ok(builder.finish_bytes())
}

struct Hashed<W> {
    hasher: Hasher,
    count: u64,
    to: W,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.count += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn packed(content: &[u8], name: &str) -> (Vec<u8>, Written) {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(content).expect("it is ours");
        let mut bytes = Vec::new();
        let member = Member { name, size: content.len() as u64, mode: 0o100_644, mtime: 1_000_000_000 };
        let written = write(&file, member, &mut bytes).expect("it is packed");
        (bytes, written)
    }

    #[test]
    fn an_archive_is_read_by_others_and_always_the_same() {
        for (size, name) in [(0, "kernel"), (1, "kernel"), (512, "disk-root-x"), (100_000, &*"n".repeat(150))] {
            let content: Vec<u8> = (0..size).map(|it| it as u8).collect();
            let (bytes, written) = packed(&content, name);
            assert_eq!((Digest::of(&bytes), bytes.len() as u64), (written.digest.clone(), written.size));
            let mut tar_bytes = Vec::new();
            flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut tar_bytes).expect("gzip");
            assert_eq!(Digest::of(&tar_bytes), written.diff_id);
            let mut archive = tar::Archive::new(&tar_bytes[..]);
            let mut entries = archive.entries().expect("tar");
            let mut entry = entries.next().expect("one").expect("it is well-formed");
            let header = entry.header().clone();
            assert_eq!(entry.path().expect("a path").to_str(), Some(name));
            assert_eq!(
                (header.mode().ok(), header.mtime().ok(), header.uid().ok()),
                (Some(0o644), Some(1_000_000_000), Some(0))
            );
            let mut read = Vec::new();
            entry.read_to_end(&mut read).expect("it is all there");
            assert!(read == content);
            assert!(entries.next().is_none());
            assert_eq!(packed(&content, name).1.digest, written.digest);
        }
    }

    #[test]
    fn a_file_that_shrinks_is_told() {
        let file = tempfile::tempfile().expect("a file");
        let member = Member { name: "a", size: 1, mode: 0, mtime: 0 };
        assert!(write(&file, member, io::sink()).unwrap_err().to_string().contains("ends after 0 of 1"));
    }
}
