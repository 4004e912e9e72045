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

/// ext4 without a journal looks for inodes past what was removed in the same group, which pods are not to share with images.
#[test]
fn pods_and_images_are_in_different_groups_of_ext4() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::Root));
    for program in ["mke2fs", "losetup"] {
        needs!(tool(program));
    }
    let look = r#"set -e
        truncate --size 8G disk
        PATH=$PATH:/sbin:/usr/sbin
        mke2fs -q -t ext4 -N 131072 disk
        mkdir mnt
        mount -o loop disk mnt
        mkdir mnt/control mnt/control/pods mnt/control/store
        "$1" --dir mnt/data run hello >report
        stat --format %i mnt/data/pods mnt/data/store mnt/control/pods mnt/control/store"#;
    let words = ["--mount", "sh", "-c", look, "sh"].map(Into::into).into_iter();
    let outcome = env.command("/usr/bin/unshare", words.chain([binaries::proa().into()]).collect()).outcome();
    let inodes: Vec<u32> = outcome.succeeds().stdout.lines().map(|it| it.parse().expect("a number")).collect();
    // 64 groups of 128 MiB.
    let [pods, store, control_pods, control_store] = inodes[..] else { panic!("four lines: {inodes:?}") };
    assert_ne!(pods / 2048, store / 2048, "{inodes:?}");
    assert_eq!(control_pods / 2048, control_store / 2048, "{inodes:?}");
}
