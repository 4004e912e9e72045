//! The `hello` image as an ACI: a plain tar archive around a copy of the running program.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use appc::{AcIdentifier, App, ImageManifest, Isolator, IsolatorValue, Labels};
use tar_core::builder::EntryBuilder;
use tar_core::{EntryType, HeaderError};

/// The image's name. `.local` is nobody's on the network, so no image of a registry can have it.
pub(crate) const NAME: &str = "proa.local/hello";

/// The executable in the image.
pub(super) const PROGRAM: &str = "/bin/hello";

/// The user and group of the responder, listed in the image's /etc/passwd and /etc/group.
pub(super) const USER_ID: &str = "1000";

/// A tar archive consists of blocks of this many bytes (POSIX.1-2017 pax, ustar Interchange Format).
const BLOCK: u64 = 512;

/// The directories of the image, parents first, with their modes. /data and /mnt/shared are where the apps mount the
/// volume they share; /proc, /sys and /dev wait for stage1's mounts.
const DIRS: [(&str, u32); 10] = [
    ("rootfs", 0o755),
    ("rootfs/bin", 0o755),
    ("rootfs/data", 0o755),
    ("rootfs/dev", 0o755),
    ("rootfs/etc", 0o755),
    ("rootfs/mnt", 0o755),
    ("rootfs/mnt/shared", 0o755),
    ("rootfs/proc", 0o555),
    ("rootfs/sys", 0o555),
    ("rootfs/tmp", 0o1777),
];

const PASSWD: &str = "root:x:0:0:root:/:/bin/false\n\
                      hello:x:1000:1000:an ordinary user:/:/bin/false\n\
                      nobody:x:65534:65534:nobody:/:/bin/false\n";

const GROUP: &str = "root:x:0:\nhello:x:1000:\nnobody:x:65534:\n";

/// The archive, made while it is read. The same program gives the same bytes: owners are 0, times are the epoch, and
/// entries have a fixed order.
#[derive(Debug)]
pub(crate) struct Archive<'a> {
    /// Everything up to the program's first byte.
    head: Vec<u8>,
    program: &'a File,
    program_size: u64,
    /// The padding after the program and the end of the archive.
    tail: Vec<u8>,
    position: u64,
}

/// The image with `program` as its executable. The file is read by position, so its offset stays as it is.
///
/// # Errors
/// The program's size cannot be found out, or does not fit a tar header (8 GiB).
pub(crate) fn archive(program: &File) -> io::Result<Archive<'_>> {
    let program_size = program.metadata()?.len();
    let manifest = manifest().to_json().map_err(io::Error::other)?;
    let head = head(&manifest, program_size).map_err(io::Error::other)?;
    let padding = program_size.next_multiple_of(BLOCK) - program_size;
    // Two blocks of zeros end the archive.
    let tail = vec![0; usize::try_from(padding + 2 * BLOCK).map_err(io::Error::other)?];
    Ok(Archive { head, program, program_size, tail, position: 0 })
}

impl Read for Archive<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let program_start = self.head.len() as u64;
        let tail_start = program_start + self.program_size;
        let count = if self.position < program_start {
            read_slice(&self.head, self.position, buffer)
        } else if self.position < tail_start {
            let left = usize::try_from(tail_start - self.position).unwrap_or(usize::MAX);
            let room = buffer.len().min(left);
            let count = self.program.read_at(&mut buffer[..room], self.position - program_start)?;
            if count == 0 && room > 0 {
                // The header already promised more.
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the program became shorter while it was read",
                ));
            }
            count
        } else {
            read_slice(&self.tail, self.position - tail_start, buffer)
        };
        self.position += count as u64;
        Ok(count)
    }
}

/// Copies from `bytes` at `start`, which lies within or at the end, as much as fits.
fn read_slice(bytes: &[u8], start: u64, buffer: &mut [u8]) -> usize {
    let rest = usize::try_from(start).ok().and_then(|start| bytes.get(start..)).unwrap_or_default();
    let count = rest.len().min(buffer.len());
    buffer[..count].copy_from_slice(&rest[..count]);
    count
}

/// The app of the image. Alone it reports on a pod of one; [`super::pod_manifest`] makes two of it.
pub(super) fn app() -> App {
    App {
        exec: vec![PROGRAM.to_owned()],
        user: "0".to_owned(),
        group: "0".to_owned(),
        working_directory: Some("/".to_owned()),
        isolators: Isolator::new(IsolatorValue::NoNewPrivileges(true)).into_iter().collect(),
        ..App::default()
    }
}

