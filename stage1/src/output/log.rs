//! An app's log on disk, in the format of Kubernetes' CRI: `TIME STREAM P|F LINE`, P for a part of a line.
//!
//! `log.NAME` is written; when it is full it becomes `log.NAME.1`, that one `.2`, and the oldest goes. Readers may
//! follow by name or by descriptor. A disk that is full costs the lines that do not fit: the next one that does is
//! preceded by a line that says how many bytes were lost. If none does until the end, that line takes the place of the
//! last ones.

use std::fmt::Write as _;
use std::io::BufRead as _;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, fstat, openat, renameat, unlinkat};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use super::Stream;

/// Longest line that is written whole; what is longer is written in parts.
const MAX_LINE: usize = 16 * 1024;

/// So much is written at once.
const FULL: usize = 64 * 1024;

/// How much of an app's output is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Bytes of a file before the next one is begun.
    pub max_size: u64,
    /// Number of files, at least one.
    pub max_files: u32,
}

impl Default for LogLimits {
    /// As kubelet has it: `containerLogMaxSize`, `containerLogMaxFiles`.
    fn default() -> Self {
        Self { max_size: 10 << 20, max_files: 5 }
    }
}

/// An app's log.
#[derive(Debug)]
pub(super) struct Log {
    dir: OwnedFd,
    name: String,
    limits: LogLimits,
    file: OwnedFd,
    size: u64,
    /// Begun lines of output and errors.
    begun: [Vec<u8>; 2],
    /// What is to be written.
    out: Vec<u8>,
    lost: u64,
    /// What was lost since it was opened, told of or not.
    all_lost: u64,
}

impl Log {
    /// Opens the log of the app `name` in `dir` and goes on with it.
    pub(super) fn open(dir: OwnedFd, name: &str, limits: LogLimits) -> rustix::io::Result<Self> {
        let name = format!("log.{name}");
        let file = open(&dir, &name)?;
        let size = fstat(&file)?.st_size.try_into().unwrap_or(0);
        let begun = [Vec::new(), Vec::new()];
        Ok(Self { dir, name, limits, file, size, begun, out: Vec::new(), lost: 0, all_lost: 0 })
    }

    /// Takes in what an app wrote.
    pub(super) fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let prefix = prefix(stream);
        let mut rest = bytes;
        while let Some(piece) = next_line(&mut rest) {
            if self.out.len() >= FULL {
                self.put();
            }
            let begun = &mut self.begun[stream as usize];
            let complete = piece.last() == Some(&b'\n');
            if complete && begun.is_empty() && piece.len() <= MAX_LINE {
                line(&mut self.out, &prefix, b'F', piece);
                continue;
            }
            begun.extend_from_slice(piece);
            while begun.len() > MAX_LINE {
                let rest = begun.split_off(MAX_LINE);
                begun.push(b'\n');
                line(&mut self.out, &prefix, b'P', begun);
                *begun = rest;
            }
            if complete {
                line(&mut self.out, &prefix, b'F', begun);
                begun.clear();
            }
        }
        self.put();
    }

    /// Nothing is written at the moment: lets go of the room for it. There may be a thousand supervisors.
    pub(super) fn rest(&mut self) {
        self.out = Vec::new();
        self.begun.iter_mut().filter(|begun| begun.is_empty()).for_each(|begun| *begun = Vec::new());
    }

    /// The stream has ended: a line without an end is written.
    pub(super) fn end_line(&mut self, stream: Stream) {
        let begun = &mut self.begun[stream as usize];
        if !begun.is_empty() {
            begun.push(b'\n');
            line(&mut self.out, &prefix(stream), b'F', begun);
            begun.clear();
        }
        self.put();
        self.tell_of_loss();
    }

    /// The line about what was lost, whether there is room for it or not.
    fn tell_of_loss(&mut self) {
        if self.lost == 0 || self.append(&self.note()).is_ok() {
            self.lost = 0;
            return;
        }
        if let Some(kept) = self.lines_before(self.note().len() as u64)
            && rustix::fs::ftruncate(&self.file, kept).is_ok()
        {
            self.lose(self.size - kept);
            self.size = kept;
            if self.append(&self.note()).is_ok() {
                self.lost = 0;
            }
        }
    }

    /// Bytes of it that could not be written since it was opened.
    pub(super) fn all_lost(&self) -> u64 {
        self.all_lost
    }

    fn lose(&mut self, bytes: u64) {
        self.lost += bytes;
        self.all_lost += bytes;
    }

    fn note(&self) -> Vec<u8> {
        let note = format!("proa: {} bytes of this log could not be written\n", self.lost);
        let mut written = Vec::new();
        line(&mut written, &prefix(Stream::Stderr), b'F', note.as_bytes());
        written
    }

    /// Where the last line ends behind which there are at least `room` bytes: a few more, as a number may have more digits.
    fn lines_before(&self, room: u64) -> Option<u64> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.dir, &self.name, flags, Mode::empty()).ok()?;
        let end = self.size.checked_sub(room + 8)?;
        let begin = end.saturating_sub(2 * MAX_LINE as u64);
        let mut bytes = vec![0; usize::try_from(end - begin).ok()?];
        let read = rustix::io::pread(&file, &mut bytes, begin).ok()?;
        let newline = bytes[..read].iter().rposition(|byte| *byte == b'\n')?;
        Some(begin + newline as u64 + 1)
    }

    fn put(&mut self) {
        if self.size > 0 && self.size + self.out.len() as u64 > self.limits.max_size {
            self.rotate();
        }
        if self.lost > 0 && !self.out.is_empty() {
            let note = self.note();
            if self.append(&note).is_ok() {
                self.lost = 0;
            }
        }
        let out = std::mem::take(&mut self.out);
        if let Err(written) = self.append(&out) {
            self.lose((out.len() - written) as u64);
        }
        self.out = out;
        self.out.clear();
    }

    /// Writes all, or says how much was written. A line that was cut short gets its end.
    fn append(&mut self, bytes: &[u8]) -> Result<(), usize> {
        let mut written = 0;
        while written < bytes.len() {
            match rustix::io::write(&self.file, &bytes[written..]) {
                Ok(len) => {
                    written += len;
                    self.size += len as u64;
                }
                Err(Errno::INTR) => {}
                Err(_) => {
                    if written > 0 && bytes[written - 1] != b'\n' {
                        let _ = rustix::fs::ftruncate(&self.file, self.size - tail(&bytes[..written]));
                        self.size -= tail(&bytes[..written]);
                        return Err(written - tail(&bytes[..written]) as usize);
                    }
                    return Err(written);
                }
            }
        }
        Ok(())
    }

    /// Begins a new file. If that fails the old one grows on: better too long a log than none.
    fn rotate(&mut self) {
        let older = |number: u32| if number == 0 { self.name.clone() } else { format!("{}.{number}", self.name) };
        for number in (0..self.limits.max_files.saturating_sub(1)).rev() {
            let _ = renameat(&self.dir, older(number), &self.dir, older(number + 1));
        }
        if self.limits.max_files <= 1 {
            let _ = unlinkat(&self.dir, &self.name, AtFlags::empty());
        }
        if let Ok(file) = open(&self.dir, &self.name) {
            (self.file, self.size) = (file, 0);
        }
    }
}

