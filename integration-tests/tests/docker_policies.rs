//! What is said of a container that runs, and counts when it is started again: its limits, its restart policy, and that somebody
//! has stopped it.

use std::time::{Duration, Instant};

use integration_tests::images::{Layout, busybox};
use integration_tests::{Env, Outcome, each_user, limit, process};
use rustix::process::Signal;
use serde_json::json;

fn docker(env: &Env, words: &[&str]) -> Outcome {
    env.proa(["docker"].iter().chain(words)).outcome()
}

fn image(env: &Env) -> String {
    format!("oci:{}", Layout::new("shell").layer(busybox()).config("Cmd", json!(["sh"])).build(env).display())
}

/// Runs a container in the background that sleeps.
fn run(env: &Env, options: &[&str], image: &str) {
    docker(env, &[&["run", "-d", "--network=none"], options, &[image, "sleep", "1000"]].concat()).succeeds();
}

/// What `inspect` has of a container.
fn shown(env: &Env, format: &str, name: &str) -> String {
    docker(env, &["inspect", "-f", format, name]).succeeds().line().to_owned()
}

/// Waits until `inspect` has this.
#[track_caller]
fn becomes(env: &Env, format: &str, name: &str, wanted: &str) {
    let deadline = Instant::now() + limit();
    loop {
        let shown = shown(env, format, name);
        if shown == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "it is {shown}, not {wanted}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Kills a container's supervisor, as a machine that loses its power would.
fn cut_off(env: &Env, name: &str) {
    let pid = shown(env, "{{.State.Pid}}", name).parse().expect("a number");
    assert!(process::kill(process::read(pid).expect("it runs").parent, Signal::KILL));
    docker(env, &["wait", name]).succeeds();
}

each_user! {
    what_is_updated_while_it_runs_counts_when_it_is_started_again,
    updates_at_once_are_all_kept,
    a_restart_policy_changes_while_the_container_runs,
    who_is_told_to_stop_does_not_come_back,
    what_somebody_has_stopped_stays_so_after_a_reboot,
    a_container_that_could_not_be_started_is_created,
    volumes_have_labels,
}

fn what_is_updated_while_it_runs_counts_when_it_is_started_again(env: &Env) {
    let image = image(env);
    run(env, &["--name=web"], &image);
    let update = |options: &[&str]| docker(env, &[&["update"], options, &["web"]].concat());
    let limits =
        "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.CpuShares}} {{json .HostConfig.PidsLimit}}";
    // It has no control groups: this is told, and kept.
    update(&["-m", "64m", "--cpus=1.5"]).succeeds().prints("web\n").stderr_shows("warning: the limits ");
    update(&["--pids-limit=2", "-c", "512"])
        .succeeds()
        .stderr_shows("--pids-limit 2 counts when the container is started");
    assert_eq!(shown(env, limits, "web"), "67108864 1500000000 512 2");
    let fork = || docker(env, &["exec", "web", "sh", "-c", "(:); echo forked"]);
    fork().succeeds().prints("forked\n");
    docker(env, &["restart", "-t=0", "web"]).succeeds();
    fork().exits(2).stderr_shows("can't fork");
    assert_eq!(shown(env, limits, "web"), "67108864 1500000000 512 2");
    update(&["--pids-limit=-1"]).succeeds();
    docker(env, &["restart", "-t=0", "web"]).succeeds();
    fork().succeeds().prints("forked\n");
    assert_eq!(shown(env, limits, "web"), "67108864 1500000000 512 null");
    // Nothing is kept of what is refused.
    update(&["--pids-limit=7", "--restart=perhaps"]).exits(125).stderr_shows("perhaps");
    update(&["--pids-limit=7", "-m", "1k"]).exits(125).stderr_shows("-m 1k");
    assert_eq!(shown(env, limits, "web"), "67108864 1500000000 512 null");
    docker(env, &["rm", "-f", "web"]).succeeds();
    // What goes with its end has no next start.
    run(env, &["--rm", "--name=web"], &image);
    update(&["--restart=always"]).exits(1).stderr_shows("AutoRemove is enabled for the container");
    update(&["--restart=no"]).succeeds().quietly();
    docker(env, &["stop", "-t=0", "web"]).succeeds();
    env.assert_nothing_left();
}

/// Each writes what it has changed alone.
fn updates_at_once_are_all_kept(env: &Env) {
    let image = image(env);
    run(env, &["--name=web"], &image);
    let options = [["-m", "64m"], ["--cpus", "1"], ["-c", "512"], ["--pids-limit", "99"], ["--restart", "always"]];
    for _ in 0..3 {
        std::thread::scope(|scope| {
            for option in options {
                scope.spawn(move || docker(env, &["update", option[0], option[1], "web"]).succeeds());
            }
            scope.spawn(|| docker(env, &["restart", "-t=0", "web"]).succeeds());
        });
        let all = "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.CpuShares}} {{.HostConfig.PidsLimit}} \
                   {{.HostConfig.RestartPolicy.Name}}";
        assert_eq!(shown(env, all, "web"), "67108864 1000000000 512 99 always");
        docker(env, &["update", "-m=96m", "--cpus=2", "-c=256", "--pids-limit=9", "--restart=no", "web"]).succeeds();
    }
    docker(env, &["rm", "-f", "web"]).succeeds();
    env.assert_nothing_left();
}

fn a_restart_policy_changes_while_the_container_runs(env: &Env) {
    let image = image(env);
    let script = "echo begun; sleep 1000";
    docker(env, &["run", "-d", "--network=none", "--name=web", &image, "sh", "-c", script]).succeeds();
    let update = |policy: &str| docker(env, &["update", "--restart", policy, "web"]).succeeds().quietly();
    let end = || docker(env, &["kill", "-s", "USR1", "web"]).succeeds();
    let state = "{{.State.Status}} {{.RestartCount}}";
    update("always");
    end();
    becomes(env, state, "web", "running 1");
    update("on-failure:5");
    end();
    becomes(env, state, "web", "running 2");
    update("no");
    end();
    docker(env, &["wait", "web"]).succeeds().prints("138\n");
    docker(env, &["logs", "web"]).succeeds().prints("begun\nbegun\nbegun\n");
    assert_eq!(shown(env, state, "web"), "exited 2");
    // Whoever starts it has the policy that was said last.
    docker(env, &["start", "web"]).succeeds();
    update("unless-stopped");
    docker(env, &["restart", "-t=0", "web"]).succeeds();
    end();
    becomes(env, state, "web", "running 1");
    docker(env, &["rm", "-f", "web"]).succeeds();
    // The supervisor of a pod that no docker has made keeps what it was started with.
    env.proa(["run", "--detach", "--net=none", "--name=pod", &image, "--", "sleep", "1000"]).outcome().succeeds();
    docker(env, &["update", "--restart=always", "pod"])
        .exits(1)
        .stderr_shows("--restart always: the policy of a pod that")
        .stderr_shows("hint: run it with --restart, or as a container of `proa docker run`");
    docker(env, &["update", "pod"])
        .exits(1)
        .stderr_shows("hint: there are --memory, --cpus, --cpu-shares, --pids-limit");
    env.proa(["stop", "--force", "pod"]).outcome().succeeds();
    env.proa(["rm", "pod"]).outcome().succeeds();
    env.assert_nothing_left();
}

fn who_is_told_to_stop_does_not_come_back(env: &Env) {
    let image = image(env);
    let script = "trap 'exit 5' TERM; trap 'echo heard' HUP; echo begun; while :; do sleep 0.1; done";
    let options = ["-d", "--network=none", "--name=web", "--restart=always"];
    docker(env, &[&["run"], &options[..], &[&image, "sh", "-c", script]].concat()).succeeds();
    // Its traps are set when it has said so.
    let mut logs = env.proa(["docker", "logs", "-f", "web"]).start();
    logs.wait_for("begun");
    docker(env, &["kill", "-s", "HUP", "web"]).succeeds();
    docker(env, &["kill", "-s", "TERM", "web"]).succeeds();
    docker(env, &["wait", "web"]).succeeds().prints("5\n");
    logs.wait().succeeds();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(shown(env, "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}", "web"), "exited 5 0");
    assert_eq!(shown(env, "{{.HostConfig.RestartPolicy.Name}}", "web"), "always");
    // Its policy counts again when it is started.
    docker(env, &["start", "web"]).succeeds();
    docker(env, &["kill", "-s", "USR1", "web"]).succeeds();
    becomes(env, "{{.State.Status}} {{.RestartCount}}", "web", "running 1");
    docker(env, &["rm", "-f", "web"]).succeeds();
    env.assert_nothing_left();
}

fn what_somebody_has_stopped_stays_so_after_a_reboot(env: &Env) {
    let image = image(env);
    let policies = [
        ("stopped", "unless-stopped"),
        ("killed", "unless-stopped"),
        ("termed", "unless-stopped"),
        ("again", "unless-stopped"),
        ("downed", "unless-stopped"),
        ("cut", "unless-stopped"),
        ("always", "always"),
        ("failing", "on-failure:3"),
        ("later", "no"),
        ("never", "no"),
    ];
    for (name, policy) in policies {
        run(env, &["--stop-timeout=0", "--name", name, "--restart", policy], &image);
    }
    docker(env, &["stop", "stopped", "again", "always", "later"]).succeeds();
    docker(env, &["kill", "killed"]).succeeds();
    docker(env, &["kill", "-s", "15", "termed"]).succeeds();
    docker(env, &["wait", "termed"]).succeeds();
    docker(env, &["start", "again"]).succeeds();
    docker(env, &["update", "--restart=unless-stopped", "later"]).succeeds();
    // As a machine that goes down does it, and as one that goes out.
    env.proa(["stop", "downed"]).outcome().succeeds();
    ["again", "cut", "failing", "never"].iter().for_each(|name| cut_off(env, name));
    let names = |filters: &[&str]| {
        let listed = docker(env, &[&["ps", "-a", "--format={{.Names}}"], filters].concat()).succeeds().stdout;
        let mut names: Vec<String> = listed.lines().map(str::to_owned).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(names(&["--filter=should-start-on-boot=true"]), "again always cut downed");
    assert_eq!(names(&["-f", "should-start-on-boot=0"]), "failing killed later never stopped termed");
    assert_eq!(names(&["-f", "restart-policy=on-failure", "-f", "restart-policy=always"]), "always failing");
    docker(env, &["ps", "-f", "should-start-on-boot=x"])
        .exits(1)
        .stderr_shows("invalid filter 'should-start-on-boot=x'");
    let all: Vec<&str> = policies.iter().map(|(name, _)| *name).collect();
    docker(env, &[&["rm", "-f"], &all[..]].concat()).succeeds();
    env.assert_nothing_left();
}

fn a_container_that_could_not_be_started_is_created(env: &Env) {
    let tree = busybox().file("orphan", "#!/no/such/interpreter\n", 0o755).file("garbage", "\x7fELF but not", 0o755);
    let image = format!("oci:{}", Layout::new("odd").layer(tree).config("Cmd", json!(["sh"])).build(env).display());
    let state = "{{.State.Status}} {{.State.ExitCode}} {{.State.Running}} {{.State.StartedAt}} {{.State.FinishedAt}}";
    let never = "0001-01-01T00:00:00Z";
    // The last two are found out by execve(2) alone, which is waited for with -d as well.
    for (name, command, status) in
        [("lost", "nosuch", 127), ("dir", "/bin", 126), ("orphan", "/orphan", 126), ("garbage", "/garbage", 126)]
    {
        docker(env, &["run", "-d", "--network=none", "--name", name, &image, command]).exits(status);
        assert_eq!(shown(env, state, name), format!("created {status} false {never} {never}"));
        assert_ne!(shown(env, "{{.State.Error}}", name), "");
        // So it stays, however often it is tried.
        docker(env, &["start", name]).exits(1);
        assert_eq!(shown(env, state, name), format!("created {status} false {never} {never}"));
        docker(env, &["start", "-a", name]).exits(1).stderr_shows("Error response from daemon: app ");
        docker(env, &["wait", name]).succeeds().prints(&format!("{status}\n"));
        // Attached to a terminal, too, and of one that leaves nothing behind.
        for options in ["-t", "-d", "-i"] {
            docker(env, &["run", "--rm", options, "--network=none", &image, command])
                .exits(status)
                .stderr_shows(&format!("execute {command:?}"));
        }
    }
    let listed = |filter: &str| docker(env, &["ps", "-a", "-f", filter, "--format={{.Names}} {{.Status}}"]).succeeds();
    listed("status=created").prints("garbage Created\norphan Created\ndir Created\nlost Created\n");
    listed("status=exited").prints("");
    listed("exited=127").prints("");
    // One that has run is not created any more.
    docker(env, &["run", "--network=none", "--name=once", &image, "sh", "-c", "rm /bin/sh"]).succeeds();
    docker(env, &["start", "once"]).exits(1);
    docker(env, &["start", "-a", "once"]).exits(1);
    docker(env, &["ps", "-a", "-f", "name=once", "--format={{.Status}}"]).succeeds().shows("Exited (127) ");
    docker(env, &["container", "prune", "-f"]).succeeds().shows("Deleted Containers:");
    env.assert_nothing_left();
}

fn volumes_have_labels(env: &Env) {
    let create = |words: &[&str]| docker(env, &[&["volume", "create"], words].concat());
    create(&["--label", "tier=db", "--label=kept", "data"]).succeeds().prints("data\n").quietly();
    create(&["--label=tier=front", "pages"]).succeeds();
    create(&["plain"]).succeeds();
    let ls = |words: &[&str]| docker(env, &[&["volume", "ls", "-q"], words].concat()).succeeds();
    ls(&["-f", "label=tier"]).prints("data\npages\n");
    ls(&["-f", "label=tier=db"]).prints("data\n");
    ls(&["-f", "label=tier", "-f", "label=kept"]).prints("data\n");
    ls(&["-f", "label=tier=d"]).prints("");
    docker(env, &["volume", "ls", "--format", "{{.Name}} [{{.Labels}}] {{.Label \"tier\"}}"])
        .succeeds()
        .prints("data [kept=,tier=db] db\npages [tier=front] front\nplain [] \n");
    let labels = |name: &str| docker(env, &["volume", "inspect", "-f", "{{json .Labels}}", name]).succeeds().stdout;
    assert_eq!(labels("data"), "{\"kept\":\"\",\"tier\":\"db\"}\n");
    assert_eq!(labels("plain"), "{}\n");
    // What is there keeps those that it has, and what is made anew has none of before.
    create(&["--label=other", "data"]).succeeds();
    assert_eq!(labels("data"), "{\"kept\":\"\",\"tier\":\"db\"}\n");
    docker(env, &["volume", "rm", "data"]).succeeds();
    create(&["data"]).succeeds();
    assert_eq!(labels("data"), "{}\n");
    for nameless in ["--label=", "--label==x"] {
        create(&[nameless, "more"]).exits(1).stderr_shows("a label has a name").stderr_shows("hint: write it as");
    }
    let prune = |filter: &str| docker(env, &["volume", "prune", "-a", "-f", "--filter", filter]).succeeds();
    prune("label=tier=back").prints("Total reclaimed space: 0B\n");
    prune("label=tier").shows("Deleted Volumes:\npages\n");
    prune("label!=tier").shows("Deleted Volumes:\ndata\nplain\n");
    env.assert_nothing_left();
}
