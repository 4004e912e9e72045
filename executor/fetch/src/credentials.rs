//! Credentials for registries, where other tools keep them: containers' `auth.json` and Docker's `config.json`
//! (containers-auth.json(5)).
//!
//! The files are asked in the order of [`Places::files`]; the first that has something for a registry counts. In a file
//! a helper program for that registry (`credHelpers`) counts more than what stands in it (`auths`), and that more than
//! the helper for all (`credsStore`). A file or helper that cannot be used is an error: going on without it could hide a
//! mistake, or show a registry the wrong secret.

mod file;
mod login;
mod program;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use self::file::FileError;
pub use self::login::LoginError;
pub use self::program::HelperError;

use self::file::AuthFile;
use crate::registry::{Credential, Credentials, CredentialsError};

/// Where the files of a user are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The files, first things first. Those that do not exist are passed over.
    pub files: Vec<PathBuf>,
    /// Whether the first one was asked for by name, so that it must exist.
    pub first_must_exist: bool,
}

impl Places {
    /// The places that the environment leads to: `REGISTRY_AUTH_FILE` alone if it is set; else
    /// `$XDG_RUNTIME_DIR/containers/auth.json`, `$XDG_CONFIG_HOME/containers/auth.json` and
    /// `$DOCKER_CONFIG/config.json`, with the usual defaults below `HOME`.
    pub fn of_environment(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(file) = path("REGISTRY_AUTH_FILE") {
            return Self { files: vec![file], first_must_exist: true };
        }
        let absolute = |name: &str| path(name).filter(|path| path.is_absolute());
        let home = absolute("HOME");
        let below = |base: Option<PathBuf>, rest: &str| base.map(|base| base.join(rest));
        let config = absolute("XDG_CONFIG_HOME").or_else(|| below(home.clone(), ".config"));
        let docker = path("DOCKER_CONFIG").or_else(|| below(home, ".docker"));
        let files = [
            below(absolute("XDG_RUNTIME_DIR"), "containers/auth.json"),
            below(config, "containers/auth.json"),
            below(docker, "config.json"),
        ];
        Self { files: files.into_iter().flatten().collect(), first_must_exist: false }
    }
}

/// The credentials in the files of [`Places`].
#[derive(Clone, Debug, Default)]
pub struct StoredCredentials(Places);

impl StoredCredentials {
    /// Those in these places. Nothing is read before somebody asks.
    pub fn new(places: Places) -> Self {
        Self(places)
    }
}

impl Credentials for StoredCredentials {
    fn of_registry(&self, host: &str, repository: &str) -> Result<Option<Credential>, CredentialsError> {
        for (index, path) in self.0.files.iter().enumerate() {
            let must_exist = index == 0 && self.0.first_must_exist;
            let found = of_file(path, must_exist, host, repository);
            let found = found.map_err(|source| CredentialsError { host: host.to_owned(), source })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn of_file(path: &Path, must_exist: bool, host: &str, repository: &str) -> Result<Option<Credential>, BoxError> {
    let Some(file) = AuthFile::read(path, must_exist)? else { return Ok(None) };
    if let Some(helper) = file.helper_of(host)
        && let Some(found) = program::ask(helper, &file::server_of(host))?
    {
        return Ok(Some(found));
    }
    if let Some(found) = file.entry_of(host, repository).map_err(|error| error.of(path))? {
        return Ok(Some(found));
    }
    match file.helper_of_all() {
        Some(helper) => Ok(program::ask(helper, &file::server_of(host))?),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(variables: &[(&str, &str)]) -> Vec<String> {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
        Places::of_environment(variable).files.iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn files_are_where_other_tools_keep_them() {
        assert_eq!(places(&[("HOME", "/h")]), ["/h/.config/containers/auth.json", "/h/.docker/config.json"]);
        assert_eq!(
            places(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/r"), ("XDG_CONFIG_HOME", "/c"), ("DOCKER_CONFIG", "/d")]),
            ["/r/containers/auth.json", "/c/containers/auth.json", "/d/config.json"]
        );
        assert_eq!(places(&[("HOME", "/h"), ("REGISTRY_AUTH_FILE", "a")]), ["a"]);
        assert_eq!(places(&[("HOME", "relative")]), [""; 0]);
        assert_eq!(places(&[]), [""; 0]);
    }
}
