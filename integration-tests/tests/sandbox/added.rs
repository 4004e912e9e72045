//! What apps that are added to a pod get: confinement, sockets, the agent, volumes, and an image that stays.

use integration_tests::images::{Aci, busybox};
use integration_tests::{Env, each_user};
use serde_json::json;

use crate::{app, end, image, sandbox, wait_for_state};

each_user! {
    an_added_app_is_confined_as_the_others,
    added_apps_take_sockets_over,
    added_apps_get_the_guest_agent,
    added_volumes_are_the_pods,
    added_apps_keep_their_image,
}

fn an_added_app_is_confined_as_the_others(env: &Env) {
    let look = "grep -E '^(Cap|NoNew|Seccomp)' /proc/self/status; cat /proc/self/limits; echo $(ls /proc/self/fd)";
    let id = image(env, "look", look);
    let direct = env.proa(["run", &id]).outcome().succeeds().stdout;
    let uuid = sandbox(env, &[]);
    app(env, &["add", &uuid, &id]);
    app(env, &["start", &uuid]);
    wait_for_state(env, &uuid, "look", "exited");
    env.proa(["logs", &uuid]).outcome().succeeds().prints(&direct);
    end(env, &uuid);
}

/// Ports that an added app declares socketActivated are open in the pod when it starts, each time, and go with it.
fn added_apps_take_sockets_over(env: &Env) {
    let build = |name: &str, count: u16| {
        let ports = json!([{"name": "www", "protocol": "tcp", "port": 80, "count": count, "socketActivated": true},
            {"name": "dns", "protocol": "udp", "port": 53, "socketActivated": true}]);
        let script = "[ $LISTEN_PID = $$ ] && echo mine; echo $LISTEN_FDS $LISTEN_FDNAMES
            readlink /proc/$$/fd/3 | cut -c1-7; grep -c '00000000:005[01] 00000000:0000 0A' /proc/net/tcp";
        env.store(Aci::new(name, busybox()).sh(script).app("ports", ports).build(env))
    };
    let id = build("web", 2);
    let uuid = sandbox(env, &[]);
    for name in ["first", "again"] {
        app(env, &["add", &uuid, &id, "--name", name]);
        // The port is taken.
        let second = env.proa(["app", "add", &uuid, &id, "--name=second"]).outcome();
        second.exits(254).stderr_shows("listen for the port \"www\" at 0.0.0.0:80");
        app(env, &["start", &uuid, "--app", name]);
        wait_for_state(env, &uuid, name, "exited");
        let logs = env.proa(["logs", "--app", name, &uuid]).outcome().succeeds();
        assert_eq!(logs.stdout.matches("mine\n2 www:www\nsocket:\n2\n").count(), 1, "{logs}");
        app(env, &["rm", &uuid, "--app", name]);
    }
    let many = env.proa(["app", "add", &uuid, &build("many", 257)]).outcome();
    many.refuses("port \"www\": 257 sockets to take over, at most 256 can be had");
    end(env, &uuid);
}

/// Apps that are added get ContainerSSH's agent as the apps do which a pod begins with.
fn added_apps_get_the_guest_agent(env: &Env) {
    const AGENT: &str = "/usr/bin/containerssh-agent";
    let build = |name: &str, wish: bool| {
        let image = Aci::new(name, busybox()).sh(&format!("test -x {AGENT} && ! echo >>{AGENT}"));
        let wishes = if wish { json!([{"name": "proa.local/guest-agent", "value": "true"}]) } else { json!([]) };
        image.manifest(|manifest| manifest["annotations"] = wishes).build(env).display().to_string()
    };
    let (plain, asking) = (build("plain", false), build("asking", true));
    let uuid = sandbox(env, &["--net=none"]);
    for (name, more, image, code) in [
        ("none", None, &plain, 1),
        ("given", Some("--guest-agent"), &plain, 0),
        ("asked", None, &asking, 0),
        ("refused", Some("--guest-agent=false"), &asking, 1),
    ] {
        let add = ["--insecure-options=image", "app", "add"].into_iter().chain(more);
        env.proa(add.chain([&*uuid, image, "--name", name])).outcome().succeeds();
        app(env, &["start", &uuid, "--app", name]);
        let status = wait_for_state(env, &uuid, name, "exited");
        assert!(status.contains(&format!("exit_code={code}\n")), "{name}: {status}");
    }
    end(env, &uuid);
}

