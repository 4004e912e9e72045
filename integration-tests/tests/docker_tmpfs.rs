//! `docker run --tmpfs` and `--mount type=tmpfs`: file systems in memory.

use integration_tests::images::{Layout, busybox};
use integration_tests::{Env, Outcome, User, each_user};
use serde_json::json;

fn docker(env: &Env, words: &[&str]) -> Outcome {
    env.proa(["docker"].iter().chain(words)).outcome()
}

/// An image of a shell, stored as `shell`, that has something at /there.
fn image(env: &Env) {
    let layout = Layout::new("shell").layer(busybox().dir("there", 0o755).file("there/own", "image\n", 0o644));
    let layout = layout.config("Cmd", json!(["sh"])).build(env);
    let id = env.proa(["fetch", &format!("oci:{}", layout.display())]).outcome().succeeds().line().to_owned();
    docker(env, &["tag", &id, "shell"]).succeeds();
}

/// What a script prints in a container with these options.
fn run(env: &Env, options: &[&str], script: &str) -> Outcome {
    docker(env, &[&["run", "--rm", "--network=none"], options, &["shell", "sh", "-c", script]].concat())
}

each_user! {
    it_holds_as_much_as_was_said,
    it_is_mounted_as_was_said,
    it_is_empty_whenever_the_container_starts,
}

/// As much as goes into the file, in KiB.
const FILL: &str = "head -c 9000000 /dev/zero 2>/dev/null >/m/file; du -k /m/file | cut -f1";

fn it_holds_as_much_as_was_said(env: &Env) {
    image(env);
    for (option, holds) in [
        ("--tmpfs=/m:size=1m", "1024\n"),
        ("--tmpfs=/m:size=1048576", "1024\n"),
        ("--tmpfs=/m:size=64K,size=128k", "128\n"),
        ("--tmpfs=/m:nr_blocks=4", "16\n"),
        ("--mount=type=tmpfs,target=/m,tmpfs-size=2m", "2048\n"),
        // Without a bound it is the kernel's, and more than that.
        ("--tmpfs=/m", "8792\n"),
        ("--mount=type=tmpfs,target=/m,tmpfs-size=0", "8792\n"),
    ] {
        run(env, &[option], FILL).succeeds().prints(holds);
    }
    run(env, &["--tmpfs=/m:size=50%"], "df -P /m | grep -c tmpfs").succeeds().prints("1\n").quietly();
    // Its root is the first inode.
    let three = "for it in 1 2 3; do touch /m/$it 2>/dev/null && echo $it; done";
    run(env, &["--tmpfs=/m:nr_inodes=3"], three).exits(1).prints("1\n2\n");
    for (option, wrong) in [
        ("--tmpfs=/m:size=x", "--tmpfs /m:size=x: invalid tmpfs option [\"size=x\"]"),
        ("--tmpfs=/m:bogus", "--tmpfs /m:bogus: invalid tmpfs option [\"bogus\"]: there are size="),
        ("--tmpfs=/m:mode=9", "invalid tmpfs option [\"mode=9\"]"),
        ("--tmpfs=/m:uid=root", "invalid tmpfs option [\"uid=root\"]"),
        ("--mount=type=tmpfs,target=/m,tmpfs-size=x", "tmpfs-size x: wanted a number"),
        ("--tmpfs=/proc", "would cover"),
    ] {
        run(env, &[option], "true").exits(125).stderr_shows(wrong);
    }
    env.assert_nothing_left();
}