/// The image manifest.
pub(super) fn manifest() -> ImageManifest {
    let platform = fetch::Platform::host();
    let mut labels = Labels::default();
    // A machine without a name in appc gets no label; the image is made here and for here anyway.
    if let Ok((os, arch)) = appc::platform::from_go(&platform.os, &platform.architecture, "") {
        labels.set(identifier("os"), os);
        labels.set(identifier("arch"), arch);
    }
    labels.set(identifier("version"), env!("CARGO_PKG_VERSION"));
    ImageManifest { labels, app: Some(app()), ..ImageManifest::new(identifier(NAME)) }
}

pub(super) fn identifier(text: &str) -> AcIdentifier {
    text.parse().expect("the names in this module are valid")
}

/// The manifest first, so that a reader need not unpack the rest to know the image; the program last, so that all
/// before it is one piece of memory.
fn head(manifest: &[u8], program_size: u64) -> Result<Vec<u8>, HeaderError> {
    let mut head = Vec::new();
    file(&mut head, "manifest", manifest)?;
    for (path, mode) in DIRS {
        head.extend(header(path, EntryType::Directory, mode, 0)?);
    }
    file(&mut head, "rootfs/etc/passwd", PASSWD.as_bytes())?;
    file(&mut head, "rootfs/etc/group", GROUP.as_bytes())?;
    head.extend(header(&format!("rootfs{PROGRAM}"), EntryType::Regular, 0o755, program_size)?);
    Ok(head)
}

fn file(archive: &mut Vec<u8>, path: &str, content: &[u8]) -> Result<(), HeaderError> {
    archive.extend(header(path, EntryType::Regular, 0o644, content.len() as u64)?);
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(BLOCK as usize), 0);
    Ok(())
}

fn header(path: &str, kind: EntryType, mode: u32, size: u64) -> Result<Vec<u8>, HeaderError> {
    let mut entry = EntryBuilder::new_ustar();
    entry.path(path).entry_type(kind).mode(mode)?.uid(0)?.gid(0)?.mtime(0)?.size(size)?;
    Ok(entry.finish_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::io::{Seek, SeekFrom, Write};

    fn program(size: usize) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&b"\x7fELF".repeat(size.div_ceil(4))[..size]).unwrap();
        file
    }

    fn bytes(program: &File) -> Vec<u8> {
        let mut bytes = Vec::new();
        archive(program).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn another_tar_reader_sees_the_image() {
        let mut archive = tar::Archive::new(io::Cursor::new(bytes(&program(70_001))));
        let mut modes = BTreeMap::new();
        let mut contents = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 0), "{path}");
            assert!(modes.insert(path.clone(), header.mode().unwrap()).is_none(), "{path} comes twice");
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            contents.insert(path, content);
        }
        assert_eq!(modes["rootfs/bin/hello"], 0o755);
        assert_eq!(modes["rootfs/tmp"], 0o1777);
        assert_eq!(modes.len(), DIRS.len() + 4);
        assert_eq!(contents["rootfs/bin/hello"].len(), 70_001);
        assert!(contents["rootfs/etc/passwd"].starts_with(b"root:x:0:0:"));
        assert_eq!(ImageManifest::from_json(&contents["manifest"]).unwrap(), manifest());
    }

    #[test]
    fn the_bytes_depend_on_nothing_but_the_program() {
        let mut first = program(512);
        first.seek(SeekFrom::Start(7)).unwrap();
        assert_eq!(bytes(&first), bytes(&program(512)));
        assert_eq!(first.stream_position().unwrap(), 7);
        assert_ne!(bytes(&first), bytes(&program(513)));
    }

    #[test]
    fn small_reads_and_odd_sizes_give_whole_blocks() {
        for size in [0, 1, 511, 512, 513] {
            let program = program(size);
            let whole = bytes(&program);
            assert_eq!(whole.len() % 512, 0);
            assert_eq!(whole[whole.len() - 1024..], [0; 1024]);
            let mut pieces = Vec::new();
            let mut archive = archive(&program).unwrap();
            let mut buffer = [0; 7];
            while let count @ 1.. = archive.read(&mut buffer).unwrap() {
                pieces.extend_from_slice(&buffer[..count]);
            }
            assert_eq!(pieces, whole);
        }
    }

    #[test]
    fn a_program_that_shrinks_is_an_error_and_no_short_archive() {
        let program = program(4096);
        let mut archive = archive(&program).unwrap();
        program.set_len(100).unwrap();
        let error = archive.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
