//! Pods of many apps, and what is too much or too long for one.

use integration_tests::images::{Aci, busybox};
use integration_tests::needs::{Place, place};
use integration_tests::{Env, User, each_user, needs};
use serde_json::{Value, json};

each_user! {
    more_apps_than_a_pod_can_have_are_refused,
    apps_have_the_limit_of_descriptors_that_their_pod_outgrows,
    names_too_long_for_files_are_refused,
}

/// The arguments that run a pod of so many apps.
fn pod(env: &Env, count: usize, exec: &[&str]) -> [String; 3] {
    let image = Aci::new("crowd", busybox()).sh("true").build(env).to_string_lossy().into_owned();
    let id = env.proa(["--insecure-options=image", "fetch", &image]).outcome().succeeds().line().to_owned();
    let app = json!({"exec": exec, "user": "0", "group": "0"});
    let app = |number| json!({"name": format!("app-{number}"), "image": {"id": id}, "app": app});
    let apps: Vec<Value> = (0..count).map(app).collect();
    let manifest = json!({"acVersion": "0.8.11", "acKind": "PodManifest", "apps": apps});
    let manifest = env.write("pod.json", manifest.to_string());
    ["run".into(), "--net=none".into(), format!("--pod-manifest={}", manifest.display())]
}

/// More than the kernel queues between supervisor and pid 1, in either direction: they waited for each other for ever.
#[test]
fn a_pod_of_many_apps_starts_and_ends() {
    needs!(place(Place::Host));
    let env = &needs!(Env::of(User::WithRange));
    env.proa(pod(env, 700, &["/bin/true"])).outcome().succeeds();
    let detached = pod(env, 700, &["/bin/sleep", "1000"]).into_iter().chain(["--detach".into(), "--name=crowd".into()]);
    env.proa(detached).outcome().succeeds();
    let status = env.proa(["status", "--wait-ready", "crowd"]).outcome().succeeds();
    assert!(status.stdout.contains("state=running"), "{status}");
    env.proa(["stop", "--force", "crowd"]).outcome().succeeds();
    env.proa(["rm", "crowd"]).outcome().succeeds();
}

fn more_apps_than_a_pod_can_have_are_refused(env: &Env) {
    let too_many = "a pod of 1001 apps: there can be 1000";
    let refused = env.proa(pod(env, 1001, &["/bin/true"])).outcome().refuses(too_many);
    refused.stderr_shows("hint: make several pods");
    // Whether it runs is asked later.
    let [_, net, manifest] = pod(env, 1000, &["/bin/true"]);
    let uuid = env.proa(["prepare", &net, &manifest]).outcome().succeeds().line().to_owned();
    let refused = env.proa(["app", "add", &uuid, "example.com/crowd", "--name=one-more"]).outcome();
    refused.refuses(too_many).stderr_shows("hint: make several pods");
    env.proa(["rm", &uuid]).outcome().succeeds();
}

/// A pod holds some descriptors for each app: more than the caller's soft limit lets it have, but not than the hard one.
fn apps_have_the_limit_of_descriptors_that_their_pod_outgrows(env: &Env) {
    let pod = pod(env, 40, &["/bin/sh", "-c", "ulimit -Sn"]);
    let limited = |limit| env.proa(&pod).through(["prlimit", limit, "--"]).outcome();
    limited("--nofile=60:4096").succeeds().prints(&"60\n".repeat(40)).quietly();
    limited("--nofile=60:60").refuses("Too many open files").stderr_shows("ulimit -n");
}

fn names_too_long_for_files_are_refused(env: &Env) {
    let image = Aci::new("named", busybox()).sh("echo named").build(env);
    let name = "a".repeat(241);
    env.run(&image, &["--name", &name[1..]]).outcome().succeeds().prints("named\n");
    let refused = env.run(&image, &["--name", &name]).outcome();
    refused.refuses("app name \"aaaaaaaaaaaaaaaa\"… is longer than 240 bytes").stderr_shows("hint: give a shorter one");
    let image = image.to_string_lossy();
    for (length, status) in [(255, 0), (256, 254)] {
        let name = "v".repeat(length);
        let (volume, mount) = (format!("--volume={name},kind=empty"), format!("--mount=volume={name},target=/data"));
        let outcome = env.proa(["--insecure-options=image", "run", &volume, &mount, &image]).outcome().exits(status);
        if status != 0 {
            outcome.refuses("volume name \"vvvvvvvvvvvvvvvv\"… is longer than 255 bytes");
        }
    }
}
