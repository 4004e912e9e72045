//! The processes of a pod, as the host's procfs shows them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;

use crate::error::{CommandError, Explain as _};

/// A command line is read so far; it is an app's.
const LONGEST_COMMAND: u64 = 4096;

/// Seconds between the epoch and the machine's start are in this line of /proc/stat.
const BOOT: &str = "btime ";

/// A process.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its user on the host.
    pub(crate) uid: u32,
    /// Its id on the host.
    pub(crate) pid: i32,
    /// Its parent's.
    pub(crate) parent: i32,
    /// Its process group.
    pub(crate) group: i64,
    /// Its session.
    pub(crate) session: i64,
    /// What it is doing, in the kernel's letter.
    pub(crate) state: char,
    /// Its nice value.
    pub(crate) nice: i64,
    /// Its terminal, as ps writes it.
    pub(crate) terminal: String,
    /// When it was started, in seconds since the epoch.
    pub(crate) started: u64,
    /// The processor time it has had, in seconds.
    pub(crate) time: u64,
    /// The same in microseconds.
    pub(crate) time_usec: u64,
    /// Bytes of its memory that are resident.
    pub(crate) resident: u64,
    /// Bytes of its memory, resident or not.
    pub(crate) virtual_bytes: u64,
    /// How many threads it has.
    pub(crate) threads: u64,
    /// What it calls itself.
    pub(crate) name: String,
    /// Its command line, or its name in brackets.
    pub(crate) command: String,
}

/// The processes below `first`, which is the pod's pid 1, without it.
///
/// # Errors
///
/// There is no procfs.
pub(crate) fn below(first: i32) -> Result<Vec<Process>, CommandError> {
    let mut all = all()?;
    let found = pids_below(&all, first);
    Ok(found.into_iter().filter_map(|pid| all.remove(&pid)).collect())
}

/// The pids below `first`, without it.
pub(crate) fn pids_below(all: &BTreeMap<i32, Process>, first: i32) -> Vec<i32> {
    let mut found = vec![first];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(all.values().filter(|process| process.parent == parent).map(|process| process.pid));
        next += 1;
    }
    found.split_off(1)
}

/// All processes there are, by their pids.
///
/// # Errors
///
/// There is no procfs.
pub(crate) fn all() -> Result<BTreeMap<i32, Process>, CommandError> {
    let ticks = rustix::param::clock_ticks_per_second();
    let boot = fs::read_to_string("/proc/stat").during(|| "read /proc/stat".into())?;
    let boot = boot.lines().find_map(|line| line.strip_prefix(BOOT)?.trim().parse().ok()).unwrap_or(0);
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc").during(|| "read /proc".into())?.filter_map(Result::ok) {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that has ended meanwhile is none.
        if let Some(process) = read(pid, ticks, boot) {
            all.insert(pid, process);
        }
    }
    Ok(all)
}

fn read(pid: i32, ticks: u64, boot: u64) -> Option<Process> {
    // A process can call itself what it likes.
    let stat = String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).ok()?).into_owned();
    let (name, fields) = stat.split_once('(')?.1.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    // proc_pid_stat(5), whose numbers begin at 1 with the pid; these follow the second.
    let field = |number: usize| fields.get(number - 3)?.parse::<i64>().ok();
    let status = String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/status")).ok()?).into_owned();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().nth(1)?.parse().ok()?;
    let mut command = Vec::new();
    fs::File::open(format!("/proc/{pid}/cmdline")).ok()?.take(LONGEST_COMMAND).read_to_end(&mut command).ok()?;
    let words = String::from_utf8_lossy(&command).trim_end_matches('\0').replace('\0', " ");
    let seconds = |ticks_passed: i64| u64::try_from(ticks_passed).unwrap_or(0) / ticks.max(1);
    Some(Process {
        uid,
        pid,
        parent: i32::try_from(field(4)?).ok()?,
        group: field(5)?,
        session: field(6)?,
        state: fields.first()?.chars().next()?,
        nice: field(19)?,
        terminal: terminal(field(7)?),
        started: boot + seconds(field(22)?),
        time: seconds(field(14)? + field(15)?),
        time_usec: u64::try_from(field(14)? + field(15)?).unwrap_or(0).saturating_mul(1_000_000) / ticks.max(1),
        resident: u64::try_from(field(24)?).unwrap_or(0).saturating_mul(rustix::param::page_size() as u64),
        virtual_bytes: u64::try_from(field(23)?).unwrap_or(0),
        threads: u64::try_from(field(20)?).unwrap_or(1),
        name: name.to_owned(),
        command: if words.is_empty() { format!("[{name}]") } else { words },
    })
}

/// The name of a terminal by its device number (major 136 and up are pseudo-terminals, 256 each).
fn terminal(device: i64) -> String {
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    if (136..=143).contains(&major) { format!("pts/{}", (major - 136) * 256 + minor) } else { "?".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_have_names() {
        assert_eq!((terminal(0), terminal(34816), terminal(34823)), ("?".into(), "pts/0".into(), "pts/7".into()));
    }

    #[test]
    fn children_are_found() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let found = below(i32::try_from(std::process::id()).unwrap()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let process = found.iter().find(|process| process.pid == pid).unwrap();
        assert_eq!((process.command.as_str(), process.uid), ("sleep 1000", rustix::process::getuid().as_raw()));
    }
}
