//! Pods with a supervisor of their own: started, looked at, entered, stopped, removed.

mod entering;

use integration_tests::images::{Aci, busybox, with_probe};
use integration_tests::{Env, Outcome, each_user, process};
use serde_json::json;

each_user! {
    detach_prints_the_uuid_and_leaves_the_pod_running,
    detach_reports_what_kept_the_pod_from_starting,
    stop_waits_for_the_end,
    stop_kills_what_does_not_follow,
    stop_of_a_stopped_pod_succeeds,
    an_ending_pod_is_waited_for,
    kill_sends_a_signal,
    event_handlers_run_around_the_app,
    an_app_is_started_again,
    status_waits,
    a_killed_monitor_takes_the_pod_with_it,
    rm_removes_a_detached_pod,
    with_rm_nothing_stays,
    a_prepared_pod_runs_later,
    a_prepared_pod_is_run_once,
    rkt_interactive,
    rkt_attach,
    events_tell_what_happens,
    wait_gives_the_status,
}

/// Starts a detached pod of this script and gives its UUID.
fn detach(env: &Env, name: &str, script: &str, more: &[&str]) -> String {
    let image = Aci::new(name, with_probe(busybox())).sh(script).build(env);
    let fixed = ["--insecure-options=image", "run", "--net=none", "--detach"];
    let args = fixed.iter().copied().chain(more.iter().copied()).chain([image.to_str().unwrap()]);
    let outcome = env.proa(args).outcome().succeeds().quietly();
    let uuid = outcome.stdout.trim_end().to_owned();
    assert_eq!((uuid.len(), outcome.stdout.lines().count()), (36, 1), "nothing but the UUID: {outcome}");
    uuid
}

fn stop(env: &Env, uuid: &str) -> Outcome {
    env.proa(["stop", uuid]).outcome().succeeds()
}

fn remove(env: &Env, uuid: &str) {
    env.proa(["rm", uuid]).outcome().succeeds();
}

fn status(env: &Env, uuid: &str) -> serde_json::Value {
    let outcome = env.proa(["status", "--format=json", uuid]).outcome().succeeds();
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|e| panic!("{e}: {outcome}"))
}

/// Kills the parent of a pod's pid 1.
fn kill_monitor(env: &Env, uuid: &str) {
    let pid = status(env, uuid)["pid"].as_i64().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let monitor: i32 = stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(process::kill(monitor, rustix::process::Signal::KILL));
}

/// Waits for a line of the log.
fn wait_for(env: &Env, uuid: &str, text: &str) {
    let mut logs = env.proa(["logs", "--follow", uuid]).start();
    logs.wait_for(text);
    logs.kill(rustix::process::Signal::KILL);
    logs.wait();
}

fn detach_prints_the_uuid_and_leaves_the_pod_running(env: &Env) {
    let uuid = detach(env, "sleeper", "echo ready; sleep 600", &["--name", "web"]);
    let shown = status(env, "web");
    assert_eq!((&shown["uuid"], &shown["state"], &shown["ready"]), (&json!(uuid), &json!("running"), &json!(true)));
    assert!(shown["pid"].as_i64().is_some_and(|pid| pid > 1), "{shown}");
    assert_eq!(shown["apps"][0]["state"], json!("running"), "{shown}");
    let text = env.proa(["status", &uuid]).outcome().succeeds();
    let keys: Vec<&str> = text.stdout.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    assert_eq!(keys, ["state", "created", "started", "networks", "pid", "exited"], "{text}");
    assert!(text.stdout.contains("state=running\n") && text.stdout.contains("exited=false\n"), "{text}");
    env.proa(["rm", &uuid]).outcome().rejects(&uuid);
    stop(env, "web").prints(&format!("\"{uuid}\"\n"));
    let text = env.proa(["status", &uuid]).outcome().succeeds();
    assert!(text.stdout.ends_with("exited=true\napp-sleeper=143\n"), "{text}");
    remove(env, "web");
}

