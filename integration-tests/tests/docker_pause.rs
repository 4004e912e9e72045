//! `docker pause` and `docker update`: what has control groups stands still and has other limits, and what has none is refused.

use std::time::{Duration, Instant};

use integration_tests::images::{Layout, busybox};
use integration_tests::needs::{Place, place};
use integration_tests::{Env, Outcome, User, each_user, limit, needs};
use serde_json::json;

fn docker(env: &Env, words: &[&str]) -> Outcome {
    env.proa(["docker"].iter().chain(words)).outcome()
}

fn image(env: &Env) -> String {
    format!("oci:{}", Layout::new("shell").layer(busybox()).config("Cmd", json!(["sh"])).build(env).display())
}

/// Counts, and says when it is told to end.
const COUNTS: &str =
    "trap 'echo told >>/told; exit 3' TERM; i=0; while :; do i=$((i+1)); echo $i >/out/count; sleep 0.05; done";

each_user! {
    without_control_groups_nothing_is_paused,
    what_does_not_run_is_changed_for_its_next_start,
}

fn without_control_groups_nothing_is_paused(env: &Env) {
    let image = image(env);
    docker(env, &["run", "-d", "--name=web", "--network=none", &image, "sleep", "1000"]).succeeds();
    docker(env, &["pause", "web"])
        .exits(1)
        .stderr_shows("cannot pause container")
        .stderr_shows("only control groups hold processes")
        .stderr_shows("has no control groups")
        .stderr_shows("hint: start it with a limit");
    docker(env, &["unpause", "web"]).exits(1).stderr_shows("is not paused");
    docker(env, &["ps", "--format", "{{.State}}", "-f", "status=paused"]).succeeds().prints("");
    let update = |options: &[&str]| docker(env, &[&["update"], options, &["web"]].concat());
    update(&["-m", "64m"]).succeeds().prints("web\n").stderr_shows("warning: the limits ");
    update(&[]).exits(1).stderr_shows("You must provide one or more flags");
    update(&["--restart=always"]).succeeds().prints("web\n").quietly();
    update(&["--restart=no"]).succeeds().prints("web\n").quietly();
    update(&["--restart=perhaps"]).exits(125).stderr_shows("perhaps");
    update(&["--cpus=many"]).exits(125).stderr_shows("--cpus many: not a number of CPUs");
    update(&["--pids-limit=5"])
        .succeeds()
        .prints("web\n")
        .stderr_shows("--pids-limit 5 counts when the container is started again");
    docker(env, &["rm", "-f", "web"]).succeeds();
    docker(env, &["pause", "web"]).exits(1).stderr_shows("No such container: web");
    docker(env, &["create", "--name=web", &image, "true"]).succeeds();
    docker(env, &["pause", "web"]).exits(1).stderr_shows("is not running");
    docker(env, &["unpause", "web"]).exits(1).stderr_shows("is not paused");
    docker(env, &["rm", "web"]).succeeds();
    env.assert_nothing_left();
}

/// What is changed counts when the container is started.
fn what_does_not_run_is_changed_for_its_next_start(env: &Env) {
    let image = image(env);
    let script = "sleep 9 & sleep 9 & echo two; kill $!";
    docker(env, &["create", "--name=web", "--network=none", "--cpus=2", &image, "sh", "-c", script]).succeeds();
    let update = |options: &[&str]| docker(env, &[&["update"], options, &["web"]].concat());
    let shown = |format: &str| docker(env, &["inspect", "-f", format, "web"]).succeeds().line().to_owned();
    let start = || docker(env, &["start", "-a", "web"]);
    start().succeeds().prints("two\n");
    for (round, (number, ends)) in [("2", 2), ("3", 0), ("1", 2), ("-1", 0)].into_iter().enumerate() {
        let memory = 64 + round;
        update(&["--pids-limit", number, "-m", &format!("{memory}m")]).succeeds().prints("web\n").quietly();
        assert_eq!(shown("{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}"), format!("{} 2000000000", memory << 20));
        start().exits(ends);
    }
    assert_eq!(shown("{{json .HostConfig.PidsLimit}}"), "null");
    update(&["--restart=on-failure:3"]).succeeds().prints("web\n").quietly();
    assert_eq!(
        shown("{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}"),
        "on-failure 3"
    );
    update(&["--restart=no", "--cpus=1"]).succeeds().prints("web\n").quietly();
    assert_eq!(shown("{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.NanoCpus}}"), "no 1000000000");
    docker(env, &["rm", "web"]).succeeds();
    docker(env, &["create", "--rm", "--name=web", &image]).succeeds();
    update(&["--restart=always"]).exits(1).stderr_shows("AutoRemove is enabled for the container");
    update(&["--restart=no"]).succeeds();
    docker(env, &["rm", "web"]).succeeds();
    env.assert_nothing_left();
}

/// What the container has counted to, read without asking it.
fn count(env: &Env) -> String {
    std::fs::read_to_string(env.path("out/count")).unwrap_or_default()
}

