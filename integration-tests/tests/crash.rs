//! kill -9 of anything, at any time: the pod ends, and the next command sees a consistent state.

use std::time::{Duration, Instant};

use integration_tests::images::{Aci, Packing, busybox};
use integration_tests::{Env, Running, each_user, limit, process};
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
