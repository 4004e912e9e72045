//! Clumsy and hostile words, archives and moments: one clear error each, and nothing is left.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, Instant};

use integration_tests::images::{Layout, Packing, Tree, busybox};
use integration_tests::{Env, Outcome, User, each_user, needs};
use rustix::process::Signal;
use serde_json::json;

fn docker(env: &Env, words: &[&str]) -> Outcome {
    env.proa(["docker"].iter().chain(words)).outcome()
}

fn image(env: &Env) -> &'static str {
    let layout = Layout::new("shell").layer(busybox()).config("Cmd", json!(["sh"])).build(env);
    let id = env.proa(["fetch", &format!("oci:{}", layout.display())]).outcome().succeeds().line().to_owned();
    docker(env, &["tag", &id, "shell"]).succeeds();
    "shell"
}

each_user! {
    of_many_that_want_a_name_one_gets_it,
    a_client_may_be_killed_at_any_moment,
    what_is_wanted_of_a_container_that_ends_is_refused,
    archives_are_unpacked_as_far_as_they_may,
}

/// docker's options have no other way to say that nothing was chosen, and scripts leave variables empty.
#[test]
fn options_that_are_empty_were_not_given() {
    let env = &needs!(Env::of(User::WithRange));
    let image = image(env);
    let options =
        ["--name=", "-u=", "-w=", "-h=", "--network=", "--restart=", "--stop-signal=", "--ip="].map(|it| it.to_owned());
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    docker(env, &[&["run", "--rm"], &options[..], &[image, "id", "-u"]].concat()).succeeds().prints("0\n").quietly();
    docker(env, &["run", "-d", "--name=web", image, "sleep", "1000"]).succeeds();
    docker(env, &["exec", "-u=", "-w=", "web", "id", "-u"]).succeeds().prints("0\n");
    docker(env, &["ps", "--format", ""]).succeeds().shows("CONTAINER ID");
    docker(env, &["inspect", "-f", "", "web"]).succeeds().shows("\"Id\": ");
    docker(env, &["logs", "--since=", "--until=", "web"]).succeeds().prints("");
    docker(env, &["events", "--since=", "--until=0s"]).succeeds().prints("");
    docker(env, &["rm", "-f", "web"]).succeeds();
    env.assert_nothing_left();
}

#[test]
fn words_that_make_no_sense_are_named() {
    let env = &needs!(Env::of(User::WithRange));
    let image = image(env);
    let run = |options: &[&str]| docker(env, &[&["run", "--rm", "--network=none"], options, &[image, "true"]].concat());
    run(&["-e", ""]).exits(125).stderr_shows("invalid argument \"\" for \"-e, --env\" flag");
    run(&["-e", "=x"]).exits(125).stderr_shows("invalid environment variable: =x");
    run(&["-p", "x=y"]).exits(125).stderr_shows("-p x=y: \"x=y\" is no port");
    run(&["--pull=x"]).exits(125).stderr_shows("'x'").stderr_shows("hint: there are always, missing, never");
    run(&["--\u{9b}31m"]).exits(125).stderr_shows("unknown flag: --\\u{9b}31m\n");
    for (words, which) in [(&["run", "-w"][..], "'w' in -w"), (&["ps", "--format"], "--format")] {
        docker(env, words).exits(125).stderr_shows(&format!("flag needs an argument: {which}\nSee 'docker "));
    }
    // What does not come of an option has docker's other status, and a group alone none.
    docker(env, &["login", "-u", "x"]).exits(1).stderr_shows("from a non TTY device");
    docker(env, &["volume", "create", "a/b"]).exits(1).stderr_shows("invalid characters");
    docker(env, &["stop", "-s", "NONE", "x"]).exits(1).stderr_shows("\"NONE\" is not a signal");
    docker(env, &["events", "--since", "junk"]).exits(1).stderr_shows("junk");
    for group in ["volume", "system", "network", "container", "image"] {
        docker(env, &[group]).succeeds().shows("Usage: docker ");
    }
    docker(env, &["tag", image, "sha256:ab"])
        .exits(1)
        .stderr_shows("\"sha256:ab\": refusing to create an ambiguous tag using digest algorithm sha256 as name");
    docker(env, &["commit", "", "x"]).exits(1).stderr_shows("No such container: \n");
    docker(env, &["commit", "nosuch"]).exits(1).stderr_shows("No such container: nosuch\n");
    let junk = OsStr::from_bytes(b"a\x01\xff\x9b");
    let words = ["docker", "rm"].map(OsStr::new).into_iter().chain([junk]);
    env.proa(words).outcome().exits(125).stderr_shows("\"a\\x01\u{fffd}\u{fffd}\" is not UTF-8\n");
    env.assert_nothing_left();
}

fn of_many_that_want_a_name_one_gets_it(env: &Env) {
    const COUNT: usize = 20;
    let image = image(env);
    let run = ["docker", "run", "-d", "--name=same", "--network=none", image, "sleep", "1000"];
    let all: Vec<_> = (0..COUNT).map(|_| env.proa(run).start()).collect();
    let ended: Vec<Outcome> = all.into_iter().map(|one| one.wait()).collect();
    let (got, refused): (Vec<_>, Vec<_>) = ended.into_iter().partition(|outcome| outcome.status.success());
    assert_eq!((got.len(), refused.len()), (1, COUNT - 1), "{refused:?}");
    refused.into_iter().for_each(|outcome| drop(outcome.exits(125).stderr_shows("in use by")));
    docker(env, &["ps", "-a", "--no-trunc", "--format", "{{.ID}}"]).succeeds().prints(&got[0].stdout);
    docker(env, &["rm", "-f", "same"]).succeeds();
    env.assert_nothing_left();
}

