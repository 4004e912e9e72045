//! Options of the command line that end up in a pod's manifest.

use std::fs;
use std::path::Path;

use integration_tests::images::{Aci, busybox, with_probe};
use integration_tests::{Env, each_user};
use serde_json::{Value, json};

each_user! {
    strict_refuses_what_would_be_less,
    rkt_exec_overrides,
    rkt_run_user_group,
    rkt_supplementary_gids,
    rkt_os_arch_labels_are_checked,
    rkt_hostname,
    rkt_uuid_is_saved_to_a_file_and_the_pod_kept,
    a_prepared_pod_gets_another_network,
    exit_policies_say_when_a_pod_is_over,
}

fn strict_refuses_what_would_be_less(env: &Env) {
    let points = json!([{"name": "data", "path": "/data"}]);
    let image = Aci::new("points", busybox()).app("mountPoints", points).build(env);
    let run = |pod: &[&str], image: &Path| {
        let image = image.to_str().expect("UTF-8");
        env.proa(["--insecure-options=image", "run", "--strict"].iter().chain(pod).chain(&[image])).outcome()
    };
    run(&[], &image).refuses("no volume for these mount points: points-data (/data)");
    run(&["--volume=data,kind=empty"], &image).succeeds();
    let isolators = json!([{"name": "example.com/unknown", "value": 1}]);
    let image = Aci::new("isolated", busybox()).app("isolators", isolators).build(env);
    run(&[], &image).refuses("isolator example.com/unknown: ignored");
    env.run(&image, &[]).outcome().succeeds();
}

fn rkt_exec_overrides(env: &Env) {
    let tree = with_probe(busybox()).symlink("probe-link", "probe").symlink("bin/probe", "../probe");
    let image = Aci::new("exec", tree).exec(["/probe"]).build(env);
    for (app, executed) in [
        (&["--", "world"][..], "/probe"),
        (&["--exec=/probe-link", "--", "world"], "/probe-link"),
        (&["--exec", "probe", "--", "world"], "probe"),
        (&["--exec=bin/probe", "--", "world"], "bin/probe"),
    ] {
        let outcome = env.run(&image, app).outcome().succeeds();
        let world: Value = serde_json::from_str(outcome.line()).expect("JSON");
        assert_eq!(world["args"][0], executed, "{app:?}");
    }
}

fn rkt_run_user_group(env: &Env) {
    let tree = busybox().file("etc/passwd", "root:x:0:0::/:/bin/sh\nuser1:x:1000:1000::/:/bin/sh\n", 0o644).file(
        "etc/group",
        "root:x:0:\ngroup1:x:100:\n",
        0o644,
    );
    let dummy = Aci::new("dummy", busybox()).exec(["true"]).build(env);
    let dummy = dummy.to_str().expect("UTF-8");
    let image = |user: &str, group: &str| Aci::new("ids", tree.clone()).sh("id -u; id -g").user(user, group).build(env);
    let plain = image("0", "0");
    let other = image_named(env, tree.clone(), "400", "500");
    for (image, app, expected) in [
        (&plain, &[][..], "0\n0\n"),
        (&plain, &["--user=200"], "200\n0\n"),
        (&plain, &["--group=300"], "0\n300\n"),
        (&plain, &["--user=user1", "--group=300"], "1000\n300\n"),
        (&plain, &["--user=200", "--group=group1"], "200\n100\n"),
        (&other, &[], "400\n500\n"),
        (&other, &["--user=200"], "200\n500\n"),
        (&other, &["--group=300"], "400\n300\n"),
        (&other, &["--user=user1", "--group=group1"], "1000\n100\n"),
    ] {
        // First and last in the pod.
        env.run(image, &[app, &["---", dummy]].concat()).outcome().succeeds().prints(expected);
        let image = image.to_str().expect("UTF-8");
        let last = [&["---", image][..], app].concat();
        env.run(Path::new(dummy), &last).outcome().succeeds().prints(expected);
    }
}

fn image_named(env: &Env, tree: integration_tests::images::Tree, user: &str, group: &str) -> std::path::PathBuf {
    Aci::new("other", tree).sh("id -u; id -g").user(user, group).build(env)
}