fn detach_reports_what_kept_the_pod_from_starting(env: &Env) {
    let image = Aci::new("broken", busybox()).exec(["/nothing/here"]).build(env);
    let args = ["--insecure-options=image", "run", "--detach", image.to_str().unwrap()];
    let outcome = env.proa(args).outcome().refuses_with(127, "/nothing/here");
    assert_eq!(outcome.stdout, "", "no UUID of a pod that does not run: {outcome}");
    let listed = env.proa(["list", "--no-legend"]).outcome().succeeds();
    if let Some(uuid) = listed.stdout.split_whitespace().next() {
        remove(env, uuid);
    }
}

fn stop_waits_for_the_end(env: &Env) {
    let uuid =
        detach(env, "slow", "trap 'sleep 0.3; echo done; exit 0' TERM; echo ready; while :; do sleep 0.02; done", &[]);
    wait_for(env, &uuid, "ready");
    stop(env, &uuid);
    let shown = status(env, &uuid);
    assert_eq!((&shown["state"], &shown["exit_status"]), (&json!("exited"), &json!(0)), "{shown}");
    env.proa(["logs", &uuid]).outcome().succeeds().prints("ready\ndone\n");
    remove(env, &uuid);
}

fn stop_kills_what_does_not_follow(env: &Env) {
    let stubborn = "trap '' TERM; echo ready; while :; do sleep 0.02; done";
    for args in [&["stop", "--timeout", "0"][..], &["stop", "--force"]] {
        let uuid = detach(env, "stubborn", stubborn, &[]);
        wait_for(env, &uuid, "ready");
        env.proa(args.iter().copied().chain([uuid.as_str()])).outcome().succeeds();
        assert_eq!(status(env, &uuid)["apps"][0]["signal"], json!(9));
        remove(env, &uuid);
    }
}

fn stop_of_a_stopped_pod_succeeds(env: &Env) {
    let uuid = detach(env, "brief", "true", &[]);
    env.proa(["status", "--wait", &uuid]).outcome().succeeds();
    stop(env, &uuid).stderr_shows("already stopped");
    env.proa(["stop", "nosuchpod"]).outcome().rejects("nosuchpod");
    env.proa(["stop"]).outcome().rejects("which pod");
    remove(env, &uuid);
}

/// The supervisor is gone, and something of the pod is left: here the lock, which the test has taken over.
fn an_ending_pod_is_waited_for(env: &Env) {
    let uuid = detach(env, "ending", "echo ready; exec sleep 600", &[]);
    wait_for(env, &uuid, "ready");
    let lock = std::fs::File::open(env.data().join(format!("pods/run/{uuid}/lock"))).expect("a running pod's lock");
    kill_monitor(env, &uuid);
    // Granted when nothing of the pod is left.
    lock.lock().expect("nobody else wants it");
    let stopping = ["stop", "kill"].map(|command| (command, env.proa([command, &uuid]).start()));
    std::thread::sleep(std::time::Duration::from_millis(100));
    for (command, running) in &stopping {
        let waits = process::read(running.pid()).is_some_and(|it| it.state != 'Z');
        assert!(waits, "{command} does not wait");
    }
    drop(lock);
    let [stop, kill] = stopping.map(|(_, running)| running.wait());
    stop.succeeds().prints(&format!("\"{uuid}\"\n"));
    kill.rejects("is not running");
    remove(env, &uuid);
}

fn kill_sends_a_signal(env: &Env) {
    let uuid = detach(env, "trap", "trap 'echo usr1' USR1; echo ready; while :; do sleep 0.02; done", &[]);
    wait_for(env, &uuid, "ready");
    env.proa(["kill", "--signal", "SIGUSR1", &uuid]).outcome().succeeds();
    wait_for(env, &uuid, "usr1");
    env.proa(["kill", "--signal", "PONIES", &uuid]).outcome().rejects("PONIES");
    env.proa(["kill", "--app", "nobody", &uuid]).outcome().rejects("nobody");
    env.proa(["kill", &uuid]).outcome().succeeds();
    env.proa(["status", "--wait", &uuid]).outcome().succeeds();
    assert_eq!(status(env, &uuid)["exit_status"], json!(137));
    env.proa(["kill", &uuid]).outcome().rejects("is not running");
    remove(env, &uuid);
}

