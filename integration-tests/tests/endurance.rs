//! Many pods, one after another and at once, and kill -9 of anything at random moments: afterwards nothing is left.
//!
//! What a system call at which something dies can break, injection.rs and injection_pods.rs try one by one; this is about what
//! they cannot: several commands and pods at once, deaths in company, and what grows by a little each time. The
//! short form takes seconds; `PROA_TEST_FULL=1` (`integration-tests/run --full`) makes it 10,000 cycles, 500 pods
//! and 2,000 kills. Chance is seeded: a failure names the seed, and `PROA_TEST_SEED` repeats it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use integration_tests::images::{Aci, busybox};
use integration_tests::injection::is_full;
use integration_tests::needs::{Place, place};
use integration_tests::process::{self, Process};
use integration_tests::{Env, Outcome, User, limit, needs};
use rustix::process::Signal;

/// Numbers by chance, the same ones for the same seed (Knuth's MMIX generator).
struct Chance {
    seed: u64,
    state: u64,
}

impl Chance {
    fn new() -> Self {
        let given = std::env::var("PROA_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| u64::from(time.subsec_nanos()));
        let seed = given.unwrap_or_else(now);
        eprintln!("PROA_TEST_SEED={seed}");
        Self { seed, state: seed }
    }

    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.state >> 33).expect("31 bits") % bound
    }

    fn one_of<'a, T>(&mut self, these: &'a [T]) -> Option<&'a T> {
        (!these.is_empty()).then(|| &these[self.below(these.len())])
    }

    /// A moment within a command's life: most of what can break is in its first milliseconds.
    fn moment(&mut self) -> Duration {
        let longest = [2_000, 10_000, 40_000][self.below(3)];
        Duration::from_micros(self.below(longest) as u64)
    }
}

/// How often something is done: in the short form, and in the long one.
fn times(short: usize, long: usize) -> usize {
    if is_full() { long } else { short }
}

/// Every state that a pod may be told to have (docs/formats/pod-directory.md).
const KNOWN: [&str; 10] = [
    "embryo",
    "preparing",
    "aborted prepare",
    "prepared",
    "running",
    "exited",
    "exited deleting",
    "exited garbage",
    "deleting",
    "garbage",
];

/// Those of them that some process is at work on.
const ACTIVE: [&str; 4] = ["preparing", "running", "exited deleting", "deleting"];

/// A pod as `proa list` has it.
struct Listed {
    uuid: String,
    state: String,
}

struct World {
    env: Env,
    image: String,
}

impl World {
    fn new(user: User, script: &str) -> Result<Self, integration_tests::needs::Why> {
        place(Place::Host)?;
        let env = Env::of(user)?;
        let file = Aci::new("endurance", busybox()).sh(script).build(&env);
        let image = env.store(&file);
        // What a first pod makes for all of them is not what is looked at.
        env.proa(["run", "--net=none", &image, "--exec", "/bin/true"]).outcome().succeeds();
        Ok(Self { env, image })
    }

    fn proa(&self, args: &[&str]) -> Outcome {
        sound(self.env.proa(args).outcome())
    }

    fn list(&self) -> Vec<Listed> {
        let listed = self.proa(&["list", "--full", "--format=json"]).succeeds();
        let json: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap_or_else(|e| panic!("{e}: {listed}"));
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_else(|| panic!("{listed}")).to_owned();
        let pods = json.as_array().into_iter().flatten();
        let pods: Vec<_> = pods.map(|pod| Listed { uuid: text(&pod["uuid"]), state: text(&pod["state"]) }).collect();
        for pod in &pods {
            assert!(KNOWN.contains(&&*pod.state), "{}: {listed}", pod.state);
        }
        pods
    }

