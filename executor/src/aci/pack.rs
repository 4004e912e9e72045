//! Makes an image of a layout: every file and its attributes as a tar archive, the manifest at its end.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use appc::{ImageId, ManifestError};
use rustix::fs::{Stat, major, minor};
use rustix::io::Errno;
use store::Shown;
use store::archive::{Compression, EntryPath};
use store::extract::{ExtractLimits, Fault, Warnings};
use store::holes;
use tar_core::builder::EntryBuilder;
use tar_core::{EntryType, SparseEntry};

use super::layout::Layout;
use super::sink::{Sink, Written};
use super::walk::{Node, NodeKind, Walk, WalkError, failed};
use super::xattrs::Xattrs;
use super::{MANIFEST, ROOTFS};

/// The reason by which sockets are among the warnings, for which archives have no form.
pub const SOCKETS_LEFT_OUT: &str = "sockets are left out";

/// An image that cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A file or directory cannot be read.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// A name that no image may have.
    #[error("{entry}: {fault}")]
    Name {
        /// The path.
        entry: Shown,
        /// The rule it breaks.
        fault: Fault,
    },
    /// A file became shorter than it was said to be.
    #[error("{} became shorter while it was read", .0.display())]
    Shrunk(PathBuf),
    /// The manifest cannot be printed.
    #[error(transparent)]
    Manifest(ManifestError),
    /// Writing the image failed.
    #[error("write")]
    Write(#[source] io::Error),
}

/// How to make an image.
#[derive(Clone, Copy, Debug)]
pub struct BuildOptions {
    /// How to compress it.
    pub compression: Compression,
    /// Whether everything is to belong to root.
    pub owner_root: bool,
    /// The latest modification time, in seconds since the epoch, and the manifest's. Given, the same tree makes the same
    /// bytes at any time and on any file system; else the manifest has its file's time, so that an image's ID depends
    /// neither on the moment nor on the compression.
    pub newest: Option<u64>,
}

/// An image that was made.
#[derive(Clone, Debug)]
pub struct Built {
    /// Its ID.
    pub id: ImageId,
    /// How many members it has.
    pub entries: u64,
    /// The size of the archive and of the file, in bytes.
    pub size: (u64, u64),
    /// What it does not have although the tree does.
    pub warnings: Warnings,
}

/// A tar archive consists of blocks of this many bytes.
const BLOCK: u64 = 512;

/// Larger files are stored without holes. The size of a sparse file must be told by the header itself, 11 octal digits
/// (readers differ on what a PAX record of it would mean), with room for the map.
const LARGEST_SPARSE: u64 = (8 << 30) - (1 << 20);

/// Makes an image of `layout` and writes it into `file`.
///
/// # Errors
/// See [`BuildError`]. What was written by then is of no use.
pub fn build(layout: &Layout, options: &BuildOptions, file: File) -> Result<Built, BuildError> {
    let manifest = layout.manifest.to_json().map_err(BuildError::Manifest)?;
    let mut packer = Packer::new(Sink::new(file, options.compression).map_err(BuildError::Write)?, *options);
    let mut walk = Walk::new(&layout.rootfs, ROOTFS, packer.limits.entries)?;
    while let Some(node) = walk.next()? {
        packer.node(&node)?;
    }
    packer.finish(&manifest, layout.manifest_modified)
}

struct Packer {
    sink: Sink,
    options: BuildOptions,
    limits: ExtractLimits,
    entries: u64,
    warnings: Warnings,
    buffer: Vec<u8>,
}

impl Packer {
    fn new(sink: Sink, options: BuildOptions) -> Self {
        let (limits, warnings) = (ExtractLimits::default(), Warnings::default());
        Self { sink, options, limits, entries: 0, warnings, buffer: vec![0; 256 << 10] }
    }