fn event_handlers_run_around_the_app(env: &Env) {
    let say = |what: &str| json!(["sh", "-c", format!("echo {what} $(id -u) $(pwd) $AC_APP_NAME >> /log; cat /log")]);
    let handlers =
        json!([{"name": "pre-start", "exec": say("pre-start")}, {"name": "post-stop", "exec": say("post-stop")}]);
    let tree = busybox().dir("opt", 0o755);
    let app = |script: &str| Aci::new("handled", busybox().then(tree.clone())).sh(script);
    let image = app("echo main >> /log; exit 5").app("eventHandlers", handlers.clone());
    let image = image.app("workingDirectory", json!("/opt")).build(env);
    let lines = ["pre-start 0 /opt handled", "main", "post-stop 0 /opt handled"];
    let printed = format!("{}\n{}\n", lines[0], lines.join("\n"));
    env.run(&image, &[]).outcome().exits(5).prints(&printed);
    // A pre-start handler that fails keeps the app from starting; its status is the app's.
    let failing = json!([{"name": "pre-start", "exec": ["sh", "-c", "exit 9"]}]);
    let image = app("echo main").app("eventHandlers", failing).build(env);
    env.run(&image, &[]).outcome().exits(9).prints("");
    // After a kill, the post-stop handler runs all the same.
    let image = app("echo ready; sleep 600").app("eventHandlers", handlers).build(env);
    let mut running = env.run(&image, &[]).start();
    running.wait_for("ready");
    running.kill(rustix::process::Signal::TERM);
    let outcome = running.wait().exits(143);
    assert!(outcome.stdout.ends_with("post-stop 0 / handled\n"), "{outcome}");
}

fn an_app_is_started_again(env: &Env) {
    let script = "echo run >> /count; n=$(wc -l < /count); echo run $n; [ $n -ge 3 ]";
    let uuid = detach(env, "phoenix", script, &["--restart=on-failure"]);
    env.proa(["status", "--wait=20s", &uuid]).outcome().succeeds();
    env.proa(["logs", &uuid]).outcome().succeeds().prints("run 1\nrun 2\nrun 3\n");
    let shown = status(env, &uuid);
    assert_eq!((&shown["exit_status"], &shown["apps"][0]["attempt"]), (&json!(0), &json!(2)), "{shown}");
    remove(env, &uuid);
    env.proa(["run", "--restart=sometimes", "hello"]).outcome().rejects("sometimes");
}

fn status_waits(env: &Env) {
    let uuid = detach(env, "brief", "trap 'exit 4' TERM; echo ready; while :; do sleep 0.02; done", &[]);
    env.proa(["status", "--wait-ready", &uuid]).outcome().succeeds().shows("state=running");
    env.proa(["status", "--wait=10ms", &uuid]).outcome().succeeds().shows("state=running");
    wait_for(env, &uuid, "ready");
    let waiting = env.proa(["status", "--wait", &uuid]).start();
    env.proa(["kill", "--signal=TERM", &uuid]).outcome().succeeds();
    waiting.wait().succeeds().shows("app-brief=4");
    let file = env.write("uuid", format!("{uuid}\n"));
    env.proa(["status", "--uuid-file", file.to_str().unwrap()]).outcome().succeeds().shows("state=exited");
    env.proa(["status", "--uuid-file", "/nothing/here"]).outcome().refuses_with(1, "/nothing/here");
    env.proa(["status", "--wait=soon", &uuid]).outcome().rejects("soon");
    remove(env, &uuid);
}

fn a_killed_monitor_takes_the_pod_with_it(env: &Env) {
    let uuid = detach(env, "victim", "echo ready; sleep 600", &[]);
    wait_for(env, &uuid, "ready");
    kill_monitor(env, &uuid);
    env.proa(["status", "--wait", &uuid]).outcome().succeeds().shows("state=exited");
    env.proa(["logs", &uuid]).outcome().succeeds().prints("ready\n");
    remove(env, &uuid);
}

