//! Takes an archive in, in one pass: read, hash, store the blob, inflate, hash, extract.
//!
//! [`run`] works on descriptors only and knows nothing of the store, so that it can run in a child process as root of
//! the id-mapped user namespace. Whatever it returns, nothing is visible in the store until the import is committed.

mod chunks;
mod compression;
mod error;
mod members;
mod milestones;
mod pass;
mod pump;
mod source;

use std::fs::File;
use std::io::BufRead;
use std::os::fd::{AsFd, OwnedFd};

use serde::{Deserialize, Serialize};

pub use self::compression::Compression;
pub use self::error::IngestError;
pub use self::milestones::Milestones;

use self::milestones::Measured;
use self::pass::pass;
use self::pump::Pump;
use self::source::Source;
use crate::digest::{Algorithm, Digest};
use crate::extract::{Below, ExtractLimits, ExtractOptions, Extracted, Form, extract_recorded};
use crate::recipe::{Recorded, Recorder};

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
    /// The archive, read from its current position: to its end, or as far as `length` says.
    pub input: File,
    /// How many bytes of the input are the archive. It may come from a pipe that others keep open.
    pub length: Option<u64>,
    /// What it is.
    pub format: InputFormat,
    /// The empty directory that becomes the root of the tree, owned by container root.
    pub root: OwnedFd,
    /// Where to store the bytes as they come, if they are to be stored.
    pub blob: Option<File>,
    /// Where to write what gives the archive back from the tree, if that is wanted; see [`crate::recipe`].
    pub recipe: Option<File>,
    /// Bounds on the archive.
    pub limits: ExtractLimits,
    /// The digest that the compressed bytes must have.
    pub expect_compressed: Option<Digest>,
    /// The digest that the uncompressed bytes must have: an OCI diff id, or the ID of an ACI.
    pub expect_uncompressed: Option<Digest>,
    /// Whether only one id is mapped; see [`ExtractOptions::single_id`].
    pub single_id: bool,
    /// The trees of the layers below; see [`ExtractOptions::below`].
    pub below: Below,
    /// Who is told how far it has come.
    pub milestones: Option<Milestones>,
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
    /// The size of the recipe in bytes.
    pub recipe_size: u64,
    /// How it was compressed.
    pub compression: Compression,
    /// The tree, the manifest of an ACI, owners of a single-id tree, and what was left out.
    pub extracted: Extracted,
}

/// Takes one archive in.
///
/// Uses two threads for larger inputs (reading, hashing and inflating beside hashing and extracting) and at most
/// 8 MiB of buffers, plus the window of a zstd frame.
///
/// # Errors
/// The first thing that is wrong. Where a digest was expected and the bytes are not those, that is the error, whatever
/// else they led to. The tree and the blob are then partial; the caller removes them.
pub fn run(job: IngestJob) -> Result<IngestReport, IngestError> {
    let IngestJob { input, length, format, root, blob, recipe, limits, .. } = job;
    let IngestJob { expect_compressed, expect_uncompressed, single_id, below, milestones, .. } = job;
    let (form, compressed_with) = (form(format), expect_compressed.map_or(Algorithm::Sha256, |d| d.algorithm()));
    let own = if form == Form::Aci { Algorithm::Sha512 } else { Algorithm::Sha256 };
    let uncompressed_with = expect_uncompressed.map_or(own, |d| d.algorithm());
    let small = pass::is_small(&input, length);
    let mut source = Source::new(input, length, blob, Some(compressed_with), limits.expanded);

    let verdict = |source: Source, error: IngestError| Err(blame(source, error, expect_compressed));
    let compression = match recognise(&mut source, format) {
        Ok(compression) => compression,
        Err(error) => return verdict(source, error),
    };
    let pump = Pump::new(source, compression, limits.clone())?;
    let options = ExtractOptions { form, limits, single_id, below, hollow: false };
    let recorder = recipe.map(Recorder::new).transpose().map_err(|error| IngestError::WriteRecipe(error.into()))?;
    let (source, outcome) = pass(pump, small, uncompressed_with, |tar| {
        let mut tar = Recorded::new(Measured::new(tar, milestones), recorder.as_ref());
        let extracted = extract_recorded(&mut tar, root.as_fd(), &options, recorder.as_ref())?;
        tar.drain().map_err(|error| IngestError::Read((&error).into()))?;
        Ok::<_, IngestError>(extracted)
    });
    let (extracted, uncompressed, uncompressed_size) = match outcome {
        Ok(done) => done,
        Err(error) => return verdict(source, error),
    };
    let (compressed, compressed_size) = source.finish();
    let compressed = compressed.expect("it was to be hashed");
    check("compressed", expect_compressed, compressed)?;
    check("uncompressed", expect_uncompressed, uncompressed)?;
    let recipe_size =
        recorder.map_or(Ok(0), Recorder::finish).map_err(|error| IngestError::WriteRecipe(error.into()))?;
    Ok(IngestReport {
        form,
        compressed,
        compressed_size,
        uncompressed,
        uncompressed_size,
        recipe_size,
        compression,
        extracted,
    })
}

