//! Killed at any system call, or refused any, the store is consistent and the next process goes on (security corpus,
//! STO-01 and store table 69 to 71).

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use store::{AsUser, BlobRef, BlobRole, ImageKind, ImageRecord, Store};

use crate::children::{Work, command, command_under, finish};
use crate::imports::{check, names, nobody};

/// The calls that change something, and the lock. A process killed between two others leaves what the former did.
const CALLS: [&str; 18] = [
    "write",
    "fsync",
    "syncfs",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "linkat",
    "symlinkat",
    "mknodat",
    "fchmod",
    "fchown",
    "utimensat",
    "fsetxattr",
    "flock",
];

/// What a child said, whether it succeeded, and its error messages.
type Ended = (Vec<String>, bool, String);

/// Runs `work` below strace.
fn strace(work: Work, data: &Path, options: &[&str]) -> Ended {
    let mut strace = Command::new("strace");
    strace.arg("-f").args(options);
    finish(command_under(strace, work, data).spawn().unwrap())
}

pub(crate) fn has_strace() -> bool {
    let run = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    let found = run.is_ok_and(|status| status.success());
    if !found {
        eprintln!("strace is missing or may not trace");
    }
    found
}

/// How often `work` makes each call, in the thread that makes it most often: strace counts by thread.
fn count_calls(work: Work, before: &dyn Fn(&Path)) -> BTreeMap<&'static str, usize> {
    let data = tempfile::tempdir().unwrap();
    before(data.path());
    let log = tempfile::NamedTempFile::new().unwrap();
    let trace = format!("trace={},openat", CALLS.join(","));
    let (_, survived, errors) = strace(work, data.path(), &["-o", log.path().to_str().unwrap(), "-e", &trace]);
    assert!(survived, "{errors}");
    let mut counts: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for line in std::fs::read_to_string(log.path()).unwrap().lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((name, _)) = rest.trim_start().split_once('(') else { continue };
        if let Some(name) = CALLS.iter().chain(&["openat"]).find(|call| **call == name) {
            *counts.entry((name, thread.to_owned())).or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((name, _), count) in counts {
        let most: &mut usize = most.entry(name).or_default();
        *most = count.max(*most);
    }
    most
}

/// Lets `work` be killed at every call it makes, one after the other, and calls `after` each time with what it had
/// said. Returns the number of points.
fn kill_everywhere(work: Work, before: &dyn Fn(&Path), after: impl Fn(&Path, &[String])) -> usize {
    let mut points = 0;
    let mut attempt = |kill: &dyn Fn(&Path) -> Ended| {
        let data = tempfile::tempdir().unwrap();
        before(data.path());
        let (said, survived, _) = kill(data.path());
        after(data.path(), &said);
        points += usize::from(!survived);
        survived
    };
    if !has_strace() {
        for turn in 0..100 {
            attempt(&|data| {
                let mut child = command(work, data).spawn().unwrap();
                std::thread::sleep(Duration::from_micros(200 * turn));
                let _ = child.kill();
                finish(child)
            });
        }
        assert!(points > 0);
        return points;
    }
    for (call, count) in count_calls(work, before) {
        if call == "openat" {
            continue; // changes nothing that the following call does not show
        }
        for when in 1..=count {
            // Killed when it enters the call, which then does not happen.
            let inject = format!("inject={call}:signal=SIGKILL:when={when}");
            let options = ["-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject];
            let survived = attempt(&|data| strace(work, data, &options));
            assert!(!survived, "{call} was not called {when} times");
        }
    }
    points
}

/// Lets every call of `work` fail once, and calls `after` each time with what it said and whether it succeeded.
fn fail_everywhere(work: Work, before: &dyn Fn(&Path), after: impl Fn(&Path, &[String], bool)) -> usize {
    let mut points = 0;
    for (call, count) in count_calls(work, before) {
        let errno = match call {
            "write" | "mkdirat" | "renameat2" => "ENOSPC",
            "openat" => "EMFILE",
            _ => "EIO",
        };
        // Most openat calls are the loader's and the harness's.
        let step = if call == "openat" { 5 } else { 1 };
        for when in (1..=count).step_by(step) {
            let data = tempfile::tempdir().unwrap();
            before(data.path());
            let inject = format!("inject={call}:error={errno}:when={when}");
            let options = ["-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject];
            let (said, succeeded, errors) = strace(work, data.path(), &options);
            // The child unwraps what the store returns; the store itself must not panic.
            assert!(!errors.contains("panicked at executor/store/src"), "{errors}");
            after(data.path(), &said, succeeded);
            points += 1;
        }
    }
    points
}

/// gc removes all that is not needed, and only that; then everything can be done (again).
fn recover(data: &Path) {
    let images = check(data);
    let store = Store::ensure(data).unwrap();
    let report = store.gc(&AsUser, &nobody).unwrap();
    assert!(report.failures.is_empty() && report.in_use == 0, "{report:?}");
    assert_eq!(names(data, "tmp"), Vec::<String>::new());
    assert_eq!(check(data), images, "gc took what is needed");
    let layers: usize = images.iter().map(|image| image.layers.len()).sum();
    let kept = |image: &ImageRecord| {
        let kept = |blob: &&BlobRef| image.kind == ImageKind::Aci || blob.role != BlobRole::Layer;
        image.blobs.iter().filter(kept).count()
    };
    let blobs: usize = images.iter().map(kept).sum();
    assert_eq!((names(data, "trees").len(), names(data, "blobs/sha256").len()), (layers, blobs));
    let (said, survived, errors) = finish(command(Work::Import, data).spawn().unwrap());
    assert!(survived, "{errors}");
    assert_eq!(said.len(), 2);
    assert_eq!(check(data).len(), 2);
}

fn nothing(_: &Path) {}

fn two_images(data: &Path) {
    let (_, survived, errors) = finish(command(Work::Import, data).spawn().unwrap());
    assert!(survived, "{errors}");
}

/// What was acknowledged is there.
fn kept(data: &Path, said: &[String]) {
    let images = check(data);
    for name in said.iter().filter_map(|line| line.strip_prefix("committed ")) {
        let there = images.iter().any(|image| image.names().any(|other| other == name));
        assert!(there, "{name} was acknowledged and is lost");
    }
}

/// What was said to be removed is not.
fn gone(data: &Path, said: &[String]) {
    let images = check(data);
    for name in said.iter().filter_map(|line| line.strip_prefix("removed ")) {
        assert!(!images.iter().any(|image| image.names().any(|other| other == name)), "{name} came back");
    }
}

#[test]
fn sto_01_an_import_killed_anywhere() {
    let points = kill_everywhere(Work::Import, &nothing, |data, said| {
        kept(data, said);
        recover(data);
    });
    println!("killed at {points} points");
}

#[test]
fn sto_01_removal_and_gc_killed_anywhere() {
    let points = kill_everywhere(Work::Remove, &two_images, |data, said| {
        gone(data, said);
        recover(data);
    });
    println!("killed at {points} points");
}

#[test]
fn sto_71_an_import_refused_any_call() {
    if !has_strace() {
        return;
    }
    let points = fail_everywhere(Work::Import, &nothing, |data, said, succeeded| {
        assert!(!succeeded || said.len() == 2);
        kept(data, said);
        recover(data);
    });
    println!("failed at {points} points");
}

#[test]
fn sto_71_removal_and_gc_refused_any_call() {
    if !has_strace() {
        return;
    }
    let points = fail_everywhere(Work::Remove, &two_images, |data, said, _| {
        gone(data, said);
        recover(data);
    });
    println!("failed at {points} points");
}
