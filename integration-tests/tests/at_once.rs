//! Several commands that want the same at once: one has it, the others are told what has become of it.

use integration_tests::images::{Aci, Layout, busybox};
use integration_tests::{Env, Outcome, each_user};
use serde_json::json;

each_user! {
    of_many_that_collect_images_none_fails,
    of_many_that_remove_a_volume_one_does,
    of_many_that_run_a_prepared_pod_one_does,
    of_many_that_start_a_container_all_are_content,
}

const COUNT: usize = 12;

/// Those that succeeded, and the others.
fn at_once(env: &Env, words: &[&str]) -> (Vec<Outcome>, Vec<Outcome>) {
    let all: Vec<_> = (0..COUNT).map(|_| env.proa(words).start()).collect();
    all.into_iter().map(|one| one.wait()).partition(|outcome| outcome.status.success())
}

fn of_many_that_collect_images_none_fails(env: &Env) {
    let images: Vec<_> = (0..COUNT)
        .map(|number| Aci::new(&format!("old-{number}"), busybox()).build(env).to_string_lossy().into_owned())
        .collect();
    let mut fetch = vec!["--insecure-options=image", "fetch"];
    fetch.extend(images.iter().map(String::as_str));
    for _ in 0..2 {
        env.proa(fetch.as_slice()).outcome().succeeds();
        let (collected, failed) = at_once(env, &["image", "gc", "--grace-period=0"]);
        assert!(failed.is_empty(), "{failed:?}");
        let removed = collected.iter().flat_map(|one| one.stdout.lines()).count();
        assert_eq!(removed, COUNT, "each image is removed once: {collected:?}");
    }
}

fn of_many_that_remove_a_volume_one_does(env: &Env) {
    for _ in 0..5 {
        env.proa(["volume", "create", "data"]).outcome().succeeds();
        let (removed, refused) = at_once(env, &["volume", "rm", "data"]);
        assert_eq!(removed.len(), 1, "{removed:?} {refused:?}");
        refused.into_iter().for_each(|outcome| drop(outcome.refuses("get data: no such volume")));
    }
}

fn of_many_that_run_a_prepared_pod_one_does(env: &Env) {
    let image = Aci::new("once", busybox()).sh("echo once").build(env).to_string_lossy().into_owned();
    for _ in 0..5 {
        let prepare = ["--insecure-options=image", "prepare", "--name=once", &image];
        let uuid = env.proa(prepare).outcome().succeeds().line().to_owned();
        let (ran, refused) = at_once(env, &["run-prepared", "--net=none", "once"]);
        assert_eq!(ran.len(), 1, "{ran:?} {refused:?}");
        assert_eq!(ran[0].stdout, "once\n", "{ran:?}");
        for outcome in refused {
            let refused = outcome.refuses(&format!("pod \"{uuid}\" is not prepared"));
            refused.stderr_shows("hint: `proa list` shows what has become of it");
        }
        env.proa(["rm", "once"]).outcome().succeeds();
    }
}

/// And of many that remove it those do that find it.
fn of_many_that_start_a_container_all_are_content(env: &Env) {
    let layout = Layout::new("shell").layer(busybox()).config("Cmd", json!(["sleep", "1000"])).build(env);
    let image = format!("oci:{}", layout.display());
    let docker = |words: &[&str]| env.proa(["docker"].iter().chain(words)).outcome();
    for _ in 0..3 {
        docker(&["create", "--network=none", "--name=web", &image]).succeeds();
        // As it was created, and as it has ended.
        for _ in 0..2 {
            let (started, refused) = at_once(env, &["docker", "start", "web"]);
            assert!(refused.is_empty(), "{refused:?}");
            started.into_iter().for_each(|outcome| drop(outcome.prints("web\n").quietly()));
            docker(&["ps", "--format={{.Names}} {{.State}}"]).succeeds().prints("web running\n");
            docker(&["kill", "web"]).succeeds();
        }
        let (removed, refused) = at_once(env, &["docker", "rm", "web"]);
        // Who finds what another one has begun to remove helps, and has removed it as well.
        assert!(!removed.is_empty(), "{refused:?}");
        for outcome in refused {
            outcome.exits(1).prints("").stderr_shows("Error response from daemon: No such container: web\n");
        }
    }
    env.assert_nothing_left();
}
