//! Moving this process into new namespaces (unshare(2)).

use std::io;

use crate::check;
use crate::fork::Namespaces;

/// Moves the calling, single-threaded process into new namespaces.
///
/// # Errors
/// As [`crate::fork::fork`]; with [`Namespaces::USER`] also `EINVAL` when the process has several threads.
pub fn unshare(namespaces: Namespaces) -> io::Result<()> {
    // SAFETY: unshare with CLONE_NEW* flags alone touches no memory of this process. (CLONE_FILES, which could surprise
    // holders of descriptors, cannot be expressed in `Namespaces`.)
    check(libc::c_long::from(unsafe { libc::unshare(namespaces.bits() as libc::c_int) })).map(drop)
}
