//! Removing trees that are made to be hard to remove.

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, mkdirat, openat};
use store::removal::empty;

use crate::bed::Bed;

fn emptied(bed: &Bed) {
    empty(File::open(bed.tree()).unwrap().as_fd()).unwrap();
    assert!(bed.paths().is_empty(), "{:?}", bed.paths());
    bed.assert_untouched();
}

#[test]
fn dos_06_a_directory_of_five_thousand_levels() {
    let bed = Bed::new();
    // Deeper than a path can say.
    let mut dir = rustix::fs::open(bed.tree(), OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..5000 {
        mkdirat(&dir, "d", Mode::RWXU).unwrap();
        dir = openat(&dir, "d", OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    drop(dir);
    let start = Instant::now();
    emptied(&bed);
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn symlinks_are_removed_and_not_followed() {
    let bed = Bed::new();
    fs::create_dir(bed.tree().join("d")).unwrap();
    for path in ["link", "d/link"] {
        symlink(bed.canary(), bed.tree().join(path)).unwrap();
    }
    symlink("..", bed.tree().join("d/up")).unwrap();
    emptied(&bed);
}

#[test]
fn directories_that_forbid_everything() {
    let bed = Bed::new();
    for path in ["a/b/c", "x/y"] {
        fs::create_dir_all(bed.tree().join(path)).unwrap();
        fs::write(bed.tree().join(path).join("file"), "").unwrap();
    }
    for path in ["a/b/c", "a/b", "a", "x/y"] {
        fs::set_permissions(bed.tree().join(path), fs::Permissions::from_mode(0o000)).unwrap();
    }
    fs::set_permissions(bed.tree().join("x"), fs::Permissions::from_mode(0o555)).unwrap();
    emptied(&bed);
}

#[test]
fn names_that_are_taken() {
    let bed = Bed::new();
    fs::create_dir_all(bed.tree().join("d/sub/subsub/more")).unwrap();
    for n in 0..5 {
        fs::write(bed.tree().join(format!("proa-removing-{n}")), "").unwrap();
        fs::create_dir_all(bed.tree().join(format!("d/proa-removing-{n}/x/y"))).unwrap();
    }
    emptied(&bed);
}

#[test]
fn many_entries_in_one_directory() {
    let bed = Bed::new();
    fs::create_dir(bed.tree().join("d")).unwrap();
    for n in 0..3000 {
        fs::write(bed.tree().join(format!("f{n}")), "").unwrap();
        fs::write(bed.tree().join(format!("d/{}", format!("{n}-").repeat(30))), "").unwrap();
    }
    emptied(&bed);
}
