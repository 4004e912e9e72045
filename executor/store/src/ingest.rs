//! Takes an archive in, in one pass: read, hash, store the blob, inflate, hash, extract.
//!
//! [`run`] works on descriptors only and knows nothing of the store, so that it can run in a child process as root of
//! the id-mapped user namespace. Whatever it returns, nothing is visible in the store until the import is committed.

mod chunks;
mod compression;
mod error;
mod pump;
mod source;

use std::fs::File;
use std::io::{self, BufRead as _};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use serde::{Deserialize, Serialize};

pub use self::compression::Compression;
pub use self::error::IngestError;

use self::chunks::Chunks;
use self::pump::Pump;
use self::source::Source;
use crate::digest::{Algorithm, Digest};
use crate::extract::{ExtractError, ExtractLimits, ExtractOptions, Extracted, Form, extract};

/// What the input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InputFormat {
    /// An App Container Image; its compression is recognised by its first bytes.
    Aci,
    /// A layer of an OCI image, compressed as its media type says.
    OciLayer(Compression),
}

/// One archive to take in.
#[derive(Debug)]
pub struct IngestJob {
    /// The archive, read from its current position to its end.
    pub input: File,
    /// What it is.
    pub format: InputFormat,
    /// The empty directory that becomes the root of the tree, owned by container root.
    pub root: OwnedFd,
    /// Where to store the bytes as they come, if they are to be stored.
    pub blob: Option<File>,
    /// Bounds on the archive.
    pub limits: ExtractLimits,
    /// The digest that the compressed bytes must have.
    pub expect_compressed: Option<Digest>,
    /// The digest that the uncompressed bytes must have: an OCI diff id, or the ID of an ACI.
    pub expect_uncompressed: Option<Digest>,
    /// Whether only one id is mapped; see [`ExtractOptions::single_id`].
    pub single_id: bool,
    /// The trees of the layers below; see [`ExtractOptions::below`].
    pub below: Vec<Arc<OwnedFd>>,
}

/// What was taken in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngestReport {
    /// The form of the archive.
    pub form: Form,
    /// Digest of the bytes as they came: SHA-256, or the algorithm of the digest that was expected.
    pub compressed: Digest,
    /// Their number.
    pub compressed_size: u64,
    /// Digest of the tar archive: SHA-512 for an ACI (its ID), SHA-256 for a layer, or the algorithm expected.
    pub uncompressed: Digest,
    /// Its size in bytes.
    pub uncompressed_size: u64,
    /// How it was compressed.
    pub compression: Compression,
    /// The tree, the manifest of an ACI, owners of a single-id tree, and what was left out.
    pub extracted: Extracted,
}

/// Inputs up to this size are taken in by one thread: starting another takes longer than it saves.
const SMALL: u64 = 1 << 20;

/// Chunks between inflating and extracting. Each is 256 KiB; a burst of small files must not stall the inflater.
const CHUNKS: usize = 16;

/// Takes one archive in.
///
/// Uses two threads for larger inputs (reading, hashing and inflating beside hashing and extracting) and at most
/// 8 MiB of buffers, plus the window of a zstd frame.
///
/// # Errors
/// The first thing that is wrong. Where a digest was expected and the bytes are not those, that is the error, whatever
/// else they led to. The tree and the blob are then partial; the caller removes them.
pub fn run(job: IngestJob) -> Result<IngestReport, IngestError> {
    let IngestJob { input, format, root, blob, limits, expect_compressed, expect_uncompressed, single_id, below } = job;
    let (form, compressed_with) = (form(format), expect_compressed.map_or(Algorithm::Sha256, |d| d.algorithm()));
    let own = if form == Form::Aci { Algorithm::Sha512 } else { Algorithm::Sha256 };
    let uncompressed_with = expect_uncompressed.map_or(own, |d| d.algorithm());
    let small = input.metadata().is_ok_and(|metadata| metadata.len() <= SMALL);
    let mut source = Source::new(input, blob, compressed_with, limits.expanded);

    let verdict = |source: Source, error: IngestError| Err(blame(source, error, expect_compressed));
    let compression = match recognise(&mut source, format) {
        Ok(compression) => compression,
        Err(error) => return verdict(source, error),
    };
    let pump = Pump::new(source, compression, limits.clone())?;
    let options = ExtractOptions { form, limits, single_id, below };
    let (source, outcome) = if small {
        alone(pump, &root, &options, uncompressed_with)
    } else {
        beside(pump, &root, &options, uncompressed_with)
    };
    let (extracted, uncompressed, uncompressed_size) = match outcome {
        Ok(done) => done,
        Err(error) => return verdict(source, error),
    };
    let (compressed, compressed_size) = source.finish()?;
    check("compressed", expect_compressed, compressed)?;
    check("uncompressed", expect_uncompressed, uncompressed)?;
    Ok(IngestReport { form, compressed, compressed_size, uncompressed, uncompressed_size, compression, extracted })
}

