//! Manifests and lines that make no pod, and what is told of them.

use integration_tests::images::{Aci, busybox};
use integration_tests::{Env, each_user};
use serde_json::{Value, json};

use crate::{app, busybox_id, manifest, run_manifest};

each_user! {
    rkt_run_pod_manifest_without_apps_is_refused,
    rkt_run_conflicting_flags,
    overlaps_and_volumes_that_are_not_there_are_refused,
    manifest_that_is_none_is_refused,
    habits_are_answered,
    keys_that_mean_nothing_are_told,
}

fn keys_that_mean_nothing_are_told(env: &Env) {
    let id = env.store(Aci::new("shell", busybox()).build(env));
    let mut manifest = manifest(json!([app(&id, "echo ran")]), json!([]));
    manifest["apps"][0]["app"]["enviroment"] = json!([{"name": "A", "value": "b"}]);
    let outcome = run_manifest(env, &manifest, &["--net=none"]).succeeds().prints("ran\n");
    outcome.stderr_shows("apps[0].app.enviroment is no key of a pod manifest, and means nothing");
}

fn rkt_run_pod_manifest_without_apps_is_refused(env: &Env) {
    run_manifest(env, &manifest(json!([]), json!([])), &[]).refuses("pod must contain at least one application");
}

fn rkt_run_conflicting_flags(env: &Env) {
    for net in ["none", "host"] {
        let told = format!("--port flag does not work with '{net}' networking");
        let net = format!("--net={net}");
        let asked = |command: &str| env.proa([command, &net, "--port=80:28998", &busybox_id(env)]).outcome();
        asked("run").refuses(&told);
        // Before an image is fetched for nothing, where the number says that it is forwarded.
        env.proa(["run", &net, "--port=80:28998", "oci:/no/such/layout"]).outcome().refuses(&told);
        env.proa(["run", &net, "--port=http:28998", "oci:/no/such/layout"]).outcome().refuses("/no/such/layout");
        // It may be run on another one.
        let uuid = asked("prepare").succeeds().line().to_owned();
        env.proa(["rm", &uuid]).outcome().succeeds();
    }
    for words in [
        &["--pod-manifest=/dev/null", "--inherit-env"][..],
        &["--pod-manifest=/dev/null", "--set-env=foo=bar"],
        &["--pod-manifest=/dev/null", "--volume=foo,kind=host,source=/tmp"],
        &["--pod-manifest=/dev/null", "--mount=volume=foo,target=/tmp", "--volume=foo,kind=host,source=/tmp"],
        &["--pod-manifest=/dev/null", "dummy-image.aci"],
        &["dummy-image.aci", "--pod-manifest=/dev/null", "--exec=/bin/sh"],
        &["dummy-image.aci", "--pod-manifest=/dev/null", "--user=user_foo"],
    ] {
        let outcome = env.proa(["run"].iter().chain(words)).outcome();
        outcome.refuses("conflicting flags set with --pod-manifest (see --help)");
    }
}

fn overlaps_and_volumes_that_are_not_there_are_refused(env: &Env) {
    let id = busybox_id(env);
    let with = |mounts: Value, volumes: Value| {
        let mut app = app(&id, "true");
        app["mounts"] = mounts;
        run_manifest(env, &manifest(json!([app]), volumes), &[])
    };
    let two = json!([{"name": "v", "kind": "empty"}, {"name": "w", "kind": "empty"}]);
    let overlap = json!([{"volume": "v", "path": "/a"}, {"volume": "w", "path": "/a/b"}]);
    with(overlap, two).refuses("the mounts at /a and /a/b overlap");
    with(json!([{"volume": "none", "path": "/a"}]), json!([])).refuses("there is no volume none");
    with(json!([{"volume": "v", "path": "a"}]), json!([{"name": "v", "kind": "empty"}])).refuses("not absolute");
    let twice = json!([{"name": "v", "kind": "empty"}, {"name": "v", "kind": "empty"}]);
    with(json!([]), twice).refuses("duplicate volume name \"v\"");
    let inline = json!([{"volume": "own", "path": "/own", "appVolume": {"name": "own", "kind": "empty"}}]);
    with(inline, json!([])).succeeds();
}