fn rm_removes_a_detached_pod(env: &Env) {
    let uuid = detach(env, "writer", "mkdir -p /a/b; echo x > /a/b/c; echo ready", &[]);
    env.proa(["status", "--wait", &uuid]).outcome().succeeds();
    env.proa(["cat-manifest", &uuid]).outcome().succeeds().shows("\"PodManifest\"");
    remove(env, &uuid);
    env.proa(["status", &uuid]).outcome().rejects(&uuid);
}

fn with_rm_nothing_stays(env: &Env) {
    let uuid = detach(env, "brief", "echo x > /file; sleep 0.1", &["--rm"]);
    let deadline = std::time::Instant::now() + integration_tests::limit();
    while env.proa(["list", "--no-legend"]).outcome().succeeds().stdout.contains(&uuid[..8]) {
        assert!(std::time::Instant::now() < deadline, "the pod is still there");
    }
}

fn a_prepared_pod_runs_later(env: &Env) {
    let image = Aci::new("later", busybox()).sh("echo $GREETING; hostname; exit 6").build(env);
    let image = image.to_str().unwrap();
    let args = ["--insecure-options=image", "prepare", "--name=web", image, "--environment", "GREETING=hello"];
    let uuid = env.proa(args).outcome().succeeds().quietly().stdout.trim().to_owned();
    assert_eq!(status(env, "web")["state"], json!("prepared"));
    // What the pod needs of its image stays, whatever becomes of the image.
    let listed = env.proa(["image", "list", "--no-legend", "--full", "--fields=id"]).outcome().succeeds();
    env.proa(["image", "rm", listed.stdout.trim()]).outcome().succeeds();
    env.proa(["image", "gc"]).outcome().succeeds();
    env.proa(["gc"]).outcome().succeeds();
    env.proa(["run-prepared", "web"]).outcome().exits(6).prints("hello\nweb\n");
    assert_eq!(status(env, &uuid)["exit_status"], json!(6));
    env.proa(["run-prepared", "web"]).outcome().rejects("is not prepared");
    remove(env, &uuid);
}

fn a_prepared_pod_is_run_once(env: &Env) {
    let image = Aci::new("once", busybox()).sh("sleep 0.2").build(env);
    let args = ["--insecure-options=image", "prepare", image.to_str().unwrap()];
    let uuid = env.proa(args).outcome().succeeds().stdout.trim().to_owned();
    let start = || env.proa(["run-prepared", &uuid]).start();
    let racing = [start(), start(), start()];
    let statuses: Vec<Option<i32>> = racing.into_iter().map(|it| it.wait().status.code()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == Some(0)).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == Some(254)).count(), 2, "{statuses:?}");
    let detached = env.proa(["--insecure-options=image", "prepare", image.to_str().unwrap()]).outcome().succeeds();
    let second = detached.stdout.trim();
    env.proa(["run-prepared", "--detach", second]).outcome().succeeds().prints(&format!("{second}\n"));
    env.proa(["status", "--wait", second]).outcome().succeeds().shows("app-once=0");
    remove(env, second);
    remove(env, &uuid);
}

/// A command on a terminal of its own, as script(1) makes it.
fn on_a_terminal(env: &Env, command: &str, input: &str) -> Outcome {
    let proa = integration_tests::binaries::proa().display().to_string();
    let line = format!("{proa} --dir {} --insecure-options=image {command}", env.data().display());
    let typed = format!("sleep 1; printf {input}; sleep 1");
    let script = format!("({typed}) | script -qec '{line}' /dev/null");
    env.command("sh", vec!["-c".into(), script.into()]).outcome()
}

