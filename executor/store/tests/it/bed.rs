//! A place to extract into, with a canary beside it that must not change (oracle O1).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use store::extract::{ExtractError, ExtractLimits, ExtractOptions, Extracted, Form, extract};
use tempfile::TempDir;

/// Everything about a file that a hostile archive could change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) links: u64,
    pub(crate) mtime: (i64, i64),
    pub(crate) content: Vec<u8>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// All files below `dir` and `dir` itself.
pub(crate) fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Facts> {
    let mut found = BTreeMap::new();
    let mut queue = vec![dir.to_owned()];
    while let Some(path) = queue.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let kind = metadata.file_type();
        let mut content = Vec::new();
        if kind.is_dir() {
            queue.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if kind.is_symlink() {
            content = fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes();
        } else if kind.is_file() {
            File::open(&path).and_then(|mut file| file.read_to_end(&mut content)).unwrap();
        }
        let facts = Facts {
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            links: metadata.nlink(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            content,
            xattrs: xattrs(&path),
        };
        found.insert(path.strip_prefix(dir).unwrap().to_owned(), facts);
    }
    found
}

/// Inode number and size of every regular file below `dir`, once for each of its names.
pub(crate) fn inodes(dir: &Path) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let mut queue = vec![dir.to_owned()];
    while let Some(path) = queue.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            queue.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if metadata.is_file() {
            found.push((metadata.ino(), metadata.len()));
        }
    }
    found
}

pub(crate) fn xattrs(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut names = Vec::with_capacity(64 << 10);
    if rustix::fs::llistxattr(path, rustix::buffer::spare_capacity(&mut names)).is_err() {
        return Vec::new();
    }
    let names = names.split(|&b| b == 0).filter(|name| !name.is_empty());
    let mut found: Vec<_> = names
        .map(|name| {
            let mut value = Vec::with_capacity(64 << 10);
            let _ = rustix::fs::lgetxattr(path, name, rustix::buffer::spare_capacity(&mut value));
            (name.to_vec(), value)
        })
        .collect();
    found.sort();
    found
}

/// Whether files can be given to any id: as root, and not in a user namespace of few ids.
pub(crate) fn can_chown() -> bool {
    let file = tempfile::NamedTempFile::new().unwrap();
    let can = std::os::unix::fs::chown(file.path(), Some(4_000_000_000), Some(3_000_000_000)).is_ok();
    if !can {
        eprintln!("skipped: giving files to other ids takes root");
    }
    can
}

/// A canary and an empty tree beside it.
#[derive(Debug)]
pub(crate) struct Bed {
    dir: TempDir,
    before: BTreeMap<PathBuf, Facts>,
    pub(crate) limits: ExtractLimits,
}

impl Bed {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let canary = dir.path().join("canary");
        fs::create_dir(&canary).unwrap();
        fs::write(canary.join("file"), "canary content").unwrap();
        fs::set_permissions(canary.join("file"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::create_dir(canary.join("sub")).unwrap();
        fs::create_dir(dir.path().join("tree")).unwrap();
        let before = snapshot(&canary);
        Self { dir, before, limits: ExtractLimits::default() }
    }

    pub(crate) fn canary(&self) -> PathBuf {
        self.dir.path().join("canary")
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    /// Extracts, then asserts that nothing outside of the tree changed.
    pub(crate) fn extract_with(&self, form: Form, single_id: bool, archive: &[u8]) -> Result<Extracted, ExtractError> {
        let root = File::open(self.tree()).unwrap();
        let options = ExtractOptions {
            form,
            limits: self.limits.clone(),
            single_id,
            below: store::extract::Below::default(),
            hollow: false,
        };
        // Small pieces, so that headers and data straddle them.
        let result = extract(BufReader::with_capacity(700, archive), root.as_fd(), &options);
        self.assert_untouched();
        result
    }

    /// Extracts an OCI layer in single-id mode, which every user can do.
    pub(crate) fn layer(&self, archive: &[u8]) -> Result<Extracted, ExtractError> {
        self.extract_with(Form::OciLayer, true, archive)
    }

    pub(crate) fn aci(&self, archive: &[u8]) -> Result<Extracted, ExtractError> {
        self.extract_with(Form::Aci, true, archive)
    }

    pub(crate) fn assert_untouched(&self) {
        assert_eq!(snapshot(&self.canary()), self.before, "the canary changed");
        let mut beside: Vec<_> =
            fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        beside.sort();
        assert_eq!(beside, ["canary", "tree"], "something appeared beside the tree");
    }

    /// The paths in the tree, without its root.
    pub(crate) fn paths(&self) -> Vec<String> {
        let paths = snapshot(&self.tree()).into_keys();
        paths.map(|path| path.to_string_lossy().into_owned()).filter(|path| !path.is_empty()).collect()
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.tree().join(path)).unwrap()
    }

    pub(crate) fn metadata(&self, path: &str) -> fs::Metadata {
        fs::symlink_metadata(self.tree().join(path)).unwrap()
    }

    pub(crate) fn mode(&self, path: &str) -> u32 {
        self.metadata(path).mode() & 0o7777
    }
}

/// The text of a refusal, checked for oracle O2: one line, no control characters, no panic.
pub(crate) fn refusal<T: std::fmt::Debug, E: std::error::Error>(result: Result<T, E>) -> String {
    let text = result.expect_err("this must be refused").to_string();
    assert!(!text.chars().any(char::is_control), "control characters in {text:?}");
    assert!(text.len() < 600, "a line of {} bytes", text.len());
    text
}

/// Refused as a layer, with this text.
#[track_caller]
pub(crate) fn refused(archive: &[u8], expected: &str) {
    let text = refusal(Bed::new().layer(archive));
    assert!(text.contains(expected), "{text}\nexpected: {expected}");
}
