//! Which OpenPGP keys are trusted for which image names: rkt's directories of key files.
//!
//! ```text
//! CONFIG/trustedkeys/root.d/FINGERPRINT               trusted for every image
//! CONFIG/trustedkeys/prefix.d/PREFIX/FINGERPRINT      trusted for PREFIX and what is below it, PREFIX/…
//! ```
//!
//! `FINGERPRINT` is that of the primary key in lower-case hexadecimal digits, the file an armored public key. A file
//! without content takes trust away: from this key, for this prefix and below, as far as an earlier directory or a
//! shorter prefix had given it.

mod files;
mod scope;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use appc::AcIdentifier;

use crate::openpgp::Key;

use files::{check, ensure_folder, is_fingerprint, read_key, write};
use scope::below;

pub use scope::Scope;

/// The most keys of a keystore. More are a mistake, and each is parsed for every image.
const MAX_KEYS: usize = 1000;

/// The deepest prefix. (An image's name is shorter than a path may be.)
const MAX_DEPTH: usize = 64;

/// Why the keystore cannot be used. Every variant names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeystoreError {
    /// A file or folder could not be read.
    #[error("read {}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Somebody else could have put the key there.
    #[error("trusted key {} {why}", path.display())]
    Untrusted {
        /// The file.
        path: PathBuf,
        /// What is wrong with its owner or mode.
        why: &'static str,
    },
    /// A key, or the keystore, is larger than any should be.
    #[error("{} is larger than {limit}", path.display())]
    TooLarge {
        /// The file or folder.
        path: PathBuf,
        /// The limit, with its unit.
        limit: &'static str,
    },
    /// The key is not there.
    #[error("key {fingerprint} is not trusted for {scope}")]
    Absent {
        /// The key.
        fingerprint: String,
        /// Where it was looked for.
        scope: Scope,
    },
    /// A file could not be written or removed.
    #[error("write {}", path.display())]
    Write {
        /// Which one.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// The keystore's directories; none needs to exist.
#[derive(Clone, Debug)]
pub struct Keystore {
    dirs: Vec<PathBuf>,
}

/// What the keystore says: every key it names, and whether it is trusted.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// The key's file, or `None` where an empty file masks it.
    keys: BTreeMap<(Scope, String), Option<PathBuf>>,
    /// Files whose names are no fingerprints.
    strangers: Vec<PathBuf>,
}

impl Keystore {
    /// The keystore of configuration directories, of which the last counts most.
    pub fn new<'a>(config_dirs: impl IntoIterator<Item = &'a Path>) -> Self {
        Self { dirs: config_dirs.into_iter().map(|dir| dir.join("trustedkeys")).collect() }
    }

    /// Reads what is trusted.
    ///
    /// # Errors
    /// [`KeystoreError`]; a key file whose owner or mode would let others write it is not just passed over.
    pub fn read(&self) -> Result<Trust, KeystoreError> {
        let mut trust = Trust::default();
        for dir in &self.dirs {
            trust.add_folder(&dir.join("root.d"), Some(&Scope::Root), 0)?;
            trust.add_folder(&dir.join("prefix.d"), None, 0)?;
        }
        Ok(trust)
    }
}

impl Trust {
    /// Whether the key is trusted for the image of this name. The longest prefix that speaks of the key decides.
    pub fn trusts(&self, fingerprint: &str, name: &AcIdentifier) -> bool {
        let covering = self.keys.iter().filter(|((scope, key), _)| key == fingerprint && scope.covers(name));
        covering.max_by_key(|((scope, _), _)| scope.length()).is_some_and(|(_, file)| file.is_some())
    }

    /// What the key is trusted for, whatever the image.
    pub fn scopes(&self, fingerprint: &str) -> Vec<&Scope> {
        self.trusted().filter(|(_, key, _)| *key == fingerprint).map(|(scope, _, _)| scope).collect()
    }

    /// Every trusted key with what it is trusted for and its file.
    pub fn trusted(&self) -> impl Iterator<Item = (&Scope, &str, &Path)> {
        self.keys.iter().filter_map(|((scope, key), file)| Some((scope, key.as_str(), file.as_deref()?)))
    }

