//! The version number of `pods/`.

use appc::PodUuid;
use rustix::fs::{OFlags, fsync};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::dir::Dir;
use crate::root::path;
use crate::{Place, PodError, files};

/// The layout that this version reads and writes.
pub(crate) const KNOWN: u32 = 1;

/// A version number has at most ten digits; more is not one.
const LIMIT: u64 = 32;

/// Reads the version, `None` if `pods/` is new.
pub(crate) fn read(pods: &Dir) -> Result<Option<u32>, PodError> {
    let Some(bytes) = files::read_optional(pods, "format", LIMIT)? else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    match text.trim_end().parse() {
        Ok(version) if version > 0 => Ok(Some(version)),
        _ => Err(PodError::FormatUnreadable { found: text.into_owned() }),
    }
}

/// Writes the version, once in the life of a data directory, after everything else of `pods/` is there.
///
/// The one fsync of this crate outside `prepare` and amendments: an empty `format` after a power cut would lock the user out.
pub(crate) fn write_known(pods: &Dir) -> Result<(), PodError> {
    // In garbage under a pod's name: what a kill leaves there, gc removes.
    let mut random = [0; 16];
    // Whole, and without a descriptor (getrandom(2)).
    getrandom(&mut random, GetRandomFlags::empty()).map_err(|e| pods.error("getrandom", "format", e))?;
    let temporary = path(Place::Garbage, PodUuid::from_random(random));
    let file = pods.create(&temporary, OFlags::WRONLY, 0o600)?;
    files::write_all(&file, format!("{KNOWN}\n").as_bytes()).map_err(|e| pods.error("write", &temporary, e))?;
    fsync(&file).map_err(|e| pods.error("fsync", &temporary, e))?;
    match pods.rename(&temporary, "format") {
        // Somebody else's was there first, and a gc already.
        Err(e) if e.source == Errno::NOENT && pods.exists("format")? => Ok(()),
        other => Ok(other?),
    }
}

/// Refuses to change a `pods/` of a later version.
pub(crate) fn check_writable(version: u32) -> Result<(), PodError> {
    if version > KNOWN { Err(PodError::NewerFormat { found: version, known: KNOWN }) } else { Ok(()) }
}
