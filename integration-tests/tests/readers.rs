//! Those who read what proa prints go when they like: nothing is printed twice, nothing panics, and no app notices.

use std::time::{Duration, Instant};

use integration_tests::images::{Aci, busybox};
use integration_tests::needs::{Place, place};
use integration_tests::{Env, Outcome, User, limit, needs};
use rustix::process::Signal;

/// A shell command in which `proa` is the program under test, its own status after a line of `--`.
fn piped(env: &Env, args: &str, reader: &str) -> Outcome {
    let script = format!("{{ \"$@\" {args}; echo \"-- $?\" >&2; }} | {reader}");
    let none: [&str; 0] = [];
    env.proa(none).through_as_invoker(["sh", "-c", &script, "sh"]).outcome()
}

#[test]
fn readers_that_go() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    let script = "i=0; while :; do echo \"line $i\"; i=$((i + 1)); sleep 0.01; done";
    let image = Aci::new("talks", busybox()).sh(script).build(&env);
    let image = image.to_str().expect("UTF-8");
    let run = ["--insecure-options=image", "run", "--detach", "--net=none", "--name=talks", image];
    env.proa(run).outcome().succeeds();
    let tail = || {
        let last = env.proa(["logs", "--tail=1", "talks"]).outcome().succeeds().stdout;
        last.trim().strip_prefix("line ").and_then(|number| number.parse::<u64>().ok())
    };
    let deadline = Instant::now() + limit();
    while tail().is_none_or(|last| last < 20) {
        assert!(Instant::now() < deadline, "it writes nothing");
    }
    // What follows notices when it writes the next line; what is done at once has written all or nothing.
    for args in ["logs -f talks", "logs --follow --timestamps talks", "docker logs -f talks", "attach talks"] {
        let outcome = piped(&env, args, "head -n 1");
        assert_eq!(outcome.stdout.lines().count(), 1, "{args}: {outcome}");
        assert!(!outcome.stderr.contains("panicked") && outcome.stderr.lines().count() <= 2, "{args}: {outcome}");
    }
    for args in
        ["list", "list --format=json", "status talks", "cat-manifest talks", "image list", "docker ps", "--help"]
    {
        // The reader is gone before there is anything to read.
        let outcome = piped(&env, args, "exec 0<&-; exit 0").succeeds();
        assert!(!outcome.stderr.contains("panicked") && outcome.stderr.lines().count() <= 3, "{args}: {outcome}");
    }
    let client = env.proa(["attach", "talks"]).start();
    std::thread::sleep(Duration::from_millis(100));
    client.kill(Signal::KILL);
    client.wait();
    // The app has gone on, and each line is in its log once.
    let before = tail().expect("a number");
    while tail().is_none_or(|last| last < before + 5) {
        assert!(Instant::now() < deadline, "it has stopped");
    }
    let log = env.proa(["logs", "talks"]).outcome().succeeds().stdout;
    for (number, line) in log.lines().enumerate() {
        assert_eq!(line, format!("line {number}"));
    }
    env.proa(["status", "talks"]).outcome().succeeds().shows("state=running");
    env.proa(["stop", "--force", "talks"]).outcome().succeeds();
    env.proa(["rm", "talks"]).outcome().succeeds();
}
