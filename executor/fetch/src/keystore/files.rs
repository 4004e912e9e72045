//! Files of keys: who may have written them, and how they are written.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::{KeystoreError, Scope};
use crate::digest::is_lower_hex;
use crate::openpgp::MAX_KEY_BYTES;

/// Whether a file is named like a key: 40 digits for version 4, 64 for version 6.
pub(super) fn is_fingerprint(name: &str) -> bool {
    matches!(name.len(), 40 | 64) && is_lower_hex(name)
}

/// Says whether a file of the keystore is empty.
pub(super) fn check(path: &Path) -> Result<bool, KeystoreError> {
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

pub(super) fn read_key(path: &Path) -> Result<Vec<u8>, KeystoreError> {
    let mut bytes = Vec::new();
    let read = open(path)?.0.take(MAX_KEY_BYTES as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|source| KeystoreError::Read { path: path.to_owned(), source })?;
    Ok(bytes)
}

/// Makes a scope's folder, readable for everybody.
pub(super) fn ensure_folder(config_dir: &Path, scope: &Scope) -> Result<PathBuf, KeystoreError> {
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
pub(super) fn write(folder: &Path, name: &str, content: &[u8]) -> Result<PathBuf, KeystoreError> {
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