fn rkt_interactive(env: &Env) {
    let say = "[ -t 0 ] && echo stdin is a terminal || echo stdin is not a terminal";
    let image = Aci::new("tty", busybox()).sh(say).build(env);
    let path = image.to_str().unwrap();
    env.run(&image, &[]).outcome_with_input(b"").succeeds().prints("stdin is not a terminal\n");
    let args = ["--insecure-options=image", "run", "--interactive", path];
    env.proa(args).outcome_with_input(b"").succeeds().prints("stdin is not a terminal\n");
    let outcome = on_a_terminal(env, &format!("run --interactive {path}"), "x").succeeds();
    assert!(outcome.stdout.contains("stdin is a terminal\r\n"), "{outcome}");
    let image = Aci::new("echo", busybox()).sh("read line; echo Received text: $line; exit 5").build(env);
    let args = ["--insecure-options=image", "run", "--interactive", image.to_str().unwrap()];
    env.proa(args).outcome_with_input(b"some text\n").exits(5).prints("Received text: some text\n");
    let outcome = on_a_terminal(env, &format!("run --interactive {}", image.display()), "\"typed\\n\"").exits(5);
    assert!(outcome.stdout.contains("Received text: typed\r\n"), "{outcome}");
    let image = image.to_str().unwrap();
    let two = ["--insecure-options=image", "run", "--interactive", image, "--name=a", image, "--name=b"];
    env.proa(two).outcome().rejects("interactive option only supports one image");
    // All of a long output arrives, however slowly it is read.
    let long =
        Aci::new("long", busybox()).sh("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done").build(env);
    let args = ["--insecure-options=image", "run", "--interactive", long.to_str().unwrap()];
    let outcome = env.proa(args).outcome_with_input(b"").succeeds();
    assert_eq!(outcome.stdout.lines().count(), 20_000, "the end: {:?}", outcome.stdout.lines().last());
    // The end of the command is the end of the pod.
    let waits = Aci::new("waits", busybox()).sh("echo ready; sleep 600").build(env);
    let mut running = env.proa(["--insecure-options=image", "run", "--interactive", waits.to_str().unwrap()]).start();
    running.wait_for("ready");
    running.kill(rustix::process::Signal::KILL);
    running.wait();
    env.assert_nothing_left();
}

fn rkt_attach(env: &Env) {
    let uuid = detach(env, "talker", "i=0; while :; do echo tick $i; echo tock >&2; i=$((i+1)); sleep 0.05; done", &[]);
    env.proa(["attach", "--mode", "list", &uuid]).outcome().succeeds().prints("stdout\nstderr\n");
    let mut attached = env.proa(["attach", &uuid]).start();
    attached.wait_for("tick");
    attached.kill(rustix::process::Signal::KILL);
    attached.wait();
    let mut errors = env.proa(["attach", "--mode", "stdout", &uuid]).start();
    errors.wait_for("tick");
    env.proa(["attach", "--mode", "stdnone", &uuid]).outcome().rejects("stdnone");
    stop(env, &uuid);
    let outcome = errors.wait().succeeds();
    assert_eq!(outcome.stderr, "", "only what was asked for: {outcome}");
    remove(env, &uuid);
}

fn events_tell_what_happens(env: &Env) {
    let uuid = detach(env, "eventful", "echo ready; sleep 600", &[]);
    wait_for(env, &uuid, "ready");
    let mut events = env.proa(["events", "--format=json", &uuid]).start();
    events.wait_for("\"started\"");
    env.proa(["enter", &uuid, "true"]).outcome().succeeds();
    events.wait_for("\"entered\"");
    stop(env, &uuid);
    let outcome = events.wait().succeeds();
    let all: Vec<serde_json::Value> = outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let shown: Vec<_> = all.iter().map(|it| (it["seq"].as_u64().unwrap(), it["event"].as_str().unwrap())).collect();
    assert_eq!(shown, [(1, "started"), (2, "entered"), (3, "stopping"), (4, "exited")], "{outcome}");
    assert_eq!(all[3]["exit"], json!({"signal": 15}));
    env.proa(["events", &uuid]).outcome().rejects("is not running");
    remove(env, &uuid);
}

fn wait_gives_the_status(env: &Env) {
    let uuid = detach(env, "brief", "sleep 0.2; exit 7", &[]);
    env.proa(["wait", &uuid, &uuid]).outcome().succeeds().prints("7\n7\n");
    env.proa(["wait", "nosuchpod"]).outcome().rejects("nosuchpod");
    remove(env, &uuid);
}
