//! What an app must not be able to do to its neighbours, tried.

use std::fmt;
use std::os::fd::BorrowedFd;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// The doors into another process that /proc offers, each of which needs the right to trace it (proc(5)).
const DOORS: [(&str, OFlags); 5] = [
    ("environ", OFlags::RDONLY),
    ("mem", OFlags::RDONLY),
    ("root", OFlags::PATH),
    ("cwd", OFlags::PATH),
    ("exe", OFlags::PATH),
];

/// What came of trying all doors of one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Doors {
    /// The paths that could be opened.
    pub(super) open: Vec<String>,
    /// Attempts made.
    pub(super) tried: usize,
}

/// Tries to open the doors of the process that /proc knows under `pid`.
pub(super) fn doors(pid: &dyn fmt::Display) -> Doors {
    let opens = |(name, flags): (&str, OFlags)| {
        let path = format!("/proc/{pid}/{name}");
        let result = rustix::fs::openat(CWD, &path, flags | OFlags::CLOEXEC, Mode::empty());
        // Only the kernel's "you may not" is a refusal. No such process would prove nothing.
        let refused = matches!(result, Err(Errno::ACCESS | Errno::PERM));
        (!refused).then_some(path)
    };
    Doors { open: DOORS.into_iter().filter_map(opens).collect(), tried: DOORS.len() }
}

/// What came of using a directory descriptor that belongs to another app's root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Foreign {
    /// The kernel refuses to open files beneath it: Landlock, for nothing else stands in the way.
    Refused,
    /// A file beneath it could be opened.
    Opened,
}

/// Tries to open a file that anyone may read beneath `root`.
pub(super) fn foreign_root(root: BorrowedFd<'_>) -> Result<Foreign, Errno> {
    match rustix::fs::openat(root, "etc/passwd", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(_) => Ok(Foreign::Opened),
        Err(Errno::ACCESS) => Ok(Foreign::Refused),
        Err(other) => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn the_probes_work_where_nothing_stands_in_the_way() {
        let own = doors(&"self");
        assert_eq!((own.open.len(), own.tried), (DOORS.len(), DOORS.len()));
        let root = std::fs::File::open("/").unwrap();
        assert_eq!(foreign_root(root.as_fd()), Ok(Foreign::Opened));
        let elsewhere = std::fs::File::open("/proc").unwrap();
        assert_eq!(foreign_root(elsewhere.as_fd()), Err(Errno::NOENT));
    }

    #[test]
    fn a_process_that_is_not_there_is_no_refusal() {
        assert_eq!(doors(&u32::MAX).open.len(), DOORS.len());
    }
}
