//! Manifests that people write: files of JSON or YAML.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use appc::{MAX_MANIFEST_BYTES, ManifestError};
use rustix::fs::{CWD, FileType, Mode, OFlags, fcntl_setfl, fstat, fstatfs, openat};

use super::yaml::{YamlError, yaml_to_json};

/// The file system of pipes that have no name (`linux/magic.h`).
const PIPEFS_MAGIC: u64 = 0x5049_5045;

/// A manifest file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestFileError {
    /// It cannot be opened.
    #[error("open {}", path.display())]
    Open {
        /// The path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It is a directory, or something that could block or never end.
    #[error("{} is not a regular file", .0.display())]
    NotRegular(PathBuf),
    /// It is larger than any manifest.
    #[error(transparent)]
    TooLarge(ManifestError),
    /// It is called YAML and is not.
    #[error(transparent)]
    Yaml(#[from] YamlError),
}

/// A manifest as a person wrote it, turned into JSON where it was YAML; nothing of the schema is checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestFile {
    /// The text, JSON if all is well.
    pub json: Vec<u8>,
    /// When the file was changed last, in seconds since the epoch; 0 for times before it.
    pub modified: u64,
}

impl ManifestFile {
    /// Reads the manifest at `path`, which may lead through symbolic links. It is YAML if its name ends in `.yaml` or
    /// `.yml`.
    ///
    /// # Errors
    /// See [`ManifestFileError`]. A fifo or device is refused without blocking. A pipe without a name, which the caller
    /// has at hand as `/dev/stdin` or `/dev/fd/N`, is read to its end.
    pub fn read(path: &Path) -> Result<Self, ManifestFileError> {
        Self::open(CWD, path, path, Pipes::Read)
    }

    /// Reads the manifest `name` in the directory `dir`; messages call it `path`. A pipe is refused there: whoever made the
    /// directory may have put a link to the caller's own standard input into it, which may never end.
    ///
    /// # Errors
    /// See [`ManifestFileError`].
    pub(super) fn read_at(dir: impl AsFd, name: &Path, path: &Path) -> Result<Self, ManifestFileError> {
        Self::open(dir, name, path, Pipes::Refused)
    }

    fn open(dir: impl AsFd, name: &Path, path: &Path, pipes: Pipes) -> Result<Self, ManifestFileError> {
        let open_error = |error: rustix::io::Errno| ManifestFileError::Open { path: path.into(), source: error.into() };
        // O_NONBLOCK: a fifo must fail the check of its type instead of waiting for a writer.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = openat(dir, name, flags, Mode::empty()).map_err(open_error)?;
        let stat = fstat(&file).map_err(open_error)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Fifo if pipes == Pipes::Read && is_nameless(&file) => {
                fcntl_setfl(&file, OFlags::empty()).map_err(open_error)?;
            }
            _ => return Err(ManifestFileError::NotRegular(path.into())),
        }
        let text = read_bounded(&File::from(file), path)?;
        let json = if is_yaml(name) { yaml_to_json(&text)?.into_bytes() } else { text };
        Ok(Self { json, modified: u64::try_from(stat.st_mtime).unwrap_or(0) })
    }
}

/// Whether pipes without a name are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pipes {
    Read,
    Refused,
}

/// Whether this pipe has no name, so that whoever writes into it was there before.
fn is_nameless(pipe: &OwnedFd) -> bool {
    fstatfs(pipe).is_ok_and(|at| at.f_type as u64 == PIPEFS_MAGIC)
}

fn read_bounded(file: &File, path: &Path) -> Result<Vec<u8>, ManifestFileError> {
    let mut text = Vec::new();
    let most = MAX_MANIFEST_BYTES as u64 + 1;
    file.take(most).read_to_end(&mut text).map_err(|source| ManifestFileError::Read { path: path.into(), source })?;
    if text.len() > MAX_MANIFEST_BYTES {
        // A pipe's is 0.
        let size = file.metadata().map_or(0, |metadata| metadata.len() as usize).max(text.len());
        return Err(ManifestFileError::TooLarge(ManifestError::TooLarge { size, limit: MAX_MANIFEST_BYTES }));
    }
    Ok(text)
}

fn is_yaml(name: &Path) -> bool {
    name.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_decides_between_json_and_yaml() {
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).unwrap();
            ManifestFile::read(&dir.path().join(name)).map(|file| String::from_utf8(file.json).unwrap())
        };
        assert_eq!(read("a.yaml", "a: 1\n").unwrap(), r#"{"a":1}"#);
        assert_eq!(read("a.yml", "{a: [x]}").unwrap(), r#"{"a":["x"]}"#);
        assert_eq!(read("manifest", "a: 1\n").unwrap(), "a: 1\n");
        assert!(matches!(read("bad.yaml", "a: [").unwrap_err(), ManifestFileError::Yaml(_)));
    }

    #[test]
    fn what_is_no_file_or_too_large_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str| ManifestFile::read(&dir.path().join(name)).unwrap_err();
        assert!(matches!(ManifestFile::read(dir.path()).unwrap_err(), ManifestFileError::NotRegular(_)));
        rustix::fs::mknodat(CWD, dir.path().join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(matches!(read("fifo"), ManifestFileError::NotRegular(_)));
        assert!(matches!(read("missing"), ManifestFileError::Open { .. }));
        File::create(dir.path().join("large")).unwrap().set_len(5 << 20).unwrap();
        assert_eq!(read("large").to_string(), "manifest of 5242880 bytes is larger than 4194304 bytes");
    }
}
