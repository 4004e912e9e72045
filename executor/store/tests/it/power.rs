//! Power cuts (store table 70): what was synced stays, of the rest a disk keeps what it likes.
//!
//! A process that imports or removes images is traced; each of its calls that changes the store becomes a change of a
//! simulated disk, durable once a call says so. Then the power is cut after each step: with all that was not synced lost,
//! with none of it, with each single change lost, and with changes lost at random; contents of files vanish or are torn.
//! Each time the store that is left must be sound, with everything in it that was acknowledged.

mod disk;
mod trace;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use store::Store;

use self::disk::Disk;
use self::trace::{TRACED, parse};
use crate::children::{Work, command_under, finish};
use crate::imports::check;

/// What `works` do one after the other in one data directory.
fn traced(works: &[Work]) -> Option<Disk> {
    if !has_strace() {
        return None;
    }
    let data = tempfile::tempdir().unwrap();
    let path = data.path().canonicalize().unwrap();
    let mut calls = Vec::new();
    for &work in works {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut strace = Command::new("strace");
        // Strings whole and in hex, descriptors with their paths.
        strace.args(["-f", "-y", "-xx", "-s", "1000000", "-o"]).arg(log.path()).args(["-e", TRACED]);
        let (_, survived, errors) = finish(command_under(strace, work, &path).spawn().unwrap());
        assert!(survived, "{errors}");
        calls.extend(parse(&fs::read_to_string(log.path()).unwrap(), path.to_str().unwrap()));
    }
    // The model is right if it comes to what is really there.
    let disk = Disk::play(&calls);
    let replayed = tempfile::tempdir().unwrap();
    disk.write(disk.steps() - 1, &[], false, replayed.path());
    assert_eq!(names(replayed.path()), names(&path));
    assert_eq!(check(replayed.path()).len(), check(&path).len());
    Some(disk)
}

/// All paths below a directory.
fn names(dir: &Path) -> Vec<String> {
    let found = crate::bed::snapshot(dir);
    found.keys().map(|path| path.display().to_string()).collect()
}

/// Cuts the power after each step in all ways; `acknowledged` judges what is left by what had been said.
fn cut_everywhere(disk: &Disk, acknowledged: impl Fn(&Path, &[String])) -> usize {
    let mut random = 1_u64;
    let mut cuts = 0;
    for step in 0..disk.steps() {
        let at_risk = disk.at_risk(step);
        let mut losses = vec![at_risk.clone(), Vec::new()];
        losses.extend(at_risk.iter().map(|change| vec![*change]));
        for _ in 0..2 {
            losses.push(at_risk.iter().copied().filter(|_| flip(&mut random)).collect());
        }
        losses.sort();
        losses.dedup();
        for lost in losses {
            let data = tempfile::tempdir().unwrap();
            disk.write(step, &lost, flip(&mut random), data.path());
            sound(data.path(), step, &lost);
            acknowledged(data.path(), &disk.said(step));
            cuts += 1;
        }
    }
    cuts
}

/// The next bit of a linear congruence: the same cuts each time.
fn flip(state: &mut u64) -> bool {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 63 == 1
}

/// Whatever is visible is whole; a store that was being made is made.
fn sound(data: &Path, step: usize, lost: &[usize]) {
    let judged = std::panic::catch_unwind(|| {
        fs::set_permissions(data, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        Store::ensure(data).unwrap();
        check(data);
    });
    assert!(judged.is_ok(), "power was cut after step {step}, which lost {lost:?}");
}

fn has(data: &Path, name: &str) -> bool {
    check(data).iter().any(|image| image.names().any(|other| other == name))
}

fn has_strace() -> bool {
    let run = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    let found = run.is_ok_and(|status| status.success());
    if !found {
        eprintln!("strace is missing or may not trace");
    }
    found
}

#[test]
fn store_70_power_is_cut_during_an_import() {
    let Some(disk) = traced(&[Work::Import]) else { return };
    let cuts = cut_everywhere(&disk, |data, said| {
        for name in said.iter().filter_map(|line| line.strip_prefix("committed ")) {
            assert!(has(data, name), "{name} was acknowledged and is lost");
        }
    });
    println!("{cuts} power cuts in {} steps", disk.steps());
    assert!(cuts > 300);
}

#[test]
fn store_70_power_is_cut_during_removal_and_gc() {
    let Some(disk) = traced(&[Work::Import, Work::Remove]) else { return };
    let cuts = cut_everywhere(&disk, |data, said| {
        for name in said.iter().filter_map(|line| line.strip_prefix("removed ")) {
            assert!(!has(data, name), "{name} was said to be removed and came back");
        }
    });
    println!("{cuts} power cuts in {} steps", disk.steps());
    assert!(cuts > 300);
}
