//! What a key is trusted for.

use std::fmt;
use std::path::{Path, PathBuf};

use appc::AcIdentifier;

/// What a key is trusted for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Every image.
    Root,
    /// The image of this name, and those whose names begin with it and a slash.
    Prefix(AcIdentifier),
}

impl Scope {
    /// Whether an image is within it.
    pub fn covers(&self, name: &AcIdentifier) -> bool {
        match self {
            Self::Root => true,
            Self::Prefix(prefix) => {
                let rest = name.as_str().strip_prefix(prefix.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }

    /// Its folder below `trustedkeys`.
    pub(super) fn folder(&self) -> PathBuf {
        match self {
            Self::Root => PathBuf::from("root.d"),
            Self::Prefix(prefix) => Path::new("prefix.d").join(prefix.as_str()),
        }
    }

    pub(super) fn length(&self) -> usize {
        match self {
            Self::Root => 0,
            Self::Prefix(prefix) => prefix.as_str().len(),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("every image"),
            Self::Prefix(prefix) => write!(f, "prefix {:?}", prefix.as_str()),
        }
    }
}

pub(super) fn below(scope: Option<&Scope>, name: &str) -> Option<Scope> {
    let prefix = match scope {
        Some(Scope::Root) => return None,
        Some(Scope::Prefix(prefix)) => format!("{prefix}/{name}"),
        None => name.to_owned(),
    };
    prefix.parse().ok().map(Scope::Prefix)
}
