//! A pod that runs offers the outer user namespace that its own lies in to pods that start meanwhile
//! (docs/decisions/0015-nests.md): they need no newuidmap, and are pods like all others.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;

use integration_tests::images::{Aci, busybox};
use integration_tests::{Env, Running, User, each_user};
use rustix::process::Signal;

each_user! {
    next_pod_is_nested_beside_the_first,
    namespace_of_a_pod_that_was_killed_is_not_taken,
    other_limits_are_another_namespace,
    kept_ids_are_kept_beside_a_service,
    nonsense_is_no_offer,
    many_at_once_are_what_one_is,
    namespace_that_is_not_used_is_given_up,
}

/// A line of the file: whose namespace it is, and which.
#[derive(Debug, PartialEq, Eq)]
struct Offer {
    monitor: i32,
    namespace: String,
}

fn file(env: &Env) -> PathBuf {
    env.data().join("namespace")
}

/// The lines that there are.
fn offers(env: &Env) -> Vec<Option<Offer>> {
    let text = fs::read_to_string(file(env)).unwrap_or_default();
    let offer = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [monitor, _, _, namespace, ..] = words.as_slice() else { return None };
        Some(Offer { monitor: monitor.parse().ok()?, namespace: (*namespace).to_owned() })
    };
    text.trim_matches('\0').lines().map(|line| offer(line.trim_matches('\0'))).collect()
}

fn first(env: &Env) -> Option<Offer> {
    offers(env).into_iter().next().flatten()
}

fn second(env: &Env) -> Option<Offer> {
    offers(env).into_iter().nth(1).flatten()
}

fn service(env: &Env) -> Running {
    let image = Aci::new("service", busybox()).sh("echo ready; while :; do sleep 0.1; done").build(env);
    let mut running = env.run(&image, &[]).start();
    running.wait_for("ready");
    running
}

fn end(running: Running) {
    running.kill(Signal::TERM);
    running.wait();
}

/// Runs a pod that makes a file of user 1000 and one of root's, and says as whom it runs.
fn run_one(env: &Env, name: &str) {
    let dir = env.path(name);
    env.make_dir(&dir);
    // Root's pods are somebody else there.
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    let script = "id -u; touch /data/root; touch /data/other && chown 1000:1000 /data/other 2>/dev/null; exit 0";
    let image = Aci::new(name, busybox()).sh(script).build(env);
    let volume = format!("--volume=data,kind=host,source={}", dir.display());
    let words =
        ["--insecure-options=image".into(), "run".into(), "--net=none".into(), volume, image.display().to_string()];
    let mount = "--mount=volume=data,target=/data".to_owned();
    env.proa(words.into_iter().chain([mount])).outcome().succeeds().prints("0\n");
    let owner = |file: &str| fs::metadata(dir.join(file)).unwrap().uid();
    match env.user() {
        User::WithRange => {
            assert_eq!(owner("root"), env.account().uid);
            assert!(owner("other") > 65_536, "{}", owner("other"));
        }
        User::NoRange => assert_eq!((owner("root"), owner("other")), (env.account().uid, env.account().uid)),
        User::Root => assert_eq!(owner("other"), owner("root") + 1000),
    }
}

fn next_pod_is_nested_beside_the_first(env: &Env) {
    let service = service(env);
    let offered = first(env);
    if env.user() != User::WithRange {
        assert_eq!(offered, None);
        assert!(!file(env).exists());
        run_one(env, "next");
        return end(service);
    }
    let offered = offered.expect("it offers its namespace");
    assert_eq!(offered.monitor, service.pid());
    run_one(env, "next");
    run_one(env, "another");
    let taken = second(env).expect("so do those that have taken it");
    assert_eq!(taken.namespace, offered.namespace);
    assert_ne!(taken.monitor, service.pid());
    assert_eq!(first(env), Some(offered), "what runs stays where it can be found");
    end(service);
    env.assert_nothing_left();
}

