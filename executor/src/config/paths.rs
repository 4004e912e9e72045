//! `paths.d`: where data is kept.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::file::{self, ConfigError};
use crate::config::{ConfigDirs, Invalid, merge};

/// Places on this machine.
pub(crate) const KIND: &str = "paths";

/// The configured places.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Paths {
    /// The data directory, instead of the default; `--dir` counts more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<PathBuf>,
    /// rkt's folder of stage1 images. proa has its own stage1 built in and only shows this.
    #[serde(rename = "stage1-images", skip_serializing_if = "Option::is_none")]
    stage1_images: Option<PathBuf>,
}

#[derive(Deserialize)]
struct PathsFile {
    data: Option<String>,
    #[serde(rename = "stage1-images")]
    stage1_images: Option<String>,
}

impl Paths {
    /// Reads the configured places.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub(crate) fn read(dirs: &ConfigDirs) -> Result<Self, ConfigError> {
        let mut merged = merge(file::documents(dirs, "paths.d", &[KIND])?, |document| {
            let PathsFile { data, stage1_images } = document.content()?;
            [("data", data), ("stage1-images", stage1_images)]
                .into_iter()
                .filter_map(|(key, path)| Some((key.to_owned(), path.filter(|path| !path.is_empty())?)))
                .map(|(key, path)| match Path::new(&path).is_absolute() {
                    true => Ok((key, PathBuf::from(path))),
                    false => Err(Invalid::Relative(path)),
                })
                .collect()
        })?;
        Ok(Self { data: merged.remove("data"), stage1_images: merged.remove("stage1-images") })
    }
}
