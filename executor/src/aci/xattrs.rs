//! Which extended attributes go into an image: those the extractor takes out again.

use std::os::fd::AsFd;

use rustix::fs::{fgetxattr, flistxattr};
use rustix::io::Errno;

/// File capabilities.
const CAPABILITY: &[u8] = b"security.capability";

/// The attributes of one file or directory.
#[derive(Debug, Default)]
pub(super) struct Xattrs {
    /// Names and values, in the order of the names.
    pub(super) kept: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether there are others that somebody may miss: access control lists.
    pub(super) lists: bool,
}

impl Xattrs {
    /// Reads `user.*` and file capabilities of an open file or directory.
    ///
    /// `user.overlay.*` would make an overlay hide files, `trusted.*` and `security.*` are this host's business, and access
    /// control lists (`system.posix_acl_*`) hold ids of this host.
    ///
    /// # Errors
    /// Those of the system calls; a file system without attributes has none.
    pub(super) fn read(file: impl AsFd) -> Result<Self, Errno> {
        let file = file.as_fd();
        let mut xattrs = Self::default();
        let names = match list(file) {
            Ok(names) => names,
            Err(Errno::OPNOTSUPP) => return Ok(xattrs),
            Err(errno) => return Err(errno),
        };
        for name in names.split(|&b| b == 0).filter(|name| !name.is_empty()) {
            xattrs.lists |= name.starts_with(b"system.posix_acl_");
            let user = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
            // A PAX record ends its key with the first "=".
            if (user || name == CAPABILITY) && !name.contains(&b'=') {
                match value(file, name) {
                    Ok(value) => xattrs.kept.push((name.to_vec(), value)),
                    // It went away meanwhile.
                    Err(Errno::NODATA) => {}
                    Err(errno) => return Err(errno),
                }
            }
        }
        xattrs.kept.sort_unstable();
        Ok(xattrs)
    }
}

/// The names, each with a NUL at its end.
fn list(file: impl AsFd) -> Result<Vec<u8>, Errno> {
    // Most files have none: one call then.
    let mut names = vec![0; 256];
    loop {
        match flistxattr(&file, &mut names) {
            Ok(length) => {
                names.truncate(length);
                return Ok(names);
            }
            // The kernel's own bound on the list (xattr(7)) ends this.
            Err(Errno::RANGE) if names.len() < 64 << 10 => names = vec![0; names.len() * 4],
            Err(errno) => return Err(errno),
        }
    }
}

fn value(file: impl AsFd, name: &[u8]) -> Result<Vec<u8>, Errno> {
    // The kernel's bound on a value (xattr(7)).
    let mut value = vec![0; 64 << 10];
    let length = fgetxattr(&file, name, &mut value)?;
    value.truncate(length);
    Ok(value)
}
