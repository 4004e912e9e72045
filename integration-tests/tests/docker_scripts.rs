//! What scripts around docker do everywhere: files that are the caller's, archives that are packed, cleaning up, starting again.

use integration_tests::images::{Layout, Packing, busybox};
use integration_tests::{Env, Outcome, User, each_user, process};
use rustix::process::Signal;
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::{Duration, Instant};

fn docker(env: &Env, words: &[&str]) -> Outcome {
    env.proa(["docker"].iter().chain(words)).outcome()
}

/// An image of a shell, stored as `shell`; returns its ID.
fn image(env: &Env) -> String {
    let layout = Layout::new("shell").layer(busybox().dir("etc", 0o755)).config("Cmd", json!(["sh"])).build(env);
    let id = env.proa(["fetch", &format!("oci:{}", layout.display())]).outcome().succeeds().line().to_owned();
    docker(env, &["tag", &id, "shell"]).succeeds();
    id
}

each_user! {
    streams_of_a_container_are_opened_by_name,
    whoever_has_the_callers_number_is_the_caller,
    accounts_that_a_volume_brings_count,
    a_number_is_an_id_whatever_the_image_calls_so,
    who_a_container_is_it_stays,
    packed_archives_are_loaded,
    cleaning_up_leaves_what_has_a_name,
    a_container_that_was_killed_with_its_supervisor_gives_its_name_back,
    containers_with_a_policy_come_back_after_a_reboot,
    what_there_is_not_is_said_in_the_order_it_was_typed,
    memory_to_be_shared_is_as_large_as_was_said,
    commands_about_images_know_short_names,
    options_behind_the_pod_are_told,
}

/// `docker run -u "$(id -u):$(id -g)" -v "$PWD":/work`.
fn whoever_has_the_callers_number_is_the_caller(env: &Env) {
    if env.user() == User::Root {
        return; // No pod has root's id.
    }
    image(env);
    let work = env.path("work");
    env.make_dir(&work);
    let (uid, gid) = (env.account().uid, env.account().gid);
    let (user, volume) = (format!("{uid}:{gid}"), format!("{}:/work", work.display()));
    let script = "id -u; id -g; echo made >made";
    let base = ["run", "--rm", "-w", "/work", "-v", &volume];
    docker(env, &[&base[..], &["-u", &user, "shell", "sh", "-c", script]].concat())
        .succeeds()
        .prints(&format!("{uid}\n{gid}\n"))
        .quietly();
    let made = fs::metadata(work.join("made")).expect("it was made");
    assert_eq!((made.uid(), made.gid()), (uid, gid));
    // With the caller's accounts as well, and no group.
    let accounts = env.write("passwd", format!("root:x:0:0::/:/bin/sh\ncaller:x:{uid}:{gid}::/:/bin/sh\n"));
    let accounts = format!("{}:/etc/passwd:ro", accounts.display());
    let alone = ["-u", &uid.to_string(), "-v", &accounts, "shell", "sh", "-c", "id -un; rm made"];
    docker(env, &[&base[..], &alone].concat()).succeeds().prints("caller\n").quietly();
    // Somebody else is nobody's caller, and whoever says how ids are mapped is heard.
    let printed = |options: &[&str]| {
        docker(env, &[&["run", "--dry-run", "-v", &volume], options, &["shell"]].concat()).succeeds().stdout
    };
    assert!(printed(&["-u", &user]).contains("--userns=keep-id"), "{}", printed(&["-u", &user]));
    for options in [&["-u", "0"][..], &["-u", &user, "--userns=auto"], &[]] {
        assert!(!printed(options).contains("keep-id"), "{options:?}");
    }
    env.assert_nothing_left();
}

