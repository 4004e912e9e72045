//! What rkt's functional tests of pods ask for, named after their files; docs/rkt-tests.md says where the others are.

use integration_tests::images::{Aci, Layout, Tree, busybox};
use integration_tests::needs::{Place, place};
use integration_tests::{Env, Outcome, User, each_user, needs};
use rustix::fs::{CWD, FileType, Mode, chmod, mknodat};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn image(env: &Env) -> String {
    format!("oci:{}", Layout::new("inspect").layer(busybox()).config("Cmd", json!(["true"])).build(env).display())
}

fn proa(env: &Env, words: &[&str]) -> Outcome {
    env.proa(["--insecure-options=image"].iter().chain(words)).outcome()
}

each_user! {
    rkt_cat_manifest,
    rkt_exit,
    rkt_gc,
    rkt_ipcns,
    rkt_list,
    rkt_mountns,
    rkt_mtab,
    rkt_options_that_ask_for_what_is_so,
    rkt_paths,
    rkt_prepare,
    rkt_rm,
    rkt_root_commands,
    rkt_status,
    rkt_stop,
}

fn rkt_cat_manifest(env: &Env) {
    let file = env.path("uuid");
    let uuid = proa(env, &["prepare", &image(env)]).succeeds().line().to_owned();
    env.write("uuid", &uuid);
    let by_uuid = proa(env, &["cat-manifest", &uuid]).succeeds();
    let manifest: Value = serde_json::from_str(&by_uuid.stdout).expect("JSON");
    assert_eq!((&manifest["acKind"], &manifest["apps"][0]["name"]), (&json!("PodManifest"), &json!("inspect")));
    let by_file = format!("--uuid-file={}", file.display());
    proa(env, &["cat-manifest", &by_file]).succeeds().prints(&by_uuid.stdout);
    let plain = proa(env, &["cat-manifest", "--pretty-print=false", &uuid[..8]]).succeeds();
    assert_eq!(plain.stdout.lines().count(), 1);
    proa(env, &["cat-manifest", "1234567890abcdef"]).refuses("no matches found for \"1234567890abcdef\"");
    proa(env, &["rm", &uuid]).succeeds();
}

fn rkt_exit(env: &Env) {
    let image = image(env);
    for status in [0, 1, 2, 5] {
        let script = format!("exit {status}");
        let name = format!("--name=exit{status}");
        proa(env, &["run", "--keep", &name, &image, "--", "sh", "-c", &script]).exits(status);
        let shown = proa(env, &["status", &name["--name=".len()..]]).succeeds();
        assert!(shown.stdout.contains("state=exited\n"), "{shown}");
        assert!(shown.stdout.contains(&format!("app-inspect={status}\n")), "{shown}");
    }
    let app = |name: &str, script: &str| [image.as_str(), name, "--", "sh", "-c", script].map(str::to_owned).to_vec();
    // The one that fails does so after the first has ended: it would be stopped else.
    let fails = "until test -e /v/done; do :; done; sleep 1; exit 5";
    let apps = [app("--name=hello0", "touch /v/done"), app("--name=hello1", fails), app("--name=hello2", "sleep 1000")];
    let words = ["run", "--keep", "--name=three", "--volume=v,kind=empty", "--mount=volume=v,target=/v"];
    let words: Vec<String> = words.map(str::to_owned).to_vec();
    let words = [words, apps.join(&"---".to_owned())].concat();
    proa(env, &words.iter().map(String::as_str).collect::<Vec<_>>()).exits(5);
    let shown = proa(env, &["status", "three"]).succeeds();
    assert!(shown.stdout.contains("app-hello0=0\n") && shown.stdout.contains("app-hello1=5\n"), "{shown}");
    let left = ["exit0", "exit1", "exit2", "exit5", "three"];
    proa(env, &["rm"].iter().chain(&left).copied().collect::<Vec<_>>()).succeeds();
}

fn rkt_gc(env: &Env) {
    proa(env, &["run", "--keep", "--name=old", &image(env)]).succeeds();
    let state = || proa(env, &["status", "old"]).stdout.lines().next().unwrap_or_default().to_owned();
    proa(env, &["gc", "--mark-only"]).succeeds().stderr_shows("moving pod \"");
    assert_eq!(state(), "state=exited garbage");
    proa(env, &["gc"]).succeeds().stderr_shows("not removed: still within grace period");
    assert_eq!(state(), "state=exited garbage");
    proa(env, &["gc", "--grace-period=0"]).succeeds().stderr_shows("arbage collect");
    proa(env, &["status", "old"]).exits(254);
    // A prepared pod goes when it has expired.
    let uuid = proa(env, &["prepare", &image(env)]).succeeds().line().to_owned();
    proa(env, &["gc", "--grace-period=0"]).succeeds();
    proa(env, &["status", &uuid]).succeeds().shows("state=prepared\n");
    proa(env, &["gc", "--grace-period=0", "--expire-prepared=0"])
        .succeeds()
        .stderr_shows("moving expired prepared pod");
    proa(env, &["gc", "--grace-period=0"]).succeeds();
    env.assert_nothing_left();
}

