//! Which pod a command line means: an argument, or a file that holds a UUID.

use std::io;
use std::path::{Path, PathBuf};

use pod::{PodEntry, Pods};

use crate::error::{CommandError, Explain as _};
use crate::small_file;

/// Longest file that may hold a UUID.
const MAX_FILE: u64 = 4096;

/// The pods that were named: the arguments, or the one in the file.
///
/// # Errors
///
/// Neither or both were given; the file cannot be read.
pub(crate) fn needles(pods: &[String], file: Option<&PathBuf>) -> Result<Vec<String>, CommandError> {
    match (pods, file) {
        ([], None) => Err(CommandError::usage("which pod? give a UUID, the beginning of one, a name, or --uuid-file")),
        ([], Some(file)) => Ok(vec![read(file)?]),
        (pods, None) => Ok(pods.to_vec()),
        (_, Some(_)) => Err(CommandError::usage("give either pods or --uuid-file, not both")),
    }
}

/// The one pod that was named.
///
/// # Errors
///
/// As [`needles`]; there is no such pod.
pub(crate) fn one(pods: &Pods, needle: Option<&String>, file: Option<&PathBuf>) -> Result<PodEntry, CommandError> {
    let named: Vec<String> = needle.into_iter().cloned().collect();
    let needles = needles(&named, file)?;
    find(pods, &needles[0])
}

/// The pod that is meant.
///
/// # Errors
///
/// There is none, or there are several.
pub(crate) fn find(pods: &Pods, needle: &str) -> Result<PodEntry, CommandError> {
    pods.find(needle).map_err(CommandError::from).hint(|| "`proa list` shows the pods there are".into())
}

/// The exit status of `status` and `stop` for a UUID file that cannot be read: as in rkt, another one than for a pod that is not
/// there.
pub(crate) const UNREADABLE: u8 = 1;

/// A UUID file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("read the UUID file {}", path.display())]
struct Unreadable {
    path: PathBuf,
    source: io::Error,
}

/// Whether no pod was found because the UUID file cannot be read.
pub(crate) fn is_unreadable(error: &CommandError) -> bool {
    error.cause::<Unreadable>().is_some()
}

fn read(file: &Path) -> Result<String, Unreadable> {
    let read = small_file::read_text(file, MAX_FILE);
    read.map(|text| text.trim().to_owned()).map_err(|source| Unreadable { path: file.to_owned(), source })
}
