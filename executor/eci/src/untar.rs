//! Archives taken apart as their bytes come: decompression and tar, both pushed.

use std::fmt;
use std::io::{self, Write};

use flate2::write::MultiGzDecoder;
use tar_core::EntryType;
use tar_core::parse::{Limits, ParseEvent, Parser};

const BLOCK: usize = 512;
/// The most bytes of headers before one member.
const MAX_HEAD: usize = 1 << 20;

/// What a member of an archive is, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Member {
    /// A file; with holes, where it has data as offset and length, and its whole size.
    File { holes: Option<(Vec<(u64, u64)>, u64)> },
    /// A directory.
    Directory,
    /// A symbolic link to this.
    Symlink(String),
    /// Another name of the member of this name.
    HardLink(String),
    /// Anything else.
    Special,
}

/// Who takes members.
pub(crate) trait Members {
    /// Of each member its name and kind. For a file: whether its data is wanted.
    fn member(&mut self, name: &str, member: &Member) -> io::Result<bool>;
    /// The next bytes of the file that was wanted.
    fn data(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// The end of the file that was wanted.
    fn end(&mut self) -> io::Result<()>;
}

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// What a layer's media type says; `None` if the layer is no archive.
    pub(crate) fn of_media_type(media_type: &str) -> Option<Self> {
        let known = ["vnd.oci.image.layer.", "vnd.docker.image.rootfs."].iter().any(|it| media_type.contains(it));
        let end = |end: &str| media_type.ends_with(end);
        match () {
            () if !known => None,
            () if end(".tar") => Some(Self::None),
            () if end(".tar+gzip") || end(".tar.gzip") => Some(Self::Gzip),
            () if end(".tar+zstd") || end(".tar.zstd") => Some(Self::Zstd),
            () => None,
        }
    }
}

/// A layer being taken apart.
pub(crate) struct Untar<M: Members>(Decoder<M>);

enum Decoder<M: Members> {
    None(Tar<M>),
    Gzip(Box<MultiGzDecoder<Tar<M>>>),
    Zstd(zstd::stream::write::Decoder<'static, Tar<M>>),
}

impl<M: Members> fmt::Debug for Untar<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Untar")
    }
}

impl<M: Members> Untar<M> {
    pub(crate) fn new(compression: Compression, members: M) -> io::Result<Self> {
        let tar = Tar::new(members);
        Ok(Self(match compression {
            Compression::None => Decoder::None(tar),
            Compression::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(tar))),
            Compression::Zstd => {
                let mut decoder = zstd::stream::write::Decoder::new(tar)?;
                // 128 MiB of window at most: what image builders stay below, and what a layer may cost.
                decoder.window_log_max(27)?;
                Decoder::Zstd(decoder)
            }
        }))
    }

    /// Takes the layer's next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            Decoder::None(it) => it.write_all(bytes),
            Decoder::Gzip(it) => it.write_all(bytes),
            Decoder::Zstd(it) => it.write_all(bytes),
        }
    }

    /// After the layer's last byte.
    pub(crate) fn finish(self) -> io::Result<M> {
        let tar = match self.0 {
            Decoder::None(it) => it,
            Decoder::Gzip(it) => it.finish()?,
            Decoder::Zstd(mut it) => {
                it.flush()?;
                it.into_inner()
            }
        };
        tar.finish()
    }
}

/// A tar being read.
struct Tar<M> {
    parser: Parser,
    members: M,
    head: Vec<u8>,
    wanted: usize,
    data_left: u64,
    padding_left: u64,
    is_wanted: bool,
    ended: bool,
}

impl<M: Members> Tar<M> {
    fn new(members: M) -> Self {
        let limits = Limits {
            max_metadata_size: MAX_HEAD as u32,
            max_path_len: None,
            max_pending_entries: 4,
            max_sparse_entries: 10_000,
        };
        Self {
            parser: Parser::new(limits),
            members,
            head: Vec::new(),
            wanted: BLOCK,
            data_left: 0,
            padding_left: 0,
            is_wanted: false,
            ended: false,
        }
    }

    /// Reads the headers that are there.
    fn parse(&mut self) -> io::Result<()> {
        let bad =
            |reason: String| io::Error::new(io::ErrorKind::InvalidData, format!("the layer is no valid tar: {reason}"));
        let (consumed, entry, holes) = match self.parser.parse(&self.head) {
            Err(error) => return Err(bad(error.to_string())),
            Ok(ParseEvent::NeedData { min_bytes }) => {
                self.wanted = min_bytes.max(self.head.len() + 1).next_multiple_of(BLOCK);
                return if self.wanted > MAX_HEAD { Err(bad("headers of more than 1 MiB".to_owned())) } else { Ok(()) };
            }
            Ok(ParseEvent::End { .. }) => {
                self.ended = true;
                return Ok(());
            }
            Ok(ParseEvent::GlobalExtensions { consumed, .. }) => (consumed, None, None),
            Ok(ParseEvent::Entry { consumed, entry }) => (consumed, Some(entry), None),
            Ok(ParseEvent::SparseEntry { consumed, entry, sparse_map, real_size }) => {
                let map = sparse_map.iter().map(|it| (it.offset, it.length)).collect();
                (consumed, Some(entry), Some((map, real_size)))
            }
        };
        if let Some(entry) = entry {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let link = || entry.link_target.as_ref().map(|it| text(it)).unwrap_or_default();
            let member = match entry.entry_type {
                EntryType::Regular | EntryType::Continuous | EntryType::GnuSparse if !entry.path.ends_with(b"/") => {
                    Member::File { holes }
                }
                EntryType::Regular | EntryType::Directory => Member::Directory,
                EntryType::Symlink => Member::Symlink(link()),
                EntryType::Link => Member::HardLink(link()),
                _ => Member::Special,
            };
            let name = text(&entry.path);
            self.data_left = entry.size;
            self.padding_left = entry.size.wrapping_neg() % BLOCK as u64;
            self.is_wanted = self.members.member(&name, &member)? && matches!(member, Member::File { .. });
            if self.is_wanted && self.data_left == 0 {
                self.members.end()?;
            }
        }
        if consumed != self.head.len() {
            return Err(bad("extension headers do not end where the next header begins".to_owned()));
        }
        self.head.clear();
        self.wanted = BLOCK;
        Ok(())
    }

    fn finish(self) -> io::Result<M> {
        // Some builders leave out the zero blocks at the end.
        if self.data_left > 0 || (!self.ended && !self.head.is_empty()) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the layer's tar is cut off"));
        }
        Ok(self.members)
    }
}

impl<M: Members> Write for Tar<M> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while !rest.is_empty() && !self.ended {
            let taken;
            if self.data_left > 0 {
                taken = usize::try_from(self.data_left).unwrap_or(usize::MAX).min(rest.len());
                self.data_left -= taken as u64;
                if self.is_wanted {
                    self.members.data(&rest[..taken])?;
                    if self.data_left == 0 {
                        self.members.end()?;
                    }
                }
            } else if self.padding_left > 0 {
                taken = usize::try_from(self.padding_left).unwrap_or(usize::MAX).min(rest.len());
                self.padding_left -= taken as u64;
            } else {
                taken = (self.wanted - self.head.len()).min(rest.len());
                self.head.extend_from_slice(&rest[..taken]);
                if self.head.len() == self.wanted {
                    self.parse()?;
                }
            }
            rest = &rest[taken..];
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