fn a_client_may_be_killed_at_any_moment(env: &Env) {
    let image = image(env);
    for delay in 0..12 {
        let name = format!("--name=c{delay}");
        let run = env.proa(["docker", "run", "-d", &name, "--network=none", image, "sleep", "1000"]).start();
        std::thread::sleep(Duration::from_millis(delay * 5));
        run.kill(Signal::KILL);
        drop(run.wait());
    }
    // Whoever was made runs, and whoever is being made by a supervisor of its own will: all of them can be removed.
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut calm = 0;
    while calm < 10 {
        let ids = docker(env, &["ps", "-aq"]).succeeds().stdout;
        let ids: Vec<&str> = ids.lines().collect();
        calm = if ids.is_empty() { calm + 1 } else { 0 };
        if !ids.is_empty() {
            docker(env, &[&["rm", "-f"], &ids[..]].concat());
        }
        assert!(Instant::now() < deadline, "{ids:?} stay");
        std::thread::sleep(Duration::from_millis(50));
    }
    env.proa(["gc"]).outcome().succeeds();
    env.assert_nothing_left();
}

fn what_is_wanted_of_a_container_that_ends_is_refused(env: &Env) {
    let image = image(env);
    docker(env, &["run", "-d", "--name=web", "--network=none", image, "sleep", "1000"]).succeeds();
    let each = [&["exec", "web", "sleep", "1000"][..], &["top", "web"], &["cp", "web:/bin/sh", "-"]];
    let words = |one: &[&str]| ["docker"].into_iter().chain(one.iter().copied()).map(str::to_owned).collect::<Vec<_>>();
    let all: Vec<_> = each.iter().cycle().take(9).map(|one| env.proa(words(one)).start()).collect();
    docker(env, &["stop", "-t=0", "web"]).succeeds();
    for one in all.into_iter().map(|one| one.wait()) {
        // Killed with the container, done before its end, or refused in words that say so.
        let said = ["is not running", "has ended", "Could not find the file", "ends early"];
        let told = said.iter().any(|said| one.stderr.contains(said)) && !one.stderr.contains("Broken pipe");
        assert!(matches!(one.status.code(), Some(0 | 137)) || (one.status.code() == Some(1) && told), "{one}");
    }
    for line in [
        &["docker", "exec", "web", "sh", "-c", "echo in; sleep 1000"][..],
        &["enter", "web", "sh", "-c", "echo in; sleep 1000"],
    ] {
        docker(env, &["start", "web"]).succeeds();
        let mut inside = env.proa(line).start();
        inside.wait_for("in");
        docker(env, &["kill", "web"]).succeeds();
        assert_eq!(inside.wait().exits(137).stderr, "", "the kernel has killed it");
    }
    docker(env, &["rm", "web"]).succeeds();
    env.assert_nothing_left();
}

fn archives_are_unpacked_as_far_as_they_may(env: &Env) {
    let image = image(env);
    docker(env, &["run", "-d", "--name=web", "--network=none", image, "sleep", "1000"]).succeeds();
    docker(env, &["exec", "web", "mkdir", "/in"]).succeeds();
    let copy = |tree: Tree| env.proa(["docker", "cp", "-", "web:/in"]).outcome_with_input(&tree.tar());
    // Directories that nobody has named are for everybody, whatever the umask is.
    copy(Tree::new().file("a/b/file", "x", 0o644)).succeeds();
    docker(env, &["exec", "web", "stat", "-c", "%a", "/in/a", "/in/a/b"]).succeeds().prints("755\n755\n");
    copy(Tree::new().symlink("out", "/etc").file("out/evil", "x", 0o644))
        .exits(1)
        .stderr_shows("out/evil: something on");
    copy(Tree::new().file("../evil", "x", 0o644)).exits(1).stderr_shows("../evil");
    docker(env, &["exec", "web", "sh", "-c", "ls /etc/evil /evil"]).exits(1).prints("");
    let foreign = copy(Tree::new().file("foreign", "x", 0o644).owned_by(4_000_000_000, 4_000_000_000));
    if env.user() == User::NoRange {
        foreign.succeeds();
    } else {
        foreign.exits(1).stderr_shows("foreign: its owner 4000000000:4000000000 is none of the ids of the pod");
    }
    // Packed, as docker's daemon takes it.
    let tar = Tree::new()
        .file("packed", "unpacked\n", 0o640)
        .dir("more", 0o700)
        .file("more/one", vec![b'x'; 300_000], 0o644)
        .tar();
    for packing in [Packing::Gzip, Packing::Zstd, Packing::Tar] {
        env.proa(["docker", "cp", "-", "web:/in"]).outcome_with_input(&packing.pack(&tar)).succeeds();
        let script = "cat /in/packed; stat -c %a /in/packed /in/more; wc -c </in/more/one; rm -r /in/packed /in/more";
        docker(env, &["exec", "web", "sh", "-c", script]).succeeds().prints("unpacked\n640\n700\n300000\n");
    }
    let half = Packing::Gzip.pack(&tar);
    let half = env.proa(["docker", "cp", "-", "web:/in"]).outcome_with_input(&half[..half.len() / 2]);
    half.exits(1).stderr_shows("truncated gzip stream");
    env.proa(["docker", "cp", "-", "web:/in"]).outcome_with_input(b"\x1f\x8b no").exits(1).stderr_shows("gzip");
    env.proa(["docker", "cp", "-", "web:/in"]).outcome_with_input(b"no archive at all").exits(1);
    docker(env, &["cp", "web:/dev/null", "null"]).exits(1).stderr_shows("there is nothing to copy");
    docker(env, &["rm", "-f", "web"]).succeeds();
    env.assert_nothing_left();
}
