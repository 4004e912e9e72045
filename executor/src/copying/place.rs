//! Where a copy goes, as docker has it: into a directory that is there, or to a name that is not there yet.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::pack::Source;
use crate::escape::printable;

/// What was said of the place to copy to.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    path: Vec<u8>,
    /// The name in a directory that is there, and whether the source is what is in a directory; none for archives, whose
    /// members have names of their own.
    source: Option<(Vec<u8>, bool)>,
}

/// Where files are made: below a directory, from this name on. Without a name what was named is the directory itself.
#[derive(Debug)]
pub(super) struct Target {
    /// The directory.
    pub(super) dir: OwnedFd,
    /// Its path, for people.
    path: PathBuf,
    /// What the copy is called in it; empty if it is what is in the source.
    pub(super) name: Vec<u8>,
}

impl Target {
    fn new(path: &Path, name: Vec<u8>) -> Result<Self, String> {
        let opened = openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let dir =
            opened.map_err(|errno| format!("{}: {}", printable(&path.to_string_lossy()), io::Error::from(errno)))?;
        Ok(Self { dir, path: path.to_owned(), name })
    }

    /// A path below the directory, for people.
    pub(super) fn shown(&self, below: &[u8]) -> String {
        let below = Path::new(OsStr::from_bytes(below));
        let whole = if self.path == Path::new(".") { below.to_owned() } else { self.path.join(below) };
        printable(&whole.to_string_lossy()).into_owned()
    }
}

impl Destination {
    /// A path that a source is copied to.
    pub(super) fn new(path: &[u8], source: &Source) -> Self {
        Self { path: path.to_vec(), source: Some((source.name().to_vec(), source.contents)) }
    }

    /// A directory that an archive is unpacked into.
    pub(super) fn inside(path: &[u8]) -> Self {
        Self { path: path.to_vec(), source: None }
    }

    /// Whether members have names of their own.
    pub(super) fn is_for_archives(&self) -> bool {
        self.source.is_none()
    }

    /// Looks at what is there now.
    ///
    /// # Errors
    ///
    /// It does not go with what is copied: a text for people.
    pub(super) fn find(&self, of_directory: bool) -> Result<Target, String> {
        let path = Path::new(OsStr::from_bytes(&self.path));
        let path = if self.path.is_empty() { Path::new(".") } else { path };
        let failed = |path: &Path, error: io::Error| format!("{}: {error}", printable(&path.to_string_lossy()));
        let refused = |why: &str| format!("{}: {why}", printable(&path.to_string_lossy()));
        // A slash or a dot at the end says that it is a directory.
        let last = self.path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let must_be_directory = matches!(last, b"" | b"." | b"..");
        match (fs::metadata(path), &self.source) {
            (Ok(found), None) if found.is_dir() => Target::new(path, Vec::new()),
            (Ok(_), None) => Err(refused("an archive is unpacked into a directory, and this is none")),
            (Ok(found), Some((name, contents))) if found.is_dir() => {
                let name = if *contents { Vec::new() } else { name.clone() };
                Target::new(path, name)
            }
            (Ok(_), Some(_)) if of_directory => Err(refused("a directory cannot be copied to a file")),
            (Ok(_), Some(_)) if must_be_directory => Err(refused("it is no directory")),
            (Ok(_), Some(_)) => {
                // A file takes the place of the one that links lead to.
                let real = fs::canonicalize(path).map_err(|error| failed(path, error))?;
                split(&real)
            }
            (Err(error), Some(_)) if error.kind() == io::ErrorKind::NotFound => {
                if must_be_directory && !of_directory {
                    return Err(refused("there is no such directory"));
                }
                split(path)
            }
            (Err(error), _) => Err(failed(path, error)),
        }
    }
}

/// The directory that a path is in, and its last name.
fn split(path: &Path) -> Result<Target, String> {
    // `a/.` is `a` here.
    let path: PathBuf = path.components().collect();
    let name = path.file_name().map(|name| name.to_owned().into_vec());
    let name = name.ok_or_else(|| format!("{}: it has no name", printable(&path.to_string_lossy())))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Target::new(parent, name)
}
