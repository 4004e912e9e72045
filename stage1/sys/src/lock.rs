//! Locks of one byte of a file. Unlike those of fcntl(2) that [`rustix`] has they belong to who opened the file, as flock(2)'s
//! do: a process that is forked has them as well, and closing another descriptor of the file does not drop them.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Who else may have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Others that share it.
    Shared,
    /// Nobody.
    Exclusive,
}

/// Locks the byte at `offset`, which the file need not have, unless somebody has it who may not. Returns whether it was taken.
///
/// # Errors
/// Those of fcntl(2): the file is not open for reading, or for writing where nobody else may have it.
pub fn try_take(file: BorrowedFd<'_>, offset: i64, kind: Kind) -> io::Result<bool> {
    let wanted = byte(offset, kind);
    // SAFETY: the descriptor is open, and the kernel reads the structure that is passed, which outlives the call.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const wanted) };
    match crate::check(done.into()) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        done => done.map(|_| true),
    }
}

/// How somebody else has it, if anybody does.
///
/// # Errors
/// As [`try_take`].
pub fn holder(file: BorrowedFd<'_>, offset: i64) -> io::Result<Option<Kind>> {
    let mut found = byte(offset, Kind::Exclusive);
    // SAFETY: the descriptor is open, and the kernel reads and writes the structure that is passed, which outlives the call.
    let asked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut found) };
    crate::check(asked.into())?;
    Ok(match i32::from(found.l_type) {
        libc::F_RDLCK => Some(Kind::Shared),
        libc::F_WRLCK => Some(Kind::Exclusive),
        _ => None,
    })
}

fn byte(offset: i64, kind: Kind) -> libc::flock {
    let kind = match kind {
        Kind::Shared => libc::F_RDLCK,
        Kind::Exclusive => libc::F_WRLCK,
    };
    // The kernel wants 0 in place of the process.
    libc::flock { l_type: kind as _, l_whence: libc::SEEK_SET as _, l_start: offset, l_len: 1, l_pid: 0 }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn a_byte_is_shared_or_somebodys_alone() {
        let path = std::env::temp_dir().join(format!("sys-lock-{}", std::process::id()));
        let open = || File::options().read(true).write(true).create(true).truncate(false).open(&path).unwrap();
        let (one, other, third) = (open(), open(), open());
        assert!(try_take(one.as_fd(), 5, Kind::Shared).unwrap());
        assert!(try_take(other.as_fd(), 5, Kind::Shared).unwrap());
        assert!(!try_take(third.as_fd(), 5, Kind::Exclusive).unwrap());
        assert_eq!(holder(third.as_fd(), 5).unwrap(), Some(Kind::Shared));
        assert!(try_take(third.as_fd(), i64::MAX - 1, Kind::Exclusive).unwrap());
        let copy = one.try_clone().unwrap();
        drop((one, other));
        assert!(!try_take(third.as_fd(), 5, Kind::Exclusive).unwrap(), "a copy has it still");
        drop(copy);
        assert_eq!(holder(third.as_fd(), 5).unwrap(), None);
        assert!(try_take(third.as_fd(), 5, Kind::Exclusive).unwrap());
        assert_eq!(holder(open().as_fd(), 5).unwrap(), Some(Kind::Exclusive));
        std::fs::remove_file(&path).unwrap();
    }
}
