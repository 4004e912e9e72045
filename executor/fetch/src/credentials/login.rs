//! Credentials that are kept for later: written into the first of the files that are read.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::rand::{GetRandomFlags, getrandom};
use serde_json::{Map, Value, json};

use super::Places;
use super::file::{self, AuthFile};

/// Why credentials cannot be kept, or not be forgotten. The text holds no secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// No environment variable leads to a place.
    #[error("there is no place for credentials: neither HOME nor XDG_RUNTIME_DIR is set")]
    NoPlace,
    /// The file is none that could be changed.
    #[error(transparent)]
    File(#[from] file::FileError),
    /// The file is not of the form that it should have.
    #[error("{} is not a JSON object with an object \"auths\"", .0.display())]
    Form(PathBuf),
    /// It cannot be written.
    #[error("write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Places {
    /// Keeps user and password for a registry, in the first file. Returns which that is.
    ///
    /// # Errors
    /// [`LoginError`]; the file is as it was then.
    pub fn log_in(&self, host: &str, user: &str, password: &str) -> Result<&Path, LoginError> {
        let path = self.files.first().ok_or(LoginError::NoPlace)?;
        let auth = STANDARD.encode(format!("{user}:{password}"));
        change(path, |auths| {
            auths.retain(|key, _| !file::is_host(key, host));
            auths.insert(file::server_of(host), json!({ "auth": auth }));
            true
        })?;
        Ok(path)
    }

    /// Forgets what the files hold for a registry. Returns whether there was something.
    ///
    /// # Errors
    /// [`LoginError`]; files before the one that it names are changed.
    pub fn log_out(&self, host: &str) -> Result<bool, LoginError> {
        let mut found = false;
        for path in self.files.iter().filter(|path| path.exists()) {
            found |= change(path, |auths| {
                let before = auths.len();
                auths.retain(|key, _| !file::is_host(key, host));
                auths.len() < before
            })?;
        }
        Ok(found)
    }
}

/// Changes the entries of a file; it is written anew if something changed, which is returned.
fn change(path: &Path, edit: impl FnOnce(&mut Map<String, Value>) -> bool) -> Result<bool, LoginError> {
    // What could not be read would not count.
    AuthFile::read(path, false)?;
    let form = || LoginError::Form(path.to_owned());
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read.map_err(|source| file::FileError::Read { path: path.to_owned(), source })?,
    };
    let mut whole = match text.iter().all(u8::is_ascii_whitespace) {
        true => json!({}),
        false => serde_json::from_slice(&text).map_err(|_| form())?,
    };
    let entries = whole.as_object_mut().ok_or_else(form)?.entry("auths").or_insert_with(|| json!({}));
    if !edit(entries.as_object_mut().ok_or_else(form)?) {
        return Ok(false);
    }
    write(path, &whole).map_err(|source| LoginError::Write { path: path.to_owned(), source })?;
    Ok(true)
}

/// Puts a new file in the place of the old one, for this user alone.
fn write(path: &Path, whole: &Value) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mut random = [0; 8];
    getrandom(&mut random, GetRandomFlags::empty())?;
    // New, or not at all: a file or a link that somebody put there would get the passwords.
    let draft = dir.join(format!(".auth.json.{:016x}", u64::from_ne_bytes(random)));
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = serde_json::to_writer_pretty(&mut file, whole)
        .map_err(io::Error::from)
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        // The first error is the one to report; nothing else has that name, and nobody else may read it.
        let _ = fs::remove_file(&draft);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::credentials::StoredCredentials;
    use crate::registry::{Credential, Credentials as _};

    fn user(places: &Places, host: &str) -> Option<String> {
        match StoredCredentials::new(places.clone()).of_registry(host, "x").unwrap()? {
            Credential::Basic { user, password } => Some(format!("{user}:{}", password.expose())),
            other => Some(format!("{other:?}")),
        }
    }

    #[test]
    fn what_was_kept_is_found_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("containers/auth.json");
        let places = Places { files: vec![path.clone(), dir.path().join("none.json")], first_must_exist: false };
        assert!(!places.log_out("quay.io").unwrap());
        places.log_in("quay.io", "anna", "a:b").unwrap();
        places.log_in("docker.io", "dora", "d").unwrap();
        places.log_in("quay.io", "emil", "e").unwrap();
        assert_eq!(user(&places, "quay.io").as_deref(), Some("emil:e"));
        assert_eq!(user(&places, "docker.io").as_deref(), Some("dora:d"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::read_to_string(&path).unwrap().contains("https://index.docker.io/v1/"));
        assert!(places.log_out("docker.io").unwrap() && !places.log_out("docker.io").unwrap());
        assert_eq!((user(&places, "docker.io"), user(&places, "quay.io").is_some()), (None, true));
    }

    #[test]
    fn what_else_is_in_the_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth.json");
        fs::write(&path, r#"{"credHelpers":{"a.io":"x"},"auths":{"b.io":{"auth":"Yjpi"}}}"#).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let places = Places { files: vec![path.clone()], first_must_exist: true };
        places.log_in("c.io", "c", "c").unwrap();
        let whole: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!((&whole["credHelpers"]["a.io"], &whole["auths"]["b.io"]["auth"]), (&json!("x"), &json!("Yjpi")));
        fs::write(&path, "[]").unwrap();
        assert!(places.log_in("c.io", "c", "c").is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "[]");
        assert!(matches!(Places::default().log_in("c.io", "c", "c"), Err(LoginError::NoPlace)));
    }
}