/// Waits until it has counted on from `before`.
fn counts_on(env: &Env, before: &str) {
    let deadline = Instant::now() + limit();
    while [before, ""].contains(&count(env).as_str()) {
        assert!(Instant::now() < deadline, "it stands at {before:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_paused_container_stands_still_until_it_goes_on() {
    needs!(place(Place::Vm));
    let env = &needs!(Env::of(User::WithRange));
    let image = image(env);
    env.make_dir(&env.path("out"));
    let out = format!("{}:/out", env.path("out").display());
    let run = ["run", "-d", "-m", "64m", "--name=web", "--network=none", "-v", &out, &image, "sh", "-c", COUNTS];
    docker(env, &run).succeeds();
    counts_on(env, "");
    docker(env, &["pause", "web"]).succeeds().prints("web\n").quietly();
    let before = count(env);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(count(env), before, "it stands still");
    docker(env, &["pause", "web"]).exits(1).stderr_shows("is already paused");
    let state = "{{.State.Status}} {{.State.Running}} {{.State.Paused}}";
    docker(env, &["inspect", "-f", state, "web"]).succeeds().prints("paused true true\n");
    docker(env, &["ps", "--format", "{{.State}} {{.Status}}"]).succeeds().shows("paused Up ").shows("(Paused)");
    docker(env, &["ps", "-q", "-f", "status=paused"]).succeeds().shows("\n");
    docker(env, &["ps", "-q", "-f", "status=running"]).succeeds().prints("");
    // What would wait for it says so instead.
    docker(env, &["exec", "web", "true"])
        .exits(1)
        .stderr_shows("the pod is paused")
        .stderr_shows("`proa docker unpause`");
    docker(env, &["exec", "-d", "web", "true"]).exits(1).stderr_shows("the pod is paused");
    docker(env, &["cp", "web:/etc/hosts", "copy"]).exits(1).stderr_shows("the pod is paused");
    docker(env, &["attach", "web"]).exits(1).stderr_shows("You cannot attach to a paused container");
    docker(env, &["rm", "web"]).exits(1).stderr_shows("container is paused and must be unpaused first");
    docker(env, &["unpause", "web"]).succeeds().prints("web\n").quietly();
    counts_on(env, &before);
    // What ends it lets it go on first: it is told.
    docker(env, &["pause", "web"]).succeeds();
    docker(env, &["stop", "-t", "60", "web"]).succeeds();
    docker(env, &["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "web"]).succeeds().prints("exited 3\n");
    docker(env, &["start", "web"]).succeeds();
    docker(env, &["pause", "web"]).succeeds();
    docker(env, &["kill", "web"]).succeeds();
    docker(env, &["start", "web"]).succeeds();
    docker(env, &["pause", "web"]).succeeds();
    docker(env, &["kill", "-s", "TERM", "web"]).succeeds();
    docker(env, &["wait", "web"]).succeeds().prints("3\n");
    docker(env, &["start", "web"]).succeeds();
    docker(env, &["pause", "web"]).succeeds();
    docker(env, &["rm", "-f", "web"]).succeeds();
    env.assert_nothing_left();
}

#[test]
fn limits_of_a_container_change_while_it_runs() {
    needs!(place(Place::Vm));
    let env = &needs!(Env::of(User::WithRange));
    let image = image(env);
    docker(env, &["run", "-d", "-m", "64m", "--name=web", "--network=none", &image, "sleep", "1000"]).succeeds();
    let limits = || docker(env, &["exec", "web", "sh", "-c", "cd /sys/fs/cgroup; cat memory.max cpu.max cpu.weight"]);
    limits().succeeds().shows("67108864\n");
    docker(env, &["update", "--memory=96m", "--cpus=0.5", "-c", "2048", "web"]).succeeds().prints("web\n").quietly();
    limits().succeeds().prints("100663296\n50000 100000\n200\n");
    docker(env, &["restart", "-t=0", "web"]).succeeds();
    limits().succeeds().prints("100663296\n50000 100000\n200\n");
    docker(env, &["stop", "-t=0", "web"]).succeeds();
    docker(env, &["update", "--memory=80m", "--cpus=1.5", "web"]).succeeds().prints("web\n").quietly();
    docker(env, &["start", "web"]).succeeds();
    limits().succeeds().shows("83886080\n150000 100000\n");
    docker(env, &["rm", "-f", "web"]).succeeds();
    // One that was started without any has none before its next start.
    docker(env, &["run", "-d", "--name=web", "--network=none", &image, "sleep", "1000"]).succeeds();
    docker(env, &["update", "-m=64m", "web"])
        .succeeds()
        .stderr_shows("the limits count when the container is started again: it was started without any");
    docker(env, &["restart", "-t=0", "web"]).succeeds();
    limits().succeeds().shows("67108864\n");
    docker(env, &["rm", "-f", "web"]).succeeds();
    env.assert_nothing_left();
}

#[test]
fn a_container_that_stands_still_is_not_checked() {
    needs!(place(Place::Vm));
    let env = &needs!(Env::of(User::WithRange));
    let image = image(env);
    let check = ["--health-cmd=true", "--health-interval=50ms", "--health-timeout=500ms", "--health-retries=1"];
    let run = [&["run", "-d", "-m", "64m", "--name=web", "--network=none"], &check[..], &[&image, "sleep", "1000"]];
    docker(env, &run.concat()).succeeds();
    let health = || docker(env, &["inspect", "-f", "{{.State.Health.Status}}", "web"]).succeeds().stdout;
    let deadline = Instant::now() + limit();
    while health() != "healthy\n" {
        assert!(Instant::now() < deadline, "{}", health());
        std::thread::sleep(Duration::from_millis(50));
    }
    docker(env, &["pause", "web"]).succeeds();
    std::thread::sleep(Duration::from_secs(2));
    docker(env, &["unpause", "web"]).succeeds();
    assert_eq!(health(), "healthy\n");
    docker(env, &["events", "--since=1h", "--until=0s", "-f", "event=health_status", "--format={{.Action}}"])
        .succeeds()
        .prints("health_status: healthy\n");
    docker(env, &["rm", "-f", "web"]).succeeds();
    env.assert_nothing_left();
}