fn accounts_that_a_volume_brings_count(env: &Env) {
    image(env);
    let number = if env.user() == User::NoRange { 0 } else { 7 };
    let file = env.write("passwd", format!("anna:x:{number}:{number}::/home/anna:/bin/sh\n"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("it is ours");
    let volume = format!("{}:/etc/passwd:ro", file.display());
    docker(env, &["run", "--rm", "-v", &volume, "-u", "anna", "shell", "sh", "-c", "id -u; id -un; echo $HOME"])
        .succeeds()
        .prints(&format!("{number}\nanna\n/home/anna\n"));
    docker(env, &["run", "--rm", "-v", &volume, "-u", "bert", "shell", "true"]).exits(125).stderr_shows("\"bert\"");
    // No link of an image leads to accounts on a volume.
    let tree = busybox().symlink("etc/passwd", "/data/passwd");
    let layout = Layout::new("linked").layer(tree).build(env);
    let data = env.path("accounts");
    env.make_dir(&data);
    env.write("accounts/passwd", format!("anna:x:{number}:{number}::/:/bin/sh\n"));
    let id = env.proa(["fetch", &format!("oci:{}", layout.display())]).outcome().succeeds().line().to_owned();
    let volume = format!("{}:/data", data.display());
    docker(env, &["run", "--rm", "-v", &volume, "-u", "anna", &id, "true"]).exits(125).stderr_shows("/etc/passwd");
    env.assert_nothing_left();
}

/// An image with a root of that name would be root where somebody was to be nobody (CVE-2016-3697).
fn a_number_is_an_id_whatever_the_image_calls_so(env: &Env) {
    let accounts = "root:x:0:0::/:/bin/sh\n7:x:0:0::/:/bin/sh\n";
    let tree = busybox().file("etc/passwd", accounts, 0o644).file("etc/group", "root:x:0:\n7:x:0:\n", 0o644);
    let layout = Layout::new("hostile").layer(tree).build(env);
    let id = env.proa(["fetch", &format!("oci:{}", layout.display())]).outcome().succeeds().line().to_owned();
    let script = "id -u; id -g";
    docker(env, &["run", "--rm", "-u", "7:7", &id, "sh", "-c", script]).succeeds().prints("7\n7\n");
    // As appc has it, a name comes first.
    let appc = ["run", "--net=none", &id, "--user=7", "--group=7", "--", "sh", "-c", script];
    env.proa(appc).outcome().succeeds().prints("0\n0\n");
    env.assert_nothing_left();
}

/// Accounts that the container writes are nothing to go by when it is started again, or something is executed in it.
fn who_a_container_is_it_stays(env: &Env) {
    image(env);
    let (uid, gid) = if env.user() == User::NoRange { (0, 0) } else { (7, 8) };
    let file = env.write("passwd", format!("anna:x:{uid}:{gid}::/:/bin/sh\n"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("it is ours");
    let volume = format!("{}:/etc/passwd", file.display());
    let (evil, flag) = (if uid == 0 { 9 } else { 0 }, "/tmp/again");
    let script = format!(
        "id -u; id -g; test -e {flag} && exec sleep 1000; touch {flag}; echo anna:x:{evil}:{evil}::/:/bin/sh >/etc/passwd; exit 1"
    );
    let options = ["run", "-d", "--name=who", "--network=none", "--tmpfs=/tmp", "--restart=on-failure:1"];
    docker(env, &[&options[..], &["-v", &volume, "-u", "anna", "shell", "sh", "-c", &script]].concat()).succeeds();
    let ids = format!("{uid}\n{gid}\n");
    let both = ids.repeat(2);
    let deadline = Instant::now() + Duration::from_secs(60);
    while docker(env, &["logs", "who"]).stdout.len() < both.len() {
        assert!(Instant::now() < deadline, "it was not started twice: {}", docker(env, &["logs", "who"]));
        std::thread::sleep(Duration::from_millis(50));
    }
    docker(env, &["logs", "who"]).succeeds().prints(&both);
    docker(env, &["exec", "who", "sh", "-c", "id -u; id -g"]).succeeds().prints(&ids);
    docker(env, &["rm", "-f", "who"]).succeeds();
    env.assert_nothing_left();
}

/// `docker save IMAGE | gzip >FILE`, and back.
fn packed_archives_are_loaded(env: &Env) {
    let id = image(env);
    let plain = env.path("plain.tar");
    docker(env, &["save", "-o", plain.to_str().expect("UTF-8"), "shell"]).succeeds();
    let plain = fs::read(plain).expect("it was written");
    for (packing, name) in [(Packing::Gzip, "saved.tar.gz"), (Packing::Zstd, "saved.tar.zst")] {
        let packed = packing.pack(&plain);
        let file = env.write(name, &packed);
        let file = file.to_str().expect("UTF-8");
        docker(env, &["rmi", "shell"]).succeeds();
        docker(env, &["load", "-i", file]).succeeds().prints("Loaded image: shell:latest\n");
        docker(env, &["rmi", "shell"]).succeeds();
        env.proa(["docker", "load"]).outcome_with_input(&packed).succeeds().prints("Loaded image: shell:latest\n");
        // As `docker load -i <(unpack FILE)`.
        let piped = env.proa(["docker", "load", "-i"]).through(["sh", "-c", "cat \"$0\" | \"$@\" /dev/fd/0", file]);
        piped.outcome().succeeds().prints("Loaded image: shell:latest\n");
        env.proa(["fetch", &format!("docker-archive:{file}")]).outcome().succeeds().prints(&format!("{id}\n"));
    }
    let half = Packing::Gzip.pack(&plain);
    let half = env.write("half.tar.gz", &half[..half.len() / 2]);
    let half = half.to_str().expect("UTF-8");
    let damaged = "hint: the file is damaged or no image";
    docker(env, &["load", "-i", half])
        .exits(1)
        .stderr_shows("half.tar.gz: truncated gzip stream")
        .stderr_shows(damaged);
    let refused = env.proa(["fetch", &format!("docker-archive:{half}")]).outcome().refuses("truncated gzip stream");
    refused.stderr_shows(damaged);
    let none = env.write("none.tar.gz", Packing::Gzip.pack(b"no archive"));
    let none = none.to_str().expect("UTF-8");
    docker(env, &["load", "-i", none]).exits(1).stderr_shows(&format!("archive {none}: "));
    env.proa(["docker", "load"]).outcome_with_input(b"no archive").exits(1).stderr_shows("archive /dev/stdin: ");
    env.assert_nothing_left();
}

fn cleaning_up_leaves_what_has_a_name(env: &Env) {
    let id = image(env);
    docker(env, &["tag", "shell", "app:1"]).succeeds();
    // `rmi -f` of a name takes that name.
    docker(env, &["rmi", "-f", "app:1"]).succeeds().prints("Untagged: app:1\n");
    docker(env, &["images", "-q", "--no-trunc", "shell"]).succeeds().prints(&format!("{id}\n"));
    docker(env, &["volume", "create", "data"]).succeeds();
    let nameless = docker(env, &["volume", "create"]).succeeds().line().to_owned();
    docker(env, &["volume", "prune", "-f"])
        .succeeds()
        .prints(&format!("Deleted Volumes:\n{nameless}\n\nTotal reclaimed space: 0B\n"));
    docker(env, &["system", "prune", "-f", "--volumes"]).succeeds().prints("Total reclaimed space: 0B\n");
    docker(env, &["volume", "prune", "-f", "--filter", "all=false"]).succeeds();
    docker(env, &["volume", "ls", "-q"]).succeeds().prints("data\n");
    docker(env, &["volume", "prune", "-f", "--filter", "all=1"]).succeeds().shows("Deleted Volumes:\ndata\n");
    env.assert_nothing_left();
}

fn a_container_that_was_killed_with_its_supervisor_gives_its_name_back(env: &Env) {
    let id = image(env);
    let killed = |words: &[&str]| {
        let mut running = env.proa(words).start();
        running.wait_for("ready");
        running.kill(Signal::KILL);
        assert_eq!(running.wait().signal(), Some(9));
    };
    let script = "echo ready; while :; do sleep 0.1; done";
    killed(&["docker", "run", "--rm", "--name=job", "--network=none", "shell", "sh", "-c", script]);
    let refused = docker(env, &["start", "job"]).exits(1);
    refused.stderr_shows("it was to be removed when it ended").stderr_shows("hint: `docker rm ");
    let run = ["run", "--rm", "--name=job", "--network=none", "shell", "echo", "again"];
    docker(env, &run).succeeds().prints("again\n").quietly();
    // So does one that was made for later.
    docker(env, &["create", "--rm", "--name=job", "--network=none", "shell", "sleep", "1000"]).succeeds();
    docker(env, &["create", "--name=job", "shell"]).exits(1).stderr_shows("already in use");
    docker(env, &["start", "job"]).succeeds();
    let pid = docker(env, &["inspect", "-f", "{{.State.Pid}}", "job"]).succeeds();
    let monitor = process::read(pid.line().parse().expect("a number")).expect("it runs").parent;
    assert!(process::kill(monitor, Signal::KILL));
    docker(env, &["wait", "job"]).succeeds();
    docker(env, &run).succeeds().prints("again\n").quietly();
    // A service of systemd's is started anew like this.
    killed(&["run", "--name=job", "--net=none", &id, "--", "sh", "-c", script]);
    env.proa(["run", "--name=job", "--net=none", &id, "--", "echo", "again"]).outcome().succeeds().prints("again\n");
    // What is kept keeps its name.
    docker(env, &["run", "--name=kept", "--network=none", "shell", "true"]).succeeds();
    docker(env, &["run", "--rm", "--name=kept", "shell", "true"]).exits(125).stderr_shows("already in use");
    env.proa(["run", "--name=kept", &id, "--", "true"]).outcome().refuses("in use by pod");
    docker(env, &["rm", "kept"]).succeeds();
    env.assert_nothing_left();
}

/// The command of docs/guides/services.md.
fn containers_with_a_policy_come_back_after_a_reboot(env: &Env) {
    image(env);
    for (name, policy) in [("one", "always"), ("two", "unless-stopped"), ("three", "no")] {
        let words = ["run", "-d", "--name", name, "--restart", policy, "--network=none", "shell", "sleep", "1000"];
        docker(env, &words).succeeds();
        let pid = docker(env, &["inspect", "-f", "{{.State.Pid}}", name]).succeeds().line().to_owned();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("it has one").trim();
        let parent = rustix::process::Pid::from_raw(parent.parse().expect("a number")).expect("not 0");
        rustix::process::kill_process(parent, Signal::KILL).expect("it is there");
        docker(env, &["wait", name]).succeeds();
    }
    docker(env, &["ps", "-q"]).succeeds().prints("");
    let guide = include_str!("../../docs/guides/services.md");
    let line = guide.lines().find_map(|line| line.trim().strip_prefix("ExecStart=/bin/sh -c '")).expect("it is there");
    let script = line.trim_end_matches('\'').replace("%h/bin/docker", "\"$@\" docker");
    env.proa([] as [&str; 0]).through(["sh", "-c", &script, "sh"]).outcome().succeeds();
    docker(env, &["ps", "--format={{.Names}}"]).succeeds().prints("two\none\n");
    docker(env, &["rm", "-f", "one", "two", "three"]).succeeds();
    env.assert_nothing_left();
}

fn what_there_is_not_is_said_in_the_order_it_was_typed(env: &Env) {
    docker(env, &["buildx", "version"]).exits(1).stderr_shows("docker: 'buildx' is not a docker command.");
    docker(env, &["trust", "inspect", "x"]).exits(1).stderr_shows("docker: 'trust' is not a docker command.");
    docker(env, &["image", "build", "."]).exits(1).stderr_shows("'image build' is not").stderr_shows("hint: buildah");
    for option in [&["-H", "tcp://x"][..], &["--context", "x"]] {
        docker(env, &[option, &["ps"]].concat())
            .exits(125)
            .stderr_shows("See 'docker --help'")
            .stderr_shows("hint: there is no daemon to be chosen");
    }
    docker(env, &["--config", "x", "ps"]).exits(125).stderr_shows("hint: set DOCKER_CONFIG");
    docker(env, &["ps", "--nosuch"]).exits(125).stderr_shows("See 'docker ps --help'");
    docker(env, &["system", "events", "--since=1s", "--until=0s"]).succeeds();
    image(env);
    let host = |network: &str| {
        let words = ["run", "--rm", network, "--add-host=up:host-gateway", "shell", "cat", "/etc/hosts"];
        docker(env, &words).succeeds()
    };
    let word = "--add-host=a\n127.0.0.1 b:host-gateway";
    docker(env, &["run", "--rm", "--network=host", word, "shell", "true"]).exits(125).stderr_shows("wanted NAME:IP");
    let held = host("--network=host");
    assert!(held.stdout.lines().any(|line| line.split_whitespace().eq(["127.0.0.1", "up"])), "{held}");
    let unheld = host("--network=none");
    let unheld = unheld.stderr_shows("warning: --add-host up:host-gateway is not held");
    assert!(!unheld.stdout.contains("up"), "{unheld}");
    env.assert_nothing_left();
}

fn memory_to_be_shared_is_as_large_as_was_said(env: &Env) {
    image(env);
    let script = "head -c 100m /dev/zero >/dev/shm/big 2>/dev/null; stat -c %s /dev/shm/big; df -k /dev/shm | tail -n 1 | awk '{print $2}'";
    let run = |options: &[&str]| {
        docker(env, &[&["run", "--rm", "--network=none"], options, &["shell", "sh", "-c", script]].concat())
    };
    run(&[]).succeeds().prints("67108864\n65536\n");
    run(&["--shm-size=1g"]).succeeds().prints("104857600\n1048576\n").quietly();
    run(&["--shm-size", "8192k"]).succeeds().prints("8388608\n8192\n").quietly();
    run(&["--shm-size=0"]).succeeds().prints("67108864\n65536\n");
    for size in ["1k", "x", "-1"] {
        run(&[&format!("--shm-size={size}")])
            .exits(125)
            .stderr_shows("wanted a number with b, k, m or g, of at least 4k");
    }
    run(&["--shm-size=9999999g"]).exits(125).stderr_shows("proa.local/shm-size");
    docker(env, &["run", "--rm", "--ipc=host", "shell", "true"]).exits(125).stderr_shows("hint: for a larger /dev/shm");
    // It is remembered by who starts it again, and by the command that --dry-run prints.
    docker(env, &["create", "--name=shm", "--shm-size=80m", "--network=none", "shell", "sh", "-c", script]).succeeds();
    docker(env, &["start", "-a", "shm"]).succeeds().prints("83886080\n81920\n");
    docker(env, &["inspect", "-f", "{{.HostConfig.ShmSize}}", "shm"]).succeeds().prints("83886080\n");
    docker(env, &["rm", "shm"]).succeeds();
    let printed = docker(env, &["run", "--dry-run", "--shm-size=80m", "shell", "true"]).succeeds();
    assert!(printed.stdout.contains("--annotation=proa.local/shm-size=83886080"), "{printed}");
    env.assert_nothing_left();
}

/// `proa run debian:12` runs what `proa image inspect debian:12` shows.
fn commands_about_images_know_short_names(env: &Env) {
    let id = image(env);
    for name in ["shell", "shell:latest", "docker://shell", "docker.io/library/shell:latest"] {
        let shown = env.proa(["image", "inspect", name]).outcome().succeeds();
        assert!(shown.stdout.contains(&id), "{name}: {shown}");
    }
    env.proa(["image", "tag", "shell", "example.com/other:1"]).outcome().succeeds();
    env.proa(["image", "cat-manifest", "example.com/other:1"]).outcome().succeeds();
    for name in ["shell:2", "docker://example.com/shell"] {
        env.proa(["image", "inspect", name]).outcome().refuses(&format!("no image named {name:?}"));
    }
    env.proa(["image", "rm", "docker://shell"]).outcome().succeeds();
    env.proa(["image", "inspect", "shell"]).outcome().refuses("no image named \"shell\"");
    env.assert_nothing_left();
}

fn options_behind_the_pod_are_told(env: &Env) {
    image(env);
    docker(env, &["run", "-d", "--name=web", "--network=none", "shell", "sleep", "1000"]).succeeds();
    let told = env.proa(["enter", "web", "--app", "shell", "true"]).outcome().exits(127);
    told.stderr_shows("execute \"--app\"").stderr_shows("hint: options of enter stand before the pod");
    // Several are counted in one look at the processes.
    docker(env, &["run", "-d", "--name=db", "--network=none", "shell", "sh", "-c", "sleep 1000 & wait"]).succeeds();
    let counted = docker(env, &["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}"]).succeeds();
    assert_eq!(counted.stdout, "db 2\nweb 1\n");
    docker(env, &["rm", "-f", "web", "db"]).succeeds();
    env.assert_nothing_left();
}

/// As web servers do that are not root (`access_log /dev/stdout`); each time they are started.
fn streams_of_a_container_are_opened_by_name(env: &Env) {
    let image = image(env);
    let script = "id -u; echo out >/dev/stdout; echo err >>/dev/stderr; exit 3";
    // Without a range there is root alone.
    let users = if env.user() == User::NoRange { &["0"][..] } else { &["0", "33:44"] };
    for user in users {
        let options = ["-d", "--name=web", "--network=none", "--restart=on-failure:1", "-u", user];
        docker(env, &[&["run"], &options[..], &[&image, "sh", "-c", script]].concat()).succeeds();
        docker(env, &["wait", "web"]).succeeds().prints("3\n");
        let id = user.split(':').next().unwrap_or_default();
        let logs = docker(env, &["logs", "web"]).succeeds();
        assert_eq!(logs.stdout, format!("{id}\nout\n").repeat(2), "{logs}");
        assert_eq!(logs.stderr, "err\nerr\n", "{logs}");
        docker(env, &["rm", "web"]).succeeds();
    }
    env.assert_nothing_left();
}