fn rkt_supplementary_gids(env: &Env) {
    let image = Aci::new("gids", busybox()).sh("id -G").app("supplementaryGIDs", json!([70, 71])).build(env);
    let run = |app: &[&str]| env.run(&image, app).outcome().succeeds();
    if env.user() == integration_tests::User::NoRange {
        // The kernel lets nobody without a range choose groups, and that is said.
        let outcome = run(&["--supplementary-gids=80,81"]);
        assert!(outcome.stderr.contains("supplementary groups cannot be had"), "{outcome}");
        let strict = ["--insecure-options=image", "run", "--strict", image.to_str().expect("UTF-8")];
        env.proa(strict).outcome().refuses("--strict: app \"gids\": its supplementary groups cannot be had");
    } else {
        run(&[]).prints("0 70 71\n");
        run(&["--supplementary-gids=80,81", "--group=9"]).prints("9 80 81\n");
        let outcome = env.run(&image, &["--supplementary-gids=99999"]).outcome();
        outcome
            .refuses("supplementary group 99999 is not one of the pod's ids, which are 0 to ")
            .stderr_shows("hint: choose others with --supplementary-gids");
    }
    env.run(&image, &["--supplementary-gids=staff"]).outcome().refuses("\"staff\" is not a group id");
}

fn rkt_os_arch_labels_are_checked(env: &Env) {
    let os = |os: &str| json!({"name": "os", "value": os});
    let arch = |arch: &str| json!({"name": "arch", "value": arch});
    let own = if cfg!(target_arch = "x86_64") { "amd64" } else { "aarch64" };
    for (labels, why) in [
        (json!([os("linux"), arch(own)]), None),
        (json!([arch(own)]), Some("missing os label in the image manifest")),
        (json!([os("linux")]), Some("missing arch label in the image manifest")),
        (json!([os("freebsd"), arch("amd64")]), Some("bad os \"freebsd\"")),
        (json!([os("linux"), arch("armv6l")]), Some("bad arch \"armv6l\"")),
    ] {
        let image = Aci::new("labels", busybox()).sh("echo HelloWorld").manifest(|it| it["labels"] = labels.clone());
        let image = image.build(env);
        let id = env.store(&image);
        // Not in the store before, and from there.
        for outcome in [env.run(&image, &[]).outcome(), env.proa(["run", &id]).outcome()] {
            match why {
                None => outcome.succeeds().prints("HelloWorld\n"),
                Some(why) => outcome.refuses(why),
            };
        }
    }
}

fn rkt_hostname(env: &Env) {
    let id = env.store(Aci::new("base", busybox()).sh("echo the image").build(env));
    let run = |pod: &[&str]| {
        env.proa(["run"].iter().chain(pod).chain(&[id.as_str(), "--exec=hostname"])).outcome().succeeds()
    };
    run(&["--hostname=test-hostname.example"]).prints("test-hostname.example\n");
    run(&["--hostname=a", "--name=b"]).prints("a\n");
    run(&["--name=b"]).prints("b\n");
    let default = run(&[]);
    let uuid = default.line().strip_prefix("proa-").unwrap_or_else(|| panic!("proa-UUID: {default}"));
    assert_eq!(uuid.len(), 36, "{default}");
    env.proa(["run", "--hostname=under_score", &id]).outcome().refuses("under_score");
}

fn rkt_uuid_is_saved_to_a_file_and_the_pod_kept(env: &Env) {
    let id = env.store(Aci::new("base", busybox()).sh("echo the image").build(env));
    let file = env.path("uuid");
    let option = format!("--uuid-file-save={}", file.display());
    env.proa(["run", &option, &id]).outcome().succeeds().prints("the image\n");
    let uuid = fs::read_to_string(&file).expect("it is there");
    assert_eq!(uuid.len(), 36, "{uuid:?}");
    env.proa(["list", "--no-legend", "--full"]).outcome().succeeds().shows(&uuid);
    let option = format!("--uuid-file={}", file.display());
    env.proa(["rm", &option]).outcome().succeeds().prints(&format!("\"{uuid}\"\n"));
    // A file that cannot be written leaves no pod behind.
    let option = format!("--uuid-file-save={}", env.path("none/uuid").display());
    env.proa(["run", &option, &id]).outcome().rejects("none/uuid: No such file or directory");
    env.proa(["list", "--no-legend"]).outcome().succeeds().prints("");
    // A prepared pod, and a sandbox, which is there before it has apps.
    let prepared = env.proa(["prepare", &id]).outcome().succeeds().line().to_owned();
    let option = format!("--uuid-file-save={}", file.display());
    env.proa(["run-prepared", &option, &prepared]).outcome().succeeds();
    assert_eq!(fs::read_to_string(&file).expect("it is there"), prepared);
    let sandbox = env.proa(["app", "sandbox", "--detach", &option]).outcome().succeeds().line().to_owned();
    assert_eq!(fs::read_to_string(&file).expect("it is there"), sandbox);
    env.proa(["stop", &sandbox]).outcome().succeeds();
    env.proa(["rm", &sandbox, &prepared]).outcome().succeeds();
}

