//! Pods whose apps come and go (rkt's app_sandbox tests).

mod added;

use std::fs;
use std::time::Instant;

use integration_tests::images::{Aci, busybox};
use integration_tests::needs::{Place, place};
use integration_tests::{Env, each_user, limit, needs, process};
use rustix::process::Signal;

each_user! {
    rkt_app_sandbox_three_apps,
    rkt_app_sandbox_starts_an_app_again,
    apps_of_a_pod_that_is_prepared_are_listed,
    an_app_killed_before_its_start_has_ended,
    rkt_app_sandbox_volumes,
    rkt_app_sandbox_cri_logs,
    what_makes_no_sense_is_refused,
    a_failed_add_leaves_nothing,
    apps_that_are_added_at_once_wait_for_each_other,
    removed_apps_leave_nothing_in_their_pod,
}

fn sandbox(env: &Env, more: &[&str]) -> String {
    let fixed = ["app", "sandbox", "--detach"];
    let outcome = env.proa(fixed.iter().chain(more)).outcome().succeeds().quietly();
    outcome.stdout.trim().to_owned()
}

/// Stores an image and gives its ID.
fn image(env: &Env, name: &str, script: &str) -> String {
    let image = Aci::new(name, busybox().dir("tmp", 0o1777)).sh(script).build(env);
    env.store(image)
}

fn app(env: &Env, args: &[&str]) -> String {
    env.proa(["app"].iter().chain(args)).outcome().succeeds().stdout
}

fn wait_for_state(env: &Env, uuid: &str, name: &str, state: &str) -> String {
    let deadline = Instant::now() + limit();
    loop {
        let status = app(env, &["status", uuid, "--app", name]);
        if status.contains(&format!("state={state}\n")) {
            return status;
        }
        assert!(Instant::now() < deadline, "{name} is not {state}: {status}");
    }
}

fn end(env: &Env, uuid: &str) {
    env.proa(["stop", uuid]).outcome().succeeds();
    env.proa(["rm", uuid]).outcome().succeeds();
}

fn rkt_app_sandbox_three_apps(env: &Env) {
    let uuid = sandbox(env, &["--name", "box"]);
    assert_eq!(app(env, &["list", "--no-legend", "box"]), "");
    let winner = image(env, "winner", "exit 0");
    let loser = image(env, "loser", "exit 12");
    let sleeper = image(env, "sleeper", "echo up; sleep 600");
    for (id, name) in [(&winner, "winner"), (&loser, "loser"), (&sleeper, "sleeper")] {
        assert_eq!(app(env, &["add", "box", id]), format!("{name}\n"));
        assert!(app(env, &["status", "box", "--app", name]).contains("state=created\n"));
        app(env, &["start", "box", "--app", name]);
    }
    assert!(wait_for_state(env, &uuid, "winner", "exited").ends_with("exit_code=0\n"));
    assert!(wait_for_state(env, &uuid, "loser", "exited").ends_with("exit_code=12\n"));
    wait_for_state(env, &uuid, "sleeper", "running");
    let listed = app(env, &["list", "box"]);
    let rows: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "STATE"]);
    assert_eq!(rows[1..], [["winner", "exited"], ["loser", "exited"], ["sleeper", "running"]]);
    env.proa(["status", "box"]).outcome().succeeds().shows("state=running");
    env.proa(["app", "rm", "box", "--app", "sleeper"]).outcome().rejects("sleeper");
    app(env, &["stop", "box", "--app", "sleeper"]);
    for name in ["winner", "loser", "sleeper"] {
        app(env, &["rm", "box", "--app", name]);
    }
    assert_eq!(app(env, &["list", "--no-legend", "box"]), "");
    env.proa(["status", "box"]).outcome().succeeds().shows("state=running");
    // A name is free again.
    app(env, &["add", "box", &winner]);
    end(env, &uuid);
}

fn rkt_app_sandbox_starts_an_app_again(env: &Env) {
    let uuid = sandbox(env, &[]);
    let id = image(env, "again", "echo run >> /tmp/count; wc -l < /tmp/count");
    app(env, &["add", &uuid, &id, "--user-annotation=why=test", "--user-label=tier=back"]);
    let status = app(env, &["status", &uuid]);
    assert!(status.contains("user_annotations=why:test\nuser_labels=tier:back\n"), "{status}");
    for _ in 0..2 {
        app(env, &["start", &uuid, "--app", "again"]);
        wait_for_state(env, &uuid, "again", "exited");
    }
    env.proa(["logs", &uuid]).outcome().succeeds().prints("1\n2\n");
    let running = app(env, &["status", &uuid]);
    assert!(running.lines().any(|line| line.starts_with("created_at=20") && line.ends_with(" +0000 UTC")), "{running}");
    env.proa(["stop", &uuid]).outcome().succeeds();
    // As rkt: what has become of the apps is known as long as the pod is there.
    assert_eq!(app(env, &["list", "--no-legend", &uuid]), "again\texited\n");
    assert_eq!(app(env, &["status", &uuid]), running);
    env.proa(["app", "exec", &uuid, "true"]).outcome().rejects("is not running");
    env.proa(["rm", &uuid]).outcome().succeeds();
}

