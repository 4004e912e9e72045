//! Turns the bytes of a tar stream into members, one at a time.

use std::fmt;
use std::io::{BufRead, ErrorKind};

use tar_core::parse::{Limits, ParseError, ParseEvent, Parser};
use tar_core::{EntryType, HeaderError};

use super::error::ExtractError;
use super::limits::ExtractLimits;
use super::strict;
use crate::shown::Shown;

/// Where members come from. The extractor sees archives only through this, so that the parser can be exchanged.
pub trait MemberReader {
    /// The next member; what was left of the previous one's data is skipped. `None` at the end of the archive.
    ///
    /// # Errors
    /// A header is malformed or contradicts itself, the archive is cut off, or it cannot be read.
    fn next_member(&mut self) -> Result<Option<Member>, ExtractError>;

    /// Hands up to `most` bytes of the current member's data to `take`, piece by piece.
    ///
    /// # Errors
    /// Those of `take`; the archive is cut off or cannot be read.
    fn data(&mut self, most: u64, take: &mut dyn FnMut(&[u8]) -> Result<(), ExtractError>) -> Result<(), ExtractError>;
}

/// One member of an archive, nothing of it checked against the file system yet.
#[derive(Debug)]
pub struct Member {
    /// Its name, as it stands there.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: MemberKind,
    /// Its permissions.
    pub mode: u32,
    /// Its owner.
    pub uid: u64,
    /// Its group.
    pub gid: u64,
    /// Seconds since the epoch and nanoseconds.
    pub mtime: (i64, u32),
    /// Bytes of data that follow in the archive.
    pub size: u64,
    /// Its extended attributes, names and values.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Kinds of members.
#[derive(Debug, PartialEq, Eq)]
pub enum MemberKind {
    /// A regular file.
    File,
    /// A file with holes: the regions that hold data, as offset and length, and the whole size.
    Sparse(Vec<(u64, u64)>, u64),
    /// A directory.
    Directory,
    /// A symbolic link to this.
    Symlink(Vec<u8>),
    /// Another name of the member of this name.
    HardLink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A character or block device.
    Device,
    /// Something else, with its type flag.
    Unknown(u8),
}

const BLOCK: usize = 512;

/// [`MemberReader`] over tar-core.
pub struct TarReader<R> {
    input: R,
    parser: Parser,
    /// The header blocks of the current member.
    head: Vec<u8>,
    /// Global headers that stood before them.
    before: Vec<u8>,
    head_limit: usize,
    /// Bytes of the current member's data, and of padding after them, that were not read yet.
    data_left: u64,
    padding_left: u64,
    offset: u64,
    sparse_left: usize,
}

impl<R> fmt::Debug for TarReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TarReader").field("offset", &self.offset).finish_non_exhaustive()
    }
}

impl<R: BufRead> TarReader<R> {
    /// A reader of the archive that begins where `input` stands.
    pub fn new(input: R, limits: &ExtractLimits) -> Self {
        let sparse_entries = limits.sparse_regions / 10;
        let mut parser = Parser::new(Limits {
            max_metadata_size: limits.metadata,
            max_path_len: None, // checked with the other rules for names, which name the entry
            max_pending_entries: 4,
            max_sparse_entries: sparse_entries,
        });
        // What it would skip, `strict` refuses; except times before 1970, which are no reason to refuse an image.
        parser.set_ignore_pax_errors(true);
        // Three extension headers and their data, and a sparse map of 42 bytes a line at most.
        let head_limit = limits.metadata as usize + 42 * sparse_entries + 16 * BLOCK;
        Self {
            input,
            parser,
            head: Vec::with_capacity(4 * BLOCK),
            before: Vec::new(),
            head_limit,
            data_left: 0,
            padding_left: 0,
            offset: 0,
            sparse_left: limits.sparse_regions,
        }
    }

    /// The blocks that describe the current member, as they stand in the archive: global headers that precede it,
    /// extension headers with their data, its own header, and the map that may follow in old sparse formats.
    pub fn raw_head(&self) -> impl Iterator<Item = &[u8]> {
        [&self.before[..], &self.head[..]].into_iter()
    }