/// The network of a prepared pod may be chosen when it is run: what is given replaces what was, and the pod says so.
fn a_prepared_pod_gets_another_network(env: &Env) {
    let script = "cat /etc/resolv.conf /etc/hosts; ls /sys/class/net | wc -l";
    let image = Aci::new("asks", busybox()).sh(script).build(env);
    let image = image.to_str().expect("UTF-8");
    let prepare = |more: &[&str]| {
        let args = ["--insecure-options=image", "prepare"].iter().chain(more).chain([&image]);
        env.proa(args).outcome().succeeds().line().to_owned()
    };
    let network = |uuid: &str| {
        let manifest = env.proa(["cat-manifest", uuid]).outcome().succeeds();
        let manifest: Value = serde_json::from_str(&manifest.stdout).expect("JSON");
        let noted = manifest["userAnnotations"]["proa.local/network"].as_str().expect("it is noted");
        serde_json::from_str::<Value>(noted).expect("JSON")
    };
    let uuid = prepare(&["--net=none", "--dns=10.9.8.7", "--dns-search=old.example", "--hosts-entry=10.1.1.1=one"]);
    let run = env.proa(["run-prepared", "--dns=10.5.5.5", "--dns-opt=ndots:3", &uuid]).outcome().succeeds();
    let run = run.shows("nameserver 10.5.5.5").shows("ndots:3").shows("10.1.1.1").shows("one");
    assert!(!run.stdout.contains("10.9.8.7") && !run.stdout.contains("old.example"), "{run}");
    assert_eq!(network(&uuid)["resolvers"], json!({"these": ["10.5.5.5"]}));
    assert_eq!(network(&uuid)["mode"], "none");

    let uuid = prepare(&["--net=none", "--dns=10.9.8.7", "--hosts-entry=10.1.1.1=one"]);
    let run = env.proa(["run-prepared", "--net=host", "--hosts-entry=10.2.2.2=two", &uuid]).outcome().succeeds();
    let run = run.shows("nameserver 10.9.8.7").shows("10.2.2.2");
    assert!(!run.stdout.contains("10.1.1.1"), "{run}");
    assert_eq!(network(&uuid)["mode"], "host");
    env.proa(["status", &uuid]).outcome().succeeds().shows("networks=host");

    // What cannot be leaves the pod as it was.
    let uuid = prepare(&["--port=80:18080"]);
    let refusals = [
        ("--net=none", "nothing leads into the pod"),
        ("--net=nowhere", "nowhere"),
        ("--dns=x", "that is no IP address"),
    ];
    for (option, what) in refusals {
        env.proa(["run-prepared", option, &uuid]).outcome().refuses(what);
    }
    env.proa(["status", &uuid]).outcome().succeeds().shows("state=prepared");
    let uuid = prepare(&["--net=none"]);
    env.proa(["run-prepared", &uuid]).outcome().succeeds();
    let all = env.proa(["list", "--no-legend", "--full"]).outcome().succeeds();
    let pods = all.stdout.lines().filter_map(|line| line.split_whitespace().next());
    env.proa(["rm"].into_iter().chain(pods)).outcome().succeeds();
}

fn exit_policies_say_when_a_pod_is_over(env: &Env) {
    let id = env.store(Aci::new("base", busybox()).sh("echo the image").build(env));
    let run = |policy: &str, scripts: [&str; 2]| {
        let policy = format!("--exit-policy={policy}");
        let app = |name, script| [id.as_str(), name, "--exec=/bin/sh", "--", "-c", script];
        let words = [app("--name=a", scripts[0]), app("--name=b", scripts[1])].join(&"---");
        env.proa(["run", &policy].iter().chain(&words)).outcome()
    };
    run("failure", ["exit 3", "sleep 60"]).exits(3);
    run("failure", ["exit 0", "sleep 0.1; echo later"]).succeeds().prints("later\n");
    run("any", ["exit 0", "sleep 60"]);
    run("all", ["exit 3", "sleep 0.1; echo later"]).exits(3).prints("later\n");
    run("sometimes", ["true", "true"]).refuses("\"sometimes\"");
}