    /// Adds one node of the tree.
    fn node(&mut self, node: &Node) -> Result<(), BuildError> {
        // What could not be unpacked again is not packed.
        let refused = |fault| BuildError::Name { entry: Shown::new(&node.path), fault };
        EntryPath::parse(&node.path, &self.limits).map_err(refused)?;
        let mut entry = self.entry(&node.path, &node.stat);
        match &node.kind {
            NodeKind::Socket => {
                self.warnings.add(SOCKETS_LEFT_OUT, &node.path);
                return Ok(());
            }
            NodeKind::Directory(dir) => {
                entry.entry_type(EntryType::Directory);
                self.add_xattrs(&mut entry, dir, &node.path)?;
            }
            NodeKind::File(file) => {
                self.add_xattrs(&mut entry, file, &node.path)?;
                return self.file(entry, file, node);
            }
            NodeKind::HardLink(first) => drop(entry.entry_type(EntryType::Link).link_name(first)),
            NodeKind::Symlink(target) => drop(entry.entry_type(EntryType::Symlink).link_name(target)),
            NodeKind::Fifo => drop(entry.entry_type(EntryType::Fifo)),
            NodeKind::CharacterDevice => device(entry.entry_type(EntryType::Char), &node.stat),
            NodeKind::BlockDevice => device(entry.entry_type(EntryType::Block), &node.stat),
        }
        self.header(&mut entry)
    }

    /// A header with name, owner, mode and time; of an empty regular file.
    fn entry(&self, path: &[u8], stat: &Stat) -> EntryBuilder {
        let (uid, gid) = if self.options.owner_root { (0, 0) } else { (stat.st_uid, stat.st_gid) };
        // Whole seconds, as the Go implementation writes them; tar has no form for times before 1970 that all read.
        let mtime = u64::try_from(stat.st_mtime).unwrap_or(0);
        let mtime = self.options.newest.map_or(mtime, |newest| mtime.min(newest));
        entry(path, stat.st_mode & 0o7777, (uid, gid), mtime)
    }

    fn add_xattrs(&mut self, entry: &mut EntryBuilder, file: impl AsFd, path: &[u8]) -> Result<(), BuildError> {
        let xattrs = Xattrs::read(file).map_err(|errno| failed("getxattr", path, errno))?;
        for (name, value) in &xattrs.kept {
            match std::str::from_utf8(name) {
                Ok(name) => drop(entry.add_pax(&format!("SCHILY.xattr.{name}"), value)),
                Err(_) => self.warnings.add("extended attributes with names that are not UTF-8 are left out", path),
            }
        }
        if xattrs.lists {
            self.warnings.add("access control lists are left out", path);
        }
        Ok(())
    }

    fn file(&mut self, mut entry: EntryBuilder, file: &File, node: &Node) -> Result<(), BuildError> {
        let size = u64::try_from(node.stat.st_size).unwrap_or(0);
        let allocated = u64::try_from(node.stat.st_blocks).unwrap_or(0).saturating_mul(512);
        let regions = match allocated < size {
            true => match holes::Map::of(file, size).map_err(|errno| failed("seek", &node.path, errno))? {
                holes::Map::Regions(regions) => Some(regions),
                _ => None,
            },
            false => None,
        };
        // Where the holes are is the file system's choice, so a reproducible image has none.
        let sparse = self.options.newest.is_none() && size <= LARGEST_SPARSE;
        match regions {
            Some(map) if sparse => {
                let stored = map.iter().map(|(_, length)| length).sum();
                let mut entries: Vec<SparseEntry> =
                    map.iter().map(|&(offset, length)| SparseEntry { offset, length }).collect();
                if map.last().is_none_or(|&(offset, length)| offset + length < size) {
                    // GNU tar makes a file that ends with a hole as long as its map says, whatever its size.
                    entries.push(SparseEntry { offset: size, length: 0 });
                }
                entry.size(stored).expect("less than the header can tell");
                self.header(entry.sparse(&entries, size))?;
                for (offset, length) in map {
                    self.copy(file, offset, length, &node.path)?;
                }
                self.pad(stored)
            }
            map => {
                entry.size(size).expect("a PAX record tells what the header cannot");
                self.header(&mut entry)?;
                let mut at = 0;
                for (offset, length) in map.unwrap_or_else(|| vec![(0, size)]) {
                    self.zeros(offset - at)?;
                    self.copy(file, offset, length, &node.path)?;
                    at = offset + length;
                }
                self.zeros(size - at)?;
                self.pad(size)
            }
        }
    }

