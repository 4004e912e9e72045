//! Campaigns that disturb every system call of a command, one run of it after another.
//!
//! The program `inject` says which calls a command makes, and kills its process at one of them or lets that one fail. A
//! [`Campaign`] runs the command once for each, every time in a fresh copy of the same data directory, and asks a test
//! whether what came of it is right. What is left behind decides that, so a test is asked only once about the same one: the
//! same files with the same contents, owners and modes, and the same outcome (with `PROA_TEST_FULL` every time).

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread::available_parallelism;
use std::time::Instant;

use tempfile::TempDir;

use crate::{Outcome, Proa, binaries, limit};

/// How a call is disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    /// Its process is killed when it enters the call.
    Kill,
    /// The call fails for lack of space or descriptors, or on a broken disk.
    Fail,
}

impl Disturbance {
    /// Those that there is time for.
    pub fn tried() -> &'static [Self] {
        if is_full() { &[Self::Kill, Self::Fail] } else { &[Self::Kill] }
    }
}

/// A command that is to be disturbed.
pub struct Campaign<'a> {
    /// What it is called in what is printed.
    pub name: &'a str,
    /// The name of the file whose processes' calls count.
    pub program: &'a str,
    /// The data directory that it begins with.
    pub before: &'a Path,
    /// Its command line in a data directory.
    pub command: &'a (dyn Fn(&Path) -> Proa<'a> + Sync),
    /// Whether processes that it leaves running are left so.
    pub leaves: bool,
    /// Asserts what must hold afterwards.
    pub judge: &'a (dyn Fn(&Path, &Attempt) + Sync),
}

impl std::fmt::Debug for Campaign<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Campaign").field("name", &self.name).field("before", &self.before).finish_non_exhaustive()
    }
}

/// One run that was disturbed.
#[derive(Debug)]
pub struct Attempt {
    /// How.
    pub disturbance: Disturbance,
    /// Which call, as `inject` names it.
    pub call: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What a campaign came to.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    /// How many calls there are.
    pub found: usize,
    /// How many of them were disturbed.
    pub tried: usize,
    /// How many different states that left.
    pub states: usize,
    /// Calls that are not made in every run, and did not come again.
    pub gone: BTreeSet<String>,
}

/// Whether there is time for everything (`integration-tests/run --full`).
pub fn is_full() -> bool {
    std::env::var_os("PROA_TEST_FULL").is_some()
}

/// A call is waited for in this many runs.
const RUNS: usize = 4;

struct Progress {
    waiting: VecDeque<(String, usize)>,
    judged: HashSet<u64>,
    tally: Tally,
}

impl Campaign<'_> {
    /// Disturbs every call.
    ///
    /// # Panics
    /// When the command fails undisturbed, or the judge does.
    pub fn run(&self, disturbance: Disturbance) -> Tally {
        let scratch = scratch();
        let mut known = BTreeSet::new();
        // Two runs, because some calls are not made in every one.
        for _ in 0..2 {
            let (outcome, report) = self.once(&scratch.path().join("list"), disturbance, None);
            assert!(outcome.status.success(), "undisturbed: {outcome}");
            known.extend(report.lines().map(str::to_owned));
        }
        let tally = Tally { found: known.len(), ..Tally::default() };
        let waiting = known.iter().map(|call| (call.clone(), RUNS)).collect();
        let progress = Mutex::new(Progress { waiting, judged: HashSet::new(), tally });
        let workers = available_parallelism().map_or(2, usize::from);
        std::thread::scope(|scope| {
            for worker in 0..workers {
                let (progress, data) = (&progress, scratch.path().join(worker.to_string()));
                scope.spawn(move || while self.step(&data, disturbance, progress) {});
            }
        });
        let progress = progress.into_inner().expect("no worker panicked");
        let tally = progress.tally;
        println!(
            "{}, {disturbance:?}: {} calls found, {} tried, {} states; {} calls did not come again",
            self.name,
            tally.found,
            tally.tried,
            tally.states,
            tally.gone.len()
        );
        tally
    }

    /// Takes one call from the list and disturbs it; false when there is none.
    fn step(&self, data: &Path, disturbance: Disturbance, progress: &Mutex<Progress>) -> bool {
        let next = progress.lock().expect("no worker panicked").waiting.pop_front();
        let Some((call, runs)) = next else { return false };
        let (outcome, report) = self.once(data, disturbance, Some(&call));
        if report != "hit\n" {
            let mut progress = progress.lock().expect("no worker panicked");
            if runs > 1 {
                progress.waiting.push_back((call, runs - 1));
            } else {
                progress.tally.gone.insert(call);
            }
            return true;
        }
        let attempt = Attempt { disturbance, call, outcome };
        let said = &attempt.outcome;
        assert!(!said.stderr.contains("panicked"), "{}: {said}", attempt.call);
        let mut hasher = DefaultHasher::new();
        (said.status.code(), &said.stdout).hash(&mut hasher);
        state(data).hash(&mut hasher);
        let is_new = {
            let mut progress = progress.lock().expect("no worker panicked");
            progress.tally.tried += 1;
            progress.judged.insert(hasher.finish())
        };
        if is_new || is_full() {
            progress.lock().expect("no worker panicked").tally.states += 1;
            (self.judge)(data, &attempt);
        }
        true
    }

    /// Runs the command in a copy of its data directory; returns what it said and what `inject` reports.
    fn once(&self, data: &Path, disturbance: Disturbance, call: Option<&str>) -> (Outcome, String) {
        // What the command left running writes into its directory until it has ended.
        let deadline = Instant::now() + limit();
        while data.exists() {
            match fs::remove_dir_all(data) {
                Err(error)
                    if error.kind() == ErrorKind::DirectoryNotEmpty && self.leaves && Instant::now() < deadline => {}
                removed => removed.unwrap_or_else(|error| panic!("{}: {error}", data.display())),
            }
        }
        let copied = Command::new("cp").arg("-a").arg(self.before).arg(data).status().expect("cp runs");
        assert!(copied.success(), "cp {}", self.before.display());
        let report = data.with_extension("report");
        let mode = match (disturbance, call) {
            (Disturbance::Kill, None) => "list-kill",
            (Disturbance::Fail, None) => "list-fail",
            (Disturbance::Kill, Some(_)) => "kill",
            (Disturbance::Fail, Some(_)) => "fail",
        };
        let inject = binaries::inject();
        let mut line: Vec<&OsStr> = vec![inject.as_os_str(), "--data".as_ref(), data.as_os_str()];
        line.extend(self.leaves.then_some(OsStr::new("--leave")));
        line.extend([self.program.as_ref(), report.as_os_str(), mode.as_ref()]);
        line.extend(call.map(OsStr::new));
        line.push("--".as_ref());
        let outcome = (self.command)(data).through_as_invoker(line).outcome();
        let said = fs::read_to_string(&report).unwrap_or_else(|error| panic!("inject: {error}: {outcome}"));
        (outcome, said)
    }
}

