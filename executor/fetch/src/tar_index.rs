//! Where the members of a plain tar file are, so that each can be read by itself.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use tar_core::EntryType;
use tar_core::parse::{Limits, ParseEvent, Parser};

use crate::quote::Quoted;

/// The size of a header, and of the units data is padded to.
const BLOCK: usize = 512;

/// The most members of an archive of images: each layer has three at most.
const MOST_MEMBERS: usize = 10_000;

/// The most bytes of headers before one member.
const LONGEST_HEAD: usize = 1 << 20;

/// How many links may lead to a file.
const MOST_LINKS: usize = 4;

/// Why a file has no index.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TarIndexError {
    /// It cannot be read.
    #[error("read the archive")]
    Read(#[source] io::Error),
    /// It is compressed, so that nothing in it can be found.
    #[error("the archive is compressed with {0}")]
    Compressed(&'static str),
    /// It is no tar archive, or a damaged one.
    #[error("no tar archive, or a damaged one, at byte {offset}: {reason}")]
    Malformed {
        /// Where.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// It has more members than any archive of images.
    #[error("the archive has more than {MOST_MEMBERS} members")]
    TooMany,
    /// A member's name stands twice.
    #[error("the archive holds {0} twice")]
    Twice(Quoted),
}

/// The members of an archive.
#[derive(Debug)]
pub(crate) struct TarIndex {
    file: File,
    members: BTreeMap<String, Member>,
}

#[derive(Debug)]
enum Member {
    File(Place),
    /// Another name of a member.
    Link(String),
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Where it begins, in bytes.
    pub(crate) start: u64,
    /// Its size in bytes.
    pub(crate) size: u64,
}

impl TarIndex {
    /// Reads the headers of all members.
    pub(crate) fn read(file: File) -> Result<Self, TarIndexError> {
        let mut head = [0; BLOCK];
        let length = file.read_at(&mut head, 0).map_err(TarIndexError::Read)?;
        if let Some(name) = compression(&head[..length]) {
            return Err(TarIndexError::Compressed(name));
        }
        let end = file.metadata().map_err(TarIndexError::Read)?.len();
        let mut parser = Parser::new(Limits { max_metadata_size: LONGEST_HEAD as u32, ..Limits::default() });
        let (mut members, mut offset) = (BTreeMap::new(), 0);
        while let Some(found) = next(&file, &mut parser, offset)? {
            offset = found.next;
            // Data that is not there cannot be read; it is said here and not in the middle of a layer.
            if offset > end {
                let reason = "the archive ends within a member".to_owned();
                return Err(TarIndexError::Malformed { offset: end, reason });
            }
            let Some(member) = found.member else { continue };
            if members.len() == MOST_MEMBERS {
                return Err(TarIndexError::TooMany);
            }
            let name = found.name.trim_start_matches("./").trim_end_matches('/').to_owned();
            // Of two files with one name two readers could take different ones.
            if members.insert(name.clone(), member).is_some() {
                return Err(TarIndexError::Twice(Quoted::new(&name)));
            }
        }
        Ok(Self { file, members })
    }

    /// The archive itself.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Where the file `name` is. Links within the archive are followed.
    pub(crate) fn find(&self, name: &str) -> Option<Place> {
        let mut name = name.to_owned();
        for _ in 0..=MOST_LINKS {
            match self.members.get(&name)? {
                Member::File(place) => return Some(*place),
                Member::Link(target) => name.clone_from(target),
            }
        }
        None
    }
}

/// One member, and where the next one begins.
struct Found {
    name: String,
    member: Option<Member>,
    next: u64,
}

fn next(file: &File, parser: &mut Parser, start: u64) -> Result<Option<Found>, TarIndexError> {
    let malformed = |reason: String| TarIndexError::Malformed { offset: start, reason: Quoted::bare(&reason) };
    let (mut head, mut wanted, mut offset) = (Vec::new(), BLOCK, start);
    loop {
        if wanted > LONGEST_HEAD + 4 * BLOCK {
            return Err(malformed("its headers are too long".to_owned()));
        }
        let have = head.len();
        head.resize(wanted, 0);
        file.read_exact_at(&mut head[have..], offset + have as u64).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => malformed("the archive ends early".to_owned()),
            _ => TarIndexError::Read(error),
        })?;
        match parser.parse(&head).map_err(|error| malformed(error.to_string()))? {
            ParseEvent::NeedData { min_bytes } => {
                wanted = min_bytes.max(head.len() + 1).next_multiple_of(BLOCK);
            }
            ParseEvent::End { .. } => return Ok(None),
            ParseEvent::GlobalExtensions { consumed, .. } => {
                offset += consumed as u64;
                head.clear();
                wanted = BLOCK;
            }
            ParseEvent::SparseEntry { .. } => return Err(malformed("sparse files are not expected here".to_owned())),
            ParseEvent::Entry { consumed, entry } => {
                let begin = offset + consumed as u64;
                let next = entry.size.checked_next_multiple_of(BLOCK as u64).and_then(|it| begin.checked_add(it));
                let name = entry.path_lossy().into_owned();
                let target = || entry.link_target_lossy().unwrap_or_default().into_owned();
                let member = match entry.entry_type {
                    EntryType::Regular | EntryType::Continuous => {
                        Some(Member::File(Place { start: begin, size: entry.size }))
                    }
                    EntryType::Symlink => Some(Member::Link(resolve(&name, &target()))),
                    EntryType::Link => Some(Member::Link(target())),
                    _ => None,
                };
                let next = next.ok_or_else(|| malformed("a member is too large".to_owned()))?;
                return Ok(Some(Found { name, member, next }));
            }
        }
    }
}

