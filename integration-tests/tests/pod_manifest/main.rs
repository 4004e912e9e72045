//! Pods described by a manifest.

mod refused;

use integration_tests::images::{Aci, Layout, busybox, with_probe};
use integration_tests::{Env, Outcome, each_user};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;

fn busybox_id(env: &Env) -> String {
    let tree = with_probe(busybox()).dir("dir1", 0o755).file("dir1/file", "dir1", 0o644).dir("dir2", 0o755);
    env.store(Aci::new("base", tree).sh("echo the image").build(env))
}

fn manifest(apps: Value, volumes: Value) -> Value {
    json!({"acKind": "PodManifest", "acVersion": "0.8.11", "apps": apps, "volumes": volumes})
}

fn app(id: &str, script: &str) -> Value {
    json!({"name": "a", "image": {"id": id}, "app": {"exec": ["/bin/sh", "-c", script], "user": "0", "group": "0"}})
}

fn run_manifest(env: &Env, manifest: &Value, more: &[&str]) -> Outcome {
    let file = env.write("pod.json", manifest.to_string());
    let option = format!("--pod-manifest={}", file.display());
    env.proa(["run", &option].iter().chain(more)).outcome()
}

each_user! {
    rkt_run_pod_manifest_reads_writes_and_prints,
    rkt_run_pod_manifest_volumes_and_who_may_write,
    rkt_run_pod_manifest_users_and_groups,
    an_image_without_an_app_needs_one_from_elsewhere,
    the_pods_app_takes_the_place_of_the_images,
    what_dry_run_prints_runs_as_the_same_pod,
    a_manifest_in_yaml_is_stored_as_json,
    an_oci_image_is_an_app,
    template_names_images_as_fetch_does,
    options_that_a_manifest_holds,
    a_manifest_is_prepared_and_run,
}

fn rkt_run_pod_manifest_reads_writes_and_prints(env: &Env) {
    let id = busybox_id(env);
    let one = |script: &str| run_manifest(env, &manifest(json!([app(&id, script)]), json!([])), &[]);
    one("cat /dir1/file").succeeds().prints("dir1");
    one("echo 'special: $HOME \\\\ \\\"x\\\" %' | cat").succeeds().shows("special: $HOME");
    let mut cwd = app(&id, "pwd");
    cwd["app"]["workingDirectory"] = json!("/dir1");
    run_manifest(env, &manifest(json!([cwd]), json!([])), &[]).succeeds().prints("/dir1\n");
    let mut read_only = app(&id, "touch /new");
    read_only["readOnlyRootFS"] = json!(true);
    let outcome = run_manifest(env, &manifest(json!([read_only]), json!([])), &[]).exits(1);
    assert!(outcome.stderr.contains("Read-only file system"), "{outcome}");
    // Without an app of its own it is the image's.
    let bare = manifest(json!([{"name": "a", "image": {"id": id}}]), json!([]));
    run_manifest(env, &bare, &[]).succeeds().prints("the image\n");
    one("exit 7").exits(7);
}

fn rkt_run_pod_manifest_volumes_and_who_may_write(env: &Env) {
    let dir = env.path("shared");
    env.make_dir(&dir);
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).expect("it is ours");
    let points = json!([{"name": "dir1", "path": "/dir1", "readOnly": true}]);
    let tree = busybox().dir("dir1", 0o755);
    let point = Aci::new("point", tree).sh("echo host >/dir1/file; cat /dir1/file").app("mountPoints", points);
    let point = env.store(point.build(env));
    let base = busybox_id(env);
    let volume = |more: Value| {
        let mut volume = json!({"name": "dir1", "kind": "host", "source": dir});
        volume.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        json!([volume])
    };
    let image = json!([{"name": "a", "image": {"id": point}}]);
    // The image's mount point is read-only; the volume's word counts more.
    let run = |apps: &Value, volumes: Value| run_manifest(env, &manifest(apps.clone(), volumes), &[]);
    run(&image, volume(json!({}))).exits(1);
    run(&image, volume(json!({"readOnly": true}))).exits(1);
    run(&image, volume(json!({"readOnly": false}))).succeeds().prints("host\n");
    assert_eq!(fs::read_to_string(dir.join("file")).expect("written"), "host\n");
    // The pod's app has a mount point elsewhere that may be written to.
    let mut elsewhere = app(&base, "echo bar >/dir2/file && cat /dir2/file");
    elsewhere["app"]["mountPoints"] = json!([{"name": "dir1", "path": "/dir2", "readOnly": false}]);
    run(&json!([elsewhere]), volume(json!({}))).succeeds().prints("bar\n");
    elsewhere["readOnlyRootFS"] = json!(true);
    run(&json!([elsewhere]), volume(json!({}))).succeeds().prints("bar\n");
    run(&json!([elsewhere]), volume(json!({"readOnly": true}))).exits(1);
    // Two apps share it, an empty one too.
    let mut reader = app(&base, "while ! [ -s /in/x ]; do sleep 0.02; done; cat /in/x");
    reader["mounts"] = json!([{"volume": "dir1", "path": "/in"}]);
    let mut writer = app(&base, "echo hello >/out/y; mv /out/y /out/x");
    writer["name"] = json!("writer");
    writer["mounts"] = json!([{"volume": "dir1", "path": "/out"}]);
    let apps = json!([reader, writer]);
    run(&apps, volume(json!({}))).succeeds().prints("hello\n");
    run(&apps, json!([{"name": "dir1", "kind": "empty"}])).succeeds().prints("hello\n");
}

