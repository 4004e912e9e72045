//! App Container Image files on this machine.

use std::fs::File;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

/// An ACI, opened once: whatever is hashed, checked and unpacked later is read from this descriptor, so exchanging
/// the file meanwhile has no effect.
#[derive(Debug)]
pub struct AciFile {
    /// The file, positioned at its start. Not yet read: that it is an image at all is for the reader to find out.
    pub file: File,
    /// The path as it was given.
    pub path: PathBuf,
    /// The size in bytes when it was opened.
    pub size: u64,
    /// The detached signature beside it, `PATH.asc`, where there is one (appc aci.md, Image Archives).
    pub signature: Option<PathBuf>,
}

/// Why a file cannot be an ACI.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AciError {
    /// The file could not be opened or examined.
    #[error("open {}", path.display())]
    Open {
        /// The path as given.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// It is a directory. (An OCI layout is written `oci:DIR`.)
    #[error("{} is a directory, not an image file", .0.display())]
    Directory(PathBuf),
    /// It is a fifo, socket or device: reading it could block for ever or return something else each time.
    #[error("{} is a {kind}, not a regular file", path.display())]
    NotRegular {
        /// The path as given.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
}

impl AciFile {
    /// Opens the ACI at `path`, which is the operator's own and may lead through symbolic links.
    ///
    /// # Errors
    /// Anything but a readable regular file is refused, without blocking.
    pub fn open(path: &Path) -> Result<Self, AciError> {
        let failed = |source| AciError::Open { path: path.to_owned(), source };
        // O_NONBLOCK: opening a fifo without a writer must fail the type check below instead of hanging here.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file: File = match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
            Ok(file) => file.into(),
            // What is open(2)'s answer for a socket, and for a device that nothing drives.
            Err(Errno::NXIO) => {
                let kind = std::fs::metadata(path).map_err(failed)?.file_type();
                return Err(AciError::NotRegular { path: path.to_owned(), kind: name_of(kind) });
            }
            Err(errno) => return Err(failed(errno.into())),
        };
        let metadata = file.metadata().map_err(failed)?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            return Err(AciError::Directory(path.to_owned()));
        }
        if !kind.is_file() {
            return Err(AciError::NotRegular { path: path.to_owned(), kind: name_of(kind) });
        }
        Ok(Self { file, path: path.to_owned(), size: metadata.len(), signature: signature_beside(path) })
    }
}

fn name_of(kind: std::fs::FileType) -> &'static str {
    if kind.is_fifo() {
        "fifo"
    } else if kind.is_socket() {
        "socket"
    } else {
        "device"
    }
}

/// `PATH.asc` where something of that name exists; opening and checking it is the verifier's task.
fn signature_beside(path: &Path) -> Option<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(".asc");
    let signature = PathBuf::from(name);
    signature.exists().then_some(signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_file_is_opened_once_with_its_signature_noted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.aci");
        std::fs::write(&path, b"bytes").unwrap();
        assert_eq!(AciFile::open(&path).unwrap().signature, None);

        let signature = dir.path().join("a.aci.asc");
        std::fs::write(&signature, b"sig").unwrap();
        let mut aci = AciFile::open(&path).unwrap();
        assert_eq!((aci.size, aci.signature.as_ref()), (5, Some(&signature)));
        std::fs::rename(&signature, &path).unwrap();
        let mut text = String::new();
        aci.file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "bytes", "the file under the old name is still the one that is read");
    }

    #[test]
    fn everything_else_is_refused_by_kind() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();

        assert!(matches!(AciFile::open(dir.path()), Err(AciError::Directory(_))));
        assert!(matches!(AciFile::open(&fifo), Err(AciError::NotRegular { kind: "fifo", .. })));
        assert!(matches!(AciFile::open(Path::new("/dev/null")), Err(AciError::NotRegular { kind: "device", .. })));
        // It cannot be opened at all.
        assert!(matches!(AciFile::open(&socket), Err(AciError::NotRegular { kind: "socket", .. })));
        let missing = dir.path().join("missing.aci");
        let error = AciFile::open(&missing).unwrap_err();
        assert!(error.to_string().contains("missing.aci"), "{error}");
        assert_eq!(
            std::error::Error::source(&error).unwrap().downcast_ref::<std::io::Error>().unwrap().kind(),
            std::io::ErrorKind::NotFound
        );
    }
}