/// The name that a symbolic link at `name` leads to. One that leads out of the archive leads to a name that is not in it.
fn resolve(name: &str, target: &str) -> String {
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn compression(head: &[u8]) -> Option<&'static str> {
    [(&b"\x1f\x8b"[..], "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz")]
        .into_iter()
        .find_map(|(magic, name)| (head.starts_with(magic) && head.get(257..262) != Some(b"ustar")).then_some(name))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn archive(members: &[(&str, tar::EntryType, &str)]) -> File {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, content) in members {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            let is_file = *kind == tar::EntryType::Regular;
            header.set_size(if is_file { content.len() as u64 } else { 0 });
            if is_file {
                builder.append_data(&mut header, name, content.as_bytes()).unwrap();
            } else {
                builder.append_link(&mut header, name, content).unwrap();
            }
        }
        written(&builder.into_inner().unwrap())
    }

    fn written(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn members_are_found_where_they_are() {
        use tar::EntryType::{Link, Regular, Symlink};
        let long = "d/".repeat(80) + "long";
        let index = TarIndex::read(archive(&[
            ("./a", Regular, "first"),
            (&long, Regular, "second"),
            ("x/layer.tar", Symlink, "../a"),
            ("hard", Link, "x/layer.tar"),
            ("out", Symlink, "../../etc/passwd"),
            ("loop", Symlink, "loop"),
            ("empty", Regular, ""),
        ]))
        .unwrap();
        let text = |name: &str| {
            let Place { start, size } = index.find(name)?;
            let mut bytes = vec![0; size as usize];
            index.file().read_exact_at(&mut bytes, start).unwrap();
            Some(String::from_utf8(bytes).unwrap())
        };
        for (name, content) in [
            ("a", Some("first")),
            (&long, Some("second")),
            ("x/layer.tar", Some("first")),
            ("hard", Some("first")),
            ("empty", Some("")),
            ("out", None),
            ("loop", None),
            ("absent", None),
        ] {
            assert_eq!(text(name).as_deref(), content, "{name}");
        }
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let refusal = |bytes: &[u8]| TarIndex::read(written(bytes)).unwrap_err().to_string();
        assert!(refusal(b"").contains("ends early"));
        assert!(refusal(&[b'x'; 1024]).contains("no tar archive"));
        assert!(refusal(b"\x1f\x8b rest").contains("compressed with gzip"));
        let whole = archive(&[("a", tar::EntryType::Regular, &"x".repeat(2000))]);
        let mut bytes = vec![0; 1500];
        whole.read_exact_at(&mut bytes, 0).unwrap();
        assert!(refusal(&bytes).contains("ends within a member"));
        let twice = [("a", tar::EntryType::Regular, "1"), ("./a", tar::EntryType::Regular, "2")];
        assert_eq!(TarIndex::read(archive(&twice)).unwrap_err().to_string(), "the archive holds \"a\" twice");
    }
}
