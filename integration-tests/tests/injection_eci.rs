//! Virtual machine images: pushes into a layout and pulls out of it, killed at any system call, or refused any.
//!
//! Afterwards no file under a final name is partial, the image that was there before can be pulled, the same command
//! succeeds, and then nothing unfinished is left.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use integration_tests::injection::{Attempt, Campaign, Disturbance, is_full};
use integration_tests::needs::{Place, Why, place};
use integration_tests::{Env, Proa, User, binaries, needs};

/// What a pull gives, and the file that it comes from.
const FILES: [(&str, &str); 2] = [("kernel", "k"), ("disk-root-root.raw", "root.raw")];

/// All that a pull gives.
const NAMES: [&str; 3] = ["config.json", "disk-root-root.raw", "kernel"];

const PARTS: [&str; 4] = ["--kernel", "k", "--root", "root.raw:raw"];

/// A folder that has a layout with an image of each format, `artifacts` and `legacy`.
struct World {
    env: Env,
    before: PathBuf,
}

impl World {
    fn new() -> Result<Self, Why> {
        place(Place::Host)?;
        User::Root.account()?;
        let env = Env::of(User::WithRange)?;
        env.write("k", b"kernel");
        // Holes between data, and an end that is no whole block.
        let mut root = vec![0; 300_007];
        root[100_000..100_100].fill(7);
        root[300_000..].fill(8);
        env.write("root.raw", root);
        let before = env.path("before");
        for format in ["artifacts", "legacy"] {
            let words = [&["push", "--format", format], &PARTS[..], &[format]].concat();
            eci(&env, &before, &words).outcome().succeeds();
        }
        Ok(Self { env, before })
    }

    fn everywhere(&self, name: &str, command: &[&str], judge: &(dyn Fn(&Path, &Attempt) + Sync)) {
        for &disturbance in Disturbance::tried() {
            let campaign = Campaign {
                name,
                program: "proa",
                before: &self.before,
                command: &|data| eci(&self.env, data, command),
                leaves: false,
                judge: &|data, attempt| {
                    attempt.assert_told();
                    judge(data, attempt);
                },
            };
            let tally = campaign.run(disturbance);
            assert!(tally.gone.is_empty() && tally.found > 20 && tally.tried == tally.found, "{tally:?}");
        }
    }

    /// The files of an image that are in a folder are whole.
    fn assert_whole(&self, dir: &Path, attempt: &Attempt) -> BTreeSet<String> {
        let entries = fs::read_dir(dir).into_iter().flatten();
        let names: BTreeSet<String> =
            entries.map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8")).collect();
        for (name, part) in FILES {
            if names.contains(name) {
                let same = fs::read(dir.join(name)).expect(name) == fs::read(self.env.path(part)).expect(part);
                assert!(same, "{name} is not as it was: {attempt}");
            }
        }
        names
    }

    fn pull(&self, format: &str) {
        let words = ["pull", "--dir", "DATA/pulled", format];
        self.everywhere(&format!("eci pull, {format}"), &words, &|data, attempt| {
            let (pulled, all) = (data.join("pulled"), BTreeSet::from(NAMES.map(str::to_owned)));
            let names = self.assert_whole(&pulled, attempt);
            assert!(!attempt.outcome.status.success() || names == all, "{names:?}: {attempt}");
            attempt.assert_succeeded(&eci(&self.env, data, &words).outcome());
            let names = self.assert_whole(&pulled, attempt);
            assert_eq!(names, all, "{attempt}");
        });
    }

    fn push(&self, format: &str) {
        let words = [&["push", "--format", format], &PARTS[..], &["again"]].concat();
        self.everywhere(&format!("eci push, {format}"), &words, &|data, attempt| {
            let pull = |image: &str| {
                attempt.assert_succeeded(
                    &eci(&self.env, data, &["pull", "--dir", &format!("DATA/{image}"), image]).outcome(),
                );
                assert_eq!(self.assert_whole(&data.join(image), attempt).len(), NAMES.len(), "{attempt}");
            };
            pull("artifacts");
            if attempt.outcome.status.success() {
                pull("again");
            }
            attempt.assert_succeeded(&eci(&self.env, data, &words).outcome());
            pull("again");
            let entries = fs::read_dir(data.join("layout")).expect("it is there");
            let names: BTreeSet<OsString> = entries.map(|entry| entry.expect("readable").file_name()).collect();
            assert_eq!(names, ["blobs", "index.json", "oci-layout"].map(OsString::from).into(), "{attempt}");
            for blob in fs::read_dir(data.join("layout/blobs/sha256")).expect("it is there") {
                let name = blob.expect("readable").file_name();
                assert_eq!(name.len(), 64, "{name:?} is left: {attempt}");
            }
        });
    }
}

/// `DATA` in the words stands for the folder.
fn eci<'e>(env: &'e Env, data: &Path, words: &[&str]) -> Proa<'e> {
    let data = data.to_str().expect("UTF-8");
    let (action, rest) = words.split_first().expect("a command");
    let fixed = ["eci", action, "--remote"].map(OsString::from).into_iter().chain([format!("{data}/layout").into()]);
    let rest = rest.iter().map(|word| match env.path(word) {
        path if FILES.iter().any(|(_, part)| word.starts_with(part)) => path.into_os_string(),
        _ => word.replace("DATA", data).into(),
    });
    env.command(binaries::proa(), fixed.chain(rest).collect())
}

#[test]
fn pushes_disturbed_at_every_call() {
    let world = needs!(World::new());
    world.push("artifacts");
    if is_full() {
        world.push("legacy");
    }
}

#[test]
fn pulls_disturbed_at_every_call() {
    let world = needs!(World::new());
    world.pull("artifacts");
    world.pull("legacy");
}