fn namespace_of_a_pod_that_was_killed_is_not_taken(env: &Env) {
    let service = service(env);
    let pid = service.pid();
    run_one(env, "beside");
    service.kill(Signal::KILL);
    assert_eq!(service.wait().signal(), Some(9));
    run_one(env, "after");
    if env.user() == User::WithRange {
        assert_ne!(first(env).expect("it has made one").monitor, pid);
    }
    env.proa(["gc", "--grace-period=0s"]).outcome().succeeds();
}

/// A namespace bounds what is in it by the limits of its maker: a pod must not be bounded by another's.
fn other_limits_are_another_namespace(env: &Env) {
    let service = service(env);
    let offered = first(env);
    let image = Aci::new("limited", busybox()).sh("id -u").build(env);
    env.run(&image, &[]).through(["prlimit", "--sigpending=5000"]).outcome().succeeds().prints("0\n");
    if env.user() == User::WithRange {
        let (offered, other) = (offered.expect("an offer"), first(env).expect("another one"));
        assert_ne!(other.namespace, offered.namespace);
        assert_ne!(other.monitor, service.pid());
    }
    end(service);
}

fn kept_ids_are_kept_beside_a_service(env: &Env) {
    let service = service(env);
    if env.user() != User::Root {
        let image = Aci::new("kept", busybox()).user("1000", "1000").sh("id -u; touch /data/mine").build(env);
        let dir = env.path("mine");
        env.make_dir(&dir);
        let volume = format!("--volume=data,kind=host,source={}", dir.display());
        let words = ["--insecure-options=image", "run", "--net=none", "--userns=keep-id", &volume];
        let image = image.display().to_string();
        let words = words.iter().copied().chain([image.as_str(), "--mount=volume=data,target=/data"]);
        env.proa(words).outcome().succeeds().prints("1000\n");
        assert_eq!(fs::metadata(dir.join("mine")).unwrap().uid(), env.account().uid);
    }
    end(service);
}

fn nonsense_is_no_offer(env: &Env) {
    run_one(env, "before");
    let own = format!("{0} 1 0 4:1 range - 1,2,3,4\n{0} 1 0 4:1 x\n", std::process::id());
    for (number, text) in ["", "\n\n", "x", &own, &"1 ".repeat(2000), "\0\0\0"].into_iter().enumerate() {
        fs::write(file(env), text).unwrap();
        env.own(&file(env));
        run_one(env, &format!("file-{number}"));
    }
    // Not even written to: it is another's file.
    let other = env.write("other", "as it was");
    fs::remove_file(file(env)).unwrap();
    symlink(&other, file(env)).unwrap();
    run_one(env, "link");
    assert_eq!(fs::read_to_string(&other).unwrap(), "as it was");
    fs::remove_file(file(env)).unwrap();
    env.make_dir(&file(env));
    run_one(env, "directory");
    env.assert_nothing_left();
}

fn many_at_once_are_what_one_is(env: &Env) {
    let image = Aci::new("many", busybox()).sh("id -u; sleep 0.2").build(env);
    env.run(&image, &[]).outcome().succeeds();
    let running: Vec<Running> = (0..12).map(|_| env.run(&image, &[]).start()).collect();
    for one in running {
        one.wait().succeeds().prints("0\n");
    }
    env.assert_nothing_left();
}

/// A pod that is prepared without a network may be run on one of pods, whose namespace is the network's.
fn namespace_that_is_not_used_is_given_up(env: &Env) {
    if env.user() != User::WithRange {
        return;
    }
    let json = r#"{"rktKind":"network","rktVersion":"v1","name":"instead","internal":true}"#;
    env.write("home/.config/proa/network.d/instead.json", json);
    let image = Aci::new("connected", busybox()).sh("echo ready; while :; do sleep 0.1; done").build(env);
    let prepare = ["--insecure-options=image", "prepare", "--net=none", image.to_str().expect("UTF-8")];
    let uuid = env.proa(prepare).outcome().succeeds().line().to_owned();
    let mut running = env.proa(["run-prepared", "--net=instead", &uuid]).start();
    running.wait_for("ready");
    let pid = running.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    assert_eq!(children.split_whitespace().count(), 1, "pid 1 alone: {children}");
    end(running);
    env.proa(["rm", &uuid]).outcome().succeeds();
}
