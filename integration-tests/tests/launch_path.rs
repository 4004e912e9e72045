//! What `proa run` of a stored image must not do, because the budget of a launch has no room for it (docs/measurements.md).

use std::fs;
use std::path::Path;

use integration_tests::images::{Aci, busybox};
use integration_tests::needs::{Place, place, tool};
use integration_tests::{Env, User, binaries, each_user, needs};

/// Calls that wait for a disk.
const SYNCS: [&str; 6] = ["fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "msync"];

/// What a run of `proa` and everything below it asked the kernel for, as strace tells it.
struct Trace(Vec<String>);

impl Trace {
    /// Runs `proa` with these arguments under strace and gives what it printed, too.
    fn of(env: &Env, args: &[&str]) -> (Self, String) {
        let file = env.path("trace");
        let calls = format!("trace={},clone,clone3,fork,vfork,execve,connect,openat,io_uring_setup", SYNCS.join(","));
        let file_arg = file.to_str().expect("the test's folder is UTF-8");
        let tracer =
            ["strace", "--follow-forks", "--quiet=all", "--signal=none", "-s", "256", "-e", &calls, "-o", file_arg];
        let outcome = env.proa(args).through_as_invoker(tracer).outcome().succeeds();
        let lines = fs::read_to_string(&file).expect("strace writes its file").lines().map(call).collect();
        (Self(lines), outcome.stdout)
    }

    /// The calls of this name.
    fn all<'t>(&'t self, name: &'t str) -> impl Iterator<Item = &'t str> {
        self.0
            .iter()
            .map(String::as_str)
            .filter(move |it| it.strip_prefix(name).is_some_and(|rest| rest.starts_with('(')))
    }

    #[track_caller]
    fn has_none(&self, name: &str, kind: &str) {
        let found: Vec<&str> = self.all(name).filter(|it| it.contains(kind)).collect();
        assert!(found.is_empty(), "{found:#?}");
    }

    /// The names of the programs that were started.
    fn programs(&self) -> Vec<String> {
        let started = self.all("execve").filter(|it| it.ends_with("= 0") || it.ends_with("<unfinished ...>"));
        let path = |it: &str| it.split('"').nth(1).map(|it| Path::new(it).to_owned());
        started.filter_map(path).filter_map(|it| Some(it.file_name()?.to_string_lossy().into_owned())).collect()
    }
}

/// The file name of the binary under test.
fn proa() -> String {
    binaries::proa().file_name().expect("it is a file").to_string_lossy().into_owned()
}

/// A line of strace without the process id in front.
fn call(line: &str) -> String {
    line.split_once(' ').map_or(line, |(_, call)| call).trim_start().to_owned()
}

each_user!(run_of_a_stored_image_stays_on_the_short_path);

/// A stored image starts without waiting for a disk, without a thread, and without asking a daemon.
fn run_of_a_stored_image_stays_on_the_short_path(env: &Env) {
    // In the guest there is no strace: it has what a fresh machine has.
    needs!(place(Place::Host));
    needs!(tool("strace"));
    // Only a tracer that is root leaves newuidmap its privilege.
    needs!(User::Root.account());

    let image = Aci::new("stored", busybox()).build(env);
    let image = image.to_str().expect("the test's folder is UTF-8");
    let (fetch, id) = Trace::of(env, &["--insecure-options=image", "fetch", image]);
    // The control: what is durable does wait for the disk, and the tracer sees it.
    assert!(SYNCS.iter().any(|it| fetch.all(it).next().is_some()), "fetch makes the image durable");

    let again = ["run", "--net=none", id.trim()];
    // The first run makes the directory of the pods, which is durable.
    env.proa(again).outcome().succeeds();
    let (run, _) = Trace::of(env, &again);
    assert!(run.all("execve").any(|it| it.contains("\"/bin/true\"")), "the tracer sees the app: {:#?}", run.0);
    for call in SYNCS {
        run.has_none(call, "");
    }
    run.has_none("openat", "SYNC");
    run.has_none("io_uring_setup", "");
    for call in ["clone", "clone3"] {
        run.has_none(call, "CLONE_THREAD");
    }
    // The system's and the user's bus, systemd's private sockets. (newuidmap asks for nscd, as every glibc program.)
    run.has_none("connect", "bus");
    run.has_none("connect", "systemd");
    let allowed = ["setpriv", &proa(), "newuidmap", "newgidmap", "true"];
    let others: Vec<_> = run.programs().into_iter().filter(|it| !allowed.contains(&it.as_str())).collect();
    assert!(others.is_empty(), "also started: {others:?}");
}

/// Where ext4 has no journal, the directories of pods are spread, or each launch looks past what earlier ones removed.
#[test]
fn pods_are_spread_on_ext4_without_a_journal() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::Root));
    for program in ["mke2fs", "losetup", "lsattr"] {
        needs!(tool(program));
    }
    let look = r#"set -e
        truncate --size 1G "$1/disk"
        PATH=$PATH:/sbin:/usr/sbin
        mke2fs -q -t ext4 -O "$3" "$1/disk"
        mkdir "$1/mnt"
        mount -o loop "$1/disk" "$1/mnt"
        "$2" --dir "$1/mnt/data" run hello >"$1/report"
        lsattr -d "$1/mnt/data/pods/embryo" | cut -d' ' -f1"#;
    for (feature, spread) in [("^has_journal", true), ("has_journal", false)] {
        let dir = env.path(feature);
        fs::create_dir(&dir).expect("a folder for the disk");
        let program = binaries::proa();
        let words = ["--mount", "sh", "-c", look, "sh"].map(Into::into).into_iter();
        let words = words.chain([dir.into(), program.into(), feature.into()]).collect();
        let outcome = env.command("/usr/bin/unshare", words).outcome().succeeds();
        assert_eq!(outcome.stdout.contains('T'), spread, "{feature}: {outcome}");
    }
}
