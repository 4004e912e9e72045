//! `stage1.d`: which stage1 image rkt would use. proa has one, built in; what is configured is checked and shown.

use serde::{Deserialize, Serialize};

use crate::config::file::{self, ConfigError};
use crate::config::{ConfigDirs, Invalid, merge};

/// rkt's default stage1 image.
pub(crate) const KIND: &str = "stage1";

/// The configured stage1 image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Stage1 {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
}

#[derive(Deserialize)]
struct Stage1File {
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    location: String,
}

impl Stage1 {
    /// Reads what is configured.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]; a name without a version, or a version without a name, names no image.
    pub(crate) fn read(dirs: &ConfigDirs) -> Result<Self, ConfigError> {
        let mut merged = merge(file::documents(dirs, "stage1.d", &[KIND])?, |document| {
            let Stage1File { name, version, location } = document.content()?;
            match (name.is_empty(), version.is_empty()) {
                (true, false) => return Err(Invalid::Missing("name")),
                (false, true) => return Err(Invalid::Missing("version")),
                _ => {}
            }
            let fields = [("name", name), ("version", version), ("location", location)];
            Ok(fields.into_iter().filter(|(_, value)| !value.is_empty()).map(|(k, v)| (k.to_owned(), v)).collect())
        })?;
        let mut take = |key| merged.remove(key);
        Ok(Self { name: take("name"), version: take("version"), location: take("location") })
    }
}
