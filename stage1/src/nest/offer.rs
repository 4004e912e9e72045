//! How a pod that runs offers its N0 to those of the same user that start meanwhile.
//!
//! A small file beside the pods names monitors, the descriptors by which they hold their namespaces, the namespaces, and
//! for which ids and limits those are good. Nobody answers, nothing waits: who starts a pod opens such a descriptor
//! through /proc, as the same user may. A line that outlives its monitor leads nowhere, since everything it says is
//! compared; so nobody cleans up, and half a line is as good as none.
//!
//! There are two lines, and who has found an N0 by one writes the other: many short pods at a time then hand theirs from one to
//! the next, and a service among them stays in its line as long as it runs.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, fstat, fstatfs, open, openat};
use rustix::io::{pread, pwrite};
use rustix::process::{Resource, getpid, getrlimit};

use crate::idmap::IdMapping;

/// What fstatfs(2) says of a namespace's file (`NSFS_MAGIC` of linux/magic.h).
const NSFS: u64 = 0x6e73_6673;

/// Which field of /proc/PID/stat, from the one after the name on, is the time of the process's start (proc(5)).
const START_TIME: usize = 19;

/// The user namespace of a process has those limits that its maker had (user_namespaces(7) names none; the kernel's
/// create_user_ns does): they bound what is in there all together.
const LIMITS: [Resource; 4] = [Resource::Nproc, Resource::Msgqueue, Resource::Sigpending, Resource::Memlock];

/// How long a line is, with the spaces that fill it and its end. Whatever is longer is not offered.
const LINE: usize = 256;

/// One of the two lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    First,
    Second,
}

impl Line {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    fn place(self) -> u64 {
        if self == Self::First { 0 } else { LINE as u64 }
    }
}

/// Offers the namespace, which has the ids of `mapping`, for as long as this process has it open. Where that cannot be
/// written down, others make their own.
pub(crate) fn make(file: &Path, line: Line, namespace: BorrowedFd<'_>, mapping: &IdMapping) {
    let Some(mut text) = offer(namespace, mapping).filter(|text| text.len() < LINE) else { return };
    let room = LINE - 1;
    text = format!("{text:room$}\n");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    if let Ok(file) = open(file, flags, Mode::RUSR | Mode::WUSR) {
        let _ = pwrite(file, text.as_bytes(), line.place());
    }
}

fn offer(namespace: BorrowedFd<'_>, mapping: &IdMapping) -> Option<String> {
    let pid = getpid().as_raw_nonzero().get();
    let start = start_time(open_process(pid)?.as_fd())?;
    Some(format!("{pid} {start} {} {} {}", namespace.as_raw_fd(), identity(namespace)?, use_of(mapping)))
}

/// A namespace that is offered for these ids, and by which line; `None` if none is.
pub(crate) fn find(file: &Path, mapping: &IdMapping) -> Option<(OwnedFd, Line)> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = open(file, flags, Mode::empty()).ok()?;
    let mut text = [0; 2 * LINE];
    let length = pread(file, &mut text[..], 0).ok()?;
    let mut lines = text[..length].chunks(LINE).zip([Line::First, Line::Second]);
    let wanted = use_of(mapping);
    lines.find_map(|(text, line)| Some((taken(std::str::from_utf8(text).ok()?, &wanted)?, line)))
}

/// The namespace that a line offers.
fn taken(line: &str, wanted: &str) -> Option<OwnedFd> {
    let mut words = line.trim_end().splitn(5, ' ');
    let (pid, start, fd, named) = (words.next()?, words.next()?, words.next()?, words.next()?);
    if words.next()? != wanted {
        return None;
    }
    // From here on it is one process, whatever becomes of its number.
    let monitor = open_process(pid.parse().ok()?)?;
    if start_time(monitor.as_fd())? != start {
        return None;
    }
    let fd: u32 = fd.parse().ok()?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let namespace = openat(&monitor, format!("fd/{fd}"), flags, Mode::empty()).ok()?;
    (identity(namespace.as_fd())? == named).then_some(namespace)
}

