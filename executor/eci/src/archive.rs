//! OCI layouts in a tar file, as `skopeo copy … oci-archive:FILE` makes them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;
use tar_core::EntryType;
use tar_core::builder::EntryBuilder;
use tar_core::parse::{Limits, ParseEvent, Parser};

use crate::descriptor::Descriptor;
use crate::document::MAX_DOCUMENT;
use crate::index::{Index, LAYOUT_FILE};
use crate::layout::folder_of;
use crate::pack::Blob;
use crate::sparse;
use crate::transfer::{Destination, Named, Source, TransferError};

const BLOCK: u64 = 512;
/// The most members of an archive: an image has a handful of blobs.
const MAX_MEMBERS: usize = 100_000;
/// The most bytes of headers of one member.
const MAX_HEAD: usize = 1 << 20;

/// Why an archive cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// A system call failed.
    #[error("{path}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It is no tar.
    #[error("{path} is no tar archive: {reason}")]
    Tar {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// It is no layout, or does not have the image.
    #[error("{path}: {reason}")]
    Layout {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// There is a file, and it is more than an earlier state of the same image.
    #[error("{path} is not replaced: {reason}")]
    Taken {
        /// The file.
        path: String,
        /// What it is, or has.
        reason: String,
    },
}

/// An image in an archive.
#[derive(Debug)]
pub struct ArchiveSource {
    file: File,
    /// Name → offset and size.
    members: BTreeMap<String, (u64, u64)>,
    manifest: Descriptor,
}

impl ArchiveSource {
    /// Finds an image by one of its names.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn open(path: &Path, names: &[String]) -> Result<Self, ArchiveError> {
        let shown = path.display().to_string();
        let file = File::open(path).map_err(|source| ArchiveError::Io { path: shown.clone(), source })?;
        let members = members(&file).map_err(|reason| ArchiveError::Tar { path: shown.clone(), reason })?;
        let wrong = |reason: String| ArchiveError::Layout { path: shown.clone(), reason };
        let index = members.get("index.json").ok_or_else(|| wrong("it has no index.json".to_owned()))?;
        let index = read(&file, *index).map_err(|error| wrong(format!("index.json: {error}")))?;
        let index = Index::parse(&index).map_err(|reason| wrong(format!("index.json: {reason}")))?;
        let manifest = index.find(names).map_err(wrong)?;
        Ok(Self { file, members, manifest })
    }

    fn place(&self, descriptor: &Descriptor) -> Result<(u64, u64), TransferError> {
        let name = format!("blobs/{}/{}", descriptor.digest.algorithm(), descriptor.digest.hex());
        let place = *self.members.get(&name).ok_or_else(|| format!("the archive has no {name}"))?;
        if place.1 != descriptor.size {
            return Err(format!("{name} has {} bytes, not {}", place.1, descriptor.size).into());
        }
        Ok(place)
    }
}

/// Whether a file may be replaced by an archive of this image, and else why not: it is none, is empty, or has this image alone.
fn replaceable(path: &Path, image: &str) -> io::Result<Result<(), String>> {
    // Who opens a pipe would wait for somebody to write.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(Ok(())),
        opened => File::from(opened?),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(Err("it is no file".to_owned()));
    }
    if metadata.len() == 0 {
        return Ok(Ok(()));
    }
    let index = members(&file).ok().and_then(|members| read(&file, *members.get("index.json")?).ok());
    let index = index.and_then(|bytes| Index::parse(&bytes).ok());
    let Some(index) = index else { return Ok(Err("it is no archive of images".to_owned())) };
    let others = index.others(image);
    Ok(if others.is_empty() { Ok(()) } else { Err(format!("it has {}", others.join(", "))) })
}

