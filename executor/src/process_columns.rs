//! The columns that ps(1) has of processes, by its names for them.

use crate::docker::columns;
use crate::escape::printable;
use crate::moment;
use crate::processes::Process;

/// What a column says of a process, at a time in seconds since the epoch.
type Cell = fn(&Process, u64) -> String;

/// A column.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    title: String,
    cell: Cell,
}

/// All of them: names, title, cell.
const ALL: &[(&[&str], &str, Cell)] = &[
    (&["uid", "euid", "ruid"], "UID", |process, _| process.uid.to_string()),
    (&["user", "euser", "ruser", "uname"], "USER", |process, _| process.uid.to_string()),
    (&["pid", "tgid"], "PID", |process, _| process.pid.to_string()),
    (&["ppid"], "PPID", |process, _| process.parent.to_string()),
    (&["pgid", "pgrp"], "PGID", |process, _| process.group.to_string()),
    (&["sid", "sess", "session"], "SID", |process, _| process.session.to_string()),
    (&["c"], "C", |process, now| format!("{:.0}", share(process, now).floor())),
    (&["%cpu", "pcpu"], "%CPU", |process, now| format!("{:.1}", share(process, now))),
    (&["%mem", "pmem"], "%MEM", |process, _| format!("{:.1}", share_of_memory(process))),
    (&["vsz", "vsize"], "VSZ", |process, _| (process.virtual_bytes >> 10).to_string()),
    (&["rss", "rssize", "rsz"], "RSS", |process, _| (process.resident >> 10).to_string()),
    (&["stime", "start_time", "start", "bsdstart"], "STIME", |process, now| started(process, now)),
    (&["tty", "tt", "tname"], "TTY", |process, _| process.terminal.clone()),
    (&["stat", "s", "state"], "STAT", |process, _| process.state.to_string()),
    (&["time", "cputime"], "TIME", |process, _| clock(process.time)),
    (&["etime"], "ELAPSED", |process, now| elapsed(now.saturating_sub(process.started))),
    (&["etimes"], "ELAPSED", |process, now| now.saturating_sub(process.started).to_string()),
    (&["ni", "nice"], "NI", |process, _| process.nice.to_string()),
    (&["nlwp", "thcount"], "NLWP", |process, _| process.threads.to_string()),
    (&["comm", "ucmd", "ucomm"], "COMMAND", |process, _| printable(&process.name).into_owned()),
    (&["cmd"], "CMD", |process, _| printable(&process.command).into_owned()),
    (&["args", "command"], "COMMAND", |process, _| printable(&process.command).into_owned()),
];

impl Column {
    /// The column of this name, with its own title.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let (_, title, cell) = ALL.iter().find(|(names, ..)| names.contains(&name))?;
        Some(Self { title: (*title).to_owned(), cell: *cell })
    }

    /// The same under another title.
    pub(crate) fn titled(self, title: &str) -> Self {
        Self { title: title.to_owned(), ..self }
    }

    /// Those of these names, which must be right, with titles of the caller's where they differ: `cmd=COMMAND`.
    pub(crate) fn all(names: &[&str]) -> Vec<Self> {
        let column = |name: &&str| {
            let (name, title) = name.split_once('=').unwrap_or((name, ""));
            let column = Self::named(name).expect("the program knows the names");
            if title.is_empty() { column } else { column.titled(title) }
        };
        names.iter().map(column).collect()
    }

    /// `ps -ef`.
    pub(crate) fn full() -> Vec<Self> {
        Self::all(&["uid", "pid", "ppid", "c", "stime", "tty", "time", "cmd"])
    }
}

/// The titles, for tests.
#[cfg(test)]
pub(crate) fn titles(of: &[Column]) -> Vec<&str> {
    of.iter().map(|column| column.title.as_str()).collect()
}

/// A line for each process, below the titles if there are any.
pub(crate) fn table(of: &[Column], processes: &[Process]) -> String {
    let now = moment::now() / 1_000_000_000;
    let titles: Vec<String> = of.iter().map(|column| column.title.clone()).collect();
    let titles = titles.iter().any(|title| !title.is_empty()).then_some(titles);
    let row = |process: &Process| of.iter().map(|column| (column.cell)(process, now)).collect::<Vec<_>>();
    columns::aligned(&titles.into_iter().chain(processes.iter().map(row)).collect::<Vec<_>>())
}

/// The share of one processor that it has had since it was started, in percent.
#[expect(clippy::cast_precision_loss, reason = "it is shown with one decimal")]
fn share(process: &Process, now: u64) -> f64 {
    let age = now.saturating_sub(process.started).max(1);
    process.time_usec as f64 / 10_000.0 / age as f64
}

#[expect(clippy::cast_precision_loss, reason = "it is shown with one decimal")]
fn share_of_memory(process: &Process) -> f64 {
    let system = rustix::system::sysinfo();
    let all = (system.totalram as u64).saturating_mul(u64::from(system.mem_unit)).max(1);
    process.resident as f64 * 100.0 / all as f64
}

/// When it was started: the time of a day, or the day if that is longer ago.
fn started(process: &Process, now: u64) -> String {
    let at = moment::rfc3339(process.started.saturating_mul(1_000_000_000));
    let shown = if now.saturating_sub(process.started) < 24 * 3600 { at.get(11..16) } else { at.get(..10) };
    shown.unwrap_or_default().to_owned()
}

fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// `[[DD-]HH:]MM:SS`.
fn elapsed(seconds: u64) -> String {
    let (days, hours, rest) =
        (seconds / 86_400, seconds / 3600 % 24, format!("{:02}:{:02}", seconds / 60 % 60, seconds % 60));
    match (days, hours) {
        (0, 0) => rest,
        (0, hours) => format!("{hours:02}:{rest}"),
        (days, hours) => format!("{days}-{hours:02}:{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_of_one_column() {
        let mut names: Vec<&str> = ALL.iter().flat_map(|(names, ..)| names.iter().copied()).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn times_are_shown_as_ps_shows_them() {
        for (seconds, shown) in [(59, "00:59"), (3_601, "01:00:01"), (90_061, "1-01:01:01")] {
            assert_eq!(elapsed(seconds), shown);
        }
        assert_eq!(clock(360_061), "100:01:01");
    }
}