fn apps_of_a_pod_that_is_prepared_are_listed(env: &Env) {
    let id = image(env, "later", "exit 3");
    let uuid = env.proa(["prepare", &id]).outcome().succeeds().line().to_owned();
    assert_eq!(app(env, &["list", &uuid]), "NAME\tSTATE\nlater\tcreated\n");
    // As if whoever prepares it had been killed.
    let [whole, begun] = ["prepared", "prepare"].map(|place| env.data().join("pods").join(place).join(&uuid));
    std::fs::rename(&whole, &begun).expect("it is there");
    env.proa(["app", "list", &uuid]).outcome().rejects("was not prepared to the end");
    std::fs::rename(&begun, &whole).expect("it is there");
    env.proa(["run-prepared", "--net=none", &uuid]).outcome().exits(3);
    assert!(app(env, &["status", &uuid, "--app=later"]).contains("\nexit_code=3\n"));
    let json = app(env, &["status", &uuid, "--format=json"]);
    assert!(json.contains("\"state\":\"exited\"") && json.contains("\"exit_code\":3"), "{json}");
    env.proa(["rm", &uuid]).outcome().succeeds();
}

/// Its first process waits for the start, and may die of something else before: the start tells, and the next is another.
fn an_app_killed_before_its_start_has_ended(env: &Env) {
    let uuid = sandbox(env, &[]);
    let id = image(env, "early", "echo ran");
    app(env, &["add", &uuid, &id]);
    let status = env.proa(["status", &uuid]).outcome().succeeds().stdout;
    let pid_1 = status.lines().find_map(|line| line.strip_prefix("pid=")).expect("the pod runs");
    let pid_1: i32 = pid_1.parse().expect("a number");
    let waiting = process::descendants(pid_1);
    let [waiting] = waiting.as_slice() else { panic!("one waits: {waiting:?}") };
    assert!(process::kill(waiting.pid, Signal::KILL));
    app(env, &["start", &uuid, "--app", "early"]);
    assert!(wait_for_state(env, &uuid, "early", "exited").ends_with("exit_code=137\n"));
    app(env, &["start", &uuid, "--app", "early"]);
    let ran = || env.proa(["logs", &uuid]).outcome().succeeds().stdout == "ran\n";
    let deadline = Instant::now() + limit();
    while !ran() {
        assert!(Instant::now() < deadline, "it does not run again");
    }
    wait_for_state(env, &uuid, "early", "exited");
    end(env, &uuid);
}

fn rkt_app_sandbox_volumes(env: &Env) {
    let source = env.path("source");
    env.make_dir(&source);
    env.write("source/file", "from the host\n");
    let uuid = sandbox(env, &["--volume", "shared,kind=empty"]);
    let id = image(env, "user", "cat /data/file; echo $AC_APP_NAME >> /shared/names; cat /shared/names");
    let host = format!("name=host,kind=host,source={},target=/data", source.display());
    for name in ["one", "two"] {
        let args =
            ["add", &uuid, &id, "--name", name, "--mount", "volume=shared,target=/shared", "--mnt-volume", &host];
        app(env, &args);
        app(env, &["start", &uuid, "--app", name]);
        wait_for_state(env, &uuid, name, "exited");
    }
    env.proa(["logs", "--app", "two", &uuid]).outcome().succeeds().prints("from the host\none\ntwo\n");
    let status = app(env, &["status", &uuid, "--app", "two"]);
    assert!(status.contains(&format!("{}:/data:(read_only:false)", source.display())), "{status}");
    assert!(status.contains("/volumes/shared:/shared:(read_only:false)"), "{status}");
    let outside = format!("name=up,kind=host,source={},target=../../up", source.display());
    app(env, &["add", &uuid, &id, "--name", "three", "--mnt-volume", &outside]);
    end(env, &uuid);
}

fn rkt_app_sandbox_cri_logs(env: &Env) {
    let uuid = sandbox(env, &[]);
    let id = image(env, "hello", "echo HelloFromAppInSandbox");
    app(env, &["add", &uuid, &id]);
    app(env, &["start", &uuid]);
    wait_for_state(env, &uuid, "hello", "exited");
    let log = env.data().join("pods/run").join(&uuid).join("log.hello");
    let text = std::fs::read_to_string(log).unwrap();
    assert!(text.ends_with("Z stdout F HelloFromAppInSandbox\n"), "{text}");
    end(env, &uuid);
}

