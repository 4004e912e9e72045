//! Writes the archive of a layer to a file: hashed plain, packed, and hashed again.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use executor::aci::{BLOCK, Block, Blocks, Gzip};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use store::Digest;

/// How a layer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Not at all.
    Plain,
    /// With gzip, which everybody reads; the same archive always gives the same bytes.
    Gzip,
}

impl Packing {
    /// The media type of a layer that is packed like this (image-spec layer.md).
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Plain => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
        }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Written {
    /// The digest of the archive.
    pub(crate) diff_id: Digest,
    /// The digest of the file.
    pub(crate) digest: Digest,
    /// The size of the file in bytes.
    pub(crate) size: u64,
}

/// A layer being written.
pub(crate) struct LayerWriter {
    plain: Sha256,
    blocks: Blocks,
    out: Out,
}

enum Out {
    Plain(Hashed),
    Gzip(Box<Gzip<Hashed>>),
}

/// A file, the hash of what is written to it, and how much that is.
struct Hashed {
    file: BufWriter<File>,
    hash: Sha256,
    size: u64,
}

impl LayerWriter {
    /// Begins to write into the empty file `file`.
    ///
    /// # Errors
    ///
    /// Those of writing.
    pub(crate) fn new(file: File, packing: Packing) -> io::Result<Self> {
        let hashed = Hashed { file: BufWriter::with_capacity(BLOCK, file), hash: Sha256::new(), size: 0 };
        let out = match packing {
            Packing::Plain => Out::Plain(hashed),
            Packing::Gzip => Out::Gzip(Box::new(Gzip::new(hashed)?)),
        };
        Ok(Self { plain: Sha256::new(), blocks: Blocks::default(), out })
    }

    /// Writes what is left.
    ///
    /// # Errors
    ///
    /// Those of writing.
    pub(crate) fn finish(mut self) -> io::Result<Written> {
        if let Some(block) = self.blocks.rest() {
            self.pass_on(block)?;
        }
        let mut hashed = match self.out {
            Out::Plain(hashed) => hashed,
            Out::Gzip(gzip) => gzip.finish()?.0,
        };
        hashed.flush()?;
        Ok(Written {
            diff_id: Digest::Sha256(self.plain.finalize().into()),
            digest: Digest::Sha256(hashed.hash.finalize().into()),
            size: hashed.size,
        })
    }

    fn pass_on(&mut self, block: Block) -> io::Result<()> {
        self.plain.update(block.as_slice());
        match &mut self.out {
            Out::Plain(hashed) => hashed.write_all(&block),
            Out::Gzip(gzip) => gzip.push(block),
        }
    }
}

impl Write for LayerWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (taken, full) = self.blocks.write(bytes);
        if let Some(block) = full {
            self.pass_on(block)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        // Only whole blocks are passed on: a flush must not change the result.
        Ok(())
    }
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