/// For whom a namespace is good: those with the same ids and limits.
fn use_of(mapping: &IdMapping) -> String {
    let limits = LIMITS.map(|limit| getrlimit(limit).current.map_or_else(|| "-".to_owned(), |bound| bound.to_string()));
    format!("{} {}", mapping.key(), limits.join(","))
}

fn open_process(pid: i32) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, format!("/proc/{pid}"), flags, Mode::empty()).ok()
}

fn start_time(process: BorrowedFd<'_>) -> Option<String> {
    let stat = openat(process, "stat", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = String::new();
    File::from(stat).take(4096).read_to_string(&mut text).ok()?;
    // The name may have anything in it.
    let (_, fields) = text.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(START_TIME).map(str::to_owned)
}

/// Which namespace it is; `None` if it is none.
fn identity(namespace: BorrowedFd<'_>) -> Option<String> {
    let is_one = u64::try_from(fstatfs(namespace).ok()?.f_type).is_ok_and(|kind| kind == NSFS);
    let stat = fstat(namespace).ok().filter(|_| is_one)?;
    Some(format!("{}:{}", stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn own_namespace() -> OwnedFd {
        open("/proc/self/ns/user", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    /// By which line this process's own namespace is found.
    fn found(file: &Path, mapping: &IdMapping) -> Option<Line> {
        let (namespace, line) = find(file, mapping)?;
        assert_eq!(identity(namespace.as_fd()), identity(own_namespace().as_fd()));
        Some(line)
    }

    #[test]
    fn an_offer_stands_while_the_descriptor_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let (file, mapping) = (dir.path().join("namespace"), IdMapping::single(1000, 1000));
        assert_eq!(found(&file, &mapping), None);
        let namespace = own_namespace();
        make(&file, Line::Second, namespace.as_fd(), &mapping);
        assert_eq!(found(&file, &mapping), Some(Line::Second));
        make(&file, Line::First, namespace.as_fd(), &mapping);
        assert_eq!(found(&file, &mapping), Some(Line::First));
        assert_eq!(found(&file, &IdMapping::single(1001, 1000)), None, "other ids");
        assert_eq!(fs::read_to_string(&file).unwrap().lines().map(str::len).collect::<Vec<_>>(), [LINE - 1; 2]);
        // A number that is no other descriptor's while other tests run.
        let number = namespace.as_raw_fd();
        drop(namespace);
        let path = format!("/proc/self/fd/{number}");
        if !fs::read_link(path).is_ok_and(|link| link.starts_with("user:")) {
            assert_eq!(found(&file, &mapping), None);
        }
    }

    #[test]
    fn what_is_not_as_the_line_says_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (file, mapping) = (dir.path().join("namespace"), IdMapping::single(1000, 1000));
        let namespace = own_namespace();
        make(&file, Line::First, namespace.as_fd(), &mapping);
        let text = fs::read_to_string(&file).unwrap();
        let with = |place: usize, word: &str| {
            let mut words: Vec<&str> = text.trim_end().split(' ').collect();
            words[place] = word;
            fs::write(&file, words.join(" ")).unwrap();
            found(&file, &mapping)
        };
        let null = File::open("/dev/null").unwrap();
        let null = null.as_raw_fd().to_string();
        let pid = getpid().as_raw_nonzero().to_string();
        assert_eq!(with(0, &pid), Some(Line::First), "the control");
        for (place, word) in [(0, "1"), (0, "x"), (1, "1"), (2, &null), (2, "-1"), (2, "99999"), (3, "0:0"), (5, "0")] {
            assert_eq!(with(place, word), None, "{place} {word}");
        }
        for nonsense in ["", "\n", "1 2 3", "\u{fffd}\0", &" ".repeat(4096)] {
            fs::write(&file, nonsense).unwrap();
            assert_eq!(found(&file, &mapping), None, "{nonsense:?}");
        }
    }

    /// A pipe in its place: neither side waits for another.
    #[test]
    fn what_is_no_file_is_no_offer() {
        let dir = tempfile::tempdir().unwrap();
        let (file, mapping) = (dir.path().join("namespace"), IdMapping::single(1000, 1000));
        rustix::fs::mknodat(CWD, &file, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        make(&file, Line::First, own_namespace().as_fd(), &mapping);
        assert_eq!(found(&file, &mapping), None);
    }
}
