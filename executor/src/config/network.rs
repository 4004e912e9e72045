//! `network.d`: which network a pod has for which none was chosen.

use serde::{Deserialize, Serialize};

use crate::config::file::{self, ConfigError};
use crate::config::{ConfigDirs, Invalid, merge};
use crate::net::Mode;

/// Networks of pods.
pub(crate) const KIND: &str = "network";

/// What is configured about networks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Networks {
    /// The network of a pod without `--net`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) default: Option<Mode>,
}

#[derive(Deserialize)]
struct NetworkFile {
    #[serde(default)]
    default: String,
}

impl Networks {
    /// Reads what is configured.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]; a network that there is not.
    pub(crate) fn read(dirs: &ConfigDirs) -> Result<Self, ConfigError> {
        let mut merged = merge(file::documents(dirs, "network.d", &[KIND])?, |document| {
            let NetworkFile { default } = document.content()?;
            if default.is_empty() {
                return Ok(Vec::new());
            }
            let mode = Mode::named(&default).ok_or(Invalid::Network(default))?;
            Ok(vec![("default".to_owned(), mode)])
        })?;
        Ok(Self { default: merged.remove("default") })
    }
}