fn rkt_list(env: &Env) {
    let image = image(env);
    let uuid = proa(env, &["run", "--detach", &image, "--", "sleep", "1000"]).succeeds().line().to_owned();
    let full = proa(env, &["list", "--full", "--no-legend"]).succeeds();
    let cells: Vec<&str> = full.stdout.trim_end().split('\t').filter(|cell| !cell.is_empty()).collect();
    assert_eq!((cells[0], cells[1], cells[4]), (uuid.as_str(), "inspect", "running"), "{full}");
    assert!(cells[3].starts_with("sha256:") || cells[3].starts_with("sha512-"), "{full}");
    // The image may go; the pod still says what it was.
    let id = proa(env, &["image", "list", "--full", "--no-legend", "--fields=id"]).succeeds().line().trim().to_owned();
    proa(env, &["image", "rm", &id]).succeeds();
    proa(env, &["list", "--full", "--no-legend"]).succeeds().prints(&full.stdout);
    let listed: Value = serde_json::from_str(&proa(env, &["list", "--format=json"]).succeeds().stdout).expect("JSON");
    let (created, started) = (listed[0]["created_ns"].as_u64(), listed[0]["started_ns"].as_u64());
    assert!(created.is_some() && created <= started, "{listed}");
    proa(env, &["stop", "--force", &uuid]).succeeds();
    proa(env, &["rm", &uuid]).succeeds();
}

fn rkt_mountns(env: &Env) {
    let script = "readlink /proc/self/ns/mnt; cut -d ' ' -f 5,7 /proc/self/mountinfo | grep '^/ '";
    let shown = proa(env, &["run", &image(env), "--", "sh", "-c", script]).succeeds();
    let own = fs::read_link("/proc/self/ns/mnt").expect("procfs");
    let mut lines = shown.stdout.lines();
    assert_ne!(lines.next(), own.to_str(), "{shown}");
    // What is mounted on the host later does not come in, and nothing goes out.
    assert!(!shown.stdout.contains("shared:"), "{shown}");
}

fn rkt_paths(env: &Env) {
    let script = "test -c /proc/sysrq-trigger && echo masked >&2; echo x >/proc/sysrq-trigger; cat /proc/kcore | head -c 1 | wc -c; ls /sys/firmware | wc -l; stat -c %a /dev/ptmx /dev/pts/ptmx";
    let shown = proa(env, &["run", &image(env), "--", "sh", "-c", script]).succeeds();
    // Over one that the kernel has lies the null device.
    let refused = shown.stderr.contains("/proc/sysrq-trigger") || shown.stderr.contains("masked");
    assert!(refused, "it can be written: {shown}");
    assert!(shown.stdout.starts_with("0\n0\n"), "{shown}");
    assert!(shown.stdout.lines().skip(2).any(|mode| mode == "666"), "{shown}");
}

fn rkt_prepare(env: &Env) {
    let image = image(env);
    let uuid = proa(env, &["prepare", &image, "--", "sh", "-c", "exit 7"]).succeeds().line().to_owned();
    assert_eq!(uuid.len(), 36);
    proa(env, &["run-prepared", &uuid]).exits(7);
    proa(env, &["run-prepared", &uuid]).exits(254).stderr_shows("is not prepared");
    let manifest = proa(env, &["cat-manifest", &uuid]).succeeds().stdout;
    let file = env.write("pod.json", manifest);
    let file = format!("--pod-manifest={}", file.display());
    for conflict in ["--volume=v,kind=empty", "--inherit-env", "--set-env=A=1", "--pull-policy=never"] {
        let refused = proa(env, &["prepare", conflict, &file]);
        refused.refuses("conflicting flags set with --pod-manifest (see --help)");
    }
    proa(env, &["prepare", &file, &image]).refuses("conflicting flags set with --pod-manifest (see --help)");
    proa(env, &["rm", &uuid]).succeeds();
}

