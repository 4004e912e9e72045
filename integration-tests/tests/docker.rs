//! proa under the name `docker`, and as `proa docker`: what docker's users type, and what they read.

use integration_tests::images::{Layout, busybox};
use integration_tests::{Env, Outcome, User, each_user};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// An image like those of applications that run their agents by docker: a relative working directory and entrypoint.
fn image(env: &Env) -> String {
    let tree = busybox().dir("root", 0o700).script("root/agent.sh", "echo \"agent $*\"");
    let layout = Layout::new("agent").layer(tree).config("WorkingDir", json!("root"));
    let layout = layout.config("Entrypoint", json!(["./agent.sh"])).config("Cmd", json!(["-default"]));
    format!("oci:{}", layout.build(env).display())
}

/// An image that does what it is told.
fn shell(env: &Env) -> String {
    format!("oci:{}", Layout::new("shell").layer(busybox()).config("Cmd", json!(["sh"])).build(env).display())
}

fn docker(env: &Env, words: &[&str]) -> Outcome {
    env.proa(["docker"].iter().chain(words)).outcome()
}

fn remove(env: &Env, name: &str) {
    docker(env, &["rm", "-f", name]).succeeds().prints(&format!("{name}\n"));
}

/// The rows of a table, cut into its columns.
fn rows(outcome: &Outcome) -> Vec<Vec<String>> {
    let cells = |line: &str| line.split("  ").map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect();
    outcome.stdout.lines().map(cells).collect()
}

each_user! {
    words_after_the_image_are_the_commands,
    net_admin_is_over_the_containers_network,
    streams_are_those_that_were_asked_for,
    variables_and_files_of_them,
    single_files_names_and_logs,
    files_of_a_container_are_the_callers,
    containers_from_their_beginning_to_their_end,
    tables_are_dockers,
    images_have_names_and_lose_them,
    commit_keeps_what_the_end_would_lose,
    volumes_outlive_containers,
    failures_have_dockers_words_and_statuses,
    bounds_and_protections_are_dockers,
    the_program_name_is_enough,
}

fn words_after_the_image_are_the_commands(env: &Env) {
    let image = image(env);
    docker(env, &["run", "--rm", &image]).succeeds().prints("agent -default\n");
    docker(env, &["run", "--rm", &image, "-ver"]).succeeds().prints("agent -ver\n");
    docker(env, &["run", "--rm", &image, "-e", "x", "--rm"]).succeeds().prints("agent -e x --rm\n");
    docker(env, &["run", "--rm", "--entrypoint", "echo", &image, "-n", "x"]).succeeds().prints("x");
    docker(env, &["run", "--rm", "-w", "/etc", "--entrypoint", "pwd", &image]).succeeds().prints("/etc\n");
    docker(env, &["run", "--rm", "-h", "box", "--entrypoint=hostname", &image]).succeeds().prints("box\n");
    env.assert_nothing_left();
}

fn bounds_and_protections_are_dockers(env: &Env) {
    let image = shell(env);
    let status = |options: &[&str], field: &str| {
        let command =
            [image.as_str(), "sed", "-n", &format!("s/^{field}:\t//p"), "/proc/self/status"].map(str::to_owned);
        let words = ["docker", "run", "--rm"].iter().chain(options).map(|word| (*word).to_owned());
        env.proa(words.chain(command)).outcome().succeeds().stdout.trim().to_owned()
    };
    assert_eq!(status(&[], "CapBnd"), "00000000a80425fb");
    assert_eq!(status(&["--cap-drop", "ALL"], "CapBnd"), "0000000000000000");
    assert_eq!(status(&["--cap-drop=all", "--cap-add=NET_BIND_SERVICE"], "CapBnd"), "0000000000000400");
    assert_eq!(status(&["--cap-add=SYS_PTRACE"], "CapBnd"), "00000000a80c25fb");
    assert_eq!(status(&["--security-opt=no-new-privileges"], "NoNewPrivs"), "1");
    assert_eq!(status(&["--security-opt", "seccomp=unconfined"], "Seccomp"), "0");
    assert_eq!(status(&["--security-opt", "label=disable"], "Seccomp"), "2");
    let run = |options: &[&str]| docker(env, &[&["run", "--rm"], options, &[&image, "cat", "/etc/hosts"]].concat());
    run(&["--add-host=db:10.0.0.7"]).succeeds().shows("10.0.0.7").shows("db");
    for (option, text) in [
        ("--add-host=db", "--add-host db"),
        ("--memory=1m", "1m"),
        ("--cap-add=PONIES", "CAP_PONIES"),
        ("--cap-add=ALL", "--cap-add ALL"),
        ("--security-opt=ponies", "ponies"),
        ("--dns=ponies", "ponies"),
    ] {
        run(&[option]).exits(125).stderr_shows(text);
    }
    env.assert_nothing_left();
}

