//! The id map of this user's pods, and work that needs it.

use std::error::Error;
use std::fs;
use std::io::{self, Write as _};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use pod::TreeRemover;
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;
use stage1::idmap::{IdMapping, Tier};
use stage1::run::RunError;
use stage1::userns::{self, Running, UsernsError};

use crate::diagnostics::silenced;
use crate::error::{self, CommandError, Explain, Hint};

/// Holds the first id of root's own range, in decimal, so that trees stay usable when /etc/subuid changes.
const RECORD: &str = "root-id-range";

/// How many user namespaces a user may have (namespaces(7)).
const MAX_USER_NAMESPACES: &str = "/proc/sys/user/max_user_namespaces";

/// The id map of pods whose data is in `data_dir`.
///
/// # Errors
///
/// The files of subordinate ids, or root's record of its range, cannot be read or written.
pub(crate) fn detect(data_dir: &Path) -> Result<IdMapping, CommandError> {
    if !rustix::process::geteuid().is_root() {
        return IdMapping::detect(None).during(|| "find an id map".into());
    }
    let record = data_dir.join(RECORD);
    let recorded = read(&record).during(|| format!("read {}", record.display()))?;
    let mapping = IdMapping::detect(recorded).during(|| "find an id map".into())?;
    if recorded.is_none() && mapping.tier() == Tier::Root {
        let first = mapping.container_root().0;
        match write_once(&record, first) {
            // Nobody has made a data directory yet, or nothing can be made in it: there is nothing whose ids could change.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(mapping),
            Err(error) if error.raw_os_error() == Some(Errno::ROFS.raw_os_error()) => return Ok(mapping),
            written => written.during(|| format!("write {}", record.display()))?,
        }
        // Another proa may have been faster: its range counts.
        return IdMapping::detect(read(&record)?).during(|| "find an id map".into());
    }
    Ok(mapping)
}

/// Runs `work` as container root of `mapping` in a child process. Nothing of it is traced.
///
/// # Errors
///
/// The child could not be made, or died. What the work itself returns is handed on.
pub(crate) fn run_in<T: Serialize + DeserializeOwned>(
    mapping: &IdMapping,
    work: impl FnOnce() -> T,
) -> Result<T, CommandError> {
    userns::run_in(mapping, || silenced(work)).map_err(|error| explain(error.into()))
}

/// [`run_in`], with something for this process to do meanwhile; see [`userns::run_beside`].
///
/// # Errors
///
/// As [`run_in`].
pub(crate) fn run_beside<T: Serialize + DeserializeOwned, U>(
    mapping: &IdMapping,
    work: impl FnOnce() -> T,
    beside: impl FnOnce() -> U,
) -> Result<(T, U), CommandError> {
    userns::run_beside(mapping, || silenced(work), beside).map_err(|error| explain(error.into()))
}

/// Starts `work` like [`run_in`] and does not wait for it.
///
/// # Errors
///
/// The child could not be made.
pub(crate) fn start_in<T: Serialize + DeserializeOwned>(
    mapping: &IdMapping,
    work: impl FnOnce() -> T,
) -> Result<Running<T>, CommandError> {
    userns::start_in(mapping, || silenced(work)).map_err(|error| explain(error.into()))
}

/// Says why a user namespace cannot be had, where the kernel's answer misleads.
pub(crate) fn explain(error: CommandError) -> CommandError {
    let created = match (error.cause::<UsernsError>(), error.cause::<RunError>()) {
        (Some(UsernsError::Create(source)), _) | (_, Some(RunError::Namespace(source))) => source.raw_os_error(),
        _ => return error,
    };
    // clone(2) says ENOSPC for this limit: no device is full.
    if created != Some(Errno::NOSPC.raw_os_error()) {
        return error.with(Hint::Step("`proa doctor` says what this machine lacks".into()));
    }
    let limit = fs::read_to_string(MAX_USER_NAMESPACES).map_or_else(|_| "unknown".to_owned(), |n| n.trim().to_owned());
    error
        .during(format!("the limit user.max_user_namespaces, which is {limit}, leaves none"))
        .hint("raise it, as root: sysctl user.max_user_namespaces=10000")
}

/// Removes trees that hold files of mapped ids.
#[derive(Debug)]
pub(crate) struct Remover<'a> {
    mapping: &'a IdMapping,
}

impl<'a> Remover<'a> {
    /// A remover for pods and trees of this map.
    pub(crate) fn new(mapping: &'a IdMapping) -> Self {
        Self { mapping }
    }
}

impl TreeRemover for Remover<'_> {
    fn remove_tree(&self, parent: BorrowedFd<'_>, name: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
        let remove = || pod::removal::remove_tree(parent, name).map_err(|error| error::chain(&error));
        let removed: Result<(), String> = userns::run_in(self.mapping, || silenced(remove))?;
        removed.map_err(Into::into)
    }
}

impl store::TreeRemover for Remover<'_> {
    fn empty(&self, dir: BorrowedFd<'_>) -> io::Result<()> {
        // The error number is what the store looks at.
        let empty = || store::removal::empty(dir).map_err(|error| error.raw_os_error());
        let emptied: Result<(), Option<i32>> =
            userns::run_in(self.mapping, || silenced(empty)).map_err(io::Error::other)?;
        emptied.map_err(|code| code.map_or_else(|| io::Error::other("unknown error"), io::Error::from_raw_os_error))
    }
}

fn read(record: &Path) -> io::Result<Option<u32>> {
    match fs::read_to_string(record) {
        Ok(text) => text.trim().parse().map(Some).map_err(|_| io::Error::other(format!("{text:?} is not a number"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes the record unless there is one: complete or not at all, also for a reader in between.
fn write_once(record: &Path, first: u32) -> io::Result<()> {
    let draft = record.with_extension(std::process::id().to_string());
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(format!("{first}\n").as_bytes())?;
    let linked = fs::hard_link(&draft, record);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_record_counts() {
        let dir = tempfile::tempdir().unwrap();
        let record = dir.path().join(RECORD);
        assert_eq!(read(&record).unwrap(), None);
        write_once(&record, 7).unwrap();
        write_once(&record, 8).unwrap();
        assert_eq!(read(&record).unwrap(), Some(7));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_damaged_record_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let record = dir.path().join(RECORD);
        fs::write(&record, "x\n").unwrap();
        assert_eq!(read(&record).unwrap_err().to_string(), "\"x\\n\" is not a number");
    }
}