fn manifest_that_is_none_is_refused(env: &Env) {
    for (text, why) in [
        ("{", "line 1, column 1: unexpected end of JSON input"),
        ("[]", "pod.json"),
        (r#"{"acKind": "ImageManifest", "acVersion": "0.8.11"}"#, "pod.json"),
        (r#"{"acKind": "PodManifest", "acVersion": "0.8.11", "apps": [], "apps": []}"#, "pod.json"),
        (r#"{"acKind": "PodManifest", "acVersion": "0.8.11", "apps": [{"name": "A"}]}"#, "apps"),
    ] {
        let file = env.write("pod.json", text);
        let option = format!("--pod-manifest={}", file.display());
        env.proa(["run", &option]).outcome().refuses(why);
    }
    // A mistake of syntax is shown in its line.
    let file = env.write("pod.json", "{\n  \"acKind\": \"PodManifest\",,\n}");
    let option = format!("--pod-manifest={}", file.display());
    let outcome = env.proa(["run", &option]).outcome().refuses("line 2, column 28: invalid character ','");
    let marked: Vec<_> = outcome.stderr.lines().skip(1).take(3).collect();
    assert!(marked[1].contains("PodManifest") && marked[2].trim() == "^", "{marked:?}");
    assert_eq!(marked[2].find('^'), marked[1].rfind(','), "the mark is below the mistake: {marked:?}");
    env.proa(["run", "--pod-manifest=/dev/zero"]).outcome().rejects("/dev/zero");
    env.proa(["run", "--pod-manifest=none.json"]).outcome().rejects("none.json: No such file or directory");
}

fn habits_are_answered(env: &Env) {
    for (words, what, hint) in [
        (&["--user=0", "hello"][..], "--user stands before the image", "options of an app stand after its image"),
        (&["--exec", "x", "hello"], "--exec stands before the image", "proa run IMAGE --exec"),
        (&["hello", "--keep"], "--keep stands after an image", "options of the pod stand before the first image"),
        (&["hello", "--volume=v,kind=empty"], "--volume stands after an image", "before the first image"),
        (&["-e", "A=1", "hello"], "there is no option -e", "--environment NAME=VALUE"),
        (&["--private-users=false", "hello"], "--private-users can only be true", "every pod has a user namespace"),
        (&["--stage1-name=x", "hello"], "there is no option --stage1-name", "there is one stage1"),
        (&["--ipc=parent", "hello"], "--ipc can only be auto or private", "share an IPC namespace"),
        (&["hello", "--user="], "--user=\"\": it must not be empty", "a name, a number, or a path"),
        (&["hello", "sh", "--login"], "no option of an app is called --login", "stand after `--`"),
        (&["--stdin=tty", "hello"], "--stdin stands before the image", "proa run IMAGE --stdin"),
    ] {
        let outcome = env.proa(["run"].iter().chain(words)).outcome().refuses(what);
        assert!(outcome.stderr.contains(hint), "{outcome}");
    }
    for (words, what, hint) in [
        (
            &["run-prepared", "--port=80:80", "x"][..],
            "--port is in the manifest of a prepared pod",
            "proa prepare --port",
        ),
        (&["run-prepared", "--volume=v,kind=empty", "x"], "--volume is in the manifest", "proa prepare --volume"),
        (&["app", "sandbox", "--no-overlay=perhaps"], "--no-overlay is true or false", "leave it out"),
        (&["app", "sandbox", "--stage1-name=x"], "there is no option --stage1-name", "there is one stage1"),
        (&["metadata-service", "--listen-port=1"], "there is no option --listen-port", "AC_METADATA_URL"),
        (&["run-prepared", "--mds-register=perhaps", "x"], "--mds-register is true or false", "every pod is served"),
        (&["prepare", "--hostname=a", "hello"], "--hostname is not of a pod that is prepared", "run-prepared"),
        (&["prepare", "--ipc=host", "hello"], "--ipc can only be auto or private", "leave it out"),
        (&["update", "x", "--caps-retain=CAP_KILL"], "--caps-retain cannot be changed while an app runs", "--memory"),
    ] {
        let outcome = env.proa(words).outcome().refuses(what);
        assert!(outcome.stderr.contains(hint), "{outcome}");
    }
    // What clap would say of it besides makes no sense of an option.
    let outcome = env.proa(["rm", "--all"]).outcome().exits(254).stderr_shows("unexpected argument '--all'");
    assert!(!outcome.stderr.contains("as a value"), "{outcome}");
    let port = json!({"name": "http", "protocol": "tcp", "port": 80});
    let mut twins = json!([app("sha512-00", "true"), app("sha512-00", "true")]);
    for (twin, name) in twins.as_array_mut().expect("it is one").iter_mut().zip(["a", "b"]) {
        twin["name"] = json!(name);
        twin["image"]["id"] = json!(busybox_id(env));
        twin["app"]["ports"] = json!([port]);
    }
    let mut pod = manifest(twins, json!([]));
    pod["acVersion"] = json!("0.9.0");
    run_manifest(env, &pod, &[]).succeeds().stderr_shows("acVersion 0.9.0 is newer than 0.8.11");
    pod["ports"] = json!([{"name": "http", "hostPort": 28999}]);
    run_manifest(env, &pod, &[]).refuses("port \"http\": several ports have this name, of the apps a, b");
    pod["ports"] = json!([{"name": "https", "hostPort": 28999}]);
    let outcome = run_manifest(env, &pod, &[]).refuses("no app has a port called \"https\"");
    assert!(!outcome.stderr.contains("--port:"), "{outcome}");
    pod["ports"] = json!([]);
    pod["apps"][0]["app"]["mountPoints"] = json!([{"path": "/nameless"}]);
    run_manifest(env, &pod, &[]).refuses("app a: the mount point at \"/nameless\" has no name");
}