/// What `--net-admin` gives to an app; `integration-tests/tests/privileged_init.rs` is about its ends.
fn net_admin_is_over_the_containers_network(env: &Env) {
    let image = shell(env);
    let change = "ip addr add 10.9.8.7/32 dev lo && ip link set lo mtu 900 && cat /sys/class/net/lo/mtu || exit 7";
    let run = |options: &[&str]| docker(env, &[&["run", "--rm"], options, &[&image, "sh", "-c", change]].concat());
    for name in ["NET_ADMIN", "net_admin", "CAP_NET_ADMIN"] {
        run(&["--network=none", "--cap-add", name]).succeeds().prints("900\n").quietly();
    }
    run(&["--network=none", "--cap-drop=ALL", "--cap-add=NET_ADMIN"]).succeeds().prints("900\n").quietly();
    // The controls.
    run(&["--network=none"]).exits(7).stderr_shows("Operation not permitted");
    run(&["--network=none", "--cap-add=SYS_ADMIN"]).exits(7).stderr_shows("Operation not permitted");
    let hosts = fs::read_to_string("/sys/class/net/lo/mtu").expect("every host has it");
    run(&["--network=host", "--cap-add=NET_ADMIN"]).exits(7).stderr_shows("CAP_NET_ADMIN has no power");
    assert_eq!(fs::read_to_string("/sys/class/net/lo/mtu").expect("every host has it"), hosts);
    // Of another user's capabilities nothing is left: the container starts, as with docker.
    let other = ["--network=none", "--cap-add=NET_ADMIN", "-u", "7:7"];
    let outcome = run(&other).exits(7).stderr_shows("rights over the pod's network are for 0:0, and its user is 7:7");
    outcome.stderr_shows("Operation not permitted");
    docker(env, &["run", "--dry-run", "--network=none", "--cap-add=NET_ADMIN", "--name=line", &image, "true"])
        .succeeds()
        .shows(" --net-admin=shell ");
    // It outlives the container's end, and what is executed in it has the same.
    docker(env, &["create", "--network=none", "--cap-add=NET_ADMIN", "--name=vpn", &image, "sleep", "1000"]).succeeds();
    docker(env, &["start", "vpn"]).succeeds().quietly();
    docker(env, &["restart", "-t", "0", "vpn"]).succeeds().quietly();
    docker(env, &["exec", "vpn", "sh", "-c", change]).succeeds().prints("900\n");
    remove(env, "vpn");
    env.assert_nothing_left();
}

fn streams_are_those_that_were_asked_for(env: &Env) {
    let image = shell(env);
    let with_input = |words: &[&str]| {
        let command = [image.as_str(), "cat"];
        let line = ["docker", "run"].iter().chain(words).chain(&command);
        env.proa(line.map(|word| (*word).to_owned())).outcome_with_input(b"typed\n")
    };
    // Without -i the input is for what comes after docker in a script.
    with_input(&["--rm"]).succeeds().prints("");
    with_input(&["--rm", "-i"]).succeeds().prints("typed\n");
    with_input(&["-i", "--name=kept"]).succeeds().prints("typed\n");
    docker(env, &["logs", "kept"]).succeeds().prints("typed\n");
    remove(env, "kept");
    // -it where output, and here input too, is no terminal.
    with_input(&["-it", "--rm"]).succeeds().prints("typed\n");
    docker(env, &["run", "-t", "--rm", &image, "sh", "-c", "test -t 1 && echo terminal"])
        .succeeds()
        .prints("terminal\r\n");
    let both = docker(env, &["run", "--rm", &image, "sh", "-c", "echo out; echo err >&2"]).succeeds();
    assert_eq!((both.stdout.as_str(), both.stderr.as_str()), ("out\n", "err\n"));
    env.assert_nothing_left();
}

