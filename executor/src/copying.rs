//! Copies files between an app and the host, or an app and a stream, as docker's `cp` does.
//!
//! One process of two packs what is there into a tar archive, the other unpacks it: the one that works on the app's files
//! has the app's root as its own (`stage1::visit`), and the archive between them is made by this program, never by one of
//! the image. What comes out of an app is unpacked by descriptors, with no link followed.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, BufWriter, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stage1::visit;
use store::archive::{self, IngestError};
use store::extract::ExtractLimits;

use crate::diagnostics::silenced;
use crate::error::{CommandError, chain};

mod app_root;
mod pack;
mod place;
mod place_name;
mod unpack;

pub(crate) use app_root::{AppRoot, Use};
pub(crate) use place_name::PlaceName;

use pack::Source;
use place::Destination;
use unpack::{Owners, Unpacker};

/// What is read and written at a time.
const BUFFER: usize = 256 << 10;

/// How files are copied.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// A symbolic link that is named is followed, instead of copied.
    pub(crate) follow: bool,
    /// Owners are kept, as far as whoever copies may set them.
    pub(crate) archive: bool,
}

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Copied {
    /// Bytes of all files.
    pub(crate) bytes: u64,
    /// What was left out, or is not as it was: a line each.
    pub(crate) remarks: Vec<String>,
}

impl Copied {
    /// Most remarks that are kept; a hostile tree could have millions.
    const MOST: usize = 20;

    fn remark(&mut self, text: String) {
        if self.remarks.len() < Self::MOST {
            self.remarks.push(text);
        }
    }
}

/// The name of what is copied between the two processes: the receiver gives it its own.
const NAMELESS: &[u8] = b"x";

/// From an app to a path of the host.
///
/// # Errors
///
/// One of the paths is not there or does not fit; something cannot be read or written. What was written stays.
pub(crate) fn out_of(app: AppRoot, from: &[u8], to: PathBuf, options: Options) -> Result<Copied, CommandError> {
    let source = Source::new(from, options.follow);
    let destination = Destination::new(to.as_os_str().as_encoded_bytes(), &source);
    let owners = match options.archive && rustix::process::geteuid().is_root() {
        true => Owners::Kept,
        false => Owners::Ours,
    };
    let unpacker = Unpacker { owners, privileged_modes: false };
    let (reader, writer) = io::pipe()?;
    // Each of the two processes lets go of the end it does not use: else neither would notice that the other has failed.
    let reader = Cell::new(Some(reader));
    let work = || {
        drop(reader.take());
        packed(&source, NAMELESS, writer.into())
    };
    let running = visit::start(app.visited, &app.mapping, || silenced(work))?;
    let reader = reader.take().expect("the other process has a copy of its own");
    let unpacked = unpacker.unpack(BufReader::with_capacity(BUFFER, reader), &destination);
    let packed = running.wait()?.and_then(|packed| packed);
    drop(app.guards);
    join(packed, unpacked)
}

/// From a path of the host to an app.
///
/// # Errors
///
/// As [`out_of`].
pub(crate) fn into(app: AppRoot, from: PathBuf, to: &[u8], options: Options) -> Result<Copied, CommandError> {
    let source = Source::new(from.as_os_str().as_encoded_bytes(), options.follow);
    let destination = Destination::new(to, &source);
    let unpacker = Unpacker { owners: app.owners(options.archive), privileged_modes: true };
    let (reader, writer) = io::pipe()?;
    let writer = Cell::new(Some(writer));
    let work = || {
        drop(writer.take());
        unpacker.unpack(BufReader::with_capacity(BUFFER, reader), &destination)
    };
    let running = visit::start(app.visited, &app.mapping, || silenced(work))?;
    let writer = writer.take().expect("the other process has a copy of its own");
    let packed = packed(&source, NAMELESS, writer.into());
    let unpacked = running.wait()?.and_then(|unpacked| unpacked);
    drop(app.guards);
    join(packed, unpacked)
}

/// From an app to stdout, as a tar archive.
///
/// # Errors
///
/// The path is not there, or something cannot be read or written.
pub(crate) fn to_stdout(app: AppRoot, from: &[u8], options: Options) -> Result<Copied, CommandError> {
    let source = Source::new(from, options.follow);
    let out = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    let work = || {
        let name = source.name().to_vec();
        packed(&source, &name, out)
    };
    let copied = visit::start(app.visited, &app.mapping, || silenced(work))?.wait()?.and_then(|packed| packed);
    drop(app.guards);
    copied.map_err(failed)
}

/// Why an archive of somebody else's could not be unpacked.
struct Refused(String);

impl From<IngestError> for Refused {
    fn from(error: IngestError) -> Self {
        Self(chain(&error))
    }
}

/// From a tar archive on stdin, compressed or not, into a directory of an app; owners are those of the archive.
///
/// # Errors
///
/// There is no such directory; the archive is none, or something of it cannot be made.
pub(crate) fn from_stdin(app: AppRoot, to: &[u8]) -> Result<Copied, CommandError> {
    let destination = Destination::inside(to);
    let unpacker = Unpacker { owners: app.owners(true), privileged_modes: true };
    let input = std::fs::File::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?);
    let unpack = |tar: &mut dyn BufRead| unpacker.unpack(tar, &destination).map_err(Refused);
    let work = || archive::visit(input, &ExtractLimits::default(), unpack).map_err(|Refused(why)| why);
    let copied = visit::start(app.visited, &app.mapping, || silenced(work))?.wait()?.and_then(|unpacked| unpacked);
    drop(app.guards);
    copied.map_err(failed)
}

/// Packs into a descriptor.
fn packed(source: &Source, name: &[u8], out: OwnedFd) -> Result<Copied, String> {
    let mut out = BufWriter::with_capacity(BUFFER, std::fs::File::from(out));
    let copied = pack::pack(source, name, &mut out)?;
    out.flush().map_err(pack::not_written)?;
    Ok(copied)
}

/// What became of both sides: whose error is the cause of the other's is told.
fn join(packed: Result<Copied, String>, unpacked: Result<Copied, String>) -> Result<Copied, CommandError> {
    match (packed, unpacked) {
        (Ok(packed), Ok(mut copied)) => {
            packed.remarks.into_iter().for_each(|remark| copied.remark(remark));
            Ok(copied)
        }
        // Each notices the other's end: who unpacks that nothing more comes, and who packs that nobody reads any more.
        (Err(packed), Err(unpacked)) if unpacked.ends_with(unpack::ENDS_EARLY) => Err(failed(packed)),
        (_, Err(error)) | (Err(error), _) => Err(failed(error)),
    }
}

fn failed(text: String) -> CommandError {
    let hint = if text.contains("No space left on device") {
        "free space where the copy goes"
    } else if text.contains("Read-only file system") {
        "what is mounted there is read-only, or all of the pod is"
    } else {
        "paths of a pod begin at its app's root, those of the host at the current directory"
    };
    CommandError::failed(text).hint(hint)
}
