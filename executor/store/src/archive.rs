//! Reading ACIs without storing them: decompressed, hashed and taken apart in one pass, in bounded memory.
//!
//! The tar reader is the extractor's: what cannot be stored because its headers contradict each other cannot be read
//! here either.

use std::fs::File;
use std::io::BufRead;

pub use crate::extract::path::{EntryPath, Parsed};
pub use crate::extract::reader::{Member, MemberKind, MemberReader, TarReader};
pub use crate::ingest::{Compression, IngestError, Scanned};

use crate::extract::ExtractLimits;

/// The members of an archive under way, one at a time.
pub type Members<'a> = TarReader<&'a mut dyn BufRead>;

/// Reads an ACI: recognises its compression, and lets `visit` go through its members.
///
/// What the visitor leaves is read to the end, because every byte counts for the digest and a damaged end is damage; a
/// visitor that wants no more returns an error of its own. Inputs beyond a megabyte are inflated in a second thread.
/// Uses at most 8 MiB of buffers, plus what the decompressor needs: up to 128 MiB if an xz or zstd archive asks for it.
///
/// # Errors
/// The visitor's, and the [`IngestError`] of a stream that cannot be read or is beyond `limits`.
pub fn scan<T, E: From<IngestError>>(
    input: File,
    limits: &ExtractLimits,
    visit: impl FnOnce(&mut Members<'_>) -> Result<T, E>,
) -> Result<(T, Scanned), E> {
    crate::ingest::scan(input, limits, |tar| visit(&mut TarReader::new(tar, limits)))
}

/// Has `visit` read the tar archive that a stream is, or is when it is inflated. It takes one thread, and what is not compressed
/// costs nothing more than to read it. The visitor need not read all of it.
///
/// # Errors
/// The [`IngestError`] of a stream that cannot be inflated or is beyond `limits` then; those of the visitor.
pub fn visit<T, E: From<IngestError>>(
    input: File,
    limits: &ExtractLimits,
    visit: impl FnOnce(&mut dyn BufRead) -> Result<T, E>,
) -> Result<T, E> {
    crate::ingest::visit(input, limits, visit)
}

/// As [`scan`], and has the tar archive itself written to `out`, whatever it holds. It takes one thread: who stores what was
/// written forks, and a process with threads cannot.
///
/// # Errors
/// The [`IngestError`] of a stream that cannot be read or is beyond `limits`; those of writing, made by `failed`.
pub fn inflate<E: From<IngestError>>(
    input: File,
    limits: &ExtractLimits,
    out: &mut dyn std::io::Write,
    failed: impl Fn(std::io::Error) -> E,
) -> Result<Scanned, E> {
    let copy = |tar: &mut dyn BufRead| loop {
        let length = {
            let bytes = tar.fill_buf().map_err(&failed)?;
            out.write_all(bytes).map_err(&failed)?;
            bytes.len()
        };
        if length == 0 {
            return Ok(());
        }
        tar.consume(length);
    };
    crate::ingest::scan_alone(input, limits, copy).map(|((), scanned)| scanned)
}