fn variables_and_files_of_them(env: &Env) {
    let file =
        "# gateway\nconf.mod=gateway\nconf.pxy=\"http://p:8080\"\nconf.cps=5 \nconf.hst={{a}},b=c@d:e\n\nconf.dbg=true";
    let file = env.write("gateway.env", file);
    // Not through a shell, which would drop names with dots.
    let (file, image) = (file.to_str().expect("UTF-8"), shell(env));
    let words = ["run", "--rm", "--env-file", file, "-e", "conf.dbg=", "-e", "CALLERS", "-e", "NOBODYS", &image, "env"];
    let shown = env.proa(["docker"].iter().chain(&words)).var("CALLERS", "1").outcome().succeeds();
    for line in [
        "conf.mod=gateway\n",
        "conf.pxy=\"http://p:8080\"\n",
        "conf.cps=5 \n",
        "conf.hst={{a}},b=c@d:e\n",
        "conf.dbg=\n",
    ] {
        assert!(shown.stdout.contains(line), "{line:?} is missing: {shown}");
    }
    assert!(shown.stdout.contains("CALLERS=1\n") && !shown.stdout.contains("NOBODYS"), "{shown}");
}

fn single_files_names_and_logs(env: &Env) {
    let image = shell(env);
    let file = env.write("client.yml", "a: 1\n");
    let volume = format!("{}:/build/conf.yml:ro", file.display());
    docker(env, &["run", "--rm", "-v", &volume, &image, "cat", "/build/conf.yml"]).succeeds().prints("a: 1\n");
    let written = docker(env, &["run", "--rm", "-v", &volume, &image, "sh", "-c", "echo b >/build/conf.yml"]);
    written.exits(1).stderr_shows("Read-only file system");
    let id =
        docker(env, &["run", "-itd", "--name", "agent", &image, "sh", "-c", "echo started; sleep 1000"]).succeeds();
    assert!(id.line().len() == 32 && id.line().bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    let logs = || docker(env, &["logs", "agent"]).succeeds().stdout.replace('\r', "");
    let deadline = std::time::Instant::now() + integration_tests::limit();
    while logs() != "started\n" {
        assert!(std::time::Instant::now() < deadline, "the log is {:?}", logs());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    docker(env, &["logs", &id.line()[..12]]).succeeds();
    remove(env, "agent");
    docker(env, &["run", "--rm", "-v", "/no/such:/x", &image, "true"]).exits(125).stderr_shows("/no/such");
    assert!(!Path::new("/no").exists());
    env.assert_nothing_left();
}

fn files_of_a_container_are_the_callers(env: &Env) {
    if env.user() == User::Root {
        return; // No pod has root's id.
    }
    let dir = env.path("work");
    env.make_dir(&dir);
    let volume = format!("{}:/work", dir.display());
    docker(env, &["run", "--rm", "-v", &volume, "-w", "/work", &shell(env), "touch", "made"]).succeeds();
    let made = fs::metadata(dir.join("made")).expect("it was made");
    assert_eq!((made.uid(), made.gid()), (env.account().uid, env.account().gid));
    let words = ["run", "--rm", "--userns=keep-id", "-u", "1000", "-v", &volume, &shell(env), "touch", "/work/kept"];
    docker(env, &words).succeeds();
    assert_eq!(fs::metadata(dir.join("kept")).expect("it was made").uid(), env.account().uid);
}

fn containers_from_their_beginning_to_their_end(env: &Env) {
    let image = shell(env);
    let inspect = |what: &str| docker(env, &["inspect", "-f", what, "web"]).succeeds().line().to_owned();
    docker(env, &["run", "-d", "--name", "web", "-e", "A=1", "-l", "tier=front", &image, "sleep", "1000"]).succeeds();
    assert_eq!(inspect("{{.State.Status}} {{.State.Running}} {{.Name}}"), "running true /web");
    assert_eq!(inspect("{{json .Config.Labels}}"), "{\"tier\":\"front\"}");
    docker(env, &["exec", "web", "sh", "-c", "echo $A; exit 7"]).exits(7).prints("1\n");
    docker(env, &["exec", "-e", "B=2", "-u", "0:0", "-w", "/tmp", "web", "sh", "-c", "echo $B; pwd"])
        .succeeds()
        .prints("2\n/tmp\n");
    docker(env, &["exec", "web", "nosuch"]).exits(127).stderr_shows("nosuch");
    let input = env.proa(["docker", "exec", "-i", "web", "cat"]).outcome_with_input(b"typed");
    input.succeeds().prints("typed");
    docker(env, &["rm", "web"]).exits(1).stderr_shows("cannot remove container \"/web\": container is running");
    docker(env, &["kill", "-s", "CONT", "web"]).succeeds().prints("web\n");
    docker(env, &["stop", "-t", "5", "web"]).succeeds().prints("web\n");
    docker(env, &["stop", "web"]).succeeds().prints("web\n");
    docker(env, &["wait", "web"]).succeeds().prints("143\n");
    assert_eq!(inspect("{{.State.Status}} {{.State.ExitCode}}"), "exited 143");
    docker(env, &["exec", "web", "true"]).exits(1).stderr_shows(" is not running\n");
    docker(env, &["kill", "web"]).exits(1).stderr_shows("is not running\n");
    docker(env, &["rm", "web", "nosuch"]).exits(1).prints("web\n").stderr_shows("No such container: nosuch\n");
    // --rm with -d: nothing is left at its end.
    docker(env, &["run", "-d", "--rm", "--name", "brief", &image, "sleep", "1000"]).succeeds();
    docker(env, &["kill", "brief"]).succeeds().prints("brief\n");
    env.assert_nothing_left_within(std::time::Duration::from_secs(5));
    // A prefix of an id, and one that several have.
    let id = docker(env, &["run", "-d", &image, "sleep", "1000"]).succeeds();
    docker(env, &["kill", &id.line()[..8]]).succeeds();
    docker(env, &["rm", id.line()]).succeeds();
}

fn tables_are_dockers(env: &Env) {
    let image = shell(env);
    let head = "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES\n";
    docker(env, &["ps"]).succeeds().prints(head);
    let words = ["run", "--name", "done", &image, "sh", "-c", "echo a long command line; exit 3"];
    docker(env, &words).exits(3);
    docker(env, &["ps"]).succeeds().prints(head);
    let all = docker(env, &["ps", "-a"]).succeeds();
    let row = &rows(&all)[1];
    assert_eq!((row[1].as_str(), row[2].as_str()), ("shell", "\"sh -c echo a long c…\""), "{all}");
    assert!(row[4].starts_with("Exited (3) ") && row[4].ends_with(" ago") && row[5] == "done", "{all}");
    let id = docker(env, &["ps", "-aq"]).succeeds().line().to_owned();
    assert!(id.len() == 12 && row[0] == id, "{all}");
    let format = ["ps", "-a", "--format", "{{.Names}}|{{.State}}", "--filter", "status=exited"];
    docker(env, &format).succeeds().prints("done|exited\n");
    docker(env, &["ps", "-a", "--filter", "name=other", "-q"]).succeeds().prints("");
    let json: Value =
        serde_json::from_str(&docker(env, &["ps", "-a", "--format", "json"]).succeeds().stdout).expect("JSON");
    assert_eq!(json["Names"], "done");
    remove(env, "done");
    let images = docker(env, &["images"]).succeeds();
    assert_eq!(rows(&images)[0], ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]);
    assert_eq!(rows(&images)[1][..2], ["shell", "latest"]);
}

fn images_have_names_and_lose_them(env: &Env) {
    docker(env, &["run", "--rm", &shell(env), "true"]).succeeds();
    let id = docker(env, &["images", "-q"]).succeeds().line().to_owned();
    docker(env, &["tag", &id, "mine"]).succeeds().prints("");
    docker(env, &["tag", "mine", "mine:2"]).succeeds();
    docker(env, &["run", "--rm", "mine:2", "echo", "hi"]).succeeds().prints("hi\n");
    docker(env, &["images", "--format", "{{.Repository}}:{{.Tag}}", "mine"]).succeeds().prints("mine:2\nmine:latest\n");
    let inspected = docker(env, &["inspect", "mine"]).succeeds();
    let inspected: Value = serde_json::from_str(&inspected.stdout).expect("JSON");
    assert_eq!(inspected[0]["RepoTags"], json!(["mine:2", "mine:latest", "shell:latest"]));
    assert_eq!(inspected[0]["Config"]["Cmd"], json!(["sh"]));
    docker(env, &["rmi", &id]).exits(1).stderr_shows("must be forced");
    docker(env, &["rmi", "mine"]).succeeds().prints("Untagged: mine:latest\n");
    docker(env, &["rmi", "mine"]).exits(1).stderr_shows("No such image: mine:latest\n");
    docker(env, &["rmi", "-f", "nosuch"]).succeeds();
    let gone = docker(env, &["rmi", "-f", &id]).succeeds();
    assert!(
        gone.stdout.contains("Untagged: mine:2\n") && gone.stdout.contains(&format!("Deleted: sha256:{id}")),
        "{gone}"
    );
    docker(env, &["images", "-q"]).succeeds().prints("");
}

fn commit_keeps_what_the_end_would_lose(env: &Env) {
    let image = shell(env);
    let script = "echo new >/made; rm /bin/true; mkdir /tmp/deep; chmod 700 /tmp/deep; ln -s /made /link; echo ready; sleep 1000";
    docker(env, &["run", "-d", "--name=work", "-e", "A=1", "-v", "/volume", &image, "sh", "-c", script]).succeeds();
    let deadline = std::time::Instant::now() + integration_tests::limit();
    while !docker(env, &["logs", "work"]).stdout.contains("ready") {
        assert!(std::time::Instant::now() < deadline, "the container did not get ready");
    }
    let change = ["commit", "-m", "why", "-a", "me", "-c", "CMD [\"cat\", \"/link\"]", "work", "mine:2"];
    let id = docker(env, &change).succeeds().line().to_owned();
    assert!(id.starts_with("sha256:"), "{id}");
    remove(env, "work");
    docker(env, &["run", "--rm", "mine:2"]).succeeds().prints("new\n");
    let script = "test ! -e /bin/true && test ! -e /volume/x && stat -c %a /tmp/deep && echo $A";
    docker(env, &["run", "--rm", "mine:2", "sh", "-c", script]).succeeds().prints("700\n1\n");
    // The image that it was made of has nothing of it.
    docker(env, &["run", "--rm", &image, "sh", "-c", "test -e /made"]).exits(1);
    let inspected = docker(env, &["inspect", "mine:2"]).succeeds();
    let inspected: Value = serde_json::from_str(&inspected.stdout).expect("JSON");
    assert_eq!(inspected[0]["RootFS"]["Layers"].as_array().map(Vec::len), Some(1));
    assert_eq!((&inspected[0]["Author"], &inspected[0]["Id"]), (&json!("me"), &json!(id)));
    // Of a pod that has ended, without a name.
    docker(env, &["run", "--name=done", "mine:2", "sh", "-c", "echo more >/more"]).succeeds();
    let id = docker(env, &["commit", "--squash", "done"]).succeeds().line().to_owned();
    docker(env, &["run", "--rm", &id, "cat", "/more", "/made"]).succeeds().prints("more\nnew\n");
    docker(env, &["commit", "-c", "RUN x", "done"]).exits(1).stderr_shows("RUN x");
    docker(env, &["commit", "nosuch"]).exits(1).stderr_shows("nosuch");
    remove(env, "done");
    env.assert_nothing_left();
}

fn volumes_outlive_containers(env: &Env) {
    let image = shell(env);
    docker(env, &["run", "--rm", "-v", "data:/data", &image, "sh", "-c", "echo kept >/data/file"]).succeeds();
    let read =
        ["run", "--name=reader", "-v", "data:/data:ro", &image, "sh", "-c", "cat /data/file; echo x >/data/file"];
    docker(env, &read).exits(1).prints("kept\n");
    docker(env, &["volume", "ls"]).succeeds().prints("DRIVER    VOLUME NAME\nlocal     data\n");
    env.proa(["volume", "ls", "-q"]).outcome().succeeds().prints("data\n");
    env.proa(["volume", "list", "-q"]).outcome().succeeds().prints("data\n");
    let place = docker(env, &["volume", "inspect", "-f", "{{.Mountpoint}}", "data"]).succeeds();
    assert!(Path::new(place.line()).join("file").exists(), "{place}");
    docker(env, &["volume", "rm", "data"]).exits(1).stderr_shows("remove data: volume is in use - [");
    docker(env, &["volume", "prune", "-f"]).succeeds().prints("Total reclaimed space: 0B\n");
    remove(env, "reader");
    docker(env, &["volume", "create", "other"]).succeeds().prints("other\n");
    docker(env, &["volume", "rm", "other", "nosuch"])
        .exits(1)
        .prints("other\n")
        .stderr_shows("get nosuch: no such volume");
    docker(env, &["volume", "create", "../x"]).exits(1).stderr_shows("invalid characters for a local volume name");
    // Files of other users of the image go as well.
    if env.user() != User::NoRange {
        docker(
            env,
            &[
                "run",
                "--rm",
                "-v",
                "data:/data",
                &image,
                "sh",
                "-c",
                "mkdir /data/a; chown 33 /data/a; chmod 700 /data/a",
            ],
        )
        .succeeds();
    }
    docker(env, &["volume", "prune", "-a", "-f"]).succeeds().shows("Deleted Volumes:\ndata\n");
    docker(env, &["volume", "ls", "-q"]).succeeds().prints("");
    env.proa(["run", "--volume=v,kind=host,source=/no/such", "hello"]).outcome().refuses("/no/such");
}

fn failures_have_dockers_words_and_statuses(env: &Env) {
    let image = shell(env);
    docker(env, &["run", "--bogus", &image])
        .exits(125)
        .stderr_shows("unknown flag: --bogus\nSee 'docker run --help'.\n");
    docker(env, &["ps", "-Z"]).exits(125).stderr_shows("unknown shorthand flag: 'Z' in -Z\n");
    docker(env, &["run"]).exits(1).stderr_shows("\"docker run\" requires at least 1 argument.\n");
    docker(env, &["nonsense"]).exits(1).stderr_shows("docker: 'nonsense' is not a docker command.\n");
    docker(env, &["run", "--rm", &image, "nosuch"]).exits(127).stderr_shows("docker: Error response from daemon: ");
    docker(env, &["run", "--rm", &image, ""]).exits(127).stderr_shows("not in the image");
    docker(env, &["run", "--rm", "--entrypoint=", &image, "", "x"]).exits(127);
    docker(env, &["run", "--rm", &image, "/etc/passwd"]).exits(126);
    docker(env, &["run", "--pull=never", "nosuch"]).exits(125).stderr_shows("No such image: nosuch:latest\n");
    docker(env, &["run", "--rm", &image, "sh", "-c", "exit 42"]).exits(42);
    docker(env, &["logs", "nosuch"]).exits(1).stderr_shows("Error response from daemon: No such container: nosuch\n");
    docker(env, &["inspect", "nosuch"]).exits(1).prints("[]\n").stderr_shows("Error: No such object: nosuch\n");
    docker(env, &["help"]).succeeds().shows("Usage: docker");
    docker(env, &["run", "--help"]).succeeds().shows("Usage: docker run [OPTIONS] IMAGE [COMMAND] [ARG...]");
}

fn the_program_name_is_enough(env: &Env) {
    let link = env.path("docker");
    std::os::unix::fs::symlink(env.own_proa(), &link).expect("the directory is ours");
    let data = env.path("xdg");
    env.make_dir(&data);
    let run = |words: &[&str]| {
        let words = words.iter().map(|word| (*word).into()).collect();
        env.command(&link, words).var("XDG_DATA_HOME", &data).var("HOME", &data).outcome()
    };
    run(&["--version"]).succeeds().prints(concat!("Docker version ", env!("CARGO_PKG_VERSION"), ", build proa\n"));
    if env.user() == User::Root {
        return; // Root's data has one place, which is not a test's.
    }
    run(&["run", "--rm", &shell(env), "echo", "hello"]).succeeds().prints("hello\n");
    run(&["images", "-q"]).succeeds();
    let dry = run(&["run", "--dry-run", "-u", "1", &shell(env), "true"]).succeeds();
    let words = " --user=1 --annotation=proa.local/docker-rules=true -- true\n";
    assert!(dry.stdout.starts_with("proa run ") && dry.stdout.contains(words), "{dry}");
}