/// Bytes after the last line's end.
fn tail(bytes: &[u8]) -> u64 {
    bytes.iter().rev().take_while(|byte| **byte != b'\n').count() as u64
}

fn open(dir: &OwnedFd, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::RUSR | Mode::WUSR)
}

/// `2026-01-02T03:04:05.000000006Z stdout `. One look at the clock serves all lines that came together.
fn prefix(stream: Stream) -> String {
    let now = clock_gettime(ClockId::Realtime);
    let mut text = String::with_capacity(48);
    let (date, time) = (now.tv_sec.div_euclid(86_400), now.tv_sec.rem_euclid(86_400));
    let (year, month, day) = civil(date);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    let name = if stream == Stream::Stdout { "stdout" } else { "stderr" };
    let _ = write!(text, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z {name} ", now.tv_nsec);
    text
}

/// Year, month and day of a day since the epoch, in the proleptic Gregorian calendar. (stage1 has no library of dates:
/// each page of it would be in every pod's supervisor.)
fn civil(days: i64) -> (i64, i64, i64) {
    // Years begin in March here, so that the leap day is the last of one; an era has 400 of them.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// Takes the next line off, with its end if it has one.
fn next_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let all = *rest;
    // It searches many bytes at once.
    let len = rest.skip_until(b'\n').ok().filter(|len| *len > 0)?;
    Some(&all[..len])
}

fn line(out: &mut Vec<u8>, prefix: &str, tag: u8, text: &[u8]) {
    out.extend_from_slice(prefix.as_bytes());
    out.extend_from_slice(&[tag, b' ']);
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::OwnedFd;
    use std::path::Path;

    use super::*;

    fn open_log(dir: &Path, limits: LogLimits) -> Log {
        Log::open(OwnedFd::from(fs::File::open(dir).unwrap()), "app", limits).unwrap()
    }

    /// The log without its times.
    fn lines(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    #[test]
    fn lines_are_whole_however_they_come() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open_log(dir.path(), LogLimits::default());
        log.write(Stream::Stdout, b"one\ntw");
        log.write(Stream::Stderr, b"err\n");
        log.write(Stream::Stdout, b"o\n\nrest");
        log.end_line(Stream::Stdout);
        log.end_line(Stream::Stderr);
        let expected = ["stdout F one", "stderr F err", "stdout F two", "stdout F ", "stdout F rest"];
        assert_eq!(lines(&dir.path().join("log.app")), expected);
    }

    #[test]
    fn a_long_line_comes_in_parts() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open_log(dir.path(), LogLimits::default());
        let text = vec![b'x'; 2 * MAX_LINE + 3];
        log.write(Stream::Stdout, &text);
        log.write(Stream::Stdout, b"\n");
        let lines = lines(&dir.path().join("log.app"));
        let shape: Vec<(&str, usize)> = lines.iter().map(|line| (&line[..9], line.len() - 9)).collect();
        assert_eq!(shape, [("stdout P ", MAX_LINE), ("stdout P ", MAX_LINE), ("stdout F ", 3)]);
    }

    #[test]
    fn old_files_go() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open_log(dir.path(), LogLimits { max_size: 100, max_files: 3 });
        for number in 0..10 {
            log.write(Stream::Stdout, format!("{number} is a line of some length\n").as_bytes());
        }
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort_unstable();
        assert_eq!(names, ["log.app", "log.app.1", "log.app.2"]);
        assert!(lines(&dir.path().join("log.app")).last().unwrap().contains("9 is"));
    }

    #[test]
    fn dates() {
        for (days, date) in [(0, (1970, 1, 1)), (11_016, (2000, 2, 29)), (20_779, (2026, 11, 22)), (-1, (1969, 12, 31))]
        {
            assert_eq!(civil(days), date, "{days}");
        }
        for days in (0..200_000).step_by(97) {
            let (year, month, day) = civil(days);
            let date = days_since_epoch(year, month, day);
            assert_eq!(date, days);
        }
    }

    /// The other way round, counted.
    fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
        let leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        let years: i64 = (1970..year).map(|year| 365 + i64::from(leap(year))).sum();
        let lengths = [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        years + lengths[..usize::try_from(month - 1).unwrap()].iter().sum::<i64>() + day - 1
    }
}
