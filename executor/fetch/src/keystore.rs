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

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use appc::AcIdentifier;
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::digest::is_lower_hex;
use crate::openpgp::{Key, MAX_KEY_BYTES};

/// The most keys of a keystore. More are a mistake, and each is parsed for every image.
const MAX_KEYS: usize = 1000;

/// The deepest prefix. (An image's name is shorter than a path may be.)
const MAX_DEPTH: usize = 64;

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
    fn folder(&self) -> PathBuf {
        match self {
            Self::Root => PathBuf::from("root.d"),
            Self::Prefix(prefix) => Path::new("prefix.d").join(prefix.as_str()),
        }
    }

    fn length(&self) -> usize {
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

fn below(scope: Option<&Scope>, name: &str) -> Option<Scope> {
    let prefix = match scope {
        Some(Scope::Root) => return None,
        Some(Scope::Prefix(prefix)) => format!("{prefix}/{name}"),
        None => name.to_owned(),
    };
    prefix.parse().ok().map(Scope::Prefix)
}

/// Whether a file is named like a key: 40 digits for version 4, 64 for version 6.
fn is_fingerprint(name: &str) -> bool {
    matches!(name.len(), 40 | 64) && is_lower_hex(name)
}

/// Says whether a file of the keystore is empty.
fn check(path: &Path) -> Result<bool, KeystoreError> {
    open(path).map(|(_, size)| size == 0)
}

/// Opens a key file and returns its size, if nobody but root and this user can have written it.
fn open(path: &Path) -> Result<(File, u64), KeystoreError> {
    let failed = |source| KeystoreError::Read { path: path.to_owned(), source };
    let untrusted = |why| Err(KeystoreError::Untrusted { path: path.to_owned(), why });
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file: File = openat(CWD, path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?.into();
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return untrusted("is no regular file");
    }
    if metadata.mode() & 0o002 != 0 {
        return untrusted("can be written by everybody");
    }
    if ![0, rustix::process::geteuid().as_raw()].contains(&metadata.uid()) {
        return untrusted("belongs to another user");
    }
    if metadata.len() > MAX_KEY_BYTES as u64 {
        return Err(KeystoreError::TooLarge { path: path.to_owned(), limit: "1 MiB" });
    }
    Ok((file, metadata.len()))
}

fn read_key(path: &Path) -> Result<Vec<u8>, KeystoreError> {
    let mut bytes = Vec::new();
    let read = open(path)?.0.take(MAX_KEY_BYTES as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|source| KeystoreError::Read { path: path.to_owned(), source })?;
    Ok(bytes)
}

/// Makes a scope's folder, readable for everybody.
fn ensure_folder(config_dir: &Path, scope: &Scope) -> Result<PathBuf, KeystoreError> {
    let folder = config_dir.join("trustedkeys").join(scope.folder());
    let failed = |source| KeystoreError::Write { path: folder.clone(), source };
    let missing: Vec<&Path> =
        folder.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
    for dir in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o755).create(dir) {
            Ok(()) => fs::set_permissions(dir, Permissions::from_mode(0o755)).map_err(failed)?,
            // Somebody was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(folder)
}

/// Writes a file complete or not at all.
fn write(folder: &Path, name: &str, content: &[u8]) -> Result<PathBuf, KeystoreError> {
    let path = folder.join(name);
    // Hidden, so that one that is left behind by a killed process is passed over.
    let draft = folder.join(format!(".{name}.{}", std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&draft)?;
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        File::open(folder)?.sync_all()
    })();
    match written {
        Ok(()) => Ok(path),
        Err(source) => {
            // The first error is the one to report.
            let _ = fs::remove_file(&draft);
            Err(KeystoreError::Write { path, source })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn prefix(text: &str) -> Scope {
        Scope::Prefix(text.parse().unwrap())
    }

    fn name(text: &str) -> AcIdentifier {
        text.parse().unwrap()
    }

    /// Three configuration directories with these files (path below the directory's `trustedkeys`, content).
    fn keystore(files: &[(usize, &str, &str)]) -> (tempfile::TempDir, Keystore) {
        let root = tempfile::tempdir().unwrap();
        let dirs = ["system", "local", "user"].map(|dir| root.path().join(dir));
        for (dir, path, content) in files {
            let path = dirs[*dir].join("trustedkeys").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let keystore = Keystore::new(dirs.iter().map(PathBuf::as_path));
        (root, keystore)
    }

    #[test]
    fn reg_09_prefixes_match_whole_components() {
        let scope = prefix("example.com/foo");
        for (image, covered) in [
            ("example.com/foo", true),
            ("example.com/foo/x", true),
            ("example.com/foobar", false),
            ("example.com/fo", false),
            ("example.com", false),
            ("example.com/x/foo", false),
            ("example.community/foo", false),
        ] {
            assert_eq!(scope.covers(&name(image)), covered, "{image}");
            assert!(Scope::Root.covers(&name(image)));
        }
        // What is no identifier never gets here.
        for image in ["example.com/foo/", "example.com/FOO", "example.com/foo%2fx", "exämple.com/foo"] {
            assert!(image.parse::<AcIdentifier>().is_err(), "{image}");
        }
    }

    #[test]
    fn every_directory_and_prefix_counts() {
        let (_root, keystore) = keystore(&[
            (0, &format!("root.d/{A}"), "a"),
            (2, &format!("prefix.d/example.com/foo/{B}"), "b"),
            (1, &format!("prefix.d/other.org/{B}"), "b"),
        ]);
        let trust = keystore.read().unwrap();
        assert!(trust.trusts(A, &name("anything/at/all")));
        assert!(trust.trusts(B, &name("example.com/foo/bar")));
        assert!(trust.trusts(B, &name("other.org")));
        assert!(!trust.trusts(B, &name("example.com")));
        assert_eq!(trust.scopes(B), [&prefix("example.com/foo"), &prefix("other.org")]);
        let keys: Vec<_> = trust.keys().unwrap().into_iter().map(|key| (key.fingerprint, key.bytes)).collect();
        assert_eq!(keys, [(A.to_owned(), b"a".to_vec()), (B.to_owned(), b"b".to_vec())]);
    }

    #[test]
    fn an_empty_file_takes_trust_away() {
        let (_root, keystore) = keystore(&[
            (0, &format!("root.d/{A}"), "a"),
            (0, &format!("root.d/{B}"), "b"),
            (1, &format!("root.d/{A}"), ""),
            (2, &format!("prefix.d/example.com/{B}"), ""),
            (0, &format!("prefix.d/example.com/sub/{B}"), "b"),
        ]);
        let trust = keystore.read().unwrap();
        assert!(!trust.trusts(A, &name("x")), "masked by a later directory");
        assert!(trust.trusts(B, &name("x")));
        assert!(!trust.trusts(B, &name("example.com/app")), "masked for a prefix");
        assert!(trust.trusts(B, &name("example.com/sub/app")), "the longest prefix decides");
        assert_eq!(trust.trusted().count(), 2);
    }

    #[test]
    fn foreign_files_mean_nothing_and_are_told_of() {
        let (root, keystore) = keystore(&[
            (1, "root.d/key.asc", "x"),
            (1, &format!("root.d/.{A}.5"), "x"),
            (1, &format!("root.d/folder/{A}"), "x"),
            (1, &format!("prefix.d/{A}"), "x"),
            (1, &format!("prefix.d/Not-A-Name/{A}"), "x"),
            (1, &format!("root.d/{}", A.to_uppercase()), "x"),
        ]);
        let trust = keystore.read().unwrap();
        assert_eq!(trust.trusted().count(), 0);
        let mut strangers: Vec<_> = trust.strangers().iter().map(|p| p.file_name().unwrap()).collect();
        strangers.sort();
        assert_eq!(strangers, [A.to_uppercase().as_str(), A, "key.asc"]);
        drop(root);
    }

    #[test]
    fn keys_that_others_could_have_written_are_refused() {
        let (root, keystore) = keystore(&[(1, &format!("root.d/{A}"), "a")]);
        let file = root.path().join("local/trustedkeys/root.d").join(A);
        fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
        let error = keystore.read().unwrap_err().to_string();
        assert!(error.ends_with("can be written by everybody") && error.contains(A), "{error}");
    }

    #[test]
    fn added_keys_are_readable_and_removal_masks_what_is_not_ones_own() {
        let (root, keystore) = keystore(&[(0, &format!("prefix.d/example.com/{A}"), "a")]);
        let user = root.path().join("user");
        let (scope, other) = (prefix("example.com"), prefix("example.com/b"));
        let path = add(&user, &other, B, "b").unwrap();
        assert_eq!(path, user.join("trustedkeys/prefix.d/example.com/b").join(B));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o644);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o755);
        assert!(keystore.read().unwrap().has(&other));

        remove(&keystore, &user, &other, B).unwrap();
        assert!(!path.exists() && !keystore.read().unwrap().has(&other));
        assert!(!path.parent().unwrap().exists(), "the folder goes with its last key");
        let mask = remove(&keystore, &user, &scope, A).unwrap();
        assert_eq!(fs::metadata(&mask).unwrap().len(), 0);
        assert!(!keystore.read().unwrap().has(&scope));
        assert!(matches!(remove(&keystore, &user, &scope, A), Err(KeystoreError::Absent { .. })));
        // Trusting it again replaces the mask.
        add(&user, &scope, A, "a").unwrap();
        assert!(keystore.read().unwrap().has(&scope));
        assert_eq!(fs::read_dir(mask.parent().unwrap()).unwrap().count(), 1, "no draft is left");
    }
}