impl Attempt {
    /// What could not do its work because a call failed has said so.
    ///
    /// # Panics
    /// When it has not.
    #[track_caller]
    pub fn assert_told(&self) {
        if self.disturbance == Disturbance::Fail && !self.outcome.status.success() {
            // The second is docker's word.
            let tells = |line: &str| line.starts_with("proa: ") || line.starts_with("Error response from daemon: ");
            assert!(self.outcome.stderr.lines().any(tells), "nothing tells what went wrong: {self}");
        }
    }

    /// Asserts that a run which had to succeed did.
    #[track_caller]
    pub fn assert_succeeded(&self, outcome: &Outcome) {
        assert!(outcome.status.success(), "{self}\n--- then\n{outcome}");
    }
}

impl std::fmt::Display for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} at {}: {}", self.disturbance, self.call, self.outcome)
    }
}

/// A folder for data directories, in memory where files there can have attributes (since Linux 6.6).
fn scratch() -> TempDir {
    let make = |dir: &Path| {
        let dir = tempfile::Builder::new().prefix("proa-inject-").tempdir_in(dir).ok()?;
        fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).ok()?;
        Some(dir)
    };
    let in_memory = make(Path::new("/dev/shm")).filter(|dir| {
        let probe = fs::File::open(dir.path()).expect("it was just made");
        rustix::fs::fsetxattr(&probe, "user.probe", b"y", rustix::fs::XattrFlags::empty()).is_ok()
    });
    in_memory.or_else(|| make(&binaries::work_dir())).expect("the work folder is ours")
}

/// What a directory holds, without what differs from run to run: random names, and moments.
fn state(dir: &Path) -> BTreeMap<(String, u64), usize> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![(dir.to_owned(), String::new())];
    while let Some((dir, shown)) = waiting.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten() {
            let entry = entry.expect("root may read it");
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let is_random = name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
            let shown = format!("{shown}/{}", if is_random { "*" } else { &name });
            let meta = fs::symlink_metadata(&path).expect("root may look");
            let mut hasher = DefaultHasher::new();
            // A time that an archive gave: it is long ago.
            let time = (meta.mtime() < 1_000_000_000).then_some(meta.mtime());
            (meta.mode(), meta.uid(), meta.gid(), meta.nlink(), meta.rdev(), time).hash(&mut hasher);
            if meta.is_symlink() {
                fs::read_link(&path).expect("it is a link").hash(&mut hasher);
            } else if meta.is_file() {
                steady(&path).hash(&mut hasher);
            } else if meta.is_dir() {
                waiting.push((path, shown.clone()));
            }
            *found.entry((shown, hasher.finish())).or_default() += 1;
        }
    }
    found
}

/// The contents of a file; in JSON without long numbers, which are moments.
fn steady(path: &PathBuf) -> Vec<u8> {
    let bytes = fs::read(path).expect("root may read it");
    if path.extension() != Some(OsStr::new("json")) {
        return bytes;
    }
    let is_long = |run: &&[u8]| run.len() >= 9 && run[0].is_ascii_digit();
    let runs = bytes.chunk_by(|a, b| a.is_ascii_alphanumeric() == b.is_ascii_alphanumeric());
    runs.filter(|run| !(is_long(run) && run.iter().all(u8::is_ascii_digit))).flatten().copied().collect()
}