    /// Reads until `head` holds `wanted` bytes.
    fn fill_head(&mut self, wanted: usize) -> Result<(), ExtractError> {
        if wanted > self.head_limit {
            return Err(ExtractError::Limit {
                what: "bytes of headers before an entry".to_owned(),
                limit: self.head_limit as u64,
            });
        }
        while self.head.len() < wanted {
            let missing = wanted - self.head.len();
            let chunk = next_chunk(&mut self.input)?;
            if chunk.is_empty() {
                let offset = self.offset;
                if offset < BLOCK as u64 {
                    return Err(ExtractError::NotTar(Shown::new(&self.head[..self.head.len().min(16)])));
                }
                let missing = "a header or the two closing zero blocks".to_owned();
                return Err(ExtractError::Truncated { offset, missing });
            }
            let taken = chunk.len().min(missing);
            self.head.extend_from_slice(&chunk[..taken]);
            self.input.consume(taken);
            self.offset += taken as u64;
        }
        Ok(())
    }

    fn skip(&mut self, mut left: u64) -> Result<(), ExtractError> {
        while left > 0 {
            let chunk = next_chunk(&mut self.input)?;
            if chunk.is_empty() {
                return Err(self.cut_off());
            }
            let taken = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
            self.input.consume(taken);
            self.offset += taken as u64;
            left -= taken as u64;
        }
        Ok(())
    }

    fn cut_off(&self) -> ExtractError {
        ExtractError::Truncated { offset: self.offset, missing: "the rest of an entry's data".to_owned() }
    }

    fn malformed(&self, reason: impl Into<String>) -> ExtractError {
        ExtractError::Header { offset: self.offset - self.head.len() as u64, reason: reason.into() }
    }

    fn refuse(&self, error: &ParseError) -> ExtractError {
        let first = self.offset == self.head.len() as u64 && self.head.len() == BLOCK;
        let checksum = matches!(error, ParseError::Header(HeaderError::ChecksumMismatch { .. }));
        let magic = self.head.get(257..262) == Some(b"ustar");
        match error {
            ParseError::Header(_) if first && (checksum || !magic) => {
                ExtractError::NotTar(Shown::new(&self.head[..16]))
            }
            ParseError::MetadataTooLarge { limit, .. } => {
                ExtractError::Limit { what: "bytes of PAX records of an entry".to_owned(), limit: u64::from(*limit) }
            }
            ParseError::TooManySparseEntries { limit, .. } => {
                ExtractError::Limit { what: "regions of a sparse file".to_owned(), limit: *limit as u64 }
            }
            // Their messages quote the archive, so they are escaped like every name.
            other => self.malformed(Shown::new(other.to_string().as_bytes()).as_str()),
        }
    }
}

