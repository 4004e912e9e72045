//! `policy.d`: what images of registries have to be, by the beginning of their names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::file::{self, ConfigError, Document};
use crate::config::{ConfigDirs, Invalid, merge};

/// What must hold for images below a prefix.
pub(crate) const KIND: &str = "policy";

/// The prefix of all names.
const EVERYTHING: &str = "*";

/// What must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Policy {
    /// Images must be named by digest: a tag can be moved.
    #[serde(rename = "requireDigest", skip_serializing_if = "std::ops::Not::not")]
    pub(crate) require_digest: bool,
    /// Files of public keys, one of which must have signed the image; none if empty.
    #[serde(rename = "sigstoreKeys", skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) sigstore_keys: Vec<PathBuf>,
}

/// What is configured, by prefix.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policies(BTreeMap<String, Policy>);

/// A field that is not known could be one that is misspelt, and then nothing would be required.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    #[serde(rename = "rktKind")]
    _kind: String,
    #[serde(rename = "rktVersion")]
    _version: String,
    #[serde(default)]
    prefixes: Vec<String>,
    #[serde(rename = "requireDigest", default)]
    require_digest: bool,
    #[serde(rename = "sigstoreKeys", default)]
    sigstore_keys: Vec<String>,
}

impl Policies {
    /// Reads what is configured.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub(crate) fn read(dirs: &ConfigDirs) -> Result<Self, ConfigError> {
        merge(file::documents(dirs, "policy.d", &[KIND])?, policies).map(Self)
    }

    /// What must hold for `HOST/REPOSITORY`, and the prefix that says so: the longest that fits, at a slash.
    pub(crate) fn of(&self, name: &str) -> Option<(&str, &Policy)> {
        let covers = |prefix: &str| {
            let rest = name.strip_prefix(prefix);
            prefix == EVERYTHING || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let length = |prefix: &str| if prefix == EVERYTHING { 0 } else { prefix.len() };
        let covering = self.0.iter().filter(|(prefix, _)| covers(prefix));
        covering.max_by_key(|(prefix, _)| length(prefix)).map(|(prefix, policy)| (prefix.as_str(), policy))
    }

    /// All of them, by prefix.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Policy)> {
        self.0.iter().map(|(prefix, policy)| (prefix.as_str(), policy))
    }
}

fn policies(document: &Document) -> Result<Vec<(String, Policy)>, Invalid> {
    let PolicyFile { prefixes, require_digest, sigstore_keys, .. } = document.content()?;
    if prefixes.is_empty() {
        return Err(Invalid::Missing("prefixes"));
    }
    let absolute = |path: String| match Path::new(&path).is_absolute() {
        true => Ok(PathBuf::from(path)),
        false => Err(Invalid::Relative(path)),
    };
    let sigstore_keys = sigstore_keys.into_iter().map(absolute).collect::<Result<_, _>>()?;
    let policy = Policy { require_digest, sigstore_keys };
    prefixes.into_iter().map(|prefix| Ok((checked(prefix)?, policy.clone()))).collect()
}

/// A prefix as names of images are written in full: `HOST[:PORT][/REPOSITORY…]`, or `*`.
fn checked(prefix: String) -> Result<String, Invalid> {
    let (host, rest) = prefix.split_once('/').unwrap_or((&prefix, ""));
    let is_host = host.contains(['.', ':']) || host == "localhost";
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_' | '/' | ':');
    let whole = !prefix.ends_with('/') && !rest.split('/').any(|part| part.is_empty() && !rest.is_empty());
    if prefix == EVERYTHING || (is_host && whole && prefix.chars().all(plain)) {
        Ok(prefix)
    } else {
        Err(Invalid::Prefix(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_counts() {
        let policy = |require_digest| Policy { require_digest, ..Policy::default() };
        let all = [("*", true), ("docker.io", false), ("docker.io/library", true), ("a.org:5000/x", false)];
        let policies = Policies(all.into_iter().map(|(prefix, it)| (prefix.to_owned(), policy(it))).collect());
        for (name, prefix) in [
            ("docker.io/library/debian", "docker.io/library"),
            ("docker.io/librarian", "docker.io"),
            ("docker.io/library", "docker.io/library"),
            ("a.org:5000/x/y", "a.org:5000/x"),
            ("a.org:5000/xy", "*"),
            ("a.org/x", "*"),
        ] {
            assert_eq!(policies.of(name).map(|(prefix, _)| prefix), Some(prefix), "{name}");
        }
        assert!(Policies::default().of("x").is_none());
    }

    #[test]
    fn prefixes_are_whole_names() {
        for good in ["*", "docker.io", "localhost/x", "localhost:5000", "a.org/x/y_z"] {
            assert!(checked(good.to_owned()).is_ok(), "{good}");
        }
        for bad in
            ["", "debian", "docker.io/", "https://docker.io", "docker.io//x", "Docker.io", "a.org/*", "a.org/x y"]
        {
            assert!(checked(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
