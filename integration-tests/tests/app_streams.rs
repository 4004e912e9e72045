//! Where the standard streams of single apps go: rkt's `--stdin`, `--stdout` and `--stderr`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use integration_tests::images::{Aci, busybox};
use integration_tests::{Env, each_user, limit};
use rustix::process::Signal;
use serde_json::{Value, json};

each_user! {
    rkt_attach_to_streams,
    rkt_attach_to_a_terminal,
    rkt_attach_to_apps_of_a_sandbox,
    who_attaches_between_two_runs_has_the_next_terminal,
    streams_of_a_pod_in_the_foreground,
    a_prepared_pod_has_the_streams_that_it_was_given,
    streams_that_cannot_be_are_refused,
}

/// Says whether it has a terminal, and answers each line, on both streams.
const ECHO: &str = "if [ -t 0 ] && [ -t 1 ] && [ -t 2 ]; then echo tty $TERM; fi; echo ready; while read l; do echo got $l; echo err $l >&2; done";

fn image(env: &Env) -> PathBuf {
    Aci::new("echo", busybox()).sh(ECHO).build(env)
}

fn path(image: &Path) -> &str {
    image.to_str().expect("UTF-8")
}

fn run<'a>(env: &Env, options: &[&'a str], image: &'a Path, streams: &[&'a str]) {
    let words = ["--insecure-options=image", "run", "--net=none", "--name=pod"].iter().chain(options);
    env.proa(words.copied().chain([path(image)]).chain(streams.iter().copied())).outcome().succeeds();
}

fn attachable(env: &Env, app: &str) -> String {
    env.proa(["attach", "--mode=list", "--app", app, "pod"]).outcome().succeeds().stdout
}

/// A text goes to the app, and comes back; who attached lets go, and the app goes on. Returns all that came.
fn round_trip(env: &Env, app: &str, mode: &str, text: &str) -> String {
    let (input, mut keyboard) = std::io::pipe().expect("a pipe");
    let mut attached = env.proa(["attach", "--app", app, "--mode", mode, "pod"]).stdin(input).start();
    writeln!(keyboard, "{text}").expect("it is read");
    attached.wait_for(&format!("got {text}"));
    attached.kill(Signal::KILL);
    let outcome = attached.wait();
    outcome.stdout + &outcome.stderr
}

fn end(env: &Env) {
    env.proa(["stop", "--force", "pod"]).outcome().succeeds();
    env.proa(["rm", "pod"]).outcome().succeeds();
}

/// rkt_attach_test: text makes its way to the app and back, more than once.
fn rkt_attach_to_streams(env: &Env) {
    run(env, &["--detach"], &image(env), &["--stdin=stream", "--stdout=stream", "--stderr=stream"]);
    assert_eq!(attachable(env, "echo"), "stdin\nstdout\nstderr\n");
    round_trip(env, "echo", "auto", "one");
    let seen = round_trip(env, "echo", "stdin,stdout", "two");
    assert!(!seen.contains("err two"), "only what was asked for: {seen}");
    let log = env.proa(["logs", "pod"]).outcome().succeeds();
    assert!(log.stdout.contains("got one\n") && log.stderr.contains("err two\n"), "{log}");
    assert!(!log.stdout.contains("tty"), "{log}");
    end(env);
    // What is thrown away is nowhere.
    run(env, &["--detach"], &image(env), &["--stdin=stream", "--stdout=log", "--stderr=null"]);
    assert_eq!(attachable(env, "echo"), "stdin\nstdout\n");
    round_trip(env, "echo", "stdin,stdout", "three");
    let log = env.proa(["logs", "pod"]).outcome().succeeds();
    assert!(log.stdout.contains("got three\n") && log.stderr.is_empty(), "{log}");
    end(env);
    // Without any of them there is no input.
    run(env, &["--detach"], &Aci::new("idle", busybox()).sh("sleep 600").build(env), &[]);
    assert_eq!(attachable(env, "idle"), "stdout\nstderr\n");
    end(env);
}

fn rkt_attach_to_a_terminal(env: &Env) {
    run(env, &["--detach"], &image(env), &["--stdin=tty", "--stdout=tty", "--stderr=tty"]);
    round_trip(env, "echo", "auto", "one");
    round_trip(env, "echo", "tty", "two");
    let log = env.proa(["logs", "pod"]).outcome().succeeds();
    assert!(log.stdout.starts_with("tty xterm") && log.stdout.contains("got two"), "{log}");
    end(env);
}

