//! Packs what a stack of trees shows into one tar archive.
//!
//! The same trees give the same bytes: entries are in the order of their names, owners have numbers only, and nothing
//! of the machine is in it, but for where files have holes.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

use rustix::fs::{fgetxattr, flistxattr};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use tar_core::EntryType;
use tar_core::builder::EntryBuilder;

use crate::data::{DataError, DataWriter, Holes, MOST_FILLED};
use crate::os_error::OsError;
use crate::shown::Shown;
use crate::stack::{Node, NodeKind, Stack, WalkError};

/// A tar archive consists of blocks of this many bytes.
const BLOCK: u64 = 512;

/// What kind of archive is made.
#[derive(Clone, Copy, Debug)]
pub enum Wrapping<'a> {
    /// An ACI: this manifest, then everything below `rootfs`.
    Aci(&'a [u8]),
    /// The only layer of an OCI image.
    Layer,
    /// No image: a file system as it is, which may change meanwhile.
    Plain,
}

/// Why no archive could be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum FlattenError {
    /// A tree cannot be read.
    #[error("read the tree: {0}")]
    Walk(String),
    /// A file cannot be read.
    #[error("read {path}: {errno}")]
    Read {
        /// The file.
        path: Shown,
        /// The error.
        errno: OsError,
    },
    /// The archive cannot be written.
    #[error("write the archive: {0}")]
    Write(OsError),
    /// A sparse file that is too large for what has no holes.
    #[error("{0}: with it more than {gib} GiB of holes would be written out as zeros", gib = MOST_FILLED >> 30)]
    Holes(Shown),
    /// A name in a layer that would hide something of the layers below.
    #[error("a layer cannot hold a file named {0}")]
    Whiteout(Shown),
}

impl From<WalkError> for FlattenError {
    fn from(error: WalkError) -> Self {
        Self::Walk(error.to_string())
    }
}

type Result<T> = std::result::Result<T, FlattenError>;

/// Writes the archive to `out`.
///
/// # Errors
/// [`FlattenError`]; then `out` has a part of the archive.
pub fn flatten(stack: &Stack, wrapping: Wrapping<'_>, out: &mut dyn Write) -> Result<()> {
    let holes = if matches!(wrapping, Wrapping::Layer) { Holes::Filled } else { Holes::Kept };
    let mut packer = Packer { out, wrapping, data: DataWriter::new(holes) };
    if let Wrapping::Aci(manifest) = wrapping {
        let mut entry = header(b"manifest", 0o644, (0, 0), 0);
        entry.size(manifest.len() as u64).expect("a manifest is small");
        packer.write(&entry.finish_bytes())?;
        packer.write(manifest)?;
        packer.zeros(padding(manifest.len() as u64))?;
    }
    stack.walk(|node| packer.node(&node))?;
    // Two blocks of zeros end an archive.
    packer.zeros(2 * BLOCK)
}

struct Packer<'a> {
    out: &'a mut dyn Write,
    wrapping: Wrapping<'a>,
    data: DataWriter,
}

