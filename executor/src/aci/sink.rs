//! Where the bytes of an archive under way go: hashed, compressed, written.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use appc::ImageId;
use lzma_rust2::{XzOptions, XzWriter};
use sha2::{Digest as _, Sha512};
use store::archive::Compression;

use super::blocks::{BLOCK, Block, Blocks};
use super::deflate::Gzip;

/// Blocks on their way to the hash.
const WAITING: usize = 4;

/// `xz` without a level; beyond it the dictionary grows, and with it the memory that readers need.
const XZ_PRESET: u32 = 6;

/// `zstd` without a level.
const ZSTD_LEVEL: i32 = 3;

/// An image file being written.
pub(super) struct Sink {
    blocks: Blocks,
    hash: Hash,
    line: Line,
    size: u64,
}

/// What was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    /// The SHA-512 of the uncompressed archive.
    pub(super) id: ImageId,
    /// Its size in bytes.
    pub(super) size: u64,
    /// The size of the file.
    pub(super) compressed_size: u64,
}

/// The hash, in a thread of its own where there is one to be had: it takes as long as reading the files.
enum Hash {
    Here(Box<Sha512>),
    There(SyncSender<Block>, JoinHandle<Sha512>),
}

enum Line {
    Plain(Counted<File>),
    Gzip(Box<Gzip<BufWriter<File>>>),
    Bzip2(bzip2::write::BzEncoder<Counted<File>>),
    Xz(Box<XzWriter<Counted<File>>>),
    Zstd(zstd::stream::write::Encoder<'static, Counted<File>>),
}

/// Counts what it hands on.
struct Counted<W> {
    out: W,
    count: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Hash {
    fn start() -> Self {
        let (blocks, queue) = sync_channel::<Block>(WAITING);
        let hash = move || {
            let mut hash = Sha512::new();
            queue.iter().for_each(|block| hash.update(block.as_slice()));
            hash
        };
        match thread::Builder::new().name("hash".to_owned()).spawn(hash) {
            Ok(handle) => Self::There(blocks, handle),
            Err(_) => Self::Here(Box::default()),
        }
    }

    fn update(&mut self, block: &Block) {
        match self {
            Self::Here(hash) => hash.update(block.as_slice()),
            // It takes blocks until this end is dropped.
            Self::There(blocks, _) => blocks.send(Arc::clone(block)).expect("the hash takes all blocks"),
        }
    }

    fn finish(self) -> [u8; 64] {
        match self {
            Self::Here(hash) => hash.finalize().into(),
            Self::There(blocks, handle) => {
                drop(blocks);
                handle.join().expect("hashing does not panic").finalize().into()
            }
        }
    }
}

impl Sink {
    /// Begins to write into `file`.
    ///
    /// # Errors
    /// Those of writing.
    pub(super) fn new(file: File, compression: Compression) -> io::Result<Self> {
        let counted = |out| Counted { out, count: 0 };
        let line = match compression {
            Compression::None => Line::Plain(counted(file)),
            Compression::Gzip => Line::Gzip(Box::new(Gzip::new(BufWriter::with_capacity(BLOCK, file))?)),
            Compression::Bzip2 => Line::Bzip2(bzip2::write::BzEncoder::new(counted(file), bzip2::Compression::best())),
            Compression::Xz => Line::Xz(Box::new(XzWriter::new(counted(file), XzOptions::with_preset(XZ_PRESET))?)),
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(counted(file), ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                Line::Zstd(encoder)
            }
        };
        Ok(Self { blocks: Blocks::default(), hash: Hash::start(), line, size: 0 })
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// Those of writing.
    pub(super) fn finish(mut self) -> io::Result<Written> {
        if let Some(block) = self.blocks.rest() {
            self.pass_on(block)?;
        }
        let compressed_size = match self.line {
            Line::Plain(out) => out.count,
            Line::Gzip(gzip) => {
                let (mut out, written) = gzip.finish()?;
                out.flush()?;
                written
            }
            Line::Bzip2(encoder) => encoder.finish()?.count,
            Line::Xz(encoder) => encoder.finish()?.count,
            Line::Zstd(encoder) => encoder.finish()?.count,
        };
        Ok(Written { id: ImageId::sha512(self.hash.finish()), size: self.size, compressed_size })
    }

    /// Hashes and compresses a block.
    fn pass_on(&mut self, block: Block) -> io::Result<()> {
        self.size += block.len() as u64;
        self.hash.update(&block);
        match &mut self.line {
            Line::Plain(out) => out.write_all(&block),
            Line::Gzip(gzip) => gzip.push(block),
            Line::Bzip2(encoder) => encoder.write_all(&block),
            Line::Xz(encoder) => encoder.write_all(&block),
            Line::Zstd(encoder) => encoder.write_all(&block),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (taken, full) = self.blocks.write(bytes);
        if let Some(block) = full {
            self.pass_on(block)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        // Blocks are always full but for the last one: a flush must not change the result.
        Ok(())
    }
}
