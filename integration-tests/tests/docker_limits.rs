//! `docker run --ulimit` and what else bounds a container's processes.

use std::path::PathBuf;

use integration_tests::images::{Layout, busybox};
use integration_tests::needs::tool;
use integration_tests::{Env, Outcome, User, each_user, needs};
use serde_json::{Value, json};

fn docker(env: &Env, words: &[&str]) -> Outcome {
    env.proa(["docker"].iter().chain(words)).outcome()
}

/// An image of a shell, stored as `shell`.
fn image(env: &Env) {
    let layout = Layout::new("shell").layer(busybox().dir("etc", 0o755)).config("Cmd", json!(["sh"])).build(env);
    let id = env.proa(["fetch", &format!("oci:{}", layout.display())]).outcome().succeeds().line().to_owned();
    docker(env, &["tag", &id, "shell"]).succeeds();
}

/// Whether this machine has what pasta needs: a default route.
fn uplink() -> Result<PathBuf, String> {
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    if !routes.lines().any(|line| line.split_whitespace().nth(1) == Some("00000000")) {
        return Err("this machine has no default route".into());
    }
    tool("pasta")
}

each_user! {
    a_container_starts_with_the_limits_that_were_just_given,
    resource_limits_are_those_that_were_said,
    resource_limits_that_cannot_be_had_are_told,
    limits_of_zero_are_none_and_values_may_begin_with_a_dash,
    a_container_has_no_more_processes_than_was_said,
    what_connects_a_container_is_none_of_its_processes,
}

/// Soft and hard limits of open files, of locked memory, and of the stack, the latter in KiB.
const SHOWN: &str = "ulimit -Sn; ulimit -Hn; ulimit -Sl; ulimit -Hs";

fn resource_limits_are_those_that_were_said(env: &Env) {
    image(env);
    let options = ["--ulimit=nofile=40:60", "--ulimit", "stack=1048576:2097152", "--ulimit=memlock=4096"];
    let wanted = "40\n60\n4\n2048\n";
    let run = |options: &[&str], script: &str| {
        docker(env, &[&["run", "--rm", "--network=none"], options, &["shell", "sh", "-c", script]].concat())
    };
    run(&options, SHOWN).succeeds().prints(wanted).quietly();
    // The last one of a kind counts, and one without a value was not given.
    run(&["--ulimit=nofile=50", "--ulimit=nofile=30", "--ulimit="], "ulimit -Sn; ulimit -Hn; ulimit -Hc")
        .succeeds()
        .prints("30\n30\n0\n")
        .quietly();
    // They bound what the app does, and it cannot raise them.
    run(
        &["--ulimit=fsize=4096"],
        "head -c 9000 /dev/zero >/tmp.file; stat -c %s /tmp.file; ulimit -f 100 || echo kept",
    )
    .succeeds()
    .prints("4096\nkept\n");
    // One user's processes: the shell is one, and its child a second.
    run(&["--ulimit=nproc=1"], "(:); echo not reached").exits(2).stderr_shows("can't fork");
    run(&["--ulimit=nproc=2"], "(:); echo reached").succeeds().prints("reached\n").quietly();

    // Whoever starts it again, and what is executed in it, has them too.
    let script = format!("{SHOWN}; sleep 60");
    docker(
        env,
        &[&["run", "-d", "--network=none", "--name=bound"], &options[..], &["shell", "sh", "-c", &script]].concat(),
    )
    .succeeds();
    docker(env, &["exec", "bound", "sh", "-c", SHOWN]).succeeds().prints(wanted);
    docker(env, &["stop", "-t", "0", "bound"]).succeeds();
    docker(env, &["start", "bound"]).succeeds();
    docker(env, &["exec", "bound", "sh", "-c", SHOWN]).succeeds().prints(wanted);
    let inspected = docker(env, &["inspect", "-f", "{{json .HostConfig.Ulimits}}", "bound"]).succeeds();
    let shown: Value = serde_json::from_str(&inspected.stdout).expect("JSON");
    assert_eq!(
        shown,
        json!([
            { "Name": "nofile", "Soft": 40, "Hard": 60 },
            { "Name": "stack", "Soft": 1_048_576, "Hard": 2_097_152 },
            { "Name": "memlock", "Soft": 4096, "Hard": 4096 },
        ])
    );
    docker(env, &["rm", "-f", "bound"]).succeeds();
    let printed = docker(env, &["run", "--dry-run", "--ulimit=core=-1", "shell", "true"]).succeeds();
    assert!(printed.stdout.contains("--annotation=proa.local/ulimits=core=-1:-1"), "{printed}");
    env.assert_nothing_left();
}