fn form(format: InputFormat) -> Form {
    match format {
        InputFormat::Aci => Form::Aci,
        InputFormat::OciLayer(_) => Form::OciLayer,
    }
}

fn recognise(source: &mut Source, format: InputFormat) -> Result<Compression, IngestError> {
    let head = source.head()?;
    if head.is_empty() {
        return Err(IngestError::Empty);
    }
    match format {
        InputFormat::Aci => Compression::sniff(head),
        InputFormat::OciLayer(declared) => declared.check(head).map(|()| declared),
    }
}

/// Bytes that are not the expected ones explain every other error, so look at all of them before reporting one.
fn blame(mut source: Source, error: IngestError, expected: Option<Digest>) -> IngestError {
    let Some(expected) = expected.filter(|_| error.may_be_damage()) else { return error };
    match source.drain().map(|()| source.into_digest()) {
        Ok(Some(actual)) if actual != expected => mismatch("compressed", expected, actual),
        _ => error,
    }
}

/// Reads an archive without storing it: see [`crate::archive::scan`].
pub(crate) fn scan<T, E: From<IngestError>>(
    input: File,
    limits: &ExtractLimits,
    visit: impl FnOnce(&mut dyn BufRead) -> Result<T, E>,
) -> Result<(T, Scanned), E> {
    let small = pass::is_small(&input, None);
    scan_by(small, input, limits, visit)
}

/// As [`scan`], in this thread alone: for a process that has to fork afterwards.
pub(crate) fn scan_alone<T, E: From<IngestError>>(
    input: File,
    limits: &ExtractLimits,
    visit: impl FnOnce(&mut dyn BufRead) -> Result<T, E>,
) -> Result<(T, Scanned), E> {
    scan_by(true, input, limits, visit)
}

fn scan_by<T, E: From<IngestError>>(
    alone: bool,
    input: File,
    limits: &ExtractLimits,
    visit: impl FnOnce(&mut dyn BufRead) -> Result<T, E>,
) -> Result<(T, Scanned), E> {
    let mut source = Source::new(input, None, None, None, limits.expanded);
    let compression = recognise(&mut source, InputFormat::Aci)?;
    let pump = Pump::new(source, compression, limits.clone())?;
    let (source, outcome) = pass(pump, alone, Algorithm::Sha512, visit);
    let (seen, digest, size) = outcome?;
    let (_, compressed_size) = source.finish();
    Ok((seen, Scanned { compression, compressed_size, digest, size }))
}

/// Reads an archive without looking at the whole: see [`crate::archive::visit`].
pub(crate) fn visit<T, E: From<IngestError>>(
    input: File,
    limits: &ExtractLimits,
    visit: impl FnOnce(&mut dyn BufRead) -> Result<T, E>,
) -> Result<T, E> {
    let mut source = Source::new(input, None, None, None, u64::MAX);
    let compression = Compression::sniff(source.head()?)?;
    if compression == Compression::None {
        return visit(&mut source);
    }
    let pump = Pump::new(source, compression, limits.clone())?;
    let (_, outcome) = pass(pump, true, Algorithm::Sha256, visit);
    outcome.map(|(seen, ..)| seen)
}

/// What there is to know of an archive once all of it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// How it was compressed.
    pub compression: Compression,
    /// Bytes as they came.
    pub compressed_size: u64,
    /// The SHA-512 of the tar archive: an ACI's ID.
    pub digest: Digest,
    /// The size of the tar archive in bytes.
    pub size: u64,
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