    /// Has every pod end and be collected, and asserts that nothing is left of any.
    fn settle(&self) {
        let deadline = Instant::now() + limit();
        // A monitor may live, and its pod not run yet: who started it was killed early.
        loop {
            self.env.end_metadata_service();
            process::reap_orphans();
            let living = living();
            if living.is_empty() {
                break;
            }
            let pods = self.list();
            let told = || living.iter().map(|it| format!("{it:?} {}", about(it.pid))).collect::<Vec<_>>().join("\n");
            let states = || pods.iter().map(|pod| format!("{} {}\n", pod.uuid, pod.state)).collect::<String>();
            assert!(Instant::now() < deadline, "these do not end:\n{}{}", states(), told());
            for pod in pods.iter().filter(|pod| pod.state == "running") {
                // It may end by itself meanwhile.
                self.proa(&["stop", "--force", &pod.uuid]);
            }
        }
        for pod in self.list() {
            assert!(!ACTIVE.contains(&&*pod.state), "nothing runs, but {} is {:?}", pod.uuid, pod.state);
            self.proa(&["status", &pod.uuid]).succeeds();
        }
        // What is only marked in the first is removed in the second.
        for _ in 0..2 {
            self.proa(&["gc", "--grace-period=0s", "--expire-prepared=0s"]).succeeds();
        }
        assert!(self.list().is_empty(), "pods are left");
        self.env.assert_nothing_left();
    }
}

/// No program of ours may panic, or fail without saying so, whatever becomes of the others.
fn sound(outcome: Outcome) -> Outcome {
    assert!(!outcome.stderr.contains("panicked"), "{outcome}");
    let silent = outcome.status.code() == Some(254) && !outcome.stderr.contains("proa: ");
    assert!(!silent, "it does not say what went wrong: {outcome}");
    outcome
}

/// Every process that a command of this test has left or is.
fn living() -> Vec<Process> {
    let me = rustix::process::getpid().as_raw_nonzero().get();
    process::descendants(me).into_iter().filter(|it| it.state != 'Z').collect()
}

/// What /proc tells of a process: for the message of a failure.
fn about(pid: i32) -> String {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links = open.filter_map(|it| Some((it.file_name(), fs::read_link(it.path()).ok()?)));
    let links: BTreeMap<_, _> = links.collect();
    format!("{:?}, in {:?} {:?}, {links:?}", process::command_line(pid), read("wchan"), read("syscall"))
}

/// Files, directories and blocks below a folder.
fn usage(dir: &Path) -> (u64, u64) {
    let mut sum = (1, fs::symlink_metadata(dir).map_or(0, |found| found.blocks()));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let (files, blocks) = match entry.metadata() {
            Ok(found) if found.is_dir() => usage(&entry.path()),
            Ok(found) => (1, found.blocks()),
            Err(_) => (0, 0),
        };
        sum = (sum.0 + files, sum.1 + blocks);
    }
    sum
}

/// Who could be killed, by what they are: of each there should be some among the killed.
fn candidates(client: i32) -> BTreeMap<&'static str, Vec<i32>> {
    let living = living();
    let me = rustix::process::getpid().as_raw_nonzero().get();
    let parent = |pid: i32| living.iter().find(|it| it.pid == pid).map_or(0, |it| it.parent);
    let mut found: BTreeMap<_, Vec<i32>> = BTreeMap::new();
    for Process { pid, parent: above, name, .. } in &living {
        let kind = match (name.as_str(), *above) {
            _ if *pid == client => "client",
            ("newuidmap" | "newgidmap", _) => "id helper",
            (_, above) if above == me => "monitor",
            (_, above) if above == client || parent(above) == me => "pid 1",
            _ => "app",
        };
        found.entry(kind).or_default().push(*pid);
    }
    found
}