fn rkt_run_pod_manifest_users_and_groups(env: &Env) {
    let passwd = "root:x:0:0::/:/bin/sh\nuser1:x:1000:1000::/:/bin/sh\n";
    let tree = busybox().file("etc/passwd", passwd, 0o644).file("etc/group", "root:x:0:\ngroup1:x:100:\n", 0o644);
    let id = env.store(Aci::new("users", tree).build(env));
    let run = |user: &str, group: &str| {
        let mut app = app(&id, "id -u; id -g");
        app["app"]["user"] = json!(user);
        app["app"]["group"] = json!(group);
        run_manifest(env, &manifest(json!([app]), json!([])), &[])
    };
    run("1000", "100").succeeds().prints("1000\n100\n");
    run("user1", "group1").succeeds().prints("1000\n100\n");
    run("root", "root").succeeds().prints("0\n0\n");
    run("user2", "0").rejects("no user \"user2\"");
    run("0", "group2").rejects("no group \"group2\"");
    if env.user() != integration_tests::User::NoRange {
        run("/etc/passwd", "/etc/group").succeeds().prints("0\n0\n");
        run("/etc/nofile", "0").rejects("No such file or directory");
        run("0", "/etc/nofile").rejects("No such file or directory");
    }
}

fn an_image_without_an_app_needs_one_from_elsewhere(env: &Env) {
    let image = Aci::new("noapp", busybox()).manifest(|manifest| {
        manifest.as_object_mut().expect("an object").remove("app");
    });
    let image = image.build(env);
    let why = "image has no app section and the pod manifest gives none";
    env.run(&image, &[]).outcome().refuses(&format!("app \"noapp\": {why}"));
    env.run(&image, &["--exec=/bin/echo", "--", "runs"]).outcome().succeeds().prints("runs\n");
    let id = env.store(image);
    let bare = manifest(json!([{"name": "x", "image": {"id": id}}]), json!([]));
    run_manifest(env, &bare, &[]).refuses(&format!("app \"x\": {why}"));
    run_manifest(env, &manifest(json!([app(&id, "echo too")]), json!([])), &[]).succeeds().prints("too\n");
}

fn the_pods_app_takes_the_place_of_the_images(env: &Env) {
    let tree = busybox().dir("work", 0o755);
    let variables = json!([{"name": "OF_IMAGE", "value": "x"}]);
    let image = Aci::new("whole", tree).app("environment", variables).app("workingDirectory", json!("/work"));
    let id = env.store(image.user("1000", "1000").build(env));
    let script = "echo \"[$OF_IMAGE]\"; pwd; id -u";
    run_manifest(env, &manifest(json!([app(&id, script)]), json!([])), &[]).succeeds().prints("[]\n/\n0\n");
}

fn what_dry_run_prints_runs_as_the_same_pod(env: &Env) {
    let id = busybox_id(env);
    let dir = env.path("shared");
    env.make_dir(&dir);
    fs::write(dir.join("hello"), "shared\n").expect("it is ours");
    let volume = format!("--volume=v,kind=host,source={},readOnly=true", dir.display());
    let pod = ["run", "--dry-run", "--name=web", "--set-env=A=b c", &volume, &id];
    let app = ["--mount=volume=v,target=/v", "--exec=/bin/sh", "--", "-c", "cat /v/hello; echo \"$A $0\"", "it's"];
    let outcome = env.proa(pod.iter().chain(&app)).outcome().succeeds().quietly();
    let (command, document) = outcome.stdout.split_once('\n').expect("two parts");
    let reified: Value = serde_json::from_str(document).expect("JSON");
    assert_eq!(reified["apps"][0]["image"]["id"], json!(id));
    assert_eq!(reified["apps"][0]["mounts"][0]["path"], "/v");
    env.proa(["list", "--no-legend"]).outcome().succeeds().prints("");
    let expected = "shared\nb c it's\n";
    run_manifest(env, &reified, &[]).succeeds().prints(expected);
    // The manifest of that pod is this one again, and the command can be pasted into a shell.
    let again = run_manifest(env, &reified, &["--dry-run"]).succeeds();
    assert_eq!(again.stdout.split_once('\n').expect("two parts").1, document);
    assert!(command.starts_with("proa run --name=web --net=none --volume=v,kind=host,source="), "{command}");
    let line = command.replacen("proa run", "exec \"$@\" run", 1);
    let through = ["sh", "-c", &line, "sh"];
    let none: [&str; 0] = [];
    env.proa(none).through(through).outcome().succeeds().prints(expected);
}