fn rkt_rm(env: &Env) {
    let image = image(env);
    proa(env, &["run", "--keep", "--name=exited", &image]).succeeds();
    let uuid = proa(env, &["prepare", &image]).succeeds().line().to_owned();
    proa(env, &["rm", "exited", &uuid]).succeeds();
    proa(env, &["rm", &uuid]).refuses("no matches found");
    proa(env, &["rm", ""]).refuses("UUID cannot be empty");
    for place in ["run", "prepared", "prepare", "exited-garbage", "garbage"] {
        let dir = env.data().join("pods").join(place);
        assert_eq!(fs::read_dir(&dir).map_or(0, Iterator::count), 0, "{}", dir.display());
    }
}

/// In rkt these wanted root. Here nothing does: the test is that the user who runs it can do them all.
fn rkt_root_commands(env: &Env) {
    let image = image(env);
    let uuid = proa(env, &["prepare", &image, "--", "sleep", "1000"]).succeeds().line().to_owned();
    proa(env, &["run-prepared", "--detach", &uuid]).succeeds();
    proa(env, &["enter", &uuid, "true"]).succeeds();
    proa(env, &["app", "exec", &uuid, "true"]).succeeds();
    proa(env, &["app", "exec", &uuid, "--", "true"]).succeeds();
    for line in [&["status", &uuid][..], &["stop", &uuid], &["list"], &["image", "list"], &["rm", &uuid], &["gc"]] {
        proa(env, line).succeeds();
    }
    for line in [&["image", "gc"][..], &["config"], &["version"], &["trust", "--list"]] {
        proa(env, line).succeeds();
    }
    env.assert_nothing_left();
}

fn rkt_status(env: &Env) {
    let file = env.path("uuid");
    let uuid = proa(env, &["prepare", &image(env)]).succeeds().line().to_owned();
    env.write("uuid", format!("{uuid}\n"));
    let by_file = format!("--uuid-file={}", file.display());
    let shown = proa(env, &["status", &by_file]).succeeds();
    assert!(shown.stdout.starts_with("state=prepared\ncreated="), "{shown}");
    proa(env, &["status", "--uuid-file=/no/such"]).exits(1);
    proa(env, &["rm", &uuid]).succeeds();
}

fn rkt_stop(env: &Env) {
    let image = image(env);
    let file = env.path("uuid");
    let by_file = format!("--uuid-file={}", file.display());
    let save = format!("--uuid-file-save={}", file.display());
    for words in [&["stop"][..], &["stop", "--force"]] {
        let uuid = proa(env, &["run", "--detach", &save, &image, "--", "sleep", "1000"]).succeeds().line().to_owned();
        let line: Vec<&str> = words.iter().copied().chain([by_file.as_str()]).collect();
        proa(env, &line).succeeds().prints(&format!("\"{uuid}\"\n"));
        let shown = proa(env, &["status", &by_file]).succeeds();
        assert!(shown.stdout.starts_with("state=exited\n"), "{shown}");
        proa(env, &["rm", &uuid]).succeeds();
    }
    let uuid = proa(env, &["prepare", &image]).succeeds().line().to_owned();
    proa(env, &["stop", &uuid]).refuses("is not running");
    proa(env, &["rm", &uuid]).succeeds();
    // As rkt: neither is of a pod that is not there.
    proa(env, &["stop", "--uuid-file=/no/such"]).exits(1).stderr_shows("/no/such");
    proa(env, &["stop", &by_file, &uuid]).exits(254);
    proa(env, &["stop", "--uuid-file=/no/such", &uuid]).exits(254);
    // What is read once is not there a second time.
    for command in ["status", "stop"] {
        let fifo = env.path(format!("{command}.fifo"));
        mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o666), 0).expect("a fifo");
        chmod(&fifo, Mode::from_raw_mode(0o666)).expect("it is ours");
        let asked = env.proa([command, &format!("--uuid-file={}", fifo.display())]).start();
        fs::write(&fifo, "nosuchpod\n").expect("somebody reads it");
        asked.wait().exits(254).stderr_shows("nosuchpod");
    }
}

fn rkt_ipcns(env: &Env) {
    let image = image(env);
    let show = ["--", "readlink", "/proc/self/ns/ipc"];
    let own = fs::read_link("/proc/self/ns/ipc").expect("there is one");
    for mode in [&["--ipc=auto"][..], &["--ipc", "private"], &["--ipc="]] {
        let outcome = proa(env, &[&["run", "--net=none"], mode, &[&image], &show].concat()).succeeds();
        assert_ne!(outcome.line(), own.to_str().expect("UTF-8"), "{mode:?}");
    }
    for mode in ["--ipc=parent", "--ipc=junk"] {
        proa(env, &["run", mode, &image]).refuses("--ipc can only be auto or private");
    }
}