/// The pod's manifest has the volumes of apps that were added, and no name stands for two of them.
fn added_volumes_are_the_pods(env: &Env) {
    let uuid = sandbox(env, &["--net=none", "--volume=fixed,kind=empty"]);
    let points = serde_json::json!([{"name": "db", "path": "/db"}]);
    let built = Aci::new("pointed", busybox().dir("tmp", 0o1777)).sh("echo x >>/db/x; wc -l </db/x; stat -c %a /v");
    let built = built.app("mountPoints", points).build(env);
    let id = env.store(built);
    let add = |volume: &str, target: &str| {
        let volume = format!("{volume},target={target}");
        env.proa(["app", "add", &uuid, &id, "--name=one", "--mnt-volume", &volume]).outcome()
    };
    add("name=v,kind=empty,mode=0750", "/v").succeeds();
    app(env, &["start", &uuid, "--app", "one"]);
    wait_for_state(env, &uuid, "one", "exited");
    let manifest = || {
        let text = env.proa(["cat-manifest", &uuid]).outcome().succeeds().stdout;
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")
    };
    let whole = manifest();
    let names = |manifest: &serde_json::Value| {
        let volumes = manifest["volumes"].as_array().expect("volumes").iter();
        volumes.map(|volume| volume["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&whole), ["fixed", "v", "one-db"]);
    app(env, &["rm", &uuid, "--app", "one"]);
    for (volume, name) in [
        ("name=v,kind=empty,mode=0700", "v"),
        ("name=v,kind=host,source=/etc", "v"),
        ("name=fixed,kind=empty,uid=9", "fixed"),
    ] {
        add(volume, "/v").rejects(&format!("duplicate volume name {name:?}"));
    }
    // An app that comes again gets its volumes again, and the pod has no more of them than before.
    add("name=v,kind=empty,mode=0750", "/v").succeeds();
    app(env, &["start", &uuid, "--app", "one"]);
    wait_for_state(env, &uuid, "one", "exited");
    env.proa(["logs", "--app", "one", &uuid]).outcome().succeeds().prints("2\n750\n");
    assert_eq!(names(&manifest()), ["fixed", "v", "one-db"]);
    end(env, &uuid);
    let file = env.write("pod.json", whole.to_string());
    let words = ["run", "--net=none", "--pod-manifest", file.to_str().expect("UTF-8")];
    env.proa(words).outcome().succeeds().shows("1\n750\n");
}

/// What an added app needs of its image is the pod's, whatever becomes of the image, and later commands find it.
fn added_apps_keep_their_image(env: &Env) {
    let uuid = sandbox(env, &["--net=none"]);
    let id = image(env, "kept", "echo mine >/tmp/mine; cat; echo there");
    let other = image(env, "other", "true");
    app(env, &["add", &uuid, &id]);
    app(env, &["add", &uuid, &other]);
    app(env, &["start", &uuid, "--app", "kept"]);
    wait_for_state(env, &uuid, "kept", "exited");
    app(env, &["rm", &uuid, "--app", "other"]);
    env.proa(["image", "rm", &id, &other]).outcome().succeeds();
    env.proa(["gc", "--grace-period=0s"]).outcome().succeeds();
    app(env, &["start", &uuid, "--app", "kept"]);
    wait_for_state(env, &uuid, "kept", "exited");
    env.proa(["logs", "--app", "kept", &uuid]).outcome().succeeds().prints("there\nthere\n");
    env.proa(["stop", &uuid]).outcome().succeeds();
    let copy = env.path("copy");
    env.proa(["cp".as_ref(), format!("{uuid}:/tmp/mine").as_ref(), copy.as_os_str()]).outcome().succeeds();
    assert_eq!(std::fs::read_to_string(&copy).expect("it was copied"), "mine\n");
    let exported = env.path("exported.aci");
    let exported = exported.to_str().expect("UTF-8");
    env.proa(["export", "--app=kept", &uuid, exported]).outcome().succeeds();
    env.proa(["rm", &uuid]).outcome().succeeds();
    env.proa(["gc", "--grace-period=0s"]).outcome().succeeds();
    let trees = std::fs::read_dir(env.data().join("store/trees")).expect("it is there").count();
    assert_eq!(trees, 0, "a tree is left");
    let words =
        ["--insecure-options=image", "run", "--net=none", exported, "--exec", "/bin/busybox", "--", "cat", "/tmp/mine"];
    env.proa(words).outcome().succeeds().prints("mine\n");
}
