//! Writing whole messages to standard output and standard error, unbuffered.

use std::os::fd::AsFd;

use rustix::io::{Errno, retry_on_intr, write};

/// Writes all of it.
pub(crate) fn put(to: impl AsFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match retry_on_intr(|| write(&to, bytes))? {
            0 => return Err(Errno::IO),
            count => bytes = &bytes[count..],
        }
    }
    Ok(())
}

/// A message on standard error. Where nobody can be told there is nothing more to do.
pub(crate) fn complain(message: impl AsRef<[u8]>) {
    let _ = put(rustix::stdio::stderr(), message.as_ref());
}
