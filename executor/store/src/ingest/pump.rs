//! Inflates the source into chunks, within the limits.

use std::fmt;
use std::io::{BufRead, ErrorKind, Read};

use bzip2::bufread::MultiBzDecoder;
use lzma_rust2::XzReader;

use super::compression::Compression;
use super::error::IngestError;
use super::members::Members;
use super::source::Source;
use crate::extract::ExtractLimits;

/// The largest window a zstd frame may ask for: 128 MiB, what `zstd --ultra` makes without `--long=28` or more.
const ZSTD_WINDOW_LOG: u32 = 27;

/// The most memory an xz block may ask for, in KiB: a dictionary of 128 MiB, twice that of `xz -9`, and the decoder's
/// own tables.
const XZ_MEMORY_KIB: u32 = (128 << 10) + 1024;

enum Decoder {
    Plain(Source),
    Gzip(Members<Source>),
    Zstd(zstd::stream::read::Decoder<'static, Source>),
    Bzip2(MultiBzDecoder<Source>),
    Xz(Box<XzReader<Source>>),
}

/// Produces the uncompressed archive chunk by chunk.
pub(super) struct Pump {
    decoder: Decoder,
    compression: Compression,
    expanded: u64,
    limits: ExtractLimits,
}

impl fmt::Debug for Pump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pump").field("compression", &self.compression).field("expanded", &self.expanded).finish()
    }
}

impl Pump {
    pub(super) fn new(source: Source, compression: Compression, limits: ExtractLimits) -> Result<Self, IngestError> {
        let memory = |error: std::io::Error| IngestError::Corrupt { compression, offset: 0, reason: error.to_string() };
        let decoder = match compression {
            Compression::None => Decoder::Plain(source),
            // A stream of several members is one archive (UNP-21).
            Compression::Gzip => Decoder::Gzip(Members::new(source)),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(source).map_err(memory)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(memory)?;
                Decoder::Zstd(decoder)
            }
            Compression::Bzip2 => Decoder::Bzip2(MultiBzDecoder::new(source)),
            Compression::Xz => Decoder::Xz(Box::new(XzReader::new_mem_limit(source, true, XZ_MEMORY_KIB))),
        };
        Ok(Self { decoder, compression, expanded: 0, limits })
    }

    /// Fills `chunk` as far as there is something; its new length is 0 at the end of the stream.
    ///
    /// Only a sound end counts as one: all members or frames complete, their checksums right, nothing after them.
    pub(super) fn next(&mut self, chunk: &mut Vec<u8>) -> Result<(), IngestError> {
        chunk.resize(super::source::BUFFER, 0);
        let mut length = 0;
        while length < chunk.len() {
            match self.read(&mut chunk[length..]) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.explain(&error)),
            }
        }
        chunk.truncate(length);
        self.expanded += length as u64;
        self.check_limits()?;
        if length == 0 {
            self.check_end()?;
        }
        Ok(())
    }

    pub(super) fn into_source(self) -> Source {
        match self.decoder {
            Decoder::Plain(source) => source,
            Decoder::Gzip(decoder) => decoder.into_inner(),
            Decoder::Zstd(decoder) => decoder.finish(),
            Decoder::Bzip2(decoder) => decoder.into_inner(),
            Decoder::Xz(decoder) => decoder.into_inner(),
        }
    }

    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match &mut self.decoder {
            Decoder::Plain(source) => source.read(into),
            Decoder::Gzip(decoder) => decoder.read(into),
            Decoder::Zstd(decoder) => decoder.read(into),
            Decoder::Bzip2(decoder) => decoder.read(into),
            Decoder::Xz(decoder) => decoder.read(into),
        }
    }

    fn source(&mut self) -> &mut Source {
        match &mut self.decoder {
            Decoder::Plain(source) => source,
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Zstd(decoder) => decoder.get_mut(),
            Decoder::Bzip2(decoder) => decoder.get_mut(),
            Decoder::Xz(decoder) => decoder.inner_mut(),
        }
    }

    fn check_limits(&mut self) -> Result<(), IngestError> {
        if self.expanded > self.limits.expanded {
            return Err(IngestError::TooLarge { limit: self.limits.expanded });
        }
        let (expanded, compressed, ratio) = (self.expanded, self.source().consumed(), self.limits.ratio);
        if expanded > self.limits.ratio_from && expanded / ratio > compressed {
            return Err(IngestError::Bomb { ratio, compressed, expanded });
        }
        Ok(())
    }

    fn check_end(&mut self) -> Result<(), IngestError> {
        let compression = self.compression;
        let source = self.source();
        let offset = source.consumed();
        match source.fill_buf().map(<[u8]>::is_empty) {
            Ok(true) => Ok(()),
            Ok(false) => Err(IngestError::Trailing { compression, offset }),
            Err(error) => Err(self.explain(&error)),
        }
    }

    /// The reason behind a decoder's error.
    fn explain(&mut self, error: &std::io::Error) -> IngestError {
        let compression = self.compression;
        let source = self.source();
        if let Some(fault) = source.take_fault() {
            return fault;
        }
        let offset = source.consumed();
        match error.kind() {
            ErrorKind::UnexpectedEof => IngestError::Truncated { compression, size: offset },
            ErrorKind::OutOfMemory => {
                let reason = "it asks for more than 128 MiB of memory".to_owned();
                IngestError::Corrupt { compression, offset, reason }
            }
            _ => IngestError::Corrupt { compression, offset, reason: error.to_string() },
        }
    }
}