fn it_is_mounted_as_was_said(env: &Env) {
    image(env);
    let options = "set -- $(grep ' /m ' /proc/self/mounts); echo $3 $4 | sed 's/,/ /g'";
    let shown = run(env, &["--tmpfs=/m"], options).succeeds();
    for word in ["tmpfs", "rw", "nosuid", "nodev", "noexec"] {
        assert!(shown.stdout.split_whitespace().any(|it| it == word), "{word}: {shown}");
    }
    // Programs in it.
    let execute = "cp /bin/busybox /m/echo; /m/echo ran 2>/dev/null || echo not";
    run(env, &["--tmpfs=/m"], execute).succeeds().prints("not\n").quietly();
    run(env, &["--tmpfs=/m:exec"], execute).succeeds().prints("ran\n").quietly();
    run(env, &["--tmpfs=/m:ro"], "touch /m/x 2>/dev/null || echo read-only").succeeds().prints("read-only\n");
    run(env, &["--tmpfs=/m:suid"], "true").succeeds().stderr_shows("--tmpfs /m:suid: suid is not held");
    // It hides what the image has, a volume may lie in it, and the app's own socket.
    let volume = format!("-v={}:/there/deep/er", env.root().display());
    run(env, &["--tmpfs=/there:size=1m", &volume], "ls /there /there/deep")
        .succeeds()
        .prints("/there:\ndeep\n\n/there/deep:\ner\n");
    run(env, &["--tmpfs=/run:size=64k"], "ls /run/proa").succeeds().prints("identity.sock\n").quietly();
    run(env, &["--read-only", "--tmpfs=/m:mode=0750"], "touch /m/x; stat -c '%a %u:%g' /m")
        .succeeds()
        .prints("750 0:0\n");
    let owned = run(env, &["--tmpfs=/m:uid=7,gid=8,mode=700"], "stat -c '%a %u:%g' /m");
    match env.user() {
        User::NoRange => owned.exits(125).stderr_shows("its owner 7:8 is not one of the pod's ids"),
        _ => owned.succeeds().prints("700 7:8\n"),
    };
    // Whoever is the caller owns what is given to that number.
    if env.user() != User::Root {
        let (uid, gid) = (env.account().uid, env.account().gid);
        env.make_dir(&env.path("work"));
        let (user, work) = (format!("-u={uid}:{gid}"), format!("-v={}:/work", env.path("work").display()));
        let own = format!("--tmpfs=/m:uid={uid},gid={gid},mode=700");
        run(env, &[&user, &work, &own, "--tmpfs=/n"], "touch /m/x /n/x /work/x; stat -c '%a %u:%g' /m /m/x")
            .succeeds()
            .prints(&format!("700 {uid}:{gid}\n644 {uid}:{gid}\n"))
            .quietly();
    }
    env.assert_nothing_left();
}

fn it_is_empty_whenever_the_container_starts(env: &Env) {
    image(env);
    let options = ["--name=kept", "--network=none", "--tmpfs=/m:size=1m", "--mount=type=tmpfs,dst=/n"];
    let script = "ls /m /n; echo mine >/m/file; echo mine >/n/file; cat /m/file >>/disk; cat /disk";
    docker(env, &[&["run"], &options[..], &["shell", "sh", "-c", script]].concat()).prints("/m:\n\n/n:\nmine\n");
    docker(env, &["start", "-a", "kept"]).succeeds().prints("/m:\n\n/n:\nmine\nmine\n");
    let shown = |format: &str| docker(env, &["inspect", "-f", format, "kept"]).succeeds().stdout;
    assert_eq!(shown("{{json .HostConfig.Tmpfs}}"), "{\"/m\":\"noexec,size=1m\",\"/n\":\"noexec\"}\n");
    assert_eq!(shown("{{range .Mounts}}{{.Type}} {{.Destination}};{{end}}"), "tmpfs /n;tmpfs /m;\n");
    assert_eq!(shown("{{json .Config.Volumes}}"), "{}\n");
    docker(env, &["ps", "-a", "--format", "{{.LocalVolumes}}"]).succeeds().prints("0\n");
    // It is no volume for others.
    docker(env, &["run", "--rm", "--network=none", "--volumes-from=kept", "shell", "sh", "-c", "ls /m 2>&1"])
        .exits(1)
        .prints("ls: /m: No such file or directory\n");
    docker(env, &["rm", "kept"]).succeeds();
    env.assert_nothing_left();
}