    /// Whether some key is trusted for this very scope.
    pub fn has(&self, scope: &Scope) -> bool {
        self.trusted().any(|(other, _, _)| other == scope)
    }

    /// Files in the keystore that are not named like keys and mean nothing.
    pub fn strangers(&self) -> &[PathBuf] {
        &self.strangers
    }

    /// Reads the trusted keys themselves, each once.
    ///
    /// # Errors
    /// [`KeystoreError`].
    pub fn keys(&self) -> Result<Vec<Key>, KeystoreError> {
        let mut files: BTreeMap<&str, &Path> = BTreeMap::new();
        for (_, fingerprint, path) in self.trusted() {
            files.entry(fingerprint).or_insert(path);
        }
        let key = |(fingerprint, path): (&str, &Path)| {
            Ok(Key { fingerprint: fingerprint.to_owned(), bytes: read_key(path)? })
        };
        files.into_iter().map(key).collect()
    }

    /// Adds what a folder and those below say; `scope` is `None` for `prefix.d` itself, which may hold only folders.
    fn add_folder(&mut self, folder: &Path, scope: Option<&Scope>, depth: usize) -> Result<(), KeystoreError> {
        let failed = |source| KeystoreError::Read { path: folder.to_owned(), source };
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if entry.file_type().map_err(failed)?.is_dir() {
                if let Some(below) = below(scope, name).filter(|_| depth < MAX_DEPTH) {
                    self.add_folder(&entry.path(), Some(&below), depth + 1)?;
                }
                continue;
            }
            match scope.filter(|_| is_fingerprint(name)) {
                Some(scope) => {
                    let file = (!check(&entry.path())?).then(|| entry.path());
                    self.keys.insert((scope.clone(), name.to_owned()), file);
                }
                // What an editor leaves, and hidden files, are not worth a word.
                None if name.starts_with('.') || name.ends_with('~') => {}
                None => self.strangers.push(entry.path()),
            }
            if self.keys.len() + self.strangers.len() > MAX_KEYS {
                return Err(KeystoreError::TooLarge { path: folder.to_owned(), limit: "1000 keys" });
            }
        }
        Ok(())
    }
}

/// Writes a key into the keystore of one configuration directory and returns its path. What root trusts everybody on
/// the machine must be able to read, whatever the umask.
///
/// # Errors
/// [`KeystoreError::Write`].
pub fn add(config_dir: &Path, scope: &Scope, fingerprint: &str, armored: &str) -> Result<PathBuf, KeystoreError> {
    let folder = ensure_folder(config_dir, scope)?;
    write(&folder, fingerprint, armored.as_bytes())
}

/// Takes the trust in a key away: removes its file from this configuration directory, and masks it there if another
/// directory trusts it as well. Returns the path.
///
/// # Errors
/// [`KeystoreError::Absent`] if the key is not trusted for this scope; [`KeystoreError::Read`],
/// [`KeystoreError::Write`].
pub fn remove(
    keystore: &Keystore,
    config_dir: &Path,
    scope: &Scope,
    fingerprint: &str,
) -> Result<PathBuf, KeystoreError> {
    let trusted = |trust: &Trust| trust.scopes(fingerprint).contains(&scope);
    if !trusted(&keystore.read()?) {
        return Err(KeystoreError::Absent { fingerprint: fingerprint.to_owned(), scope: scope.clone() });
    }
    let store = config_dir.join("trustedkeys");
    let path = store.join(scope.folder()).join(fingerprint);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(KeystoreError::Write { path, source: error });
        }
        _ => {}
    }
    if trusted(&keystore.read()?) {
        return write(&ensure_folder(config_dir, scope)?, fingerprint, b"");
    }
    // The folders of a prefix go with its last key; one that is not empty stays.
    let folders = path.ancestors().skip(1).take_while(|folder| folder.parent().is_some_and(|it| it != store));
    folders.take_while(|folder| fs::remove_dir(folder).is_ok()).for_each(drop);
    Ok(path)
}

#[cfg(test)]
mod tests;
