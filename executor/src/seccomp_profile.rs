//! `--seccomp-profile`: a filter of system calls as docker, podman and the OCI runtime specification write it.

use std::path::{Path, PathBuf};

use stage1::seccomp::oci::{MAX_BYTES, Profile};

use crate::error::{CommandError, Explain as _};
use crate::small_file;

/// A profile, and where it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeccompProfile {
    /// The file.
    pub(crate) file: PathBuf,
    /// Its text, without what JSON does not need.
    pub(crate) text: String,
}

impl SeccompProfile {
    /// Reads `file`, which `option` named.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is no profile. Whether it can be compiled is found out with the app's other isolators.
    pub(crate) fn read(option: &str, file: &Path) -> Result<Self, CommandError> {
        let during = || format!("{option}={}", file.display());
        let text = small_file::read_text(file, MAX_BYTES).during(during)?;
        let refused = |why: String| {
            CommandError::failed(format!("{}: {why}", during()))
                .hint("wanted: a profile such as docker's default.json (OCI runtime specification, config-linux.md)")
        };
        Profile::parse(&text).map_err(|error| refused(error.to_string()))?;
        let value: serde_json::Value = serde_json::from_str(&text).map_err(|error| refused(error.to_string()))?;
        Ok(Self { file: file.to_owned(), text: value.to_string() })
    }
}