fn resource_limits_that_cannot_be_had_are_told(env: &Env) {
    image(env);
    let run = |ulimit: &str, script: &str| {
        let words = ["docker", "run", "--rm", "--network=none", ulimit, "shell", "sh", "-c", script];
        env.proa(words).through(["sh", "-c", "ulimit -n 2000; exec \"$@\"", "sh"]).outcome()
    };
    run("--ulimit=nofile=1500:2000", "ulimit -Sn; ulimit -Hn").succeeds().prints("1500\n2000\n").quietly();
    run("--ulimit=nofile=5000", "ulimit -Sn; ulimit -Hn")
        .succeeds()
        .prints("2000\n2000\n")
        .stderr_shows("--ulimit nofile=5000:5000: no more than 2000 can be had here");
    run("--ulimit=nofile=100:-1", "ulimit -Sn; ulimit -Hn")
        .succeeds()
        .prints("100\n2000\n")
        .stderr_shows("--ulimit nofile=100:-1: no more than 2000 can be had here");
    for (ulimit, why) in [
        ("nofile", "--ulimit nofile: wanted NAME=SOFT[:HARD]"),
        ("as=5", "--ulimit as=5: no limit \"as\"; there are core, cpu, data,"),
        ("nofile=x", "--ulimit nofile=x: \"x\" is neither a number nor -1"),
        ("nofile=3:2", "--ulimit nofile=3:2: the soft limit is above the hard one"),
    ] {
        run(&format!("--ulimit={ulimit}"), "true").exits(125).stderr_shows(why);
    }
    env.proa(["run", "--annotation=proa.local/ulimits=nofile", "shell"])
        .outcome()
        .exits(254)
        .stderr_shows("proa.local/ulimits");
    env.assert_nothing_left();
}

/// The word after an option is its value, whatever it looks like, as docker reads it: so it is named when it is wrong.
fn limits_of_zero_are_none_and_values_may_begin_with_a_dash(env: &Env) {
    image(env);
    let run = |options: &[&str]| {
        let script = "echo \"$X $(id -u)\"";
        docker(env, &[&["run", "--rm", "--network=none"], options, &["shell", "sh", "-c", script]].concat())
    };
    let none = ["--memory", "0", "--cpus", "0", "--cpu-shares", "0", "--shm-size", "0", "--pids-limit", "-1"];
    run(&none).succeeds().prints(" 0\n").quietly();
    run(&["-e", "X=-x", "-l", "-label", "-u", "0:"]).succeeds().prints("-x 0\n").quietly();
    run(&["-u", ":"]).succeeds().prints(" 0\n").quietly();
    for (option, value, why) in [
        ("--cpus", "-1", "--cpus -1: not a number of CPUs"),
        ("-m", "-1", "-m -1: wanted a number with b, k, m or g"),
        ("--shm-size", "-1", "--shm-size -1: wanted"),
        ("-c", "-1", "must be between 2 and 262144, got -1"),
        ("--name", "--rm", "--name: pod name \"--rm\""),
        ("-w", "-x", "\"-x\": not an absolute path"),
    ] {
        run(&[option, value]).exits(125).stderr_shows(why);
    }
    docker(env, &["run", "--rm", "--name"])
        .exits(125)
        .stderr_shows("flag needs an argument: --name\nSee 'docker run --help'.\n");
    env.assert_nothing_left();
}