fn rkt_mtab(env: &Env) {
    let show = ["--", "sh", "-c", "readlink /etc/mtab; grep -c ' / ' /etc/mtab"];
    proa(env, &[&["run", "--net=none", &image(env)], &show[..]].concat()).succeeds().prints("../proc/self/mounts\n1\n");
    // An image's own stays.
    let layout =
        Layout::new("tabled").layer(busybox()).layer(Tree::new().dir("etc", 0o755).file("etc/mtab", "mine\n", 0o644));
    let tabled = format!("oci:{}", layout.config("Cmd", json!(["cat", "/etc/mtab"])).build(env).display());
    proa(env, &["run", "--net=none", &tabled]).succeeds().prints("mine\n");
}

/// rkt's manuals and tests write them in nearly every line.
fn rkt_options_that_ask_for_what_is_so(env: &Env) {
    let image = image(env);
    let so = ["--mds-register=false", "--private-users", "--net=none"];
    proa(env, &[&["run"], &so[..], &[&image, "--", "echo", "so"]].concat()).succeeds().prints("so\n");
    let outcome = proa(env, &["run", "--no-overlay", "--net=none", &image]).succeeds();
    outcome.stderr_shows("--no-overlay is not held");
    let uuid = proa(env, &["prepare", "--private-users=true", "--quiet=true", &image]).succeeds().line().to_owned();
    proa(env, &["run-prepared", "--mds-register=false", "--interactive=false", "--net=none", &uuid]).succeeds();
    let list = proa(env, &["list", "--full=true", "--no-legend=1"]).succeeds();
    assert!(list.stdout.starts_with(&uuid), "{list}");
    proa(env, &["gc", "--mark-only=T"]).succeeds();
    proa(env, &["rm", &uuid]).succeeds();
    // What Go takes for a truth value, on either side of an image.
    let touch = ["--readonly-rootfs=F", "--", "touch", "/x"];
    proa(env, &[&["run", "--net=none", "--inherit-env=0", &image], &touch[..]].concat()).succeeds();
    proa(env, &["run", &image, "--readonly-rootfs=perhaps"]).refuses("'perhaps'");
    proa(env, &["list", "--full=perhaps"])
        .refuses("invalid value 'perhaps' for '--full[=<BOOL>]': wanted: true or false");
    // The mistake is told, and not what is none.
    proa(env, &["list", "--full=true", "--nonsense"]).refuses("unexpected argument '--nonsense'");
    proa(env, &["run", "--debug=true", "--nonsense", &image]).refuses("unexpected argument '--nonsense'");
}

/// A uid-1000 app's pre-start handler runs as the app's user here: rkt ran it as root (docs/rkt-tests.md).
#[test]
fn rkt_run() {
    let env = needs!(Env::of(User::WithRange));
    let handlers = json!([{"name": "pre-start", "exec": ["/bin/busybox", "sh", "-c", "id -u"]}]);
    let aci = Aci::new("handled", busybox()).sh("id -u").user("1000", "1000").app("eventHandlers", handlers);
    let aci = aci.build(&env);
    proa(&env, &["run", aci.to_str().expect("UTF-8")]).succeeds().prints("1000\n1000\n");
}

/// The table in docs/rkt-tests.md names every one of rkt's files, and tests that there are.
#[test]
fn every_file_of_rkts_tests_is_accounted_for() {
    needs!(place(Place::Host));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the checkout");
    let table = fs::read_to_string(root.join("docs/rkt-tests.md")).expect("the checkout's");
    let mut sources = String::new();
    let mut waiting = vec![root.join("integration-tests/tests")];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(path).expect("the checkout's").map(|it| it.expect("the checkout's").path()));
        } else if path.extension().is_some_and(|it| it == "rs") {
            sources.push_str(&fs::read_to_string(path).expect("the checkout's"));
        }
    }
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| rkt_"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let files: BTreeSet<&str> = rows.iter().map(|row| row[0]).collect();
    assert!(files.len() >= 53 && files.len() == rows.len(), "{} files in {} rows", files.len(), rows.len());
    for row in &rows {
        let named = row[1].split('`').skip(1).step_by(2);
        for name in named.filter(|name| !name.contains(['/', ' ', '(', '.'])) {
            assert!(sources.contains(&format!("{name}(")), "{}: there is no test {name}", row[0]);
        }
    }
    let impossible = table.lines().filter(|line| line.starts_with("| rkt_") && line.contains("impossible: ")).count();
    assert!(impossible <= 8, "{impossible} files");
}