impl<R: BufRead> MemberReader for TarReader<R> {
    fn next_member(&mut self) -> Result<Option<Member>, ExtractError> {
        let rest = self.data_left.saturating_add(self.padding_left);
        (self.data_left, self.padding_left) = (0, 0);
        self.skip(rest)?;
        self.head.clear();
        self.before.clear();
        let mut wanted = BLOCK;
        loop {
            self.fill_head(wanted)?;
            let (consumed, found) = match self.parser.parse(&self.head) {
                Err(error) => return Err(self.refuse(&error)),
                Ok(ParseEvent::NeedData { min_bytes }) => {
                    // A sparse map grows by a block a turn and is read anew each time: let it not be one long number.
                    if self.head.len() > BLOCK && self.head[self.head.len() - 128..].iter().all(u8::is_ascii_digit) {
                        return Err(self.malformed("a number of more than 100 digits"));
                    }
                    wanted = min_bytes.max(self.head.len() + 1).next_multiple_of(BLOCK);
                    continue;
                }
                Ok(ParseEvent::End { .. }) => return Ok(None),
                Ok(ParseEvent::GlobalExtensions { consumed, .. }) => {
                    strict::check_global(&self.head).map_err(|reason| self.malformed(reason))?;
                    (consumed, None)
                }
                Ok(ParseEvent::Entry { consumed, entry }) => (consumed, Some(member(&entry, None))),
                Ok(ParseEvent::SparseEntry { consumed, entry, sparse_map, real_size }) => {
                    let map = sparse_map.iter().map(|region| (region.offset, region.length)).collect();
                    (consumed, Some(member(&entry, Some((map, real_size)))))
                }
            };
            if consumed != self.head.len() {
                return Err(self.malformed("extension headers do not end where the next header begins"));
            }
            let Some(mut member) = found else {
                if self.before.len() + self.head.len() > self.head_limit {
                    let what = "bytes of global headers before an entry".to_owned();
                    return Err(ExtractError::Limit { what, limit: self.head_limit as u64 });
                }
                self.before.append(&mut self.head);
                wanted = BLOCK;
                continue;
            };
            let facts = strict::check(&self.head).map_err(|reason| self.malformed(reason))?;
            if facts.sparse_records && !matches!(member.kind, MemberKind::Sparse(..)) {
                return Err(self.malformed("records of a sparse file without its map"));
            }
            if let MemberKind::Sparse(map, _) = &member.kind {
                self.sparse_left = self.sparse_left.checked_sub(map.len()).ok_or_else(|| ExtractError::Limit {
                    what: "regions of sparse files".to_owned(),
                    limit: self.parser.limits().max_sparse_entries as u64 * 10,
                })?;
            }
            member.mtime = facts.mtime;
            self.data_left = member.size;
            self.padding_left = (BLOCK as u64 - member.size % BLOCK as u64) % BLOCK as u64;
            return Ok(Some(member));
        }
    }

    fn data(&mut self, most: u64, take: &mut dyn FnMut(&[u8]) -> Result<(), ExtractError>) -> Result<(), ExtractError> {
        let mut left = most.min(self.data_left);
        while left > 0 {
            let chunk = next_chunk(&mut self.input)?;
            if chunk.is_empty() {
                return Err(self.cut_off());
            }
            let taken = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
            take(&chunk[..taken])?;
            self.input.consume(taken);
            self.offset += taken as u64;
            self.data_left -= taken as u64;
            left -= taken as u64;
        }
        Ok(())
    }
}

/// Like `fill_buf`, repeated when a signal came in between.
fn next_chunk<R: BufRead>(input: &mut R) -> Result<&[u8], ExtractError> {
    loop {
        match input.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(ExtractError::Read(error.to_string())),
        }
    }
    // The buffer is filled now, so this does not read again; returning the first result would borrow in the loop.
    input.fill_buf().map_err(|error| ExtractError::Read(error.to_string()))
}

fn member(entry: &tar_core::parse::ParsedEntry<'_>, sparse: Option<(Vec<(u64, u64)>, u64)>) -> Member {
    let target = || entry.link_target.as_ref().map(|target| target.to_vec()).unwrap_or_default();
    let flag = entry.header.as_bytes()[156];
    let kind = match (entry.entry_type, sparse) {
        (EntryType::Regular | EntryType::Continuous | EntryType::GnuSparse, Some((map, size))) => {
            MemberKind::Sparse(map, size)
        }
        (_, Some(_)) => MemberKind::Unknown(flag),
        // Before the type flag existed a directory was a file whose name ends in a slash.
        (EntryType::Regular, None) if flag == 0 && entry.path.ends_with(b"/") => MemberKind::Directory,
        (EntryType::Regular | EntryType::Continuous, None) => MemberKind::File,
        (EntryType::Directory, None) => MemberKind::Directory,
        (EntryType::Symlink, None) => MemberKind::Symlink(target()),
        (EntryType::Link, None) => MemberKind::HardLink(target()),
        (EntryType::Fifo, None) => MemberKind::Fifo,
        (EntryType::Char | EntryType::Block, None) => MemberKind::Device,
        (_, None) => MemberKind::Unknown(flag),
    };
    Member {
        name: entry.path.to_vec(),
        kind,
        mode: entry.mode & 0o7777,
        uid: entry.uid,
        gid: entry.gid,
        mtime: (0, 0),
        size: entry.size,
        xattrs: entry.xattrs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect(),
    }
}