impl Packer<'_> {
    fn node(&mut self, node: &Node<'_>) -> Result<()> {
        let name = self.name(node.path)?;
        let mut entry = header(&name, node.mode, node.owner, u64::try_from(node.mtime.0).unwrap_or(0));
        if node.mtime.1 != 0 && node.mtime.0 >= 0 {
            entry.add_pax("mtime", format!("{}.{:09}", node.mtime.0, node.mtime.1));
        }
        match &node.kind {
            NodeKind::Directory(dir) => {
                entry.path(if name.ends_with(b"/") { name } else { [&name[..], b"/"].concat() });
                entry.entry_type(EntryType::Directory);
                add_xattrs(&mut entry, dir).map_err(|e| read_failed(node.path, e))?;
            }
            NodeKind::File(file, size) => {
                add_xattrs(&mut entry, file).map_err(|e| read_failed(node.path, e))?;
                return self.file(&mut entry, file, *size, node.path);
            }
            NodeKind::HardLink(first) => {
                let first = self.name(first)?;
                entry.entry_type(EntryType::Link).link_name(first);
            }
            NodeKind::Symlink(target) => drop(entry.entry_type(EntryType::Symlink).link_name(target)),
            NodeKind::Fifo => drop(entry.entry_type(EntryType::Fifo)),
        }
        self.write(&entry.finish_bytes())
    }

    /// The name of a path in the archive.
    fn name(&self, path: &[u8]) -> Result<Vec<u8>> {
        match self.wrapping {
            Wrapping::Aci(_) if path.is_empty() => Ok(b"rootfs/".to_vec()),
            Wrapping::Aci(_) => Ok([b"rootfs/", path].concat()),
            Wrapping::Layer | Wrapping::Plain if path.is_empty() => Ok(b"./".to_vec()),
            Wrapping::Plain => Ok(path.to_vec()),
            Wrapping::Layer => {
                let last = path.rsplit(|&b| b == b'/').next().unwrap_or(path);
                if last.starts_with(b".wh.") {
                    return Err(FlattenError::Whiteout(Shown::new(path)));
                }
                Ok(path.to_vec())
            }
        }
    }

    fn file(&mut self, entry: &mut EntryBuilder, file: &File, size: u64, path: &[u8]) -> Result<()> {
        let path = || Shown::new(path);
        match self.data.write(entry, file, size, self.out) {
            // An image's files do not change.
            Ok(true) if !matches!(self.wrapping, Wrapping::Plain) => {
                Err(FlattenError::Read { path: path(), errno: Errno::IO.into() })
            }
            Ok(_) => Ok(()),
            Err(DataError::Read(error)) => Err(FlattenError::Read { path: path(), errno: error.into() }),
            Err(DataError::Write(error)) => Err(FlattenError::Write(error.into())),
            Err(DataError::Holes) => Err(FlattenError::Holes(path())),
        }
    }

    fn zeros(&mut self, count: u64) -> Result<()> {
        let zeros = [0; 2 * BLOCK as usize];
        self.write(&zeros[..usize::try_from(count).expect("at most two blocks")])
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(|error| FlattenError::Write(error.into()))
    }
}

/// How many zeros fill the last block of `size` bytes.
pub fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK) - size
}

/// A header of an empty regular file.
pub fn header(name: &[u8], mode: u32, (uid, gid): (u32, u32), mtime: u64) -> EntryBuilder {
    let mut entry = EntryBuilder::new_ustar();
    entry.path(name).entry_type(EntryType::Regular);
    entry.mode(mode).expect("twelve bits fit");
    let told = "a PAX record tells what the header cannot";
    entry.uid(uid.into()).expect(told).gid(gid.into()).expect(told).mtime(mtime).expect(told);
    entry.size(0).expect("zero fits");
    entry
}

/// Adds the attributes that an image may have: `user.*`, without overlay's own, and file capabilities.
///
/// # Errors
/// A failed system call.
pub fn add_xattrs(entry: &mut EntryBuilder, file: impl AsFd) -> rustix::io::Result<()> {
    let mut names = [0; 64 << 10];
    let length = match flistxattr(&file, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    let mut names: Vec<&[u8]> = names[..length].split(|&b| b == 0).collect();
    names.sort_unstable();
    let mut value = vec![0; 64 << 10];
    for name in names {
        let ours = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
        let Some(text) = std::str::from_utf8(name).ok().filter(|_| ours || name == b"security.capability") else {
            continue;
        };
        let length = fgetxattr(&file, name, &mut value)?;
        entry.add_pax(&format!("SCHILY.xattr.{text}"), &value[..length]);
    }
    Ok(())
}

fn read_failed(path: &[u8], errno: Errno) -> FlattenError {
    FlattenError::Read { path: Shown::new(path), errno: errno.into() }
}
