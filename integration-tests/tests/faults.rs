//! What is missing or broken on the machine gives one clear error, a hint, and leaves nothing.

use std::process::Command;

use integration_tests::images::{Aci, busybox, with_probe};
use integration_tests::needs::{Place, place, tool};
use integration_tests::{Env, Outcome, User, denial, needs, process};
use rustix::process::Signal;
use syscalls::Errno;

/// A mount namespace of root's own, then a shell script with `$1` the data directory and `$2` the user, then the rest.
fn with_mounts<'e>(env: &'e Env, script: &str, args: &[&str]) -> integration_tests::Proa<'e> {
    let script = format!("data=$1 user=$2; shift 2; {script} && exec \"$@\"");
    let data = env.data().to_string_lossy().into_owned();
    let user = env.account().name.clone();
    env.make_dir(&env.data());
    env.proa(args.iter().copied()).through_as_invoker(["unshare", "--mount", "sh", "-ec", &script, "sh", &data, &user])
}

/// These need a machine changed by root, in namespaces of its own, and an ordinary user on it.
fn ordinary_users(test: impl Fn(&Env)) {
    needs!(place(Place::Host));
    needs!(User::Root.account());
    for user in [User::WithRange, User::NoRange] {
        test(&needs!(Env::of(user)));
    }
}

/// Either an error that names the cause, or the app runs and one line of warning names it.
fn refused_or_warned(outcome: Outcome, cause: &str) {
    if outcome.status.success() {
        assert_eq!(
            outcome.stderr.lines().filter(|it| it.contains(cause)).count(),
            1,
            "one line names {cause}: {outcome}"
        );
    } else {
        outcome.refuses(cause);
    }
}

#[test]
fn data_directory_read_only() {
    ordinary_users(|env| {
        let read_only = "mount --bind \"$data\" \"$data\" && mount -o remount,bind,ro \"$data\"";
        with_mounts(env, read_only, &["run", "hello"]).outcome().refuses("data");
        std::fs::set_permissions(env.data(), std::os::unix::fs::PermissionsExt::from_mode(0o500)).expect("it is ours");
        env.proa(["run", "hello"]).outcome().refuses("data");
    });
}

#[test]
fn data_directory_full() {
    ordinary_users(|env| {
        let image = Aci::new("big", busybox().file("big", vec![1; 4 << 20], 0o644)).sh("true").build(env);
        let image = image.to_str().expect("UTF-8");
        for size in ["16k", "64k", "1m", "3m"] {
            let small = format!("mount -t tmpfs -o size={size},mode=700,uid=$(id -u \"$user\") none \"$data\"");
            let args = ["--insecure-options=image", "run", "--net=none", image];
            // What is left in the data directory is looked at by the same shell, because the mount goes with it.
            let look = "\"$@\"; status=$?; \
                find \"$data/store/tmp\" \"$data/pods\" -mindepth 2 ! -path '*/embryo/??' | sed 's/^/left: /' >&2; exit $status";
            let outcome = with_mounts(env, &format!("{small} && {{ {look}; }}"), &args).outcome();
            assert!(!outcome.stderr.contains("left: "), "{outcome}");
            outcome.refuses("No space left on device");
        }
    });
}