fn anything_killed(user: User) {
    let script = "trap 'exit 0' TERM; echo up; for i in 1 2 3 4 5 6 7 8; do sleep 0.1; echo $i; done";
    let world = needs!(World::new(user, script));
    let mut chance = Chance::new();
    let (rounds, image) = (times(20, 2_000), world.image.as_str());
    let mut done: BTreeMap<&str, usize> = BTreeMap::new();
    for round in 0..rounds {
        let pods = world.list();
        let any = chance.one_of(&pods).map_or("none", |pod| pod.uuid.as_str());
        let commands: [&[&str]; 14] = [
            &["run", "--net=none", image],
            &["run", "--net=none", "--detach", image],
            &["run", "--net=none", "--detach", "--rm", image],
            &["run", "--net=none", "--detach", "--restart=always", image],
            &["run", "--net=none", "--detach", image, "---", image, "--name=second"],
            &["run", "--net=none", "--interactive", image],
            &["prepare", "--net=none", image],
            &["run-prepared", any],
            &["docker", "start", any],
            &["enter", any, "/bin/true"],
            &["stop", any],
            &["stop", "--force", any],
            &["rm", any],
            &["gc", "--grace-period=0s"],
        ];
        let command = commands[chance.below(commands.len())];
        let running = world.env.proa(command).start();
        for _ in 0..=chance.below(3) {
            std::thread::sleep(chance.moment());
            let candidates = candidates(running.pid());
            if let Some(victims) = chance.one_of(&candidates.into_iter().collect::<Vec<_>>()) {
                let pid = chance.one_of(&victims.1).expect("no kind without a process");
                // It may have ended since.
                *done.entry(victims.0).or_default() += usize::from(process::kill(*pid, Signal::KILL));
            }
        }
        let (seed, deadline) = (chance.seed, Instant::now() + limit() / 2);
        while process::read(running.pid()).is_some_and(|client| client.state != 'Z') {
            let told = || living().iter().map(|it| format!("{it:?} {}", about(it.pid))).collect::<Vec<_>>().join("\n");
            assert!(Instant::now() < deadline, "round {round} of seed {seed}: {command:?} does not end:\n{}", told());
            std::thread::sleep(Duration::from_millis(2));
        }
        let outcome = sound(running.wait());
        if command.contains(&"--detach") && !command.contains(&"--rm") && outcome.status.success() {
            let uuid = outcome.line();
            let kept = world.list().iter().any(|pod| pod.uuid == uuid);
            assert!(kept, "round {round} of seed {seed}: {uuid} was acknowledged and is gone: {outcome}");
        }
        if round % 20 == 19 && round + 1 < rounds {
            world.settle();
        }
    }
    world.settle();
    world.proa(&["image", "verify", "--all"]).succeeds();
    world.proa(&["run", "--net=none", image]).succeeds();
    eprintln!("killed: {done:?}");
}

#[test]
fn anything_killed_at_any_moment_with_range() {
    anything_killed(User::WithRange);
}

#[test]
fn anything_killed_at_any_moment_without_range() {
    anything_killed(User::NoRange);
}

#[test]
fn pods_that_come_and_go_leave_nothing() {
    let world = needs!(World::new(User::WithRange, "sleep 1000"));
    let cycle = || {
        world.proa(&["run", "--net=none", &world.image, "--exec", "/bin/true"]).succeeds();
        let detached = world.proa(&["run", "--net=none", "--detach", &world.image]).succeeds();
        world.proa(&["stop", "--force", detached.line()]).succeeds();
        world.proa(&["rm", detached.line()]).succeeds();
    };
    cycle();
    let before = usage(&world.env.data());
    for _ in 0..times(10, 5_000) {
        cycle();
    }
    world.env.assert_nothing_left();
    assert_eq!(usage(&world.env.data()), before, "files and blocks of the data directory");
}

/// What a process holds: descriptors, and memory of its own in kB.
fn holds(pid: i32) -> (usize, usize) {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let private = rollup.lines().find_map(|line| line.strip_prefix("Private_Dirty:"));
    let kilobytes = private.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse().ok());
    (fds, kilobytes.unwrap_or_else(|| panic!("no memory of {pid}: {rollup}")))
}

/// The monitor and pid 1 of a running pod.
fn supervisors(world: &World, uuid: &str) -> [i32; 2] {
    let status = world.proa(&["status", uuid]).succeeds().stdout;
    let pid_1 = status.lines().find_map(|line| line.strip_prefix("pid=")).and_then(|pid| pid.parse().ok());
    let pid_1 = pid_1.unwrap_or_else(|| panic!("it runs: {status}"));
    [process::read(pid_1).expect("it is there").parent, pid_1]
}

/// What a process has that is no file's, in kB; its part of what it shares.
fn own_memory(pid: i32) -> usize {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let own = rollup.lines().find_map(|line| line.strip_prefix("Pss_Anon:"));
    let kilobytes = own.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse().ok());
    kilobytes.unwrap_or_else(|| panic!("no memory of {pid}: {rollup}"))
}