/// The same in a pod whose apps come and go: an app that is stopped and started again can be attached to again.
fn rkt_attach_to_apps_of_a_sandbox(env: &Env) {
    env.proa(["app", "sandbox", "--detach", "--net=none", "--name=pod"]).outcome().succeeds();
    let image = image(env);
    for (name, stdin) in [("--name=stream", "--stdin=stream"), ("--name=terminal", "--stdin=tty")] {
        let add = ["--insecure-options=image", "app", "add", "pod", path(&image), name, stdin];
        env.proa(add).outcome().succeeds();
    }
    for app in ["stream", "terminal"] {
        let named = format!("--app={app}");
        for text in ["one", "two"] {
            env.proa(["app", "start", "pod", &named]).outcome().succeeds();
            round_trip(env, app, "auto", text);
            env.proa(["app", "stop", "pod", &named]).outcome().succeeds();
        }
    }
    end(env);
}

/// Who attaches to an app that is about to be started again waits for its next terminal.
fn who_attaches_between_two_runs_has_the_next_terminal(env: &Env) {
    let handler = json!([{"name": "pre-start", "exec": ["/bin/sh", "-c", "sleep 1"]}]);
    let image = Aci::new("echo", busybox()).sh(ECHO).app("eventHandlers", handler).build(env);
    run(env, &["--detach", "--restart=always"], &image, &["--stdin=tty"]);
    round_trip(env, "echo", "auto", "one");
    env.proa(["kill", "--signal=KILL", "pod"]).outcome().succeeds().quietly();
    let deadline = Instant::now() + limit();
    let again = || -> Value {
        let status = env.proa(["status", "--format=json", "pod"]).outcome().succeeds();
        serde_json::from_str(&status.stdout).expect("JSON")
    };
    while again()["apps"][0]["attempt"] != json!(1) {
        assert!(Instant::now() < deadline, "it is not started again");
    }
    // Its handler runs, for a second.
    round_trip(env, "echo", "auto", "two");
    env.proa(["stop", "pod"]).outcome().succeeds();
    env.proa(["rm", "pod"]).outcome().succeeds();
}

fn streams_of_a_pod_in_the_foreground(env: &Env) {
    let image = image(env);
    let answered = |streams: &[&str]| {
        let words = ["--insecure-options=image", "run", "--net=none", path(&image)];
        let outcome = env.proa(words.iter().chain(streams).copied()).outcome_with_input(b"one\n").succeeds();
        (outcome.stdout, outcome.stderr)
    };
    let said = |stdout: &str, stderr: &str| (stdout.to_owned(), stderr.to_owned());
    assert_eq!(answered(&[]), said("ready\ngot one\n", "err one\n"));
    assert_eq!(answered(&["--stdin=null"]), said("ready\n", ""));
    assert_eq!(answered(&["--stdout=null"]), said("", "err one\n"));
    assert_eq!(answered(&["--stdout=log", "--stderr=null"]), said("ready\ngot one\n", ""));
    // What is for those who attach is not for who runs the pod.
    let words = ["--insecure-options=image", "run", "--net=none", "--name=pod", path(&image), "--stdin=stream"];
    let running = env.proa(words).start();
    let deadline = Instant::now() + limit();
    while env.proa(["attach", "--mode=list", "pod"]).outcome().status.code() != Some(0) {
        assert!(Instant::now() < deadline, "the pod does not begin");
    }
    round_trip(env, "echo", "auto", "one");
    env.proa(["stop", "--force", "pod"]).outcome().succeeds();
    let outcome = running.wait();
    assert!(outcome.stdout.is_empty(), "{outcome}");
}

fn a_prepared_pod_has_the_streams_that_it_was_given(env: &Env) {
    let image = image(env);
    let prepare = ["--insecure-options=image", "prepare", "--net=none", "--name=pod", path(&image), "--stdin=stream"];
    let uuid = env.proa(prepare).outcome().succeeds().stdout;
    env.proa(["run-prepared", "--detach", uuid.trim()]).outcome().succeeds();
    round_trip(env, "echo", "auto", "one");
    end(env);
}

fn streams_that_cannot_be_are_refused(env: &Env) {
    let image = image(env);
    let run = |streams: &[&str]| {
        let words = ["--insecure-options=image", "run", "--net=none", path(&image)];
        env.proa(words.iter().chain(streams).copied()).outcome()
    };
    run(&["--stdin=log"]).rejects("input is not logged");
    run(&["--stdin=tty", "--stderr=stream"]).rejects("--stdin=tty and --stderr=stream exclude each other");
    run(&["--stdout=file"]).rejects("'file'");
    run(&["--annotation=coreos.com/rkt/stage2/stdout=paper"]).refuses("\"paper\" is no mode");
}