/// A shell in which `proa` is the program under test on a data directory of 12 MiB, and `fill` and `empty` take and give back
/// what is left of it.
fn on_a_small_disk(env: &Env, image: &str, script: &str) -> Outcome {
    let script = format!(
        "mount -t tmpfs -o size=12m,mode=700,uid=$(id -u \"$user\") none \"$data\"; proa() {{ \"$run\" \"$@\"; }}
        run=$data.run; printf '#!/bin/sh\\nexec' >\"$run\"; printf ' \"%s\"' \"$@\" >>\"$run\"; echo ' \"$@\"' >>\"$run\"
        chmod 755 \"$run\"; image={image}
        fill() {{ cat /dev/zero >\"$data/filler\" 2>/dev/null || :; }}
        empty() {{ rm \"$data/filler\"; }}
        ended() {{ until proa list --no-legend | grep \"$1\" | grep -q exited; do sleep 0.1; done; }}
        proa --insecure-options=image fetch \"$image\" >/dev/null
        {script}
        exit; true"
    );
    with_mounts(env, &script, &[]).outcome()
}

/// An app goes on whose log has no room, its log tells what it lacks, nothing else is harmed, and how it ended is known.
#[test]
fn log_disk_full() {
    ordinary_users(|env| {
        let script = "until [ -e /go/go ]; do sleep 0.1; done
            i=0; while [ $i -lt 3000 ]; do echo \"$i of many lines, for which there is no room on the disk of the log\"; i=$((i + 1)); done
            exit 7";
        let image = Aci::new("writer", busybox()).sh(script).build(env);
        let go = env.path("go");
        env.make_dir(&go);
        let outcome = on_a_small_disk(
            env,
            &image.to_string_lossy(),
            &format!(
                "proa run --detach --net=none --name=writer --volume=go,kind=host,source={go} example.com/writer --mount=volume=go,target=/go >/dev/null
                proa run --detach --net=none --name=other example.com/writer --exec=/bin/sleep -- 1000 >/dev/null
                fill; truncate --size=-64k \"$data/filler\"; touch {go}/go
                proa wait writer; ended writer
                proa logs writer >\"$data.log\"; head -n 1 \"$data.log\"; grep -c 'of many lines' \"$data.log\"; rm \"$data.log\"
                proa status writer | grep lost; proa status --format=json writer | grep -o '\"logs_lost\":[1-9][0-9]*'
                proa status other | grep lost || :; proa status other | grep state=; proa enter other /bin/echo lives
                empty; proa run --net=none example.com/writer --exec=/bin/echo -- room
                proa stop --force other >/dev/null; proa gc --grace-period=0s 2>/dev/null; proa gc --grace-period=0s 2>/dev/null
                find \"$data/pods\" -mindepth 2 ! -path '*/embryo/??'; rm \"$run\"",
                go = go.display()
            ),
        );
        let lines: Vec<_> = outcome.stdout.lines().collect();
        assert_eq!(lines.first(), Some(&"7"), "how it ended: {outcome}");
        assert!(outcome.to_string().contains("bytes of this log could not be written"), "{outcome}");
        assert_eq!(lines[lines.len() - 3..], ["state=running", "lives", "room"], "{outcome}");
        let told = outcome.to_string();
        let told = told
            .lines()
            .find_map(|line| line.split_once("proa: ")?.1.strip_suffix(" of this log could not be written"));
        let lost = lines.iter().filter(|line| line.contains("lost")).collect::<Vec<_>>();
        assert_eq!(lost.len(), 2, "{outcome}");
        let bytes: u64 = lost[0]
            .strip_prefix("logs-lost-writer=")
            .and_then(|it| it.strip_suffix(" bytes")?.parse().ok())
            .unwrap_or(0);
        assert_eq!(*lost[1], format!("\"logs_lost\":{bytes}"), "{outcome}");
        assert_eq!(told, Some(format!("{bytes} bytes").as_str()), "what status says is what the log says: {outcome}");
        let kept: usize = lines[2].parse().unwrap_or_else(|_| panic!("a number of lines: {outcome}"));
        assert!((500..3000).contains(&kept), "{outcome}");
    });
}

/// What ends on a full disk has its status written, and what cannot begin there says why and leaves nothing.
#[test]
fn full_disk() {
    ordinary_users(|env| {
        let script = "until [ -e /go/go ]; do sleep 0.1; done; exit 7";
        let image = Aci::new("ends", busybox()).sh(script).build(env);
        let go = env.path("go");
        env.make_dir(&go);
        let outcome = on_a_small_disk(
            env,
            &image.to_string_lossy(),
            &format!(
                "volume=--volume=go,kind=host,source={go}; mount=--mount=volume=go,target=/go
                proa run --detach --net=none --name=ends $volume example.com/ends $mount >/dev/null
                proa run --net=none --name=stays $volume example.com/ends $mount & stays=$!
                proa run --detach --rm --net=none --name=goes $volume example.com/ends $mount >/dev/null
                until proa status stays 2>/dev/null | grep -q state=running; do sleep 0.02; done
                fill; touch {go}/go; wait $stays || echo $?
                proa wait ends; ended ends; proa wait ends; proa status ends | grep app-; proa docker inspect --format '{{{{.State.ExitCode}}}}' ends
                fill; for what in 'run --net=none' 'run --net=none --detach --name=new' prepare; do
                    if proa $what example.com/ends; then echo \"there was room: $what\"; fi
                done
                find \"$data/pods\" -mindepth 2 -maxdepth 2 ! -path '*/embryo/??' | wc -l
                proa rm ends >/dev/null; empty
                proa run --net=none --name=new example.com/ends --exec=/bin/echo -- room; proa list --no-legend
                rm \"$run\"",
                go = go.display()
            ),
        );
        let expected = ["7", "7", "7", "app-ends=7", "7", "2", "room"].join("\n") + "\n";
        assert_eq!(outcome.stdout, expected, "{outcome}");
        assert_eq!(outcome.stderr.matches("No space left on device").count(), 3, "{outcome}");
        assert!(outcome.stderr.matches("hint: free space in the data directory").count() == 3, "{outcome}");
    });
}

/// How the last attempt of an app that was restarted on a full disk ended is known as well.
#[test]
fn full_disk_and_restarts() {
    ordinary_users(|env| {
        let script = "until [ -e /go/go ]; do sleep 0.1; done; echo again >>/go/count
            if [ $(grep -c again /go/count) = 4 ]; then exit 3; fi; kill -9 $$";
        let image = Aci::new("again", busybox()).sh(script).build(env);
        let go = env.path("go");
        env.make_dir(&go);
        let outcome = on_a_small_disk(
            env,
            &image.to_string_lossy(),
            &format!(
                "proa run --detach --net=none --name=again --volume=go,kind=host,source={go} --restart=on-failure:3 \
                    example.com/again --mount=volume=go,target=/go >/dev/null
                fill; touch {go}/go; proa wait again; ended again
                proa status --format=json again | grep -o '\"attempt\":[0-9]*'; proa status again | grep app-
                proa status --format=json again | grep -o '\"exit_status\":[0-9]*,\"signal\":[a-z0-9]*'
                ls \"$data/pods/run/\"*/ | grep '^.*app.again'; rm -r {go}
                proa rm again >/dev/null; find \"$data/pods\" -mindepth 2 ! -path '*/embryo/??'; rm \"$run\"",
                go = go.display()
            ),
        );
        let expected = ["3", "\"attempt\":3", "app-again=3", "\"exit_status\":3,\"signal\":null", "app.again.3"];
        assert_eq!(outcome.stdout, expected.join("\n") + "\n", "{outcome}");
    });
}

/// A pod that could not be renamed has its name alone, an app that could not be added is none of the pod's, and one that is
/// removed makes room for what has to be written of that.
#[test]
fn full_disk_and_changes() {
    ordinary_users(|env| {
        let image = Aci::new("large", busybox()).sh("head -c 2000000 /dev/zero >/large").build(env);
        let outcome = on_a_small_disk(
            env,
            &image.to_string_lossy(),
            "proa prepare --net=none --name=old example.com/large >/dev/null
            proa app sandbox --detach --net=none --name=box >/dev/null
            proa app add box example.com/large --name=one; proa app start box --app=one
            until proa app status box --app=one | grep -q state=exited; do sleep 0.02; done
            fill
            if proa docker rename old new; then echo renamed; fi
            if proa status new; then echo found; fi; proa status old
            if proa app add box example.com/large --name=two; then echo added; fi; proa app list --no-legend box
            if proa cp \"$image\" old:/copy; then echo copied; fi
            proa app rm box --app=one; proa app list --no-legend box; proa cat-manifest box | grep -c large || :
            empty
            proa docker rename old new; proa status new >/dev/null
            proa app add box example.com/large --name=two
            proa stop box >/dev/null; proa rm box new >/dev/null
            find \"$data/pods\" -mindepth 2 ! -path '*/embryo/??'; rm \"$run\"",
        );
        let state: String =
            outcome.stdout.lines().filter(|line| !line.starts_with("created=")).collect::<Vec<_>>().join(" ");
        assert_eq!(state, "one state=prepared one\texited 0 two", "{outcome}");
        assert_eq!(outcome.stderr.matches("No space left on device").count(), 3, "{outcome}");
        assert_eq!(outcome.stderr.matches("hint: free space where the copy goes").count(), 1, "{outcome}");
    });
}

#[test]
fn no_overlay_support() {
    ordinary_users(|env| {
        // The kernel takes no overlay as another one's upper directory: proa in a container of somebody else's.
        let image = Aci::new("plain", busybox()).sh("echo ran").build(env);
        let image = image.to_str().expect("UTF-8");
        let stacked = "mount -t tmpfs none /mnt && mkdir /mnt/lower /mnt/upper /mnt/work && chown \"$user\" /mnt/upper && \
            mount -t overlay -o lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work none \"$data\"";
        let outcome = with_mounts(env, stacked, &["--insecure-options=image", "run", "--net=none", image]).outcome();
        refused_or_warned(outcome, "overlay");
    });
}

#[test]
fn no_newuidmap() {
    needs!(place(Place::Host));
    needs!(User::Root.account());
    let env = needs!(Env::of(User::WithRange));
    let hide = "for it in newuidmap newgidmap; do mount --bind /dev/null \"$(command -v $it)\"; done";
    refused_or_warned(with_mounts(&env, hide, &["run", "hello"]).outcome(), "newuidmap");
}

#[test]
fn newuidmap_that_fails() {
    needs!(place(Place::Host));
    needs!(User::Root.account());
    let env = needs!(Env::of(User::WithRange));
    // A copy without the setuid bit or file capabilities, as after an unpacking by an ordinary user.
    let strip = "mount -t tmpfs none /mnt && for it in newuidmap newgidmap; do \
        cp \"$(command -v $it)\" /mnt/$it && chmod 755 /mnt/$it && mount --bind /mnt/$it \"$(command -v $it)\"; done";
    refused_or_warned(with_mounts(&env, strip, &["run", "hello"]).outcome(), "newuidmap");
}

/// What cannot be had is not the program that would have it.
#[test]
fn a_null_device_that_is_closed() {
    needs!(place(Place::Host));
    needs!(User::Root.account());
    let env = needs!(Env::of(User::WithRange));
    let close =
        "mount -t tmpfs none /mnt && touch /mnt/null && chmod 600 /mnt/null && mount --bind /mnt/null /dev/null";
    with_mounts(&env, close, &["run", "hello"]).outcome().refuses("newuidmap: open /dev/null: Permission denied");
}

#[test]
fn no_landlock() {
    ordinary_users(|env| {
        let image = Aci::new("plain", busybox()).sh("echo ran").build(env);
        for errno in [Errno::ENOSYS, Errno::EOPNOTSUPP] {
            let denied = needs!(denial::of(&["landlock_create_ruleset"], errno));
            let outcome = env.run(&image, &[]).through_as_invoker(denied).outcome();
            refused_or_warned(outcome, "Landlock");
        }
    });
}

/// Landlock is what keeps an app from proa's own file; without it a copy in sealed memory has to.
#[test]
fn without_landlock_the_users_file_is_not_what_runs() {
    ordinary_users(|env| {
        let proa = env.own_proa();
        let denied = needs!(denial::of(&["landlock_create_ruleset"], Errno::EOPNOTSUPP));
        let image = Aci::new("sleep", with_probe(busybox())).exec(["/probe", "sleep", "600"]).build(env);
        let mut running = env.run(&image, &[]).binary(&proa).through_as_invoker(denied).start();
        running.wait_for("ready");
        for process in process::descendants(running.pid()) {
            let program = std::fs::read_link(format!("/proc/{}/exe", process.pid)).expect("root may look");
            assert_ne!(program, proa, "{process:?} runs the file its user can write");
        }
        running.kill(Signal::TERM);
        running.wait().exits(143);
    });
}

/// A kernel that fails at one system call of the launch: the app must not run half protected, and nothing is left.
#[test]
fn failing_system_calls_stop_the_launch() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    let image = Aci::new("plain", busybox()).sh("echo ran").build(&env);
    // Not those that setpriv needs, which runs after the filter is loaded.
    let names = "mount pivot_root move_mount open_tree fsopen fsconfig fsmount mount_setattr clone clone3 unshare \
                 sethostname seccomp landlock_restrict_self landlock_add_rule openat2 close_range socketpair socket";
    for (name, errno) in names.split_whitespace().flat_map(|it| [(it, Errno::EPERM), (it, Errno::ENOSYS)]) {
        let denied = needs!(denial::of(&[name], errno));
        let outcome = env.run(&image, &[]).through_as_invoker(denied).outcome();
        if outcome.status.success() {
            // Not used, or something as good was used in its place: see the table in docs/kernel-features.md.
            outcome.prints("ran\n");
        } else {
            assert!(!outcome.stdout.contains("ran"), "{name} failed and the app ran: {outcome}");
            outcome.rejects(if errno == Errno::EPERM { "not permitted" } else { "not implemented" });
        }
        env.assert_nothing_left();
    }
}

#[test]
fn few_descriptors_are_no_danger() {
    needs!(tool("prlimit"));
    let env = needs!(Env::of(User::WithRange));
    let image = Aci::new("plain", busybox()).sh("echo ran").build(&env);
    for limit in [8, 12, 16, 20, 24, 32, 40] {
        let outcome = env.run(&image, &[]).through(["prlimit", &format!("--nofile={limit}"), "--"]).outcome();
        if outcome.status.success() {
            outcome.prints("ran\n");
        } else {
            outcome.exits(254);
        }
    }
    // Tidying up takes descriptors too.
    env.proa(["gc"]).outcome().succeeds();
}

/// The controls: what the tests above take away is there otherwise, and what they use works.
#[test]
fn denial_denies() {
    needs!(place(Place::Host));
    // It runs no pod, but others that run beside it must not meet its processes.
    let _turn = needs!(Env::of(User::WithRange));
    let denied = needs!(denial::of(&["uname"], Errno::EXDEV));
    let output = Command::new(&denied[0]).args(&denied[1..]).arg("uname").output().expect("perl runs");
    assert!(!output.status.success(), "uname must fail");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("Invalid cross-device link"), "{stderr}");
}
