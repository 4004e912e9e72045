//! One `auth.json` or `config.json`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::OFlags;
use serde::Deserialize;

use crate::json::{self, JsonError};
use crate::quote::Quoted;
use crate::registry::{Credential, Secret};

/// The most bytes of such a file.
const LARGEST: u64 = 1 << 20;

/// What Docker calls its own registry in these files.
const DOCKER_SERVER: &str = "https://index.docker.io/v1/";

/// Why a file cannot be used. The text holds no secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is no file, or a huge one.
    #[error("{} is not a file of at most {LARGEST} bytes", .0.display())]
    NoFile(PathBuf),
    /// Others could have written it.
    #[error("{} can be written by others than root and the user", .0.display())]
    Writable(PathBuf),
    /// It is not JSON, or not of this form.
    #[error("parse {}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: JsonError,
    },
    /// An entry that holds no user and password.
    #[error("{}: the entry {key} holds no valid credentials", path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// Whom the entry is for.
        key: Quoted,
    },
}

/// An entry that holds no user and password: whom it is for.
#[derive(Debug)]
pub(super) struct BadEntry(Quoted);

impl BadEntry {
    pub(super) fn of(self, path: &Path) -> FileError {
        FileError::Entry { path: path.to_owned(), key: self.0 }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct AuthFile {
    auths: BTreeMap<String, Entry>,
    #[serde(rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(rename = "credsStore")]
    helper: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl AuthFile {
    /// Reads the file at `path`; `None` if there is none, unless it must exist.
    pub(super) fn read(path: &Path, must_exist: bool) -> Result<Option<Self>, FileError> {
        let failed = |source| FileError::Read { path: path.to_owned(), source };
        // A fifo must not hang us.
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path);
        let file = match file {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() || metadata.len() > LARGEST {
            return Err(FileError::NoFile(path.to_owned()));
        }
        let owners = [0, rustix::process::geteuid().as_raw()];
        if metadata.mode() & 0o002 != 0 || !owners.contains(&metadata.uid()) {
            return Err(FileError::Writable(path.to_owned()));
        }
        let mut bytes = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            // podman makes such a file before the first login.
            return Ok(Some(Self::default()));
        }
        json::parse(&bytes).map(Some).map_err(|source| FileError::Json { path: path.to_owned(), source })
    }

    /// The helper program for one registry.
    pub(super) fn helper_of(&self, host: &str) -> Option<&str> {
        let found = self.helpers.iter().find(|(key, _)| is_host(key, host));
        found.map(|(_, helper)| helper.as_str())
    }

    /// The helper program for all registries.
    pub(super) fn helper_of_all(&self) -> Option<&str> {
        self.helper.as_deref().filter(|helper| !helper.is_empty())
    }

    /// What stands in the file for a repository: the longest key that is the repository or what holds it, then what
    /// other tools have written for the host.
    pub(super) fn entry_of(&self, host: &str, repository: &str) -> Result<Option<Credential>, BadEntry> {
        let mut name = format!("{host}/{repository}");
        loop {
            if let Some(entry) = self.auths.get(&name) {
                return entry.credential(&name);
            }
            match name.rfind('/') {
                Some(end) => name.truncate(end),
                None => break,
            }
        }
        match self.auths.iter().find(|(key, _)| is_host(key, host)) {
            Some((key, entry)) => entry.credential(key),
            None => Ok(None),
        }
    }
}

impl Entry {
    /// What the entry holds; `None` for the empty entries that tools leave beside a helper.
    fn credential(&self, key: &str) -> Result<Option<Credential>, BadEntry> {
        let bad = || BadEntry(Quoted::new(key));
        if !self.registrytoken.is_empty() {
            return Ok(Some(Credential::Bearer(Secret::new(&self.registrytoken))));
        }
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credential::Identity(Secret::new(&self.identitytoken))));
        }
        let (user, password) = if self.auth.is_empty() {
            (self.username.clone(), self.password.clone())
        } else {
            let text = STANDARD.decode(self.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let text = text.ok_or_else(bad)?;
            let (user, password) = text.split_once(':').ok_or_else(bad)?;
            // Docker once filled up with zeros.
            (user.to_owned(), password.trim_end_matches('\0').to_owned())
        };
        match (user.is_empty(), password.is_empty()) {
            (true, true) => Ok(None),
            (true, false) => Err(bad()),
            _ => Ok(Some(Credential::Basic { user, password: Secret::new(password) })),
        }
    }
}

