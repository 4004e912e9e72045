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
    /// Read-only stores beside those of `--store-ro`.
    #[serde(rename = "read-only-stores", skip_serializing_if = "Vec::is_empty")]
    pub(crate) stores: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct PathsFile {
    data: Option<String>,
    #[serde(rename = "stage1-images")]
    stage1_images: Option<String>,
    #[serde(rename = "read-only-stores", default)]
    stores: Vec<String>,
}

impl Paths {
    /// Reads the configured places.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub(crate) fn read(dirs: &ConfigDirs) -> Result<Self, ConfigError> {
        let absolute = |path: String| match Path::new(&path).is_absolute() {
            true => Ok(PathBuf::from(path)),
            false => Err(Invalid::Relative(path)),
        };
        let mut merged = merge(file::documents(dirs, "paths.d", &[KIND])?, |document| {
            let PathsFile { data, stage1_images, stores } = document.content()?;
            let given = [
                ("data", data.into_iter().collect()),
                ("stage1-images", stage1_images.into_iter().collect()),
                ("read-only-stores", stores),
            ];
            given
                .into_iter()
                .map(|(key, paths)| (key, paths.into_iter().filter(|path| !path.is_empty()).collect::<Vec<_>>()))
                .filter(|(_, paths)| !paths.is_empty())
                .map(|(key, paths)| Ok((key.to_owned(), paths.into_iter().map(absolute).collect::<Result<_, _>>()?)))
                .collect()
        })?;
        let mut one = |key| merged.remove(key).and_then(|paths: Vec<PathBuf>| paths.into_iter().next());
        let (data, stage1_images) = (one("data"), one("stage1-images"));
        Ok(Self { data, stage1_images, stores: merged.remove("read-only-stores").unwrap_or_default() })
    }
}