fn read(file: &File, (offset, size): (u64, u64)) -> Result<Vec<u8>, TransferError> {
    if size > MAX_DOCUMENT {
        return Err(format!("{size} bytes, the limit is {MAX_DOCUMENT}").into());
    }
    let mut bytes = vec![0; size as usize];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// Where in an archive which file is.
fn members(file: &File) -> Result<BTreeMap<String, (u64, u64)>, String> {
    let limits = Limits {
        max_metadata_size: MAX_HEAD as u32,
        max_path_len: None,
        max_pending_entries: 4,
        max_sparse_entries: 100,
    };
    let mut parser = Parser::new(limits);
    let mut members = BTreeMap::new();
    let (mut at, mut head, mut wanted) = (0, Vec::new(), BLOCK as usize);
    loop {
        let had = head.len();
        head.resize(wanted, 0);
        match file.read_exact_at(&mut head[had..], at + had as u64) {
            Ok(()) => {}
            // Some writers leave out the two blocks at the end.
            Err(_) if had == 0 && !members.is_empty() => return Ok(members),
            Err(error) => return Err(error.to_string()),
        }
        let (consumed, found) = match parser.parse(&head).map_err(|error| error.to_string())? {
            ParseEvent::NeedData { min_bytes } => {
                wanted = min_bytes.max(head.len() + 1).next_multiple_of(BLOCK as usize);
                if wanted > MAX_HEAD {
                    return Err("headers of more than 1 MiB".to_owned());
                }
                continue;
            }
            ParseEvent::End { .. } => return Ok(members),
            ParseEvent::GlobalExtensions { consumed, .. } => (consumed, None),
            ParseEvent::SparseEntry { .. } => return Err("a member with holes".to_owned()),
            ParseEvent::Entry { consumed, entry } => {
                let name = String::from_utf8_lossy(&entry.path).trim_start_matches("./").to_owned();
                (consumed, Some((name, entry.entry_type == EntryType::Regular, entry.size)))
            }
        };
        at += consumed as u64;
        if let Some((name, is_file, size)) = found {
            if is_file {
                members.insert(name, (at, size));
            }
            if members.len() > MAX_MEMBERS {
                return Err(format!("more than {MAX_MEMBERS} members"));
            }
            let next = size.checked_next_multiple_of(BLOCK).and_then(|it| at.checked_add(it));
            at = next.ok_or("a member without an end")?;
        }
        head.clear();
        wanted = BLOCK as usize;
    }
}

impl Source for ArchiveSource {
    fn named(&self) -> Result<Named, TransferError> {
        Named::checked(&self.manifest, self.document(&self.manifest, true)?)
    }

    fn document(&self, descriptor: &Descriptor, _: bool) -> Result<Vec<u8>, TransferError> {
        read(&self.file, self.place(descriptor)?)
    }

    fn blob(
        &self,
        descriptor: &Descriptor,
        from: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<(), TransferError>,
    ) -> Result<(), TransferError> {
        let (offset, size) = self.place(descriptor)?;
        sparse::read(&self.file, offset + from, offset + size, take)
    }
}

/// An archive being written: it gets its name when it is complete.
#[derive(Debug)]
pub struct ArchiveDestination {
    dir: OwnedFd,
    name: String,
    part: String,
    path: PathBuf,
    image: String,
    file: Option<BufWriter<File>>,
    written: Vec<String>,
}

impl ArchiveDestination {
    /// Begins an archive of one image, which takes the place of an archive of the same image.
    ///
    /// # Errors
    /// [`ArchiveError::Taken`] for any other file that is there, [`ArchiveError::Io`].
    pub fn create(path: &Path, image: &str) -> Result<Self, ArchiveError> {
        let failed = |source| ArchiveError::Io { path: path.display().to_string(), source };
        let name = path.file_name().and_then(|it| it.to_str());
        let name = name.ok_or_else(|| failed(io::Error::other("it has no file name")))?.to_owned();
        let replaced = replaceable(path, image).map_err(failed)?;
        replaced.map_err(|reason| ArchiveError::Taken { path: path.display().to_string(), reason })?;
        let dir = folder_of(path).map_err(|error| failed(error.into()))?;
        let part = format!(".{name}.{}.part", std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(&dir, &*part, flags, Mode::from_raw_mode(0o644)).map_err(|error| failed(error.into()))?;
        let file = BufWriter::with_capacity(1 << 18, File::from(file));
        let mut archive = Self {
            dir,
            name,
            part,
            path: path.to_owned(),
            image: image.to_owned(),
            file: Some(file),
            written: Vec::new(),
        };
        // Where they are left out, containers' tools make them for root and fail for everybody else.
        for name in ["blobs/", "blobs/sha256/"] {
            archive.header(name, EntryType::Directory, 0o755, 0).map_err(failed)?;
        }
        let layout = Blob::Bytes(LAYOUT_FILE.to_vec());
        archive.member("oci-layout", &layout, LAYOUT_FILE.len() as u64, &mut |_| {}).map_err(failed)?;
        Ok(archive)
    }

    /// Writes what comes before a member's bytes; hands out where they go.
    fn header(&mut self, name: &str, kind: EntryType, mode: u32, size: u64) -> io::Result<&mut BufWriter<File>> {
        let wrong = |error: &dyn std::fmt::Display| io::Error::other(format!("tar header: {error}"));
        let mut builder = EntryBuilder::new_ustar();
        builder.path(name).entry_type(kind);
        let numbers = builder.mode(mode).and_then(|it| it.uid(0)).and_then(|it| it.gid(0));
        numbers.and_then(|it| it.size(size)).and_then(|it| it.mtime(0)).map_err(|error| wrong(&error))?;
        let file = self.file.as_mut().expect("it is open until its end");
        file.write_all(&builder.finish_bytes())?;
        Ok(file)
    }

    fn member(&mut self, name: &str, blob: &Blob, size: u64, sent: &mut dyn FnMut(u64)) -> io::Result<()> {
        let file = self.header(name, EntryType::Regular, 0o644, size)?;
        match blob {
            Blob::Bytes(bytes) => file.write_all(bytes)?,
            Blob::File(from) => sparse::read(from, 0, size, |bytes| {
                sent(bytes.len() as u64);
                file.write_all(bytes)
            })?,
        }
        file.write_all(&vec![0; (size.next_multiple_of(BLOCK) - size) as usize])
    }

    fn failed(&self, source: io::Error) -> TransferError {
        ArchiveError::Io { path: self.path.display().to_string(), source }.into()
    }
}

impl Destination for ArchiveDestination {
    fn put(&mut self, descriptor: &Descriptor, blob: &Blob, sent: &mut dyn FnMut(u64)) -> Result<bool, TransferError> {
        let name = format!("blobs/{}/{}", descriptor.digest.algorithm(), descriptor.digest.hex());
        if self.written.contains(&name) {
            return Ok(false);
        }
        self.member(&name, blob, descriptor.size, sent).map_err(|error| self.failed(error))?;
        self.written.push(name);
        Ok(true)
    }

    fn finish(&mut self, manifest: &Descriptor, bytes: &[u8]) -> Result<(), TransferError> {
        self.put(manifest, &Blob::Bytes(bytes.to_vec()), &mut |_| {})?;
        let mut index = Index::new();
        index.set(&self.image, manifest);
        let index = index.to_bytes();
        let last = self.member("index.json", &Blob::Bytes(index.clone()), index.len() as u64, &mut |_| {});
        let ended = last.and_then(|()| {
            // Somebody else may have been faster.
            replaceable(&self.path, &self.image)?.map_err(io::Error::other)?;
            let mut file = self.file.take().expect("it is open until its end");
            file.write_all(&[0; 2 * BLOCK as usize])?;
            file.flush()?;
            Ok(renameat(&self.dir, &*self.part, &self.dir, &*self.name)?)
        });
        ended.map_err(|error| self.failed(error))?;
        self.part.clear();
        Ok(())
    }
}

impl Drop for ArchiveDestination {
    fn drop(&mut self) {
        if !self.part.is_empty() {
            // One that stays is in nobody's way: the next has a name of its own.
            let _ = unlinkat(&self.dir, &*self.part, AtFlags::empty());
        }
    }
}
