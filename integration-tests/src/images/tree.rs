//! A file system tree as a tar archive, entry by entry in the order given, also in ways no packer would write it.

use std::io::{Seek as _, Write};
use std::path::Path;
use std::process::Command;

use tar::{Builder, EntryType, Header};

/// Entries of an archive to be.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    path: String,
    kind: EntryType,
    link: String,
    bytes: Vec<u8>,
    mode: u32,
    owner: (u64, u64),
}

/// How an archive is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// As it is.
    Tar,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// bzip2, by the program of that name.
    Bzip2,
    /// xz, by the program of that name.
    Xz,
}

impl Packing {
    /// The packed bytes.
    pub fn pack(self, tar: &[u8]) -> Vec<u8> {
        match self {
            Self::Tar => tar.to_vec(),
            Self::Gzip => {
                let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                writer.write_all(tar).and_then(|()| writer.finish()).expect("memory takes all")
            }
            Self::Zstd => zstd::encode_all(tar, 1).expect("memory takes all"),
            Self::Bzip2 => filter("bzip2", tar),
            Self::Xz => filter("xz", tar),
        }
    }
}

/// The output of a compressor given these bytes.
fn filter(program: &str, input: &[u8]) -> Vec<u8> {
    let mut file = tempfile::tempfile().expect("a file without a name");
    file.write_all(input).and_then(|()| file.rewind()).expect("it can be written");
    let output = Command::new(program).arg("-1").stdin(file).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

impl Tree {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a folder.
    pub fn dir(self, path: impl Into<String>, mode: u32) -> Self {
        self.add(path, EntryType::Directory, "", Vec::new(), mode)
    }

    /// Adds a regular file.
    pub fn file(self, path: impl Into<String>, bytes: impl AsRef<[u8]>, mode: u32) -> Self {
        self.add(path, EntryType::Regular, "", bytes.as_ref().to_vec(), mode)
    }

    /// Adds a shell script that is executable.
    pub fn script(self, path: impl Into<String>, body: &str) -> Self {
        self.file(path, format!("#!/bin/sh\n{body}\n"), 0o755)
    }

    /// Adds a symbolic link.
    pub fn symlink(self, path: impl Into<String>, target: &str) -> Self {
        self.add(path, EntryType::Symlink, target, Vec::new(), 0o777)
    }

    /// Adds a hard link to an entry.
    pub fn hardlink(self, path: impl Into<String>, target: &str) -> Self {
        self.add(path, EntryType::Link, target, Vec::new(), 0o644)
    }

    /// Adds a character device.
    pub fn device(self, path: impl Into<String>) -> Self {
        self.add(path, EntryType::Char, "", Vec::new(), 0o666)
    }

    /// Adds an OCI whiteout of `path`.
    pub fn whiteout(self, path: &str) -> Self {
        let path = Path::new(path);
        let name = path.file_name().expect("a whiteout hides a name").to_string_lossy();
        let hidden = path.with_file_name(format!(".wh.{name}"));
        self.file(hidden.to_string_lossy(), "", 0o644)
    }

    /// Adds the OCI marker that hides what lower layers have in a folder.
    pub fn opaque(self, dir: &str) -> Self {
        self.file(format!("{dir}/.wh..wh..opq"), "", 0o644)
    }

    /// Sets the owner of the entry added last.
    pub fn owned_by(mut self, uid: u64, gid: u64) -> Self {
        self.entries.last_mut().expect("an entry was added").owner = (uid, gid);
        self
    }

    /// Puts `prefix` before every path and every hard link's target (an ACI's files are below `rootfs`).
    pub fn below(mut self, prefix: &str) -> Self {
        for entry in &mut self.entries {
            entry.path = format!("{prefix}/{}", entry.path);
            if entry.kind == EntryType::Link {
                entry.link = format!("{prefix}/{}", entry.link);
            }
        }
        self
    }

    /// Adds the entries of another one behind its own.
    pub fn then(mut self, other: Self) -> Self {
        self.entries.extend(other.entries);
        self
    }

    /// The archive.
    pub fn tar(&self) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for entry in &self.entries {
            let mut header = Header::new_ustar();
            header.set_entry_type(entry.kind);
            header.set_mode(entry.mode);
            header.set_uid(entry.owner.0);
            header.set_gid(entry.owner.1);
            header.set_mtime(1_700_000_000);
            header.set_size(entry.bytes.len() as u64);
            // By hand: the crate refuses the paths and targets that hostile archives have.
            let fields = header.as_ustar_mut().expect("it was made as one");
            put(&mut fields.name, &entry.path);
            put(&mut fields.linkname, &entry.link);
            header.set_cksum();
            builder.append(&header, &entry.bytes[..]).expect("memory takes all");
        }
        builder.into_inner().expect("memory takes all")
    }

    fn add(mut self, path: impl Into<String>, kind: EntryType, link: &str, bytes: Vec<u8>, mode: u32) -> Self {
        let owner = (0, 0);
        self.entries.push(Entry { path: path.into(), kind, link: link.to_owned(), bytes, mode, owner });
        self
    }
}

fn put(field: &mut [u8; 100], text: &str) {
    assert!(text.len() <= field.len(), "{text:?} is too long for a test archive");
    field[..text.len()].copy_from_slice(text.as_bytes());
}
