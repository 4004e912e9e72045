//! A file that tells which pod a command has made.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use appc::PodUuid;

use crate::docker;
use crate::error::{CommandError, Explain as _};

/// Where it is written, and in which form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UuidFile {
    /// `--uuid-file-save`: the UUID. A file that is there is replaced, as rkt does.
    Uuid(PathBuf),
    /// docker's `--cidfile`: the id that docker has for it. A file that is there is somebody else's.
    Cid(PathBuf),
}

impl UuidFile {
    /// Refuses at once what cannot be written later.
    ///
    /// # Errors
    ///
    /// There is a file already that may not be replaced; the text is docker's.
    pub(crate) fn check(&self) -> Result<(), CommandError> {
        match self {
            Self::Cid(path) if path.symlink_metadata().is_ok() => Err(taken(path)),
            _ => Ok(()),
        }
    }

    /// Writes which pod it is.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn write(&self, uuid: PodUuid) -> Result<(), CommandError> {
        match self {
            Self::Uuid(path) => {
                std::fs::write(path, uuid.to_string()).during(|| format!("--uuid-file-save={}", path.display()))
            }
            Self::Cid(path) => match File::create_new(path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(taken(path)),
                file => file
                    .and_then(|mut file| file.write_all(docker::id(uuid).as_bytes()))
                    .during(|| format!("--cidfile={}", path.display())),
            },
        }
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Uuid(path) | Self::Cid(path) => path,
        }
    }
}

fn taken(path: &Path) -> CommandError {
    let path = path.display();
    CommandError::usage(format!(
        "container ID file found, make sure the other container isn't running or delete {path}"
    ))
}
