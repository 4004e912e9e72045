//! Reading the files of one folder of every configuration directory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use fetch::json::{self, JsonError};
use rustix::fs::{CWD, Mode, OFlags, openat};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::config::{ConfigDirs, Invalid, VERSION};

/// A configuration file larger than this many bytes is a mistake.
const MAX_BYTES: u64 = 1 << 20;

/// The most files of one folder that are read.
const MAX_FILES: usize = 1000;

/// Why configuration cannot be used. Messages name the file and never repeat a value that may be secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A file or folder could not be read.
    #[error("read configuration {path:?}")]
    Read { path: PathBuf, source: io::Error },
    /// Somebody else could have written it.
    #[error("configuration file {path:?} {why}")]
    Untrusted { path: PathBuf, why: &'static str },
    /// It, or the folder, is too large.
    #[error("configuration {path:?} is larger than {limit}")]
    TooLarge { path: PathBuf, limit: &'static str },
    /// It does not say what it is.
    #[error("no {field} specified in {path:?}")]
    NoField { path: PathBuf, field: &'static str },
    /// It belongs elsewhere.
    #[error(
        "the configuration directory {folder:?} expects to have configuration files of kinds {kinds}, but {file:?} has kind of {kind:?}"
    )]
    ForeignKind { folder: PathBuf, kinds: String, file: String, kind: String },
    /// It is of a version that this program does not know.
    #[error("no parser available for configuration of kind {kind:?} and version {version:?} in {path:?}")]
    Version { path: PathBuf, kind: String, version: String },
    /// Its content is wrong.
    #[error("failed to parse {path:?}")]
    Content { path: PathBuf, source: Invalid },
}

/// One configuration file, its kind and version checked.
#[derive(Debug)]
pub(crate) struct Document {
    path: PathBuf,
    pub(crate) kind: String,
    json: Vec<u8>,
}

/// The fields that every file has.
#[derive(Deserialize)]
struct Header {
    #[serde(rename = "rktVersion", default)]
    version: String,
    #[serde(rename = "rktKind", default)]
    kind: String,
}

impl Document {
    /// Its content.
    pub(crate) fn content<T: DeserializeOwned>(&self) -> Result<T, Invalid> {
        Ok(json::parse(&self.json)?)
    }

    /// The error that says what is wrong with this file.
    pub(crate) fn invalid(&self, source: Invalid) -> ConfigError {
        ConfigError::Content { path: self.path.clone(), source }
    }
}

/// The files of `folder` in each configuration directory, the directories in the order of [`ConfigDirs::all`], files in
/// the order of their names.
///
/// As in rkt these are the regular files whose names end in `.json`; symbolic links and directories are passed over. An
/// empty file stands for nothing, and hides the files of its name in the directories before.
///
/// # Errors
///
/// See [`ConfigError`].
pub(crate) fn documents(dirs: &ConfigDirs, folder: &str, kinds: &[&str]) -> Result<Vec<Vec<Document>>, ConfigError> {
    let mut by_dir: Vec<BTreeMap<String, Document>> = Vec::new();
    for dir in dirs.all() {
        let folder = dir.join(folder);
        let mut documents = BTreeMap::new();
        for name in names(&folder)? {
            let path = folder.join(&name);
            let Some(json) = read(&path)? else { continue };
            by_dir.iter_mut().filter(|_| json.is_empty()).for_each(|earlier| drop(earlier.remove(&name)));
            if !json.is_empty() {
                documents.insert(name, document(&folder, path, json, kinds)?);
            }
        }
        by_dir.push(documents);
    }
    Ok(by_dir.into_iter().map(|documents| documents.into_values().collect()).collect())
}

fn names(folder: &Path) -> Result<Vec<String>, ConfigError> {
    let failed = |source| ConfigError::Read { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        // A name that is not UTF-8 is none that anybody meant.
        names.extend(name.into_string().ok().filter(|name| name.ends_with(".json")));
        if names.len() > MAX_FILES {
            return Err(ConfigError::TooLarge { path: folder.to_owned(), limit: "1000 files" });
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The bytes of a configuration file; `None` for what is no regular file.
fn read(path: &Path) -> Result<Option<Vec<u8>>, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file: File = match openat(CWD, path, flags, Mode::empty()) {
        Ok(file) => file.into(),
        // A symbolic link, a socket, and one that is just gone.
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::NXIO | rustix::io::Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(failed(errno.into())),
    };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let untrusted = |why| Err(ConfigError::Untrusted { path: path.to_owned(), why });
    if metadata.mode() & 0o002 != 0 {
        return untrusted("can be written by everybody");
    }
    if ![0, rustix::process::geteuid().as_raw()].contains(&metadata.uid()) {
        return untrusted("belongs to another user");
    }
    let mut json = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut json).map_err(failed)?;
    if json.len() as u64 > MAX_BYTES {
        return Err(ConfigError::TooLarge { path: path.to_owned(), limit: "1 MiB" });
    }
    Ok(Some(json))
}

fn document(folder: &Path, path: PathBuf, json: Vec<u8>, kinds: &[&str]) -> Result<Document, ConfigError> {
    let parsed = json::parse::<Header>(&json);
    let Header { version, kind } = match parsed {
        Ok(header) => header,
        Err(error) => return Err(ConfigError::Content { path, source: JsonError::into(error) }),
    };
    if kind.is_empty() {
        return Err(ConfigError::NoField { path, field: "rktKind" });
    }
    if version.is_empty() {
        return Err(ConfigError::NoField { path, field: "rktVersion" });
    }
    if !kinds.contains(&kind.as_str()) {
        let kinds = kinds.iter().map(|kind| format!("{kind:?}")).collect::<Vec<_>>().join(", ");
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Err(ConfigError::ForeignKind { folder: folder.to_owned(), kinds, file, kind });
    }
    if version != VERSION {
        return Err(ConfigError::Version { path, kind, version });
    }
    Ok(Document { path, kind, json })
}
