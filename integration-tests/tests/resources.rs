//! Limits of resources. Control groups are to be had in the lab's guest, from a login session with a systemd user manager;
//! on a host without them the limits are told to be ignored.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use integration_tests::images::{Aci, busybox};
use integration_tests::needs::{Place, place};
use integration_tests::{Env, User, needs};
use rustix::process::Signal;
use serde_json::Value;

fn image(env: &Env, name: &str, script: &str) -> PathBuf {
    Aci::new(name, busybox().dir("tmp", 0o777)).sh(script).build(env)
}

/// Runs the image in the background, with options before and after it, and waits until its app runs.
fn detached(env: &Env, pod: &str, image: &std::path::Path, options: &[&str]) {
    let name = format!("--name={pod}");
    let image = image.to_str().expect("UTF-8");
    let run = ["--insecure-options=image", "run", "--net=none", "--detach", &name, image];
    env.proa(run.into_iter().chain(options.iter().copied())).outcome().succeeds().quietly();
    env.proa(["status", "--wait-ready=60s", pod]).outcome().succeeds();
}

fn done(env: &Env, pod: &str) {
    env.proa(["stop", "--force", pod]).outcome().succeeds();
    env.proa(["status", "--wait=60s", pod]).outcome().succeeds();
    env.proa(["rm", pod]).outcome().succeeds();
}

fn status(env: &Env, pod: &str) -> Value {
    let outcome = env.proa(["status", "--format=json", pod]).outcome().succeeds();
    serde_json::from_str(outcome.line()).expect("JSON")
}

fn stats(env: &Env, pod: &str) -> Value {
    let outcome = env.proa(["stats", "--format=json", pod]).outcome().succeeds();
    serde_json::from_str(outcome.line()).expect("JSON")
}

#[test]
fn memory_limit_kills_and_says_so() {
    needs!(place(Place::Vm));
    let env = needs!(Env::of(User::WithRange));
    let image = image(&env, "hungry", "tail /dev/zero");
    let path = image.to_str().expect("UTF-8");
    let run = ["--insecure-options=image", "run", "--net=none", "--keep", "--name=hungry", path, "--memory=32Mi"];
    env.proa(run).outcome().exits(137);
    let status = status(&env, "hungry");
    let app = &status["apps"][0];
    assert_eq!((&app["oom"], &app["signal"]), (&Value::from(true), &Value::from(9)));
    assert_eq!(app["reason"], "killed because it reached its memory limit");
    assert_eq!(app["isolators"][0]["outcome"], "enforced");
    env.proa(["rm", "hungry"]).outcome().succeeds();
}

#[test]
fn an_app_sees_its_own_limits() {
    needs!(place(Place::Vm));
    let env = needs!(Env::of(User::WithRange));
    let script = "cat /proc/self/cgroup; cd /sys/fs/cgroup; cat memory.max cpu.max cpu.weight; \
        for f in memory.max cgroup.procs cgroup.kill cgroup.subtree_control; do echo 1 > $f; done 2>&1";
    let image = image(&env, "limits", script);
    let outcome = env.run(&image, &["--memory=64Mi", "--cpu=500m", "--cpu-shares=2048"]).outcome();
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines[..4], ["0::/", "67108864", "50000 100000", "200"], "{outcome}");
    // CG-01.
    assert_eq!(lines.len(), 8, "{outcome}");
    assert!(lines[4..].iter().all(|line| line.ends_with("Read-only file system")), "{outcome}");
}

#[test]
fn cpu_limit_throttles_and_stats_show_it() {
    needs!(place(Place::Vm));
    let env = needs!(Env::of(User::WithRange));
    let image = image(&env, "busy", "while :; do :; done");
    detached(&env, "busy", &image, &["--cpu=250m", "--memory=64Mi"]);
    let shown = stats(&env, "busy");
    assert!(shown["throttled"].as_u64().is_some_and(|times| times > 0), "{shown}");
    let percent = shown["cpu_percent"].as_f64().expect("a number");
    assert!((25.0 * 0.5..25.0 * 1.5).contains(&percent), "{shown}");
    assert_eq!(shown["memory_limit_bytes"], 64 << 20);
    env.proa(["stats", "--no-stream", "busy"]).outcome().succeeds().shows("/ 64 MiB");
    done(&env, "busy");
}

#[test]
fn io_limit_holds_for_reads_and_writes() {
    needs!(place(Place::Vm));
    let env = needs!(Env::of(User::WithRange));
    let script = "for f in oflag=direct iflag=direct; do s=$(cut -d. -f1 /proc/uptime); \
        if [ $f = oflag=direct ]; then dd if=/dev/zero of=/tmp/big bs=1M count=6 $f; else dd if=/tmp/big of=/dev/null bs=1M $f; fi 2>&1; \
        echo took $(($(cut -d. -f1 /proc/uptime) - s)); done; cat /sys/fs/cgroup/io.max";
    let image = image(&env, "disk", script);
    let outcome = env.run(&image, &["--block-bandwidth=1Mi"]).outcome().succeeds();
    assert!(outcome.stdout.contains("rbps=1048576 wbps=1048576"), "{outcome}");
    let took: Vec<u64> = outcome.stdout.lines().filter_map(|line| line.strip_prefix("took ")?.parse().ok()).collect();
    // Six seconds at that rate; the kernel lets a little go ahead. A tenth of a second without a limit.
    assert!(took.len() == 2 && took.iter().all(|seconds| *seconds >= 4), "{outcome}");
}