/// What the launch needed is given back when nothing happens: of the command line, the plan, the frames on the stack, and
/// what the app has written. (Half a megabyte before; bench/pods has the release's figures beside conmon's.)
#[test]
fn a_supervisor_that_waits_holds_little() {
    needs!(User::Root.account());
    let world = needs!(World::new(User::WithRange, "head -c 1000000 /dev/zero; echo; sleep 1000"));
    let uuid = world.proa(&["run", "--net=none", "--detach", &world.image]).succeeds();
    let [monitor, pid_1] = supervisors(&world, uuid.line());
    let deadline = Instant::now() + limit();
    loop {
        let memory = [own_memory(monitor), own_memory(pid_1)];
        // A debug build has some 300, more or less as its stack happens to lie in pages.
        if memory.iter().sum::<usize>() <= 400 {
            break;
        }
        assert!(Instant::now() < deadline, "monitor and pid 1 hold {memory:?} kB");
        std::thread::sleep(Duration::from_millis(50));
    }
    world.proa(&["stop", "--force", uuid.line()]).succeeds();
    world.proa(&["rm", uuid.line()]).succeeds();
}

#[test]
fn a_supervisor_does_not_grow() {
    // As root, because only root may look into pid 1.
    needs!(User::Root.account());
    let world = needs!(World::new(User::WithRange, "echo a line; sleep 1000"));
    let uuid = world.proa(&["run", "--net=none", "--detach", "--restart=always", &world.image]).succeeds();
    let uuid = uuid.line();
    let [monitor, pid_1] = supervisors(&world, uuid);
    let cycle = || {
        world.proa(&["enter", uuid, "/bin/true"]).succeeds();
        world.proa(&["status", uuid]).succeeds();
        // A client that goes in the middle of what it asked for.
        let follower = world.env.proa(["logs", "--follow", uuid]).start();
        process::kill(follower.pid(), Signal::KILL);
        follower.wait();
    };
    for _ in 0..times(5, 100) {
        cycle();
    }
    let before = [holds(monitor), holds(pid_1)];
    for _ in 0..times(10, 5_000) {
        cycle();
    }
    // That its last client is gone is seen a moment later, and what that needed is given back after another. Either may be
    // true of the first look as well.
    let grown = |after: &[(usize, usize); 2]| {
        before.iter().zip(after).any(|(before, after)| after.0 > before.0 || after.1 > before.1 + 64)
    };
    let deadline = Instant::now() + limit();
    let mut after = [holds(monitor), holds(pid_1)];
    while grown(&after) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
        after = [holds(monitor), holds(pid_1)];
    }
    eprintln!("descriptors and kB of monitor and pid 1: {before:?}, then {after:?}");
    let told = || [about(monitor), about(pid_1)].join("\n");
    assert!(!grown(&after), "it had {before:?}: {after:?}: {}", told());
    world.proa(&["stop", "--force", uuid]).succeeds();
    world.proa(&["rm", uuid]).succeeds();
}

#[test]
fn many_pods_at_once() {
    let world = needs!(World::new(User::WithRange, "sleep 1000"));
    let count = times(8, 500);
    let run = ["run", "--net=none", "--detach", &world.image];
    let starting: Vec<_> = (0..count).map(|_| world.env.proa(run).start()).collect();
    let uuids: Vec<_> = starting.into_iter().map(|it| sound(it.wait()).succeeds().line().to_owned()).collect();
    let pods = world.list();
    assert_eq!(pods.iter().filter(|pod| pod.state == "running").count(), count);
    let stopping: Vec<_> = uuids.iter().map(|uuid| world.env.proa(["stop", "--force", uuid]).start()).collect();
    stopping.into_iter().for_each(|it| drop(sound(it.wait()).succeeds()));
    assert_eq!(world.list().iter().filter(|pod| pod.state == "exited").count(), count);
    let removing: Vec<_> = uuids.iter().map(|uuid| world.env.proa(["rm", uuid]).start()).collect();
    removing.into_iter().for_each(|it| drop(sound(it.wait()).succeeds()));
    world.settle();
}
