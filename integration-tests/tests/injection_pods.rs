//! Pods killed at any system call, or refused any: run, run again, detached, stopped, removed and collected.
//!
//! Afterwards the next command sees a consistent state, the same command succeeds, and gc leaves nothing of any pod.
//! Without `--full`, only the removal is disturbed, and killed but not refused; the others are tried undisturbed.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use integration_tests::images::{Layout, busybox};
use integration_tests::injection::{Attempt, Campaign, Disturbance, is_full};
use integration_tests::needs::{Place, Why, place};
use integration_tests::{Env, Proa, User, binaries, needs};

/// Where pods stand (docs/formats/pod-directory.md).
const PLACES: [&str; 5] = ["prepare", "prepared", "run", "exited-garbage", "garbage"];

/// A data directory with an image, before something is done to pods.
struct World {
    env: Env,
    before: PathBuf,
    image: String,
}

impl World {
    fn new() -> Result<Self, Why> {
        place(Place::Host)?;
        User::Root.account()?;
        let env = Env::of(User::WithRange)?;
        let layout = Layout::new("pod").layer(busybox()).sh("echo done >/done").build(&env);
        let before = env.path("before");
        let layout = format!("oci:{}", layout.display());
        let image = proa(&env, &before, &["fetch", &layout]).outcome().succeeds().line().to_owned();
        // What a first pod makes for all of them is not what is tried here.
        proa(&env, &before, &["run", "--net=none", &image]).outcome().succeeds();
        Ok(Self { env, before, image })
    }

    /// A pod that has ended, and is kept.
    fn ended(&self, name: &str) {
        let words = ["run", "--net=none", "--detach", "--name", name, &self.image];
        proa(&self.env, &self.before, &words).outcome().succeeds();
        proa(&self.env, &self.before, &["wait", name]).outcome().succeeds();
        let deadline = std::time::Instant::now() + integration_tests::limit();
        while proa(&self.env, &self.before, &["list", "--no-legend"]).outcome().stdout.contains("running") {
            assert!(std::time::Instant::now() < deadline, "{name} does not end");
        }
    }

    fn everywhere(&self, name: &str, command: &[&str]) {
        self.everywhere_after(name, &|_| (), command);
    }

    /// With something that is done in each copy of the data directory before.
    fn everywhere_after(&self, name: &str, first: &(dyn Fn(&Path) + Sync), command: &[&str]) {
        if !is_full() && name != "pod rm" {
            let data = self.env.path("data");
            fs::rename(&self.before, &data).expect("it is ours");
            first(&data);
            let outcome = proa(&self.env, &data, command).outcome().succeeds();
            let (disturbance, call) = (Disturbance::Kill, "none".to_owned());
            return self.judge(&data, &Attempt { disturbance, call, outcome }, command);
        }
        for &disturbance in Disturbance::tried() {
            let campaign = Campaign {
                name,
                program: "proa",
                before: &self.before,
                command: &|data| {
                    first(data);
                    proa(&self.env, data, command)
                },
                leaves: command.contains(&"--detach"),
                judge: &|data, attempt| self.judge(data, attempt, command),
            };
            let tally = campaign.run(disturbance);
            assert!(tally.found > 20 && tally.tried * 10 > tally.found * 8, "{tally:?}");
        }
    }

    fn judge(&self, data: &Path, attempt: &Attempt, command: &[&str]) {
        let run = |args: &[&str]| proa(&self.env, data, args).outcome();
        attempt.assert_succeeded(&run(&["list", "--full"]));
        attempt.assert_told();
        // The same again; where its pod is gone, because it was removed, it says so.
        let again = run(command);
        let gone = again.stderr.contains("no matches found") || again.stderr.contains("No such container");
        assert!(again.status.success() || gone, "{attempt}\n--- then\n{again}");
        for line in run(&["list", "--no-legend", "--full"]).stdout.lines().filter(|line| line.contains("running")) {
            let uuid = line.split_whitespace().next().expect("a UUID");
            attempt.assert_succeeded(&run(&["stop", "--force", uuid]));
        }
        for _ in 0..2 {
            attempt.assert_succeeded(&run(&["gc", "--grace-period=0s", "--expire-prepared=0s"]));
        }
        let pods = data.join("pods");
        let cradles = fs::read_dir(pods.join("embryo")).into_iter().flatten().map(|it| it.expect("readable").path());
        for place in PLACES.map(|place| pods.join(place)).into_iter().chain(cradles) {
            let entries = fs::read_dir(&place).into_iter().flatten();
            let left: Vec<_> = entries.map(|entry| entry.expect("readable").file_name()).collect();
            assert!(left.is_empty(), "{left:?} is left in {}: {attempt}", place.display());
        }
        attempt.assert_succeeded(&run(&["run", "--net=none", &self.image]));
    }
}

fn proa<'e>(env: &'e Env, data: &Path, args: &[&str]) -> Proa<'e> {
    let global = ["--dir".into(), data.into()];
    env.command(binaries::proa(), global.into_iter().chain(args.iter().map(OsString::from)).collect())
}

#[test]
fn a_run_killed_at_every_call() {
    let world = needs!(World::new());
    world.everywhere("run", &["run", "--net=none", &world.image]);
}

#[test]
fn a_pod_that_runs_again_killed_at_every_call() {
    let world = needs!(World::new());
    world.ended("again");
    world.everywhere("start", &["docker", "start", "-a", "again"]);
}

#[test]
fn a_pods_removal_killed_at_every_call() {
    let world = needs!(World::new());
    world.ended("removed");
    world.everywhere("pod rm", &["rm", "removed"]);
}

#[test]
fn a_collection_of_pods_killed_at_every_call() {
    let world = needs!(World::new());
    world.ended("first");
    proa(&world.env, &world.before, &["prepare", "--name=second", &world.image]).outcome().succeeds();
    world.everywhere("pod gc", &["gc", "--grace-period=0s", "--expire-prepared=0s"]);
}

#[test]
fn a_pod_that_is_detached_killed_at_every_call() {
    let world = needs!(World::new());
    world.everywhere("detach", &["run", "--net=none", "--detach", &world.image]);
}

#[test]
fn a_pods_stop_killed_at_every_call() {
    let world = needs!(World::new());
    let run = ["run", "--net=none", "--detach", "--name=lives", &world.image, "--exec=/bin/sleep", "--", "1000"];
    let first = |data: &Path| drop(proa(&world.env, data, &run).outcome().succeeds());
    world.everywhere_after("stop", &first, &["stop", "lives"]);
}
