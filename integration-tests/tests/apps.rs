//! What App Container promises of the apps of a pod: the lines of the acceptance list, one test each.

use integration_tests::images::{Aci, Tree, busybox};
use integration_tests::{Env, User, each_user, needs};
use serde_json::json;

/// Two apps of one image: the namespaces are the pod's, the root file systems their own.
#[test]
fn apps_share_namespaces_and_have_roots_of_their_own() {
    let env = &needs!(Env::of(User::WithRange));
    let script = "for n in pid net ipc uts; do echo pod $n $(readlink /proc/self/ns/$n); done; echo own mnt $(readlink /proc/self/ns/mnt); \
                  echo own root $(test -e /mine && echo shared || echo fresh) >/mine; cat /mine; hostname | sed 's/^/pod name /'; \
                  grep -c . /proc/net/dev | sed 's/^/pod devices /'";
    let image = Aci::new("twin", busybox()).sh(script).build(env);
    let again = image.to_str().expect("UTF-8");
    let outcome = env.run(&image, &["--name=a", "---", again, "--name=b"]).outcome().succeeds();
    let of = |kind: &str| {
        outcome.stdout.lines().filter(|line| line.starts_with(kind)).map(str::to_owned).collect::<Vec<_>>()
    };
    for what in ["pid", "net", "ipc", "uts", "name", "devices"] {
        let seen = of(&format!("pod {what} "));
        assert!(seen.len() == 2 && seen[0] == seen[1], "{what} is the pod's: {outcome}");
    }
    let mounts = of("own mnt ");
    assert!(mounts.len() == 2 && mounts[0] != mounts[1], "{outcome}");
    assert_eq!(of("own root "), ["own root fresh"; 2], "{outcome}");
    // What one listens on, the other reaches; what one writes, the other does not see.
    let server = Aci::new("server", busybox()).sh("echo theirs >/file; nc -l -p 7000 -e cat /file").build(env);
    let ask =
        "for i in $(seq 100); do nc 127.0.0.1 7000 </dev/null && break; sleep 0.1; done; test ! -e /file && echo alone";
    let client = Aci::new("client", busybox()).sh(ask).build(env);
    let outcome = env.run(&server, &["---", client.to_str().expect("UTF-8")]).outcome().succeeds();
    outcome.shows("theirs\n").shows("alone\n");
    env.assert_nothing_left();
}

/// A pre-start handler that fails keeps its app from starting; a post-stop handler runs after a killed program; both have
/// the app's user, environment and working directory.
#[test]
fn handlers_run_as_the_app_and_decide_whether_it_starts() {
    let env = &needs!(Env::of(User::WithRange));
    let say =
        |event: &str| json!({"name": event, "exec": ["/bin/sh", "-c", format!("echo {event} $(id -u) $(pwd) $V")]});
    let handlers = json!([say("pre-start"), say("post-stop")]);
    let app = |script: &str, handlers: &serde_json::Value| {
        let image = Aci::new("handled", busybox().dir("srv", 0o755)).sh(script).user("7", "8");
        let image = image.app("workingDirectory", json!("/srv")).app("eventHandlers", handlers.clone());
        image.app("environment", json!([{"name": "V", "value": "v"}])).build(env)
    };
    let killed = env.run(&app("kill -9 $$", &handlers), &[]).outcome().exits(137);
    assert_eq!(killed.stdout, "pre-start 7 /srv v\npost-stop 7 /srv v\n", "{killed}");
    let failing = json!([{"name": "pre-start", "exec": ["/bin/sh", "-c", "exit 3"]}]);
    let outcome = env.run(&app("echo started", &failing), &[]).outcome().exits(3).prints("");
    outcome.stderr_shows("app \"handled\": its pre-start handler failed with status 3");
    // What a post-stop handler comes to is told, and changes nothing.
    let after = |exec: serde_json::Value| json!([{"name": "post-stop", "exec": exec}]);
    for (exec, what) in [
        (json!(["/nofile"]), "could not be executed: execute \"/nofile\": not in the image"),
        (json!(["/bin"]), "could not be executed: execute \"/bin\": "),
        (json!(["/bin/sh", "-c", "exit 9"]), "failed with status 9"),
        (json!(["/bin/sh", "-c", "kill -9 $$"]), "was killed by signal 9"),
    ] {
        for status in [0, 3] {
            let image = app(&format!("exit {status}"), &after(exec.clone()));
            let outcome = env.run(&image, &[]).outcome().exits(status);
            outcome.stderr_shows(&format!("app \"handled\": its post-stop handler {what}"));
        }
    }
    let image = app("exit 3", &after(json!(["/nofile"])));
    let args = ["--insecure-options=image", "run", "--keep", "--name=kept", image.to_str().expect("UTF-8")];
    env.proa(args).outcome().exits(3);
    let status = env.proa(["status", "kept"]).outcome().succeeds();
    status.shows("app-handled=3\nreason-handled=its post-stop handler could not be executed: ");
    env.proa(["wait", "kept"]).outcome().shows("3\n");
    let never = json!([{"name": "pre-start", "exec": ["/nofile"]}]);
    let outcome = env.run(&app("echo started", &never), &[]).outcome().refuses_with(127, "its pre-start handler");
    outcome.prints("");
    let removed = env.proa(["rm", "kept"]).outcome().succeeds().stdout;
    assert!(removed.starts_with('"') && removed.ends_with("\"\n"), "{removed}");
    env.assert_nothing_left();
}