fn what_makes_no_sense_is_refused(env: &Env) {
    let uuid = sandbox(env, &[]);
    let id = image(env, "plain", "sleep 600");
    env.proa(["app", "add", &uuid, &id, &id]).outcome().rejects("must give only one app");
    env.proa(["app", "add", &uuid, "example.com/nothing"]).outcome().rejects("example.com/nothing");
    env.proa(["app", "add", &uuid, &id, "--mnt-volume", "name=x"]).outcome().rejects("name=x");
    env.proa(["app", "start", &uuid]).outcome().rejects("no app");
    for command in
        [&["attach", &uuid][..], &["enter", &uuid, "true"], &["cp", &format!("{uuid}:x"), "."], &["logs", &uuid]]
    {
        env.proa(command).outcome().rejects("the pod has no app").stderr_shows("`proa list` shows the apps of pods");
    }
    app(env, &["add", &uuid, &id]);
    env.proa(["app", "add", &uuid, &id]).outcome().rejects("plain");
    app(env, &["start", &uuid]);
    env.proa(["app", "start", &uuid]).outcome().rejects("it runs already");
    env.proa(["app", "start", &uuid, "--app", "other"]).outcome().rejects("other");
    // A pod that was not made for it.
    let other = env.proa(["run", "--detach", &id]).outcome().succeeds().stdout.trim().to_owned();
    env.proa(["app", "add", &other, &id, "--name", "more"]).outcome().rejects("made for it");
    end(env, &other);
    end(env, &uuid);
}

/// Several clients each add an app, one of them in vain, one goes before its turn; a name is had once.
fn apps_that_are_added_at_once_wait_for_each_other(env: &Env) {
    let id = image(env, "one", "exit 0");
    sandbox(env, &["--name=box"]);
    let names = ["a", "b", "c", "d", "e", "twice", "twice"].map(|name| format!("--name={name}"));
    let bad = ["--user=nobody-is-called-so", "--name=bad"].map(str::to_owned);
    let adding = |options: &[String]| {
        env.proa(["app", "add", "box", &id].into_iter().chain(options.iter().map(String::as_str))).start()
    };
    let gone = adding(&["--name=gone".to_owned()]);
    let mut all: Vec<_> = names.iter().map(|name| adding(std::slice::from_ref(name))).collect();
    all.push(adding(&bad));
    gone.kill(Signal::KILL);
    gone.wait();
    let refused: Vec<_> = all.into_iter().map(|it| it.wait()).filter(|it| !it.status.success()).collect();
    let told: Vec<&str> = refused.iter().map(|it| it.stderr.as_str()).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("the pod has an app \"twice\" already"), "{told:?}");
    assert!(told[1].contains("no user \"nobody-is-called-so\""), "{told:?}");
    let listed = app(env, &["list", "--no-legend", "box"]);
    let mut listed: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    listed.sort_unstable();
    listed.retain(|name| *name != "gone");
    assert_eq!(listed, ["a", "b", "c", "d", "e", "twice"]);
    end(env, "box");
}

/// Apps may come and go in a sandbox for as long as it runs, more than it has room for at once.
fn removed_apps_leave_nothing_in_their_pod(env: &Env) {
    needs!(place(Place::Host));
    let id = image(env, "guest", "exit 0");
    sandbox(env, &["--name=box"]);
    let status: serde_json::Value =
        serde_json::from_str(&env.proa(["status", "--format=json", "box"]).outcome().succeeds().stdout).unwrap();
    let init = i32::try_from(status["pid"].as_i64().expect("it runs")).unwrap();
    let monitor = process::read(init).expect("it is there").parent;
    let held = || {
        let entries = |path: String| fs::read_dir(&path).unwrap_or_else(|e| panic!("{path}: {e}")).count();
        let open = |pid| entries(format!("/proc/{pid}/fd"));
        [entries(format!("/proc/{init}/root/etc")), open(init), open(monitor)]
    };
    let empty = held();
    for round in 0..3 {
        app(env, &["add", "box", &id, "--name=guest"]);
        assert!(held()[0] > empty[0], "an app has files there");
        if round > 0 {
            app(env, &["start", "box", "--app=guest"]);
            wait_for_state(env, "box", "guest", "exited");
        }
        app(env, &["rm", "box", "--app=guest"]);
        let deadline = Instant::now() + limit();
        while held() != empty {
            assert!(Instant::now() < deadline, "round {round}: {:?}, {empty:?} before", held());
        }
    }
    end(env, "box");
}

fn a_failed_add_leaves_nothing(env: &Env) {
    let uuid = sandbox(env, &[]);
    let id = image(env, "plain", "sleep 600");
    env.proa(["app", "add", &uuid, &id, "--user", "nobody-here"]).outcome().rejects("nobody-here");
    env.proa(["app", "add", &uuid, &id, "--exec", "/nothing"]).outcome().refuses_with(127, "/nothing");
    assert_eq!(app(env, &["list", "--no-legend", &uuid]), "");
    let pod = env.data().join("pods/run").join(&uuid);
    let names: Vec<String> =
        std::fs::read_dir(pod).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().all(|name| !name.contains("plain")), "{names:?}");
    app(env, &["add", &uuid, &id]);
    end(env, &uuid);
}