fn a_container_has_no_more_processes_than_was_said(env: &Env) {
    image(env);
    let run = |options: &[&str], script: &str| {
        docker(env, &[&["run", "--rm", "--network=none"], options, &["shell", "sh", "-c", script]].concat())
    };
    // The shell is one, and each of its children one more.
    let two = "sleep 9 & sleep 9 & echo two; kill $!";
    run(&["--pids-limit=3"], two).succeeds().prints("two\n").quietly();
    run(&["--pids-limit=2"], two).exits(2).prints("").stderr_shows("can't fork");
    run(&["--pids-limit=1"], "echo one").succeeds().prints("one\n").quietly();
    for usual in ["--pids-limit=-1", "--pids-limit=0", "--pids-limit="] {
        run(&[usual], two).succeeds().prints("two\n").quietly();
    }
    run(&["--pids-limit=99999"], "echo up")
        .succeeds()
        .stderr_shows("--pids-limit 99999: no container has more than 4095");
    for bad in ["x", "-2", "1.5"] {
        run(&[&format!("--pids-limit={bad}")], "true").exits(125).stderr_shows(&format!("--pids-limit {bad}: wanted"));
    }
    // Rights over the network come with a user namespace of their own.
    if env.user() != User::NoRange {
        run(&["--cap-add=NET_ADMIN", "--pids-limit=2"], two).exits(2).stderr_shows("can't fork");
        run(&["--cap-add=NET_ADMIN", "--pids-limit=3"], two).succeeds().prints("two\n").quietly();
    }
    // Whatever is executed in it counts, and it is the same when it is started again.
    docker(env, &["run", "-d", "--network=none", "--name=few", "--pids-limit=2", "shell", "sleep", "1000"]).succeeds();
    for _ in 0..2 {
        docker(env, &["exec", "few", "echo", "second"]).succeeds().prints("second\n");
        docker(env, &["exec", "few", "sh", "-c", "(:); echo not reached"])
            .exits(2)
            .prints("")
            .stderr_shows("can't fork");
        docker(env, &["restart", "-t", "0", "few"]).succeeds();
    }
    let shown = |name: &str| docker(env, &["inspect", "-f", "{{json .HostConfig.PidsLimit}}", name]).succeeds().stdout;
    assert_eq!(shown("few"), "2\n");
    docker(env, &["update", "--pids-limit=9", "few"])
        .succeeds()
        .stderr_shows("--pids-limit 9 counts when the container is started");
    docker(env, &["rm", "-f", "few"]).succeeds();
    docker(env, &["create", "--name=usual", "shell"]).succeeds();
    assert_eq!(shown("usual"), "null\n");
    docker(env, &["rm", "usual"]).succeeds();
    env.assert_nothing_left();
}

/// pasta and what carries ports are in the container's user namespace.
fn what_connects_a_container_is_none_of_its_processes(env: &Env) {
    needs!(uplink());
    image(env);
    let run = |options: &[&str], script: &str| {
        docker(env, &[&["run", "--rm", "--network=bridge"], options, &["shell", "sh", "-c", script]].concat())
    };
    let two = "sleep 9 & sleep 9 & echo two; kill $!";
    let ports: [&[&str]; 4] = [
        &[],
        &["-p", "127.0.0.1::80"],
        &["-p", "127.0.0.1::80", "-p", "127.0.0.1::53/udp"],
        &["-p", "::80", "-p", "127.0.0.1::53/udp"],
    ];
    for ports in ports {
        for rights in
            [None, Some("--cap-add=NET_ADMIN")].into_iter().take(if env.user() == User::NoRange { 1 } else { 2 })
        {
            let options: Vec<&str> = ports.iter().copied().chain(rights).collect();
            run(&[&options[..], &["--pids-limit=3"]].concat(), two).succeeds().prints("two\n").quietly();
            run(&[&options[..], &["--pids-limit=2"]].concat(), two).exits(2).prints("").stderr_shows("can't fork");
        }
    }
    env.assert_nothing_left();
}

/// What `docker update` says was changed counts, whoever starts the container meanwhile.
fn a_container_starts_with_the_limits_that_were_just_given(env: &Env) {
    image(env);
    let create = ["create", "--name=bound", "--network=none", "shell", "sh", "-c", "ulimit -u; sleep 2"];
    docker(env, &create).succeeds();
    for processes in 50..54 {
        let (started, updated) = std::thread::scope(|scope| {
            let started = scope.spawn(|| docker(env, &["start", "-a", "bound"]));
            let updated = docker(env, &["update", &format!("--pids-limit={processes}"), "bound"]);
            (started.join().expect("it does not panic").succeeds(), updated.succeeds())
        });
        // Pid 1 is one of them. Of a container that runs already it is said that it stays as it is.
        let has_it = started.stdout == format!("{}\n", processes + 1);
        assert_eq!(has_it, updated.stderr.is_empty(), "{started}\n{updated}");
    }
    docker(env, &["rm", "-f", "bound"]).succeeds();
    env.assert_nothing_left();
}
