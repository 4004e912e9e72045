//! kill -9 of anything, at any time: the pod ends, and the next command sees a consistent state.

use std::time::{Duration, Instant};

use integration_tests::images::{Aci, Packing, busybox};
use integration_tests::needs::{Place, place, tool};
use integration_tests::{Env, Running, User, each_user, limit, needs, process};
use rustix::process::Signal;

fn start(env: &Env) -> Running {
    let other = Aci::new("other", busybox()).sh("while :; do sleep 0.1; done").build(env);
    let image = Aci::new("crash", busybox()).sh("echo ready; while :; do sleep 0.1; done").build(env);
    let mut running = env.run(&image, &["---", other.to_str().expect("UTF-8")]).start();
    running.wait_for("ready");
    running
}

/// What must work after any crash, and leave nothing.
fn recovers(env: &Env) {
    env.proa(["list"]).outcome().succeeds();
    env.proa(["gc", "--grace-period=0s"]).outcome().succeeds();
    env.assert_nothing_left();
    let image = Aci::new("after", busybox()).sh("echo after").build(env);
    env.run(&image, &[]).outcome().succeeds().prints("after\n");
    env.assert_nothing_left();
}

/// Waits until no descendant of this test is alive.
fn all_gone() {
    let me = rustix::process::getpid().as_raw_nonzero().get();
    let deadline = Instant::now() + limit() / 6;
    loop {
        process::reap_orphans();
        let living: Vec<_> = process::descendants(me).into_iter().filter(|it| it.state != 'Z').collect();
        if living.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "still alive: {living:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The pod's pid 1: the child of the monitor, the parent of the apps.
fn pid_1(monitor: i32) -> i32 {
    let children: Vec<_> = process::descendants(monitor).into_iter().filter(|it| it.parent == monitor).collect();
    assert_eq!(children.len(), 1, "the monitor of a running pod has one child: {children:?}");
    children[0].pid
}

each_user! {
    killed_monitor_ends_the_pod,
    killed_pid_1_ends_the_run,
    killed_app_is_status_137,
    killed_fetch_leaves_only_what_gc_removes,
    killed_launch_leaves_only_what_gc_removes,
}

fn killed_monitor_ends_the_pod(env: &Env) {
    let running = start(env);
    let pod = process::descendants(running.pid());
    assert!(pod.len() >= 3, "pid 1 and two apps: {pod:?}");
    running.kill(Signal::KILL);
    assert_eq!(running.wait().signal(), Some(9));
    all_gone();
    // The pod is there and not running; rm takes it away.
    let listed = env.proa(["list", "--no-legend"]).outcome().succeeds();
    let uuid = listed.stdout.split_whitespace().next().expect("the pod is listed").to_owned();
    assert!(!listed.stdout.contains("running"), "{listed}");
    env.proa(["rm", &uuid]).outcome().succeeds();
    env.assert_nothing_left();
    recovers(env);
}

fn killed_pid_1_ends_the_run(env: &Env) {
    let running = start(env);
    assert!(process::kill(pid_1(running.pid()), Signal::KILL));
    let outcome = running.wait();
    assert_ne!(outcome.status.code(), Some(0), "{outcome}");
    all_gone();
    env.assert_nothing_left();
    recovers(env);
}

fn killed_app_is_status_137(env: &Env) {
    let running = start(env);
    let pid_1 = pid_1(running.pid());
    let apps: Vec<_> = process::descendants(pid_1).into_iter().filter(|it| it.parent == pid_1).collect();
    assert_eq!(apps.len(), 2, "{apps:?}");
    assert!(process::kill(apps[0].pid, Signal::KILL));
    running.wait().exits(137);
    all_gone();
    recovers(env);
}

fn killed_fetch_leaves_only_what_gc_removes(env: &Env) {
    // Big enough that every stage takes some milliseconds, and hard to compress.
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(24 << 20)
    .collect();
    let tree = (0..40).fold(busybox(), |tree, n| tree.file(format!("f{n}"), &noise[n << 18..][..1 << 19], 0o644));
    let image = Aci::new("big", tree).sh("ls / | wc -l").packed(Packing::Gzip).build(env);
    let fetch = ["--insecure-options=image", "fetch"].map(std::ffi::OsString::from).into_iter();
    let fetch: Vec<_> = fetch.chain([image.clone().into_os_string()]).collect();
    for milliseconds in [1, 3, 10, 30, 100, 200, 400, 700] {
        let running = env.proa(&fetch).start();
        std::thread::sleep(Duration::from_millis(milliseconds));
        running.kill(Signal::KILL);
        running.wait();
        all_gone();
        env.proa(["list"]).outcome().succeeds();
    }
    env.proa(["gc", "--grace-period=0s"]).outcome().succeeds();
    env.assert_nothing_left();
    let id = env.proa(&fetch).outcome().succeeds();
    env.proa(["run", "--net=none", id.line()]).outcome().succeeds();
    recovers(env);
}

fn killed_launch_leaves_only_what_gc_removes(env: &Env) {
    let image = Aci::new("launch", busybox()).sh("sleep 0.2").build(env);
    env.run(&image, &[]).outcome().succeeds();
    for microseconds in [300, 600, 1000, 1500, 2000, 2500, 3000, 4000, 5000, 7000, 10_000, 20_000] {
        let running = env.run(&image, &[]).start();
        std::thread::sleep(Duration::from_micros(microseconds));
        running.kill(Signal::KILL);
        running.wait();
        all_gone();
        env.proa(["list"]).outcome().succeeds();
    }
    recovers(env);
}

/// Whether a process waits to be told something by the only descriptor that it has beside its streams: so an app's first
/// process waits for its start.
fn waits_for_its_start(pid: i32) -> bool {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    let call = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    let call = call.split(' ').next().and_then(|number| number.parse().ok());
    open == 4 && call == Some(syscalls::Sysno::recvfrom.id())
}

/// The run hung when that happened before pid 1 had read that the app is to start. strace keeps it from reading for a
/// while, as a busy machine may.
#[test]
fn an_app_killed_before_its_start_ends_the_run() {
    needs!(place(Place::Host));
    needs!(tool("strace"));
    needs!(User::Root.account());
    let env = needs!(Env::of(User::WithRange));
    let image = Aci::new("early", busybox()).sh("echo ran").build(&env);
    let id = env.store(&image);
    let delay = "inject=ppoll:delay_enter=2000000:when=1";
    let tracer = ["strace", "--follow-forks", "--quiet=all", "--output=/dev/null", "--trace=ppoll", "-e", delay];
    let running = env.proa(["run", "--net=none", &id]).through_as_invoker(tracer).start();
    let deadline = Instant::now() + limit();
    let waiting = loop {
        let found = process::descendants(running.pid()).into_iter().find(|it| waits_for_its_start(it.pid));
        match found {
            Some(found) => break found.pid,
            None => assert!(Instant::now() < deadline, "no app waits for its start"),
        }
    };
    assert!(process::kill(waiting, Signal::KILL));
    running.wait().exits(137).prints("");
    all_gone();
    recovers(&env);
}

/// As after a restart of the machine: directories of pods that ran, with their sockets, and nothing else of them. (A copy:
/// nobody has its files open or locked.)
#[test]
fn pods_that_a_restart_ended() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    let front = r#"{"rktKind":"network","rktVersion":"v1","name":"front"}"#;
    env.write("home/.config/proa/network.d/front.json", front);
    let image = Aci::new("ran", busybox()).sh("echo begun; sleep 1000").build(&env);
    let run = |name: &str, more: &[&str]| {
        let words = ["--insecure-options=image", "run", "--detach", "--name", name];
        let words = words.iter().chain(more).copied().chain([image.to_str().expect("UTF-8")]);
        env.proa(words).outcome().succeeds().line().to_owned()
    };
    let uuids = [run("first", &[]), run("second", &["--net=front"]), run("third", &["--restart=always"])];
    env.proa(["prepare", "--name=waits", "example.com/ran"]).outcome().succeeds();
    let copied = std::process::Command::new("cp").arg("-a").arg(env.data()).arg(env.path("kept")).status();
    assert!(copied.is_ok_and(|status| status.success()), "cp");
    for uuid in &uuids {
        env.proa(["stop", "--force", uuid]).outcome().succeeds();
    }
    all_gone_but_the_service(&env);
    std::fs::remove_dir_all(env.data()).expect("it is ours");
    std::fs::rename(env.path("kept"), env.data()).expect("it is ours");
    let _ = std::fs::remove_dir_all(env.path("run"));
    env.make_dir(&env.path("run"));

    let listed = env.proa(["list", "--no-legend"]).outcome().succeeds().quietly();
    assert_eq!(listed.stdout.matches("exited").count(), 3, "{listed}");
    assert_eq!(listed.stdout.matches("prepared").count(), 1, "{listed}");
    env.proa(["status", "first"]).outcome().succeeds().shows("state=exited");
    env.proa(["logs", "first"]).outcome().succeeds().prints("begun\n");
    env.proa(["wait", "first"]).outcome().refuses("nobody has written down how it ended");
    env.proa(["enter", "first", "/bin/true"]).outcome().refuses("not running");
    env.proa(["stop", "first"]).outcome().succeeds().stderr_shows("is already stopped");
    env.proa(["run-prepared", "--detach", "waits"]).outcome().succeeds();
    for name in ["first", "second"] {
        env.proa(["docker", "start", name]).outcome().succeeds().prints(&format!("{name}\n"));
        env.proa(["enter", name, "/bin/echo", "lives"]).outcome().succeeds().prints("lives\n");
    }
    env.proa(["rm", "third"]).outcome().succeeds();
    for name in ["first", "second", "waits"] {
        env.proa(["stop", "--force", name]).outcome().succeeds();
    }
    recovers(&env);
    assert!(env.proa(["list", "--no-legend"]).outcome().succeeds().stdout.is_empty());
}

/// [`all_gone`], whether pods have asked the metadata service anything or not.
fn all_gone_but_the_service(env: &Env) {
    env.end_metadata_service();
    all_gone();
}