fn a_manifest_in_yaml_is_stored_as_json(env: &Env) {
    let id = busybox_id(env);
    let yaml = format!(
        "acKind: PodManifest\nacVersion: 0.8.11\napps:\n- name: a\n  image: {{id: {id}}}\n  app:\n    exec: [/bin/sh, -c, \
         'echo $WHO']\n    user: \"0\"\n    group: \"0\"\n    environment: [{{name: WHO, value: yaml}}]\n"
    );
    let file = env.write("pod.yaml", &yaml);
    let option = format!("--pod-manifest={}", file.display());
    env.proa(["run", &option]).outcome().succeeds().prints("yaml\n");
    let shown = env.proa(["run", "--dry-run", &option]).outcome().succeeds();
    let reified: Value = serde_json::from_str(shown.stdout.split_once('\n').expect("two parts").1).expect("JSON");
    assert_eq!(reified["apps"][0]["app"]["environment"][0]["value"], "yaml");
    for (text, why) in [
        ("apps: [", "pod.yaml"),
        ("acKind: PodManifest\nacKind: PodManifest\n", "pod.yaml"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nacKind: ImageManifest\n", "pod.yaml"),
    ] {
        env.write("pod.yaml", text);
        env.proa(["run", &option]).outcome().refuses(why);
    }
    let bomb = (1..40)
        .fold("a0: &a0 [x, x, x]\n".to_owned(), |text, n| format!("{text}a{n}: &a{n} [*a{0}, *a{0}, *a{0}]\n", n - 1));
    env.write("pod.yaml", bomb);
    env.proa(["run", &option]).outcome().rejects("pod.yaml");
}

fn an_oci_image_is_an_app(env: &Env) {
    let passwd = "root:x:0:0::/root:/bin/sh\nweb:x:1000:2000::/home/web:/bin/sh\n";
    let tree = busybox().file("etc/passwd", passwd, 0o644).dir("srv", 0o755).dir("home/web", 0o755);
    let odd =
        Layout::new("odd").layer(busybox()).config("StopSignal", json!("SIG\u{1b}ODD")).config("Cmd", json!(["true"]));
    let outcome = env.proa(["run", &format!("oci:{}", odd.build(env).display())]).outcome().succeeds();
    let told = r#"warning: app "odd": its stop signal "SIG\u{1b}ODD" is none: it is sent TERM instead"#;
    assert!(outcome.stderr.contains(told), "{outcome}");
    let image = Layout::new("mapped")
        .layer(tree)
        .config("Entrypoint", json!(["/bin/sh", "-c", "echo $0 \"$@\"; id -u; id -g; pwd; echo $A $HOME"]))
        .config("Cmd", json!(["default", "words"]))
        .config("Env", json!(["A=image"]))
        .config("User", json!("web"))
        .config("WorkingDir", json!("srv"))
        .config("StopSignal", json!("SIGINT"))
        .config("ExposedPorts", json!({"80/tcp": {}}));
    let image = format!("oci:{}", image.build(env).display());
    let outcome = env.proa(["run", &image]).outcome().succeeds();
    assert!(!outcome.stderr.contains("stop signal"), "{outcome}");
    let outcome = outcome.prints("default words\n1000\n2000\n/srv\nimage /home/web\n");
    // Its stop signal and its ports are in the manifest.
    let shown = env.proa(["run", "--dry-run", &image]).outcome().succeeds();
    let reified: Value = serde_json::from_str(shown.stdout.split_once('\n').expect("two parts").1).expect("JSON");
    let annotations = reified["apps"][0]["annotations"].to_string();
    assert!(annotations.contains("proa.local/oci/stop-signal") && annotations.contains("SIGINT"), "{annotations}");
    assert_eq!(reified["apps"][0]["app"]["ports"][0]["port"], 80, "{outcome}");
    // Arguments take the place of the CMD.
    env.proa(["run", &image, "--", "-ver"]).outcome().succeeds().shows("-ver\n1000");
}

fn template_names_images_as_fetch_does(env: &Env) {
    let labels = json!([{"name": "os", "value": "linux"}, {"name": "arch", "value": "amd64"},
                        {"name": "version", "value": "7"}]);
    let image = Aci::new("named", busybox()).sh("echo named").manifest(|manifest| manifest["labels"] = labels);
    env.store(image.build(env));
    let named = |image: Value| run_manifest(env, &manifest(json!([{"name": "a", "image": image}]), json!([])), &[]);
    named(json!({"name": "example.com/named"})).succeeds().prints("named\n");
    let version =
        |version: &str| json!({"name": "example.com/named", "labels": [{"name": "version", "value": version}]});
    named(version("7")).succeeds().prints("named\n");
    named(version("8")).refuses("example.com/named:8");
    let arch = json!({"name": "example.com/named", "labels": [{"name": "arch", "value": "i386"}]});
    named(arch).refuses("the label arch of image example.com/named");
    named(json!({"name": "example.com/unknown"})).refuses("example.com/unknown");
    named(json!({})).refuses("app \"a\" names no image");
}

fn options_that_a_manifest_holds(env: &Env) {
    let id = busybox_id(env);
    let pod = ["run", "--dry-run", "--annotation=pod.example/a=1", "--user-annotation=U=2", "--user-label=L=3", &id];
    let app = ["--annotation=app.example/a=4", "--user-annotation=V=5", "--user-label=M=6"];
    let shown = env.proa(pod.iter().chain(&app)).outcome().succeeds();
    let reified: Value = serde_json::from_str(shown.stdout.split_once('\n').expect("two parts").1).expect("JSON");
    assert_eq!(reified["annotations"][0], json!({"name": "pod.example/a", "value": "1"}));
    // What was not said is written down, too: run again, this is the same pod.
    let user = json!({"U": "2", "proa.local/network": r#"{"mode":"none"}"#});
    assert_eq!(reified["annotations"].as_array().map(Vec::len), Some(1));
    assert_eq!((&reified["userAnnotations"], &reified["userLabels"]), (&user, &json!({"L": "3"})));
    let app = &reified["apps"][0];
    assert_eq!(app["annotations"], json!([{"name": "app.example/a", "value": "4"}]));
    assert_eq!((&app["app"]["userAnnotations"], &app["app"]["userLabels"]), (&json!({"V": "5"}), &json!({"M": "6"})));
    env.proa(["run", "--annotation=NoGood=1", &id]).outcome().refuses("NoGood");
    env.proa(["run", &id, "--annotation=proa.local/x=1"]).outcome().refuses("proa.local/");
    env.proa(["run", "--user-annotation=proa.local/network=1", &id]).outcome().refuses("proa.local/");
    // Annotations are what was given: none at all is `null`, which the metadata service serves.
    let shown = env.proa(["run", "--dry-run", &id]).outcome().succeeds();
    let reified: Value = serde_json::from_str(shown.stdout.split_once('\n').expect("two parts").1).expect("JSON");
    assert_eq!(reified["annotations"], Value::Null);
}

fn a_manifest_is_prepared_and_run(env: &Env) {
    let id = busybox_id(env);
    let mut wanted = app(&id, "hostname; cat /v/file");
    wanted["mounts"] = json!([{"volume": "v", "path": "/v"}]);
    let source = env.path("shared");
    env.make_dir(&source);
    env.write("shared/file", "shared\n");
    let volumes = json!([{"name": "v", "kind": "host", "source": source, "readOnly": true}]);
    let file = env.write("pod.json", manifest(json!([wanted]), volumes).to_string());
    let option = format!("--pod-manifest={}", file.display());
    let uuid = env.proa(["prepare", &option, "--name=web"]).outcome().succeeds().line().to_owned();
    let stored = env.proa(["cat-manifest", &uuid]).outcome().succeeds();
    let stored: Value = serde_json::from_str(&stored.stdout).expect("JSON");
    assert_eq!(stored["apps"][0]["image"]["id"], json!(id));
    // The source is opened when the pod runs: it must be there then.
    fs::rename(&source, env.path("elsewhere")).expect("it is ours");
    env.proa(["run-prepared", &uuid]).outcome().refuses("failed to stat");
    fs::rename(env.path("elsewhere"), &source).expect("it is ours");
    let run = env.proa(["run-prepared", "--hostname=other", &uuid]).outcome().succeeds();
    run.prints("other\nshared\n");
    env.proa(["rm", &uuid]).outcome().succeeds();
}
