//! Limits that a caller has set (`ulimit`), or the kernel where there is no memory left: told by name, and no pod is lost.

use std::io::Read as _;
use std::time::{Duration, Instant};

use integration_tests::images::{Aci, Layout, Tree, busybox};
use integration_tests::{Env, User, each_user, limit, process};
use rustix::process::Signal;

each_user! {
    a_limit_of_file_sizes_ends_no_pod,
    a_limit_of_file_sizes_is_told,
    limits_of_processes_and_descriptors_are_told,
    images_of_many_layers_need_no_more_descriptors_than_can_be_had,
    a_killed_helper_is_told,
}

/// The log ends at the limit and says so; the app has the limit, and the signal that says so, as anywhere else.
fn a_limit_of_file_sizes_ends_no_pod(env: &Env) {
    let script =
        "i=0; while [ $i -lt 500 ]; do echo \"$i of many lines that are longer than a log may be\"; i=$((i + 1)); done
        (head -c 9000 /dev/zero >/file); exit $?";
    let image = Aci::new("writer", busybox()).sh(script).build(env).to_string_lossy().into_owned();
    env.proa(["--insecure-options=image", "fetch", &image]).outcome().succeeds();
    let run = env.proa(["run", "--detach", "--net=none", "--name=writer", "example.com/writer"]);
    run.through(["sh", "-c", "ulimit -f 16; exec \"$@\"", "sh"]).outcome().succeeds();
    // 128 and SIGXFSZ.
    env.proa(["wait", "writer"]).outcome().succeeds().prints("153\n");
    let logs = env.proa(["logs", "writer"]).outcome().succeeds();
    logs.shows("0 of many lines").stderr_shows("bytes of this log could not be written");
    env.proa(["rm", "writer"]).outcome().succeeds();
}

fn a_limit_of_file_sizes_is_told(env: &Env) {
    let image = Aci::new("large", busybox()).sh("true").build(env).to_string_lossy().into_owned();
    let args = ["--insecure-options=image", "fetch", &image];
    let limited = env.proa(args).through(["sh", "-c", "ulimit -f 100; exec \"$@\"", "sh"]).outcome();
    limited.refuses("File too large").stderr_shows("hint: raise the limit of file sizes: ulimit -f");
    env.proa(args).outcome().succeeds();
}

fn limits_of_processes_and_descriptors_are_told(env: &Env) {
    let image = Aci::new("plain", busybox()).sh("true").build(env).to_string_lossy().into_owned();
    let id = env.proa(["--insecure-options=image", "fetch", &image]).outcome().succeeds().line().to_owned();
    let run = || env.proa(["run", &id]);
    // Root may have as many processes as it likes.
    if env.user() != User::Root {
        let none = run().through(["prlimit", "--nproc=1", "--"]).outcome();
        none.refuses("Resource temporarily unavailable")
            .stderr_shows("hint: raise the limit of processes: ulimit -u\n");
    }
    for number in [4, 8] {
        let few = run().through(["prlimit", &format!("--nofile={number}"), "--"]).outcome();
        let few = few.refuses("Too many open files").stderr_shows("hint: raise the limit of open files: ulimit -n\n");
        assert_eq!(few.stderr.matches("hint: ").count(), 1, "another directory would not help: {few}");
    }
    run().outcome().succeeds();
}

/// An image has some descriptors for each layer: more than the caller's soft limit lets it have, but not than the hard one.
fn images_of_many_layers_need_no_more_descriptors_than_can_be_had(env: &Env) {
    let layout = Layout::new("layers").layer(busybox());
    let layers = (0..99).map(|number| Tree::new().file(format!("file{number}"), "x", 0o644));
    let image =
        format!("oci:{}", layers.fold(layout, Layout::layer).sh("ls /file* | wc -l; ulimit -Sn").build(env).display());
    let limited = |limit, args: &[&str]| env.proa(args).through(["prlimit", limit, "--"]).outcome();
    limited("--nofile=60:60", &["fetch", &image]).refuses("Too many open files").stderr_shows("hint: raise the limit");
    let id = limited("--nofile=60:4096", &["fetch", &image]).succeeds().line().to_owned();
    limited("--nofile=60:4096", &["run", "--net=none", &id]).succeeds().prints("99\n60\n");
}

/// What handles files of other ids is a process of its own: it is what the kernel kills first where memory is short.
fn a_killed_helper_is_told(env: &Env) {
    let image = Aci::new("copied", busybox()).sh("true").build(env);
    let image = image.to_string_lossy().into_owned();
    env.proa(["--insecure-options=image", "run", "--keep", "--net=none", "--name=ended", &image]).outcome().succeeds();
    let fifo = env.path("fifo");
    let script = format!("mkfifo -m 666 {0}; exec \"$@\" >{0}", fifo.display());
    let copy = env.proa(["cp", "ended:/bin/busybox", "-"]).through(["sh", "-c", &script, "sh"]).start();
    let end = Instant::now() + limit();
    while !fifo.exists() {
        assert!(Instant::now() < end, "the shell makes it");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut reader = std::fs::File::open(&fifo).expect("it is there");
    reader.read_exact(&mut [0; 512]).expect("the archive's first bytes");
    // It waits for a reader now: a pipe holds less than the file.
    let helpers = process::descendants(copy.pid());
    let helper = helpers.iter().map(|it| it.pid).max().expect("a helper");
    assert!(process::kill(helper, Signal::KILL), "it waits");
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).expect("there is an end");
    let told = copy.wait().refuses("the child in the user namespace was killed by signal 9");
    told.stderr_shows("hint: is there enough memory?");
    env.proa(["rm", "ended"]).outcome().succeeds();
}
