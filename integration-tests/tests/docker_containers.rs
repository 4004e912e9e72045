//! docker's commands for containers that are made before they run, run again, and are reached into.

use integration_tests::images::{Layout, busybox};
use integration_tests::{Env, Outcome, User, each_user, needs, process};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;

fn docker(env: &Env, words: &[&str]) -> Outcome {
    env.proa(["docker"].iter().chain(words)).outcome()
}

fn image(env: &Env) -> String {
    format!("oci:{}", Layout::new("shell").layer(busybox()).config("Cmd", json!(["sh"])).build(env).display())
}

/// Waits until the container's log has a line.
fn wait_for_log(env: &Env, name: &str, line: &str) {
    let deadline = std::time::Instant::now() + integration_tests::limit();
    while !docker(env, &["logs", name]).stdout.lines().any(|found| found.trim_end() == line) {
        assert!(std::time::Instant::now() < deadline, "{name} does not say {line}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

each_user! {
    a_container_is_created_filled_and_started,
    a_container_runs_again_with_what_it_has_written,
    a_container_that_is_written_to_is_held_and_looks_as_before,
    restarts_are_told,
    changes_of_a_containers_files_are_told,
    how_a_container_ends_that_is_removed_is_told_to_those_who_wait,
}

/// What an app does to its image's files, and what it makes that might lead a reader astray.
const CHANGES: &str = r#"
cd /data; echo longer >changed; chmod 600 mode; rm gone; rm -r old; mkdir old; echo x >old/new
mkdir -p deep/new; echo x >deep/new/file; rm link; ln -s /etc/shadow link; ln -s / out; mkfifo pipe
cat same >/dev/null; touch -r same here; chmod u+x same; chmod u-x same
echo x >"$(printf 'two\nlines')"; ln deep/new/file twin; rm -r whole; echo x >whole; rm none; mkdir none
mkdir -p /etc/new.d; mkdir /run/own
"#;

/// The directory goes with the pod: only who listens knows how it ended.
fn how_a_container_ends_that_is_removed_is_told_to_those_who_wait(env: &Env) {
    let image =
        format!("oci:{}", Layout::new("shell").layer(busybox()).config("Cmd", json!(["sh"])).build(env).display());
    let script = "until test -e /v/go; do sleep 0.05; done; exit ";
    let volume = format!("{}:/v", env.path("go").display());
    env.make_dir(&env.path("go"));
    for (name, status) in [("three", "3"), ("four", "4")] {
        let script = format!("{script}{status}");
        let words = ["run", "-d", "--rm", "--network=none", "-v", &volume, "--name", name, &image, "sh", "-c", &script];
        docker(env, &words).succeeds();
    }
    let both = env.proa(["docker", "wait", "three", "four"]).start();
    let proas = env.proa(["wait", "four", "three"]).start();
    let attached = env.proa(["docker", "attach", "--no-stdin", "three"]).start();
    let text = env.proa(["status", "--wait", "four"]).start();
    let json = env.proa(["status", "--wait=10h", "--format=json", "three"]).start();
    for (waiting, sockets) in [(&both, 2), (&proas, 2), (&attached, 2), (&text, 1), (&json, 1)] {
        waiting.wait_until_it_listens(sockets);
    }
    env.write("go/go", "");
    both.wait().succeeds().prints("3\n4\n").quietly();
    proas.wait().succeeds().prints("4\n3\n").quietly();
    assert_eq!(attached.wait().exits(3).stderr, "");
    let text = text.wait().succeeds().quietly();
    assert!(text.stdout.starts_with("state=exited\ncreated=20"), "{text}");
    text.shows("\nexited=true\n").shows("\napp-shell=4\n");
    let json: Value = serde_json::from_str(json.wait().succeeds().line()).expect("JSON");
    let end = (&json["state"], &json["exit_status"], &json["apps"][0]["exit_status"]);
    assert_eq!(end, (&json!("exited"), &json!(3), &json!(3)), "{json}");
    assert!(json["finished_ns"].as_u64() > json["started_ns"].as_u64() && json["pid"].is_null(), "{json}");
    docker(env, &["wait", "three"]).exits(1).stderr_shows("No such container: three");
    env.assert_nothing_left();
}

fn changes_of_a_containers_files_are_told(env: &Env) {
    let tree = busybox().dir("data", 0o755).dir("data/old", 0o755).dir("data/deep", 0o755).dir("data/whole", 0o755);
    let files = ["changed", "mode", "gone", "old/one", "old/two", "same", "whole/x", "none", "untouched"];
    let tree = files.iter().fold(tree, |tree, name| tree.file(format!("data/{name}"), "x", 0o644));
    let tree = tree.symlink("data/link", "same");
    let image = format!("oci:{}", Layout::new("shell").layer(tree).config("Cmd", json!(["sh"])).build(env).display());
    let diff = |name: &str| docker(env, &["diff", name]).succeeds().quietly();
    docker(env, &["create", "--name=clean", &image, "true"]).succeeds();
    diff("clean").prints("");
    docker(env, &["start", "clean"]).succeeds();
    docker(env, &["wait", "clean"]).succeeds();
    // What is mounted there is no change: /proc, /etc/hosts and the others.
    diff("clean").prints("");
    let expected = "C /data\nC /data/changed\nC /data/deep\nA /data/deep/new\nA /data/deep/new/file\nD /data/gone\n\
        A /data/here\nC /data/link\nC /data/mode\nC /data/none\nC /data/old\nA /data/old/new\nD /data/old/one\n\
        D /data/old/two\nA /data/out\nA /data/pipe\nA /data/twin\nA /data/two\\x0alines\nC /data/whole\n\
        C /etc\nA /etc/new.d\nC /run\nA /run/own\nA /vol\n";
    let script = format!("{CHANGES} echo done; exec sleep 1000");
    env.make_dir(&env.path("volume"));
    env.write("volume/file", "x");
    let volume = format!("{}:/vol", env.path("volume").display());
    docker(env, &["run", "-d", "--name=busy", "-v", &volume, &image, "sh", "-c", &script]).succeeds();
    wait_for_log(env, "busy", "done");
    diff("busy").prints(expected);
    docker(env, &["stop", "-t", "0", "busy"]).succeeds();
    diff("busy").prints(expected);
    env.proa(["docker", "container", "diff", "busy"]).outcome().succeeds().prints(expected);
    docker(env, &["diff", "nosuch"]).exits(1).stderr_shows("No such container: nosuch");
    docker(env, &["diff", "../busy"]).exits(1).stderr_shows("No such container: ../busy");
    docker(env, &["diff"]).exits(1).stderr_shows("\"docker diff\" requires exactly 1 argument.");
    // Files are the same, whoever they belong to on the host. No pod has root's id.
    if env.user() != User::Root {
        docker(env, &["run", "--userns=keep-id", "--name=kept", &image, "true"]).succeeds();
        diff("kept").prints("");
        docker(env, &["rm", "kept"]).succeeds();
    }
    docker(env, &["rm", "clean", "busy"]).succeeds();
    env.assert_nothing_left();
}

/// The pauses become longer each time, so that there is time to look.
fn restarts_are_told(env: &Env) {
    let image = image(env);
    docker(env, &["run", "-d", "--restart=always", "--name=again", "--network=none", &image, "sh", "-c", "exit 3"])
        .succeeds();
    let until = |what: &str, words: &[&str], found: &dyn Fn(&str) -> bool| {
        let deadline = std::time::Instant::now() + integration_tests::limit();
        loop {
            let told = docker(env, words).succeeds().stdout;
            if found(&told) {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{what}: {told}");
        }
    };
    let listed = ["ps", "--filter=status=restarting", "--format={{.Names}} {{.State}} {{.Status}}"];
    until("it is listed", &listed, &|told| {
        told.starts_with("again restarting Restarting (3) ") && told.ends_with(" ago\n")
    });
    let of_state =
        "--format={{.RestartCount}} {{.State.Status}} {{.State.Restarting}} {{.State.Running}} {{.State.ExitCode}}";
    let counted = |told: &str| {
        let (count, rest) = told.split_once(' ').expect("five words");
        // Long enough a pause for what follows to come before its end.
        count.parse::<u32>().expect("a number") > 2 && rest == "restarting true true 3\n"
    };
    until("it is counted", &["inspect", of_state, "again"], &counted);
    // A stop ends the waiting.
    docker(env, &["stop", "again"]).succeeds();
    docker(env, &["ps", "-a", "--format={{.State}} {{.Status}}"]).succeeds().shows("exited Exited (3) ");
    docker(env, &["rm", "again"]).succeeds();
}

/// From outside nobody could start it meanwhile, though it does not run.
fn a_container_that_is_written_to_is_held_and_looks_as_before(env: &Env) {
    let image = image(env);
    docker(env, &["run", "--name", "web", &image, "true"]).succeeds();
    let uuid = env.proa(["list", "--full", "--no-legend"]).outcome().succeeds();
    let uuid = uuid.stdout.split_whitespace().next().expect("the pod is listed").to_owned();
    let lock = env.data().join("pods/run").join(uuid).join("lock");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let copy = env.proa(["docker", "cp", "-", "web:/"]).stdin(reader).start();
    let free = || {
        let flock = ["--nonblock", "--exclusive"].map(std::ffi::OsString::from).into_iter();
        env.command("flock", flock.chain([lock.clone().into(), "true".into()]).collect()).outcome().status.success()
    };
    let deadline = std::time::Instant::now() + integration_tests::limit();
    // With pauses, in which it can become so.
    let pause = || std::thread::sleep(std::time::Duration::from_millis(100));
    pause();
    while free() {
        assert!(std::time::Instant::now() < deadline, "it is not held");
        pause();
    }
    docker(env, &["ps", "-a", "--format", "{{.State}}"]).succeeds().prints("exited\n");
    docker(env, &["start", "web"]).exits(1);
    drop(writer);
    copy.wait();
    docker(env, &["start", "-a", "web"]).succeeds();
    docker(env, &["rm", "web"]).succeeds();
}

fn a_container_is_created_filled_and_started(env: &Env) {
    let image = image(env);
    let file = env.write("file", "put\n").display().to_string();
    let made =
        docker(env, &["create", "--name", "web", "-e", "A=1", &image, "sh", "-c", "cat /put; echo $A"]).succeeds();
    assert_eq!(made.line().len(), 32, "{made}");
    docker(env, &["ps", "-a", "--format", "{{.Names}} {{.Status}}"]).succeeds().prints("web Created\n");
    docker(env, &["cp", &file, "web:/put"]).succeeds().quietly();
    docker(env, &["start", "-a", "web"]).succeeds().prints("put\n1\n");
    let tar = docker(env, &["export", "-o", &env.path("web.tar").display().to_string(), "web"]).succeeds();
    assert_eq!(tar.stdout, "");
    let listed = env.command("tar", vec!["-tf".into(), env.path("web.tar").into()]).outcome().succeeds();
    assert!(listed.stdout.lines().any(|line| line == "put"), "{listed}");
    docker(env, &["rm", "web"]).succeeds();
    // -it, --rm and --restart are kept until it is started.
    docker(env, &["create", "--rm", "-i", "--name", "cat", &image, "cat"]).succeeds();
    env.proa(["docker", "start", "-ai", "cat"]).outcome_with_input(b"typed\n").succeeds().prints("typed\n");
    docker(env, &["ps", "-aq"]).succeeds().prints("");
    env.assert_nothing_left();
}

fn a_container_runs_again_with_what_it_has_written(env: &Env) {
    let image = image(env);
    let script = "trap 'exit 5' TERM; echo run >>/runs; wc -l </runs; sleep 1000 & wait";
    docker(env, &["run", "-d", "--name", "web", "-v", "/v", &image, "sh", "-c", script]).succeeds();
    wait_for_log(env, "web", "1");
    docker(env, &["start", "web"]).succeeds().prints("web\n");
    docker(env, &["stop", "web"]).succeeds();
    docker(env, &["ps", "-a", "--format", "{{.State}}"]).succeeds().prints("exited\n");
    docker(env, &["start", "web"]).succeeds().prints("web\n");
    wait_for_log(env, "web", "2");
    docker(env, &["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "web"]).succeeds().prints("running 0\n");
    docker(env, &["restart", "-t", "5", "web"]).succeeds().prints("web\n");
    wait_for_log(env, "web", "3");
    // What is removed when it stops cannot be started again: it is not stopped.
    docker(env, &["run", "-d", "--rm", "--name", "gone", &image, "sleep", "1000"]).succeeds();
    docker(env, &["restart", "-t", "0", "gone"]).exits(1).stderr_shows("removed when it stops");
    docker(env, &["stop", "-t", "0", "gone"]).succeeds();
    // A file that is there stays, and no container is made.
    let taken = env.write("taken", "mine").display().to_string();
    docker(env, &["create", "--cidfile", &taken, "--name", "never", &image])
        .exits(125)
        .stderr_shows("container ID file found, make sure the other container isn't running or delete ");
    assert_eq!(std::fs::read_to_string(&taken).expect("it is there"), "mine");
    // Killed with its supervisor, it runs again all the same.
    docker(env, &["kill", "web"]).succeeds();
    docker(env, &["restart", "web"]).succeeds().prints("web\n");
    wait_for_log(env, "web", "4");
    docker(env, &["container", "stop", "web"]).succeeds();
    docker(env, &["wait", "web"]).succeeds().prints("5\n");
    docker(env, &["rm", "web"]).succeeds();
    docker(env, &["start", "web"]).exits(1).stderr_shows("No such container: web");
    env.assert_nothing_left();
}

#[test]
fn what_detached_containers_write_is_kept_as_long_as_they_are() {
    let env = &needs!(Env::of(User::WithRange));
    let image = image(env);
    let script = "echo out; sleep 1000";
    docker(env, &["run", "-d", "--rm", "--network=none", "--name", "brief", &image, "sh", "-c", script]).succeeds();
    wait_for_log(env, "brief", "out");
    docker(env, &["logs", "--follow=false", "--tail", "-1", "--since", "2020-01-01", "brief"])
        .succeeds()
        .prints("out\n");
    docker(env, &["logs", "--until", "1600000000", "--details", "brief"]).succeeds().prints("");
    docker(env, &["logs", "--follow", "--until", "1600000000", "brief"]).succeeds().prints("");
    docker(env, &["kill", "brief"]).succeeds();
    env.assert_nothing_left_within(std::time::Duration::from_secs(5));
    let words = ["run", "--detach", "--rm", "--net=none", "--name=pod", &image, "--exec=/bin/sh", "--", "-c", script];
    env.proa(words).outcome().succeeds();
    wait_for_log(env, "pod", "out");
    env.proa(["logs", "pod"]).outcome().succeeds().prints("out\n");
    docker(env, &["kill", "pod"]).succeeds();
    env.assert_nothing_left_within(std::time::Duration::from_secs(5));
}

#[test]
fn options_are_dockers_and_the_last_one_counts() {
    let env = &needs!(Env::of(User::WithRange));
    let layout = Layout::new("labelled").layer(busybox()).config("Cmd", json!(["true"]));
    let layout = layout.config("Entrypoint", json!(["echo", "entry"])).config("Labels", json!({"of": "image"}));
    let image = &format!("oci:{}", layout.build(env).display());
    let run = |words: &[&str]| docker(env, &[&["run", "--network=none"], words].concat());
    run(&["--rm", "--rm", "-t=false", "-w", "/", "-w", "/tmp", "--entrypoint", "pwd", image]).prints("/tmp\n");
    run(&["--rm", "--entrypoint", "", image, "echo", "bare"]).succeeds().prints("bare\n");
    run(&["--rm", "--entrypoint=", image]).exits(125).stderr_shows("no command specified");
    run(&["--rm", "--restart=always", image]).exits(125).stderr_shows("Conflicting options: --restart and --rm");
    run(&["--rm=perhaps", image]).exits(125);
    run(&["--rm", "--platform=linux/sparc", image]).exits(125).stderr_shows("--platform=linux/sparc");
    let noted = run(&["--rm", "--domainname=x", "--expose=80", "--log-driver=json-file", image]).succeeds();
    assert_eq!(noted.stdout, "entry true\n");
    assert!(noted.stderr.contains("--domainname x is not held") && !noted.stderr.contains("--expose"), "{noted}");
    let stat = ["--entrypoint=stat", image, "-c", "%a", "/a", "/b", "/c"];
    let scratch = ["--rm", "--tmpfs=/a", "--tmpfs", "/b:mode=750,size=1m", "--mount"];
    let scratch = run(&[&scratch[..], &["type=tmpfs,dst=/c,tmpfs-mode=700"], &stat].concat()).succeeds();
    assert_eq!(scratch.quietly().stdout, "1777\n750\n700\n");
    run(&["--rm", "--read-only", "--tmpfs=/tmp", "-u=65534", "--entrypoint=touch", image, "/tmp/x"]).succeeds();
    // The file has the id that is printed, and one that is there stays.
    let cid = env.path("cid");
    let file = cid.to_str().expect("UTF-8");
    let words = ["-d", "--cidfile", file, "--name=one", "-l", "of=mine", "-l", "a=b", "--stop-signal=INT"];
    let made = run(&[&words[..], &["--entrypoint=sh", image, "-c", "trap 'exit 9' INT; sleep 1000 & wait"]].concat());
    assert_eq!(fs::read_to_string(&cid).expect("it was written"), made.succeeds().line());
    run(&["--cidfile", file, image]).exits(125).stderr_shows("container ID file found");
    docker(env, &["create", "--name=two", "--network=none", image]).succeeds();
    docker(env, &["logs", "two"]).succeeds().quietly();
    docker(env, &["inspect", "-f", "{{json .Config.Labels}}", "two"]).succeeds().prints("{\"of\":\"image\"}\n");
    let format = "{{.HostConfig.NetworkMode}} {{.HostConfig.RestartPolicy.Name}} {{.Config.Labels.of}}";
    docker(env, &["inspect", "-f", format, "one"]).succeeds().prints("none no mine\n");
    for (filters, found) in [
        (&["status=created", "status=running"][..], "two\none\n"),
        (&["status=created"], "two\n"),
        (&["name=one", "name=^two$"], "two\none\n"),
        (&["label=of", "label=a=b"], "one\n"),
        (&["label=of=image"], "two\n"),
        (&["ancestor=labelled:latest", "name=two"], "two\n"),
        (&["network=none", "health=none", "before=two"], "one\n"),
        (&["since=one"], "two\n"),
    ] {
        let words = filters.iter().flat_map(|filter| ["-f", filter]);
        let words: Vec<&str> =
            ["ps", "-a=true", "--no-trunc=false", "--format", "{{.Names}}"].into_iter().chain(words).collect();
        docker(env, &words).succeeds().prints(found);
    }
    docker(env, &["ps", "-f", "status=bogus"]).exits(1).stderr_shows("invalid filter 'status=bogus'");
    docker(env, &["ps", "-f", "bogus=1"]).exits(1).stderr_shows("invalid filter 'bogus'");
    docker(env, &["stop", "one"]).succeeds();
    docker(env, &["wait", "one"]).succeeds().prints("9\n");
    docker(env, &["rm", "one", "two"]).succeeds();
    env.assert_nothing_left();
}

#[test]
fn a_stop_signal_between_two_runs_ends_the_pod() {
    let env = &needs!(Env::of(User::WithRange));
    let image = image(env);
    let words = ["run", "--restart=always", "--net=none", &image, "--exec=/bin/echo", "--", "again"];
    let mut running = env.proa(words).start();
    running.wait_for("again");
    // An app that runs takes it, and is started again; but it runs ever more seldom.
    for _ in 0..20 {
        running.kill(rustix::process::Signal::TERM);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    running.wait().exits(143);
    env.assert_nothing_left();
}

#[test]
fn names_ports_groups_and_background_commands() {
    let env = &needs!(Env::of(User::WithRange));
    let image = image(env);
    docker(env, &["run", "-d", "--name", "web", &image, "sleep", "1000"]).succeeds();
    docker(env, &["run", "-d", "--name", "other", &image, "sleep", "1000"]).succeeds();
    docker(env, &["rename", "web", "other"]).exits(1).stderr_shows("The container name \"/other\" is already in use");
    docker(env, &["rename", "web", "bad/name"]).exits(1);
    docker(env, &["rename", "web", "front"]).succeeds().prints("");
    docker(env, &["inspect", "-f", "{{.Name}}", "front"]).succeeds().prints("/front\n");
    docker(env, &["rename", "other", "web"]).succeeds();
    docker(env, &["port", "front"]).succeeds().prints("");
    docker(env, &["port", "front", "80"]).exits(1).stderr_shows("No public port '80/tcp' published for front");
    docker(env, &["container", "ls", "-q"]).succeeds();
    docker(env, &["image", "ls", "-q"]).succeeds();
    docker(env, &["container", "nosuch"]).exits(1);
    // What is executed in the background outlives its client.
    docker(env, &["exec", "-d", "front", "sh", "-c", "sleep 0.3; echo done >/done; sleep 1000"]).succeeds().prints("");
    let deadline = std::time::Instant::now() + integration_tests::limit();
    while docker(env, &["exec", "front", "cat", "/done"]).stdout != "done\n" {
        assert!(std::time::Instant::now() < deadline, "it was ended");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    docker(env, &["rm", "-f", "front", "web"]).succeeds();
    env.assert_nothing_left();
}

/// However long it takes to find out whether a command can be executed, its client hears of it.
#[test]
fn what_is_executed_in_the_background_is_known_to_run() {
    let env = &needs!(Env::of(User::WithRange));
    let tree = busybox().file("bin/lost", "#!/no/such/interpreter\n", 0o755).file("bin/plain", "no program", 0o755);
    let image = format!("oci:{}", Layout::new("shell").layer(tree).config("Cmd", json!(["sh"])).build(env).display());
    docker(env, &["run", "-d", "--name=web", &image, "sleep", "1000"]).succeeds();
    let started = |command: &[&str]| docker(env, &[&["exec", "-d", "web"], command].concat());
    started(&["true"]).succeeds().prints("").quietly();
    started(&["/nosuch"]).exits(127).stderr_shows("\"/nosuch\": not in the image");
    started(&["nosuch"]).exits(127).stderr_shows("not in the image's PATH");
    started(&["lost"]).exits(126).stderr_shows("its interpreter or loader is not in the image");
    started(&["plain"]).exits(126).stderr_shows("\"/bin/plain\": Exec format error");
    let pid = docker(env, &["inspect", "-f", "{{.State.Pid}}", "web"]).succeeds();
    let pid = pid.line().parse().expect("a number");
    for (command, status) in [("lost", 126), ("nosuch", 127), ("true", 0)] {
        assert!(process::kill(pid, Signal::STOP));
        let client = env.proa(["docker", "exec", "-d", "web", command]).start();
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(process::kill(pid, Signal::CONT));
        client.wait().exits(status);
    }
    // Several at once.
    let clients: Vec<_> = (0..12)
        .map(|index| {
            let (command, status) = [("true", 0), ("lost", 126), ("sleep 1000", 0)][index % 3];
            (env.proa(["docker", "exec", "-d", "web"].into_iter().chain(command.split(' '))).start(), status)
        })
        .collect();
    for (client, status) in clients {
        client.wait().exits(status);
    }
    docker(env, &["exec", "web", "sh", "-c", "pidof sleep | wc -w"]).succeeds().prints("5\n");
    docker(env, &["rm", "-f", "web"]).succeeds();
    env.assert_nothing_left();
}

#[test]
fn copies_have_dockers_words() {
    let env = &needs!(Env::of(User::WithRange));
    docker(env, &["create", "--name", "web", &image(env)]).succeeds();
    docker(env, &["cp", "web:/nosuch", "."]).exits(1).stderr_shows("Could not find the file /nosuch in container web");
    docker(env, &["cp", "nosuch:/x", "."]).exits(1).stderr_shows("No such container: nosuch");
    docker(env, &["cp", "a", "b"]).exits(1).stderr_shows("must specify at least one container source");
    docker(env, &["cp", "web:/a", "web:/b"]).exits(1).stderr_shows("copying between containers is not supported");
    docker(env, &["cp", "-q", "web:/bin/busybox", &env.path("b").display().to_string()]).succeeds().quietly();
    assert!(fs::metadata(env.path("b")).is_ok_and(|found| found.len() > 1000));
    docker(env, &["rm", "web"]).succeeds();
    env.assert_nothing_left();
}