/// What helpers are asked for: Docker's registry has kept the name of its first version.
pub(super) fn server_of(host: &str) -> String {
    if host == "docker.io" { DOCKER_SERVER.to_owned() } else { host.to_owned() }
}

/// Whether a key names `host`, as a host or as a URL of an older tool.
pub(super) fn is_host(key: &str, host: &str) -> bool {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    // Without a scheme what follows a slash is a repository, whose credentials are not the host's.
    let key_host = match bare {
        Some(rest) => rest.split('/').next().unwrap_or_default(),
        None => key,
    };
    let docker = ["docker.io", "index.docker.io", "registry-1.docker.io"];
    key_host.eq_ignore_ascii_case(host) || (docker.contains(&host) && docker.contains(&key_host))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn parsed(text: &str) -> AuthFile {
        json::parse(text.as_bytes()).unwrap()
    }

    fn user(file: &AuthFile, host: &str, repository: &str) -> Option<String> {
        match file.entry_of(host, repository).unwrap()? {
            Credential::Basic { user, password } => Some(format!("{user}:{}", password.expose())),
            Credential::Identity(token) => Some(format!("identity {}", token.expose())),
            Credential::Bearer(token) => Some(format!("bearer {}", token.expose())),
        }
    }

    #[test]
    fn the_most_specific_entry_counts_and_no_other_host_s() {
        let file = parsed(
            r#"{"auths": {
                "quay.io": {"auth": "cTpx"}, "quay.io/team": {"auth": "dDp0"}, "quay.io/team/app": {"auth": "YTph"},
                "https://index.docker.io/v1/": {"auth": "ZDpk"}, "https://old.example:5000/v2/": {"auth": "bzpv"},
                "token.io": {"identitytoken": "canary"}, "bearer.io": {"registrytoken": "b"},
                "plain.io": {"username": "p", "password": "w"}, "empty.io": {}, "only.io/x": {"auth": "eDp4"}}}"#,
        );
        for (host, repository, expected) in [
            ("quay.io", "x", Some("q:q")),
            ("quay.io", "team/x", Some("t:t")),
            ("quay.io", "team/app", Some("a:a")),
            ("quay.io", "team/app2", Some("t:t")),
            ("quay.io", "teamwork/x", Some("q:q")),
            ("docker.io", "library/x", Some("d:d")),
            ("old.example:5000", "x", Some("o:o")),
            ("old.example", "x", None),
            ("token.io", "x", Some("identity canary")),
            ("bearer.io", "x", Some("bearer b")),
            ("plain.io", "x", Some("p:w")),
            ("empty.io", "x", None),
            ("only.io", "x/y", Some("x:x")),
            ("only.io", "y", None),
            ("evil-quay.io", "x", None),
            ("io", "x", None),
        ] {
            assert_eq!(user(&file, host, repository).as_deref(), expected, "{host} {repository}");
        }
        let debug = format!("{:?}", file.entry_of("token.io", "x").unwrap());
        assert!(!debug.contains("canary"), "{debug}");
    }

    #[test]
    fn damaged_entries_are_errors() {
        for entry in ["{\"auth\":\"%%\"}", "{\"auth\":\"bm9jb2xvbg==\"}", "{\"auth\":\"Ong=\"}"] {
            let file = parsed(&format!("{{\"auths\":{{\"a.io\":{entry}}}}}"));
            assert!(file.entry_of("a.io", "x").is_err(), "{entry}");
            assert!(file.entry_of("b.io", "x").unwrap().is_none());
        }
    }

    #[test]
    fn only_sound_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth.json");
        assert!(AuthFile::read(&path, false).unwrap().is_none());
        assert!(matches!(AuthFile::read(&path, true), Err(FileError::Read { .. })));
        for (content, good) in [("", true), ("{}", true), ("{", false), ("{\"auths\":1}", false), ("3", false)] {
            fs::write(&path, content).unwrap();
            assert_eq!(AuthFile::read(&path, false).is_ok(), good, "{content:?}");
        }
        fs::write(&path, "{}").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o602)).unwrap();
        assert!(matches!(AuthFile::read(&path, false), Err(FileError::Writable(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(LARGEST + 1).unwrap();
        assert!(matches!(AuthFile::read(&path, false), Err(FileError::NoFile(_))));
        assert!(matches!(AuthFile::read(dir.path(), false), Err(FileError::NoFile(_))));
    }
}
