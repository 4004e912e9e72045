//! The process table, read from /proc.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// One process at the time of reading.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Process id in the tests' pid namespace.
    pub pid: i32,
    /// Parent's id there.
    pub parent: i32,
    /// `R`, `S`, `Z`, …
    pub state: char,
    /// The kernel's short name of it.
    pub name: String,
}

/// All processes.
pub fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted");
    entries.filter_map(|it| it.ok()?.file_name().to_str()?.parse().ok()).filter_map(read).collect()
}

/// One process, if it is there.
pub fn read(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // PID (NAME) STATE PARENT …, where NAME may hold anything, parentheses too.
    let (head, tail) = stat.rsplit_once(')')?;
    let mut fields = tail.split_whitespace();
    Some(Process {
        pid,
        name: head.split_once('(')?.1.to_owned(),
        state: fields.next()?.chars().next()?,
        parent: fields.next()?.parse().ok()?,
    })
}

/// All descendants of a process, nearest first.
pub fn descendants(of: i32) -> Vec<Process> {
    let all = all();
    let mut found = Vec::new();
    let mut parents = BTreeSet::from([of]);
    loop {
        let next: Vec<&Process> =
            all.iter().filter(|it| parents.contains(&it.parent) && !parents.contains(&it.pid)).collect();
        if next.is_empty() {
            return found;
        }
        for process in next {
            parents.insert(process.pid);
            found.push(process.clone());
        }
    }
}

/// The arguments of a process, joined by blanks.
pub fn command_line(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).split('\0').collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

/// The namespaces of a process as `user:[4026531837]` and so on; empty where we may not look.
pub fn namespaces(pid: i32) -> BTreeSet<String> {
    let kinds = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];
    let link = |kind| fs::read_link(PathBuf::from(format!("/proc/{pid}/ns/{kind}"))).ok();
    kinds.into_iter().filter_map(link).map(|it| it.to_string_lossy().into_owned()).collect()
}

/// Sends a signal; false when there is no such process.
pub fn kill(pid: i32, signal: rustix::process::Signal) -> bool {
    rustix::process::Pid::from_raw(pid).is_some_and(|pid| rustix::process::kill_process(pid, signal).is_ok())
}

/// Makes this process the parent of its orphaned descendants, so that nothing a test started can get lost.
pub fn adopt_orphans() {
    let me = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(me)).expect("PR_SET_CHILD_SUBREAPER takes no privilege");
}

/// Reaps the orphans that came to us and are dead.
pub fn reap_orphans() {
    let me = rustix::process::getpid().as_raw_nonzero().get();
    for orphan in all().into_iter().filter(|it| it.parent == me && it.state == 'Z') {
        let pid = rustix::process::Pid::from_raw(orphan.pid);
        // Already reaped by another thread: as good.
        let _ = rustix::process::waitpid(pid, rustix::process::WaitOptions::NOHANG);
    }
}