    /// Writes `length` bytes of the file from `offset` on.
    fn copy(&mut self, file: &File, mut offset: u64, length: u64, path: &[u8]) -> Result<(), BuildError> {
        let end = offset + length;
        while offset < end {
            let most = self.buffer.len().min(usize::try_from(end - offset).unwrap_or(usize::MAX));
            match file.read_at(&mut self.buffer[..most], offset) {
                Ok(0) => return Err(BuildError::Shrunk(PathBuf::from(std::ffi::OsStr::from_bytes(path)))),
                Ok(read) => {
                    self.sink.write_all(&self.buffer[..read]).map_err(BuildError::Write)?;
                    offset += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                    return Err(failed("read", path, errno).into());
                }
            }
        }
        Ok(())
    }

    fn zeros(&mut self, mut count: u64) -> Result<(), BuildError> {
        let zeros = vec![0; usize::try_from(count).unwrap_or(usize::MAX).min(64 << 10)];
        while count > 0 {
            let most = usize::try_from(count).unwrap_or(usize::MAX).min(zeros.len());
            self.sink.write_all(&zeros[..most]).map_err(BuildError::Write)?;
            count -= most as u64;
        }
        Ok(())
    }

    /// Fills the last block of `size` bytes of data.
    fn pad(&mut self, size: u64) -> Result<(), BuildError> {
        self.zeros(size.next_multiple_of(BLOCK) - size)
    }

    fn header(&mut self, entry: &mut EntryBuilder) -> Result<(), BuildError> {
        self.entries += 1;
        self.sink.write_all(&entry.finish_bytes()).map_err(BuildError::Write)
    }

    fn finish(mut self, manifest: &[u8], modified: u64) -> Result<Built, BuildError> {
        let mut entry = entry(MANIFEST.as_bytes(), 0o644, (0, 0), self.options.newest.unwrap_or(modified));
        entry.size(manifest.len() as u64).expect("a manifest is small");
        self.header(&mut entry)?;
        self.sink.write_all(manifest).map_err(BuildError::Write)?;
        self.pad(manifest.len() as u64)?;
        // Two blocks of zeros end an archive.
        self.zeros(2 * BLOCK)?;
        let Written { id, size, compressed_size } = self.sink.finish().map_err(BuildError::Write)?;
        Ok(Built { id, entries: self.entries, size: (size, compressed_size), warnings: self.warnings })
    }
}

/// A header of an empty regular file. The only names of owners are root's: others mean something else on each machine.
pub(super) fn entry(path: &[u8], mode: u32, (uid, gid): (u32, u32), mtime: u64) -> EntryBuilder {
    let mut entry = EntryBuilder::new_ustar();
    entry.path(path).entry_type(EntryType::Regular);
    entry.mode(mode).expect("twelve bits fit");
    entry.uid(uid.into()).expect("a PAX record tells what the header cannot");
    entry.gid(gid.into()).expect("a PAX record tells what the header cannot");
    entry.mtime(mtime).expect("a PAX record tells what the header cannot");
    entry.size(0).expect("zero fits");
    if uid == 0 {
        entry.username("root").expect("a short name fits");
    }
    if gid == 0 {
        entry.groupname("root").expect("a short name fits");
    }
    entry
}

fn device(entry: &mut EntryBuilder, stat: &Stat) {
    let (major, minor) = (major(stat.st_rdev), minor(stat.st_rdev));
    entry.device(major, minor).expect("the kernel's numbers have 12 and 20 bits, the header's fields 21");
}