#[test]
fn update_of_a_pod_that_runs() {
    needs!(place(Place::Vm));
    let env = needs!(Env::of(User::WithRange));
    let image = image(&env, "grows", "sleep 600");
    detached(&env, "grows", &image, &["--memory=64Mi"]);
    env.proa(["update", "--memory=32Mi", "--cpu=1", "grows"]).outcome().succeeds().quietly();
    assert_eq!(stats(&env, "grows")["memory_limit_bytes"], 32 << 20);
    let seen = ["enter", "grows", "/bin/busybox", "cat", "/sys/fs/cgroup/memory.max", "/proc/self/cgroup"];
    env.proa(seen).outcome().succeeds().prints("33554432\n0::/\n");
    env.proa(["update", "--app=ponies", "--cpu=1", "grows"]).outcome().refuses("ponies");
    env.proa(["update", "grows"]).outcome().rejects("no limit");
    // The whole app goes, and with it the pod: what was executed may have nobody left to tell its end.
    env.proa(["enter", "grows", "/bin/busybox", "tail", "/dev/zero"]).outcome();
    let started = Instant::now();
    while status(&env, "grows")["state"] == "running" && started.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(status(&env, "grows")["apps"][0]["oom"], true);
    env.proa(["rm", "grows"]).outcome().succeeds();
}

#[test]
fn a_fork_bomb_stays_in_its_pod() {
    needs!(place(Place::Vm));
    let env = needs!(Env::of(User::WithRange));
    let image = image(&env, "bomb", "while :; do sleep 100 & done 2>/dev/null");
    detached(&env, "bomb", &image, &["--memory=512Mi"]);
    let started = Instant::now();
    loop {
        let shown = stats(&env, "bomb");
        let pids = shown["pids"].as_u64().expect("a number");
        assert!(pids <= 4096, "{shown}");
        if pids > 300 || started.elapsed() > Duration::from_secs(120) {
            break;
        }
    }
    done(&env, "bomb");
}

#[test]
fn nothing_of_a_bounded_pod_is_left() {
    needs!(place(Place::Vm));
    let env = needs!(Env::of(User::WithRange));
    let image = image(&env, "brief", "true");
    for _ in 0..3 {
        env.run(&image, &["--memory=64Mi"]).outcome().succeeds();
    }
    let uid = env.account().uid;
    let slice = format!("/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service/proa.slice");
    let started = Instant::now();
    let scopes = || {
        let entries = std::fs::read_dir(&slice).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(".scope")).count()
    };
    while scopes() > 0 {
        assert!(started.elapsed() < Duration::from_secs(60), "scopes are left in {slice}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn limits_that_cannot_be_had_are_told() {
    needs!(place(Place::Host));
    // Where the tests themselves have a systemd manager, they could be had.
    if needs::file("/run/systemd/system").is_ok() {
        return;
    }
    let env = needs!(Env::of(User::WithRange));
    let image = image(&env, "unbounded", "echo ran");
    let outcome = env.run(&image, &["--memory=64Mi"]).outcome().succeeds().prints("ran\n");
    outcome.stderr_shows("isolator resource/memory: ignored: the pod has no control group of its own");
    let path = image.to_str().expect("UTF-8");
    let strict = ["--insecure-options=image", "run", "--net=none", "--strict", path, "--memory=64Mi"];
    env.proa(strict).outcome().refuses("resource/memory");
}

/// A group that was delegated to proa is taken if no other process is in it: none that was started for the pod may be.
#[test]
fn pod_in_a_delegated_group_has_groups_of_its_own() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    let image = image(&env, "grouped", "echo ready; exec sleep 60");
    let (uid, name) = (env.account().uid, format!("proa-test-{}", std::process::id()));
    // Where the host has the older groups as well, the unified ones are not where proa looks.
    let mount = "mount -t cgroup2 none /sys/fs/cgroup && cd /sys/fs/cgroup";
    let enter = format!(
        "d=$PWD && {mount} && mkdir {name} && chown -R {uid} {name} && echo $$ >{name}/cgroup.procs && cd \"$d\" && \
         exec \"$@\""
    );
    let own_mounts = ["unshare", "--mount", "--propagation=private", "sh", "-c"];
    let wrapper = own_mounts.into_iter().chain([enter.as_str(), "sh"]);
    let mut running = env.run(&image, &["--memory=64Mi"]).through_as_invoker(wrapper).start();
    running.wait_for("ready");
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", running.pid())).unwrap();
    running.kill(Signal::TERM);
    running.wait();
    let leave = format!("{mount} && for group in {name}/supervisor {name}/pod {name}; do rmdir $group; done");
    let [unshare, options @ ..] = own_mounts;
    Command::new(unshare).args(options).arg(leave).output().unwrap();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::")).expect("a unified hierarchy");
    assert!(own.ends_with(&format!("/{name}/supervisor")), "{groups}");
}

#[test]
fn limits_that_make_no_sense() {
    let env = needs!(Env::of(User::WithRange));
    let image = image(&env, "nonsense", "true");
    for (option, text) in [
        ("--memory=12", "at least 4096 bytes"),
        ("--memory=1K", "\"1K\""),
        ("--memory=ponies", "\"ponies\""),
        ("--cpu=0", "more than none"),
        ("--cpu=-1", "more than none"),
        ("--cpu-shares=1", "between 2 and 262144"),
    ] {
        env.run(&image, &[option]).outcome().rejects(text);
    }
}
