//! rkt's enter ran commands as root of the pod, without the app's capabilities, filter, cgroup or directory
//! (CVE-2019-10144, 10145, 10147). Here one program says what it sees, however it is started in an app.

use integration_tests::images::{Aci, busybox, with_probe};
use integration_tests::{Env, Outcome, each_user};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Instant;

each_user! { rkt_enter_agrees_with_run_app_exec_and_event_handlers }

/// What the probe said, without what differs between any two processes.
fn world(line: &str) -> Value {
    let json = &line[line.find('{').unwrap_or_else(|| panic!("no JSON in {line:?}"))..];
    let mut world: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{line:?}: {error}"));
    let whole = world.as_object_mut().expect("an object");
    whole.remove("pid");
    whole.remove("pids");
    // Which streams there are, not the numbers of pipes.
    let fds: BTreeSet<String> = whole["fds"].as_object().expect("an object").keys().cloned().collect();
    whole.insert("fds".into(), json!(fds));
    world
}

fn lines(outcome: &Outcome) -> Vec<String> {
    outcome.stdout.lines().filter(|line| line.contains("\"namespaces\"")).map(str::to_owned).collect()
}

fn rkt_enter_agrees_with_run_app_exec_and_event_handlers(env: &Env) {
    let probe = || json!(["/probe", "world"]);
    for (user, removed) in [("0", "CAP_KILL"), ("1000", "CAP_CHOWN")] {
        let handlers = json!([{"name": "pre-start", "exec": probe()}, {"name": "post-stop", "exec": probe()}]);
        let isolators = json!([{"name": "os/linux/capabilities-remove-set", "value": {"set": [removed]}}]);
        let image = Aci::new("probe", with_probe(busybox().dir("srv", 0o755)))
            .exec(["/probe", "world"])
            .user(user, user)
            .app("workingDirectory", json!("/srv"))
            .app("environment", json!([{"name": "SET", "value": "by the image"}]))
            .app("eventHandlers", handlers)
            .app("isolators", isolators)
            .build(env);
        let image = image.to_str().expect("UTF-8");
        let proa = |words: &[&str]| env.proa(["--insecure-options=image"].iter().chain(words)).outcome().succeeds();
        proa(&["app", "sandbox", "--detach", "--name=box"]);
        proa(&["app", "add", "box", image, "--name=probe"]);
        proa(&["app", "start", "box", "--app=probe"]);
        // The pre-start handler, the program, the post-stop handler: each has said its line.
        let deadline = Instant::now() + integration_tests::limit();
        let logged = loop {
            let logged = env.proa(["logs", "box"]).outcome();
            if lines(&logged).len() == 3 {
                break lines(&logged);
            }
            assert!(Instant::now() < deadline, "{logged}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        };
        let [before, run, after] = logged.as_slice() else { panic!("{logged:?}") };
        let expected = world(run);
        assert_eq!(expected["cwd"], "/srv");
        assert_eq!(expected["seccomp"], 2, "there is a filter");
        assert_eq!(expected["env"]["SET"], "by the image", "{expected:#}");
        for (how, line) in [("pre-start", before), ("post-stop", after)] {
            assert_eq!(world(line), expected, "{how}, user {user}");
        }
        let exec = proa(&["app", "exec", "--app=probe", "box", "/probe", "world"]);
        let enter = proa(&["enter", "--app=probe", "box", "/probe", "world"]);
        let docker = proa(&["docker", "exec", "box", "/probe", "world"]);
        for (how, outcome) in [("app exec", exec), ("enter", enter), ("docker exec", docker)] {
            assert_eq!(world(outcome.line()), expected, "{how}, user {user}");
        }
        proa(&["stop", "box"]);
        proa(&["rm", "box"]);
    }
    env.assert_nothing_left();
}