fn form(format: InputFormat) -> Form {
    match format {
        InputFormat::Aci => Form::Aci,
        InputFormat::OciLayer(_) => Form::OciLayer,
    }
}

fn recognise(source: &mut Source, format: InputFormat) -> Result<Compression, IngestError> {
    let head = match source.fill_buf() {
        Ok(head) => head,
        Err(error) => return Err(source.take_fault().unwrap_or_else(|| IngestError::Read((&error).into()))),
    };
    if head.is_empty() {
        return Err(IngestError::Empty);
    }
    match format {
        InputFormat::Aci => Compression::sniff(head),
        InputFormat::OciLayer(declared) => declared.check(head).map(|()| declared),
    }
}

type Outcome = Result<(Extracted, Digest, u64), IngestError>;

/// Everything in this thread.
fn alone(mut pump: Pump, root: &OwnedFd, options: &ExtractOptions, algorithm: Algorithm) -> (Source, Outcome) {
    let mut fault = None;
    let outcome = consume(root, options, algorithm, |chunk| {
        pump.next(chunk).map_err(|error| {
            fault = Some(error);
            stopped()
        })
    });
    (pump.into_source(), fault.map_or(outcome, Err))
}

/// Reading and inflating in a thread of their own.
fn beside(pump: Pump, root: &OwnedFd, options: &ExtractOptions, algorithm: Algorithm) -> (Source, Outcome) {
    // The pump waits here until it is known whether there is a thread for it.
    let (hand_over, pick_up) = sync_channel::<Pump>(1);
    let (full, chunks) = sync_channel(CHUNKS);
    let (used, empty) = sync_channel(CHUNKS + 1);
    thread::scope(|scope| {
        let inflate = move || pick_up.recv().ok().map(|pump| inflate(pump, &full, &empty));
        let Ok(inflater) = thread::Builder::new().name("inflate".to_owned()).spawn_scoped(scope, inflate) else {
            // At the limit of processes: slower, but it works.
            return alone(pump, root, options, algorithm);
        };
        hand_over.send(pump).expect("the thread waits for exactly this");
        let outcome = consume(root, options, algorithm, |chunk| {
            // Errors of the other thread are reported by it; here its end without a word is enough.
            let next = chunks.recv().map_err(|_| stopped())?;
            // A full return channel only means that a chunk is allocated anew.
            let _ = used.try_send(std::mem::replace(chunk, next));
            Ok(())
        });
        // Where the extraction failed the inflater must not wait for room.
        drop(chunks);
        let (source, inflated) =
            inflater.join().expect("the inflater does not panic").expect("the pump was handed over");
        (source, inflated.and(outcome))
    })
}

/// The inflater's thread: ends at the end of the stream, at an error, or when nobody takes the chunks any more.
fn inflate(mut pump: Pump, full: &SyncSender<Vec<u8>>, empty: &Receiver<Vec<u8>>) -> (Source, Result<(), IngestError>) {
    loop {
        let mut chunk = empty.try_recv().unwrap_or_default();
        if let Err(error) = pump.next(&mut chunk) {
            return (pump.into_source(), Err(error));
        }
        let last = chunk.is_empty();
        if full.send(chunk).is_err() || last {
            return (pump.into_source(), Ok(()));
        }
    }
}

fn consume(
    root: &OwnedFd,
    options: &ExtractOptions,
    algorithm: Algorithm,
    next: impl FnMut(&mut Vec<u8>) -> io::Result<()>,
) -> Outcome {
    let mut chunks = Chunks::new(algorithm, next);
    let extracted = extract(&mut chunks, root.as_fd(), options)?;
    let (digest, size) = chunks.finish().map_err(|error| ExtractError::Read(error.to_string()))?;
    Ok((extracted, digest, size))
}

fn stopped() -> io::Error {
    io::Error::other("the stream stopped")
}

/// Bytes that are not the expected ones explain every other error, so look at all of them before reporting one.
fn blame(mut source: Source, error: IngestError, expected: Option<Digest>) -> IngestError {
    let Some(expected) = expected.filter(|_| error.may_be_damage()) else { return error };
    match source.drain().map(|()| source.into_digest()) {
        Ok(actual) if actual != expected => mismatch("compressed", expected, actual),
        _ => error,
    }
}

fn check(what: &str, expected: Option<Digest>, actual: Digest) -> Result<(), IngestError> {
    match expected {
        Some(expected) if expected != actual => Err(mismatch(what, expected, actual)),
        _ => Ok(()),
    }
}

fn mismatch(what: &str, expected: Digest, actual: Digest) -> IngestError {
    IngestError::DigestMismatch { what: what.to_owned(), expected: Box::new(expected), actual: Box::new(actual) }
}
