//! What must be as before after any run, successful or not (oracle O3: nothing left).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::process;

/// Mounts, processes, namespaces, pod directories and temporary files at one time.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Lines of this mount namespace's mountinfo, without the ids, which say nothing.
    mounts: BTreeSet<String>,
    /// Descendants of this process that are not zombies.
    processes: BTreeSet<String>,
    /// Their namespaces that are not ours.
    namespaces: BTreeSet<String>,
    /// Pods in any state, claimed pod names, networks of pods, and everything in the store's and the user's folders for temporary files.
    leftovers: BTreeSet<PathBuf>,
}

impl Snapshot {
    /// Looks now. `data` is the data directory, `temporary` further folders that must stay empty.
    pub fn take(data: &Path, temporary: &[PathBuf]) -> Self {
        let me = rustix::process::getpid().as_raw_nonzero().get();
        process::reap_orphans();
        let living: Vec<_> = process::descendants(me).into_iter().filter(|it| it.state != 'Z').collect();
        let ours = process::namespaces(me);
        let mut leftovers = BTreeSet::new();
        let (embryo, places): (Vec<_>, Vec<_>) =
            entries(&data.join("pods")).into_iter().partition(|it| it.ends_with("embryo"));
        let cradles = embryo.iter().flat_map(|it| entries(it));
        for place in places.into_iter().chain(cradles) {
            leftovers.extend(entries(&place));
        }
        leftovers.extend(entries(&data.join("networks")));
        leftovers.extend(entries(&data.join("store/tmp")));
        leftovers.extend(temporary.iter().flat_map(|it| entries(it)));
        Self {
            mounts: mounts(),
            processes: living.iter().map(|it| format!("{} {}", it.pid, it.name)).collect(),
            namespaces: living
                .iter()
                .flat_map(|it| process::namespaces(it.pid))
                .filter(|it| !ours.contains(it))
                .collect(),
            leftovers,
        }
    }

    /// Waits until all is as in `self`: the kernel takes some milliseconds to end a killed pod.
    ///
    /// # Panics
    /// With the difference, when `within` has passed.
    #[track_caller]
    pub fn assert_as_before(&self, data: &Path, temporary: &[PathBuf], within: Duration) {
        let deadline = Instant::now() + within;
        loop {
            let now = Self::take(data, temporary);
            if now == *self {
                return;
            }
            assert!(Instant::now() < deadline, "not as before the test:\n{}", self.difference(&now));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn difference(&self, now: &Self) -> String {
        let mut lines = Vec::new();
        let mut compare = |what: &str, before: BTreeSet<String>, after: BTreeSet<String>| {
            lines.extend(after.difference(&before).map(|it| format!("+ {what} {it}")));
            lines.extend(before.difference(&after).map(|it| format!("- {what} {it}")));
        };
        let shown = |paths: &BTreeSet<PathBuf>| paths.iter().map(|it| it.display().to_string()).collect();
        compare("mount", self.mounts.clone(), now.mounts.clone());
        compare("process", self.processes.clone(), now.processes.clone());
        compare("namespace", self.namespaces.clone(), now.namespaces.clone());
        compare("file", shown(&self.leftovers), shown(&now.leftovers));
        lines.join("\n")
    }
}

fn mounts() -> BTreeSet<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let without_ids = |line: &str| line.split(' ').skip(2).collect::<Vec<_>>().join(" ");
    table.lines().map(without_ids).collect()
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().filter_map(|it| Some(it.ok()?.path())).collect()
}
