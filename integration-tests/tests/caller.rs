//! What proa is started with: streams, signals and arguments of a caller who may be careless, or give an app too much.

use std::fs::File;

use integration_tests::images::{Aci, busybox};
use integration_tests::{Env, each_user};

each_user! {
    directory_as_a_stream_is_refused,
    ignored_sigchld_does_no_harm,
    arguments_of_proa_are_not_shown_to_apps,
    errors_on_a_full_stderr_keep_the_status,
    a_full_stdout_is_an_error,
    long_names_keep_their_status,
    volumes_do_not_cover_the_root,
}

/// From a directory on a standard stream an app could look around on the host and change modes there: neither mounts
/// nor Landlock keep it from that.
fn directory_as_a_stream_is_refused(env: &Env) {
    let image = Aci::new("stream", busybox()).sh("stat -L /proc/self/fd/0").build(env);
    let dir = env.path("dir");
    env.make_dir(&dir);
    let outcome = env.run(&image, &[]).stdin(File::open(&dir).expect("open the directory")).outcome();
    outcome.refuses("standard input is a directory");
    // As control, what an app sees of an ordinary stream.
    let file = env.write("file", "x");
    env.run(&image, &[]).stdin(File::open(file).expect("open the file")).outcome().succeeds();
}

fn ignored_sigchld_does_no_harm(env: &Env) {
    let image = Aci::new("children", busybox()).sh("true; exit 4").build(env);
    let ignore =
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])";
    if std::path::Path::new("/usr/bin/python3").exists() {
        env.run(&image, &[]).through(["/usr/bin/python3", "-c", ignore]).outcome().exits(4);
    }
    // A shell cannot ignore it for its children; env can, where it is new enough.
    env.run(&image, &[]).through(["env", "--ignore-signal=CHLD"]).outcome().exits(4);
}

/// Arguments hold host paths, and the environments of sibling apps.
fn arguments_of_proa_are_not_shown_to_apps(env: &Env) {
    let image = Aci::new("arguments", busybox()).sh("for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; done");
    let secret = "SECRET=hunter2";
    let outcome = env.run(&image.build(env), &["--environment", secret]).outcome().succeeds();
    assert!(!outcome.stdout.contains("hunter2") && !outcome.stdout.contains(".aci"), "{outcome}");
    assert!(outcome.stdout.contains("proa-pod"), "pid 1 was looked at: {outcome}");
}

fn errors_on_a_full_stderr_keep_the_status(env: &Env) {
    env.proa(["run", "nosuch"]).through(["sh", "-c", "exec \"$@\" 2>/dev/full", "sh"]).outcome().exits(254);
}

/// What cannot be printed is told once, also where it is but a help text; a reader that went away is no error.
fn a_full_stdout_is_an_error(env: &Env) {
    let lines: &[(&str, &[&str], i32)] = &[
        ("proa", &["--help"], 254),
        ("proa", &["--version"], 254),
        ("proa", &["help", "run"], 254),
        ("proa", &["run", "--help"], 254),
        ("proa", &["version"], 254),
        ("proa", &["list"], 254),
        ("proa", &["docker", "help"], 1),
        ("docker", &[], 1),
        ("docker", &["help", "run"], 1),
        ("docker", &["run", "--help"], 1),
        ("docker", &["--version"], 1),
        ("docker", &["version"], 1),
        ("actool", &[], 1),
        ("actool", &["help"], 1),
        ("actool", &["help", "build"], 1),
        ("actool", &["version"], 1),
        ("eci", &[], 1),
        ("eci", &["--help"], 1),
        ("eci", &["help", "push"], 1),
        ("eci", &["completion", "bash"], 1),
    ];
    for (name, words, status) in lines {
        // Before the words stands --dir, which is proa's.
        let own = if *name == "proa" { "" } else { "shift 2; " };
        let script = format!("program=$1; shift; {own}ln -sf \"$program\" ./{name}; ./{name} \"$@\"");
        let to = |end: &str| {
            let script = format!("{script} {end}");
            env.proa(*words).through(["bash", "-c", &script, "sh"]).outcome()
        };
        let full = to(">/dev/full").exits(*status);
        assert!(full.stderr.contains("write to stdout: No space left on device"), "{name} {words:?}: {full}");
        assert!(!full.stderr.contains("data directory"), "{name} {words:?}: {full}");
        let messages = full.stderr.lines().filter(|line| !line.starts_with("hint: ")).count();
        assert_eq!(messages, 1, "{name} {words:?}: {full}");
        let gone = to("| true; exit ${PIPESTATUS[0]}").succeeds();
        assert_eq!(gone.stderr, "", "{name} {words:?}");
    }
}

fn long_names_keep_their_status(env: &Env) {
    let image = Aci::new("long", busybox()).sh("true").build(env);
    let path = format!("PATH=/bin{}", ":/nowhere".repeat(6_000));
    env.run(&image, &["--environment", &path, "--exec", "nosuch"]).outcome().exits(127);
}

/// An image whose mount point is a link to its root.
fn volumes_do_not_cover_the_root(env: &Env) {
    let tree = busybox().symlink("data", "/");
    let image =
        Aci::new("cover", tree).sh("true").app("mountPoints", serde_json::json!([{"name": "d", "path": "/data"}]));
    env.run(&image.build(env), &[]).outcome().rejects("the place is the image's root");
}