/// Its directory goes with it: what its policy made of the ends of its apps is told to who listens.
#[test]
fn the_status_of_a_pod_that_is_removed_is_that_of_the_first_failure() {
    let env = &needs!(Env::of(User::WithRange));
    let image = Aci::new("two", busybox()).sh("true").build(env);
    let image = image.to_str().expect("UTF-8");
    env.make_dir(&env.path("go"));
    let volume = format!("--volume=v,kind=host,source={}", env.path("go").display());
    let until = "until test -e /v/go; do sleep 0.02; done; exit 4";
    let later = ["--name=later", "--mount=volume=v,target=/v", "--exec=/bin/sh", "--", "-c", until];
    let pod = ["--insecure-options=image", "run", "--detach", "--rm", "--net=none", "--name=pair", &volume];
    env.proa([&pod[..], &[image, "---", image], &later].concat()).outcome().succeeds();
    let waiting = env.proa(["wait", "pair"]).start();
    waiting.wait_until_it_listens(1);
    // Not all can be listened to, but looked at.
    let kept = ["--insecure-options=image", "run", "--detach", "--net=none", "--name=kept", &volume];
    env.proa([&kept[..], &[image], &later].concat()).outcome().succeeds();
    let few_files = ["sh", "-c", "ulimit -n 16; exec \"$@\"", "sh"];
    let many = env.proa([&["wait"][..], &["kept"; 20]].concat()).through(few_files).start();
    many.wait_until_it_listens(4);
    env.write("go/go", "");
    waiting.wait().succeeds().prints("4\n").quietly();
    many.wait().succeeds().prints(&"4\n".repeat(20)).quietly();
    env.proa(["rm", "kept"]).outcome().succeeds();
    env.assert_nothing_left();
}

each_user! {
    users_are_names_digits_and_owners_of_files,
}

/// Digits that are somebody's name are that name.
fn users_are_names_digits_and_owners_of_files(env: &Env) {
    let accounts = "root:x:0:0::/:/bin/sh\nweb:x:33:34::/:/bin/sh\n1000:x:55:56::/:/bin/sh\n";
    let tree = busybox().file("etc/passwd", accounts, 0o644).file("etc/group", "www:x:77:\n", 0o644);
    let tree = tree.then(Tree::new().file("owned", "", 0o644).owned_by(40, 41));
    let ids = |user: &str, group: &str| {
        let image = Aci::new("users", tree.clone()).sh("echo $(id -u):$(id -g)").user(user, group).build(env);
        env.run(&image, &[]).outcome().succeeds().line().to_owned()
    };
    assert_eq!(ids("web", "www"), "33:77");
    assert_eq!(ids("33", "5"), "33:5");
    assert_eq!(ids("1000", "0"), "55:0", "a name, though it is digits");
    assert_eq!(ids("1001", "0"), "1001:0");
    if env.user() != User::NoRange {
        assert_eq!(ids("/owned", "/owned"), "40:41");
    }
    let nobody = Aci::new("users", tree.clone()).sh("true").user("nosuch", "0").build(env);
    env.run(&nobody, &[]).outcome().exits(254).stderr_shows("nosuch");
    env.assert_nothing_left();
}

/// `exec[0]` is searched in PATH, or from the working directory if it has a slash, and nothing in it is substituted.
#[test]
fn programs_are_searched_and_taken_literally() {
    let env = &needs!(Env::of(User::WithRange));
    let tree = busybox().script("opt/bin/tool", "echo \"opt $*\"").script("srv/bin/tool", "echo \"srv $*\"");
    let tree = tree.script("srv/$HOME", "echo \"dollar $*\"");
    let run = |exec: &[&str]| {
        let image = Aci::new("search", tree.clone()).exec(exec.iter().copied());
        let image = image.app("workingDirectory", json!("/srv"));
        let image = image.app("environment", json!([{"name": "PATH", "value": "/nosuch:/opt/bin:/bin"}]));
        env.run(&image.build(env), &[]).outcome()
    };
    run(&["tool", "$PATH", "*"]).succeeds().prints("opt $PATH *\n");
    run(&["bin/tool", "a b"]).succeeds().prints("srv a b\n");
    run(&["./bin/tool"]).succeeds().prints("srv \n");
    run(&["./$HOME", "`x`"]).succeeds().prints("dollar `x`\n");
    run(&["$HOME"]).exits(127).stderr_shows("$HOME");
    run(&["opt/bin/tool"]).exits(127).stderr_shows("opt/bin/tool");
    env.assert_nothing_left();
}

/// Nothing starts, not even the other apps of the pod, or a handler.
#[test]
fn a_working_directory_that_is_not_there_fails_before_anything_starts() {
    let env = &needs!(Env::of(User::WithRange));
    let handler = json!([{"name": "pre-start", "exec": ["/bin/sh", "-c", "echo handler"]}]);
    let lost = Aci::new("lost", busybox()).sh("echo lost").app("workingDirectory", json!("/no/such"));
    let lost = lost.app("eventHandlers", handler).build(env);
    let other = Aci::new("other", busybox()).sh("echo other").build(env);
    let outcome = env.run(&other, &["---", lost.to_str().expect("UTF-8")]).outcome().exits(254);
    outcome.prints("").stderr_shows("/no/such");
    let file = Aci::new("file", busybox()).sh("echo file").app("workingDirectory", json!("/bin/busybox")).build(env);
    env.run(&file, &[]).outcome().exits(254).prints("").stderr_shows("/bin/busybox");
    env.assert_nothing_left();
}
