//! `proa cp` and `proa export`: files leave apps and come into them, and nobody is led astray on the way.

use integration_tests::images::{Layout, busybox};
use integration_tests::{Env, Outcome, User, each_user, needs};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// How often a race is tried. `integration-tests/run --full` has more patience.
fn rounds() -> usize {
    if std::env::var_os("PROA_TEST_FULL").is_some() { 300 } else { 6 }
}

/// Starts a pod `web`, and waits until its script has come to `ready`.
fn start(env: &Env, script: &str, more: &[&str]) {
    let layout = Layout::new("web").layer(busybox()).config("Cmd", json!(["sh"])).build(env);
    let image = format!("oci:{}", layout.display());
    let script = format!("{script}; echo ready; sleep 1000");
    let words = [&["run", "--detach", "--name", "web"], more, &[&*image, "--", "sh", "-c", &*script]].concat();
    env.proa(words).outcome().succeeds();
    let deadline = std::time::Instant::now() + integration_tests::limit();
    while !env.proa(["logs", "web"]).outcome().stdout.contains("ready") {
        assert!(std::time::Instant::now() < deadline, "the pod did not get ready");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn end(env: &Env) {
    env.proa(["stop", "--force", "web"]).outcome().succeeds();
    env.proa(["rm", "web"]).outcome().succeeds();
    env.assert_nothing_left();
}

fn cp(env: &Env, from: &str, to: &str) -> Outcome {
    env.proa(["cp", from, to]).outcome()
}

/// Runs a script in which PROA is the program.
fn shell(env: &Env, script: &str) -> Outcome {
    let script = script.replace("PROA", &format!("\"$0\" --dir '{}'", env.data().display()));
    let proa = integration_tests::binaries::proa();
    env.command("sh", vec!["-c".into(), script.into(), proa.into()]).outcome()
}

/// Runs proa with a standard output that nobody reads any more; prints its exit status.
fn unread(env: &Env, words: &str) -> Outcome {
    shell(env, &format!("{{ {{ sleep 0.2; PROA {words}; echo $? >&3; }} | true; }} 3>&1"))
}

fn inside(env: &Env, script: &str) -> String {
    env.proa(["enter", "web", "sh", "-c", script]).outcome().succeeds().stdout
}

fn text(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

each_user! {
    files_and_directories_come_out_as_dockers_do,
    archives_on_standard_streams,
    pods_that_do_not_run,
    holes_stay_holes,
}

fn files_and_directories_come_out_as_dockers_do(env: &Env) {
    let script = "mkdir -p /d/e; echo one >/d/e/f; ln /d/e/f /d/g; chmod 4755 /d/g; chmod 500 /d/e; ln -s f /d/l; \
                  mkfifo /d/p; head -c 70000 /dev/zero >/d/zeros; touch -d 2001-02-03 /d/g";
    start(env, script, &[]);
    let out = env.path("out");
    env.make_dir(&out);
    let shown = |name: &str| out.join(name).display().to_string();
    cp(env, "web:/d/g", &shown("")).succeeds().prints("");
    cp(env, "web:/d/g", &shown("named")).succeeds();
    assert_eq!((text(out.join("g")), text(out.join("named"))), ("one\n".into(), "one\n".into()));
    let copied = fs::metadata(out.join("g")).expect("it was copied");
    // What an app makes set-user-ID is not so for its user on the host.
    assert_eq!((copied.mode() & 0o7777, copied.uid()), (0o755, env.account().uid));
    assert_eq!(copied.mtime() / 86400, 981_158_400 / 86400, "the time is the file's");
    // Into a directory that is there, to a name that is not, and what is in it.
    cp(env, "web:/d", &shown("")).succeeds();
    cp(env, "web:/d/", &shown("other")).succeeds();
    cp(env, "web:d/.", &shown("")).succeeds();
    for dir in [out.join("d"), out.join("other"), out.clone()] {
        assert_eq!(text(dir.join("e/f")), "one\n", "{}", dir.display());
        assert_eq!(fs::read_link(dir.join("l")).expect("a link"), Path::new("f"));
        assert_eq!(fs::metadata(dir.join("e")).expect("there").mode() & 0o777, 0o500);
        assert_eq!(fs::metadata(dir.join("zeros")).expect("there").len(), 70000);
    }
    let (f, g) = (fs::metadata(out.join("d/e/f")).expect("there"), fs::metadata(out.join("d/g")).expect("there"));
    assert_eq!(f.ino(), g.ino(), "a file of two names stays one");
    // A link is copied as such, unless it is to be followed.
    cp(env, "web:/d/l", &shown("link")).succeeds();
    assert!(fs::symlink_metadata(out.join("link")).expect("there").is_symlink());
    env.proa(["cp", "-L", "web:/d/l", &shown("followed")]).outcome().exits(254).stderr_shows("/d/l");
    inside(env, "ln -sf e/f /d/l");
    env.proa(["cp", "-L", "web:/d/l", &shown("followed")]).outcome().succeeds();
    assert_eq!(text(out.join("followed")), "one\n");
    // The whole root, without what the kernel makes up.
    cp(env, "web:/", &shown("root")).succeeds();
    assert!(
        out.join("root/bin/busybox").exists() && fs::read_dir(out.join("root/proc")).expect("there").next().is_none()
    );
    end(env);
}

#[test]
fn files_and_directories_go_in_as_dockers_do() {
    let env = &needs!(Env::of(User::WithRange));
    start(env, "mkdir /there; echo old >/there/old; ln -s /there /link", &[]);
    let dir = env.path("dir");
    env.make_dir(&dir.join("deep"));
    for (name, content) in [("dir/a", "a\n"), ("dir/deep/b", "b\n"), ("file", "new\n")] {
        env.write(name, content);
    }
    fs::set_permissions(env.path("dir/a"), fs::Permissions::from_mode(0o4751)).expect("it is ours");
    let (dir, file) = (dir.display().to_string(), env.path("file").display().to_string());
    cp(env, &dir, "web:/there").succeeds().prints("");
    cp(env, &dir, "web:/fresh").succeeds();
    cp(env, &format!("{dir}/."), "web:/link").succeeds();
    cp(env, &file, "web:/there/old").succeeds();
    cp(env, &file, "web:/link/").succeeds();
    let read = "cat /there/dir/a /fresh/deep/b /there/deep/b /there/old /there/file; stat -c '%a %u:%g' /fresh/a";
    assert_eq!(inside(env, read), "a\nb\nb\nnew\nnew\n4751 0:0\n");
    end(env);
}

fn archives_on_standard_streams(env: &Env) {
    start(env, "mkdir -p /d/e; echo one >/d/e/f; chown 7:8 /d/e/f 2>/dev/null || true", &[]);
    let shell = |script: &str| shell(env, script);
    let listed = shell("PROA cp web:/d - | tar -tf -").succeeds();
    assert_eq!(listed.stdout, "d/\nd/e/\nd/e/f\n");
    let ranged = env.user() != User::NoRange;
    if ranged {
        shell("PROA cp web:/d/e/f - | tar -tvf - --numeric-owner").succeeds().shows(" 7/8 ");
    }
    // Owners of an archive are kept, where there is more than one id.
    shell("mkdir -p in/x; echo two >in/x/y; tar -C in --owner=5 --group=6 -cf - x | PROA cp - web:/d").succeeds();
    let owner = inside(env, "cat /d/x/y; stat -c %u:%g /d/x/y");
    assert_eq!(owner, if ranged { "two\n5:6\n" } else { "two\n0:0\n" });
    // What other archives try.
    shell("echo x >z; tar -P -cf - --transform 's,z,../z,' z | PROA cp - web:/d").exits(254).stderr_shows("..");
    shell("tar -P -cf - --transform 's,z,/z,' z | PROA cp - web:/d").exits(254).stderr_shows("absolute");
    inside(env, "ln -s /etc /d/out");
    shell("tar -cf - --transform 's,z,out/z,' z | PROA cp - web:/d").exits(254).stderr_shows("no directory");
    shell("echo no archive | PROA cp - web:/d").exits(254);
    shell("PROA cp - web:/nosuch </dev/null").exits(254).stderr_shows("/nosuch");
    assert_eq!(inside(env, "ls /d; test ! -e /etc/z"), "e\nout\nx\n");
    for words in ["cp web:/bin -", "docker cp web:/bin -", "logs web", "logs --follow web", "cat-manifest web"] {
        unread(env, words).succeeds().quietly().prints("0\n");
    }
    // Another failure is told whoever reads.
    unread(env, "cp web:/nosuch -").stderr_shows("/nosuch").prints("254\n");
    end(env);
}

fn pods_that_do_not_run(env: &Env) {
    let layout = Layout::new("web").layer(busybox()).build(env);
    let image = format!("oci:{}", layout.display());
    let file = env.write("file", "put\n").display().to_string();
    let out = env.path("got").display().to_string();
    env.proa(["prepare", "--name", "web", &image, "--", "sh", "-c", "cat /put; echo left >/left"]).outcome().succeeds();
    cp(env, &file, "web:/put").succeeds();
    cp(env, "web:/put", &out).succeeds();
    assert_eq!(text(&out), "put\n");
    env.proa(["run-prepared", "web"]).outcome().succeeds().prints("put\n");
    cp(env, "web:/left", &out).succeeds();
    assert_eq!(text(&out), "left\n");
    cp(env, &file, "web:/after").succeeds();
    cp(env, "web:/after", &out).succeeds();
    assert_eq!(text(&out), "put\n");
    for words in ["export web -", "docker export web", "docker export -o - web"] {
        shell(env, &format!("PROA {words} | tar -tf -")).succeeds().quietly().shows("left\n");
        unread(env, words).succeeds().quietly().prints("0\n");
    }
    assert!(!env.root().join("-").exists(), "it is standard output");
    env.proa(["rm", "web"]).outcome().succeeds();
    env.assert_nothing_left();
}

fn holes_stay_holes(env: &Env) {
    const TERABYTE: u64 = 1 << 40;
    let write = "echo data | dd of=/d/big bs=1048576 seek=1000 conv=notrunc 2>/dev/null";
    start(env, &format!("mkdir /d; truncate -s {TERABYTE} /d/big; {write}; ln /d/big /d/same"), &[]);
    let check = |file: &Path| {
        let found = fs::metadata(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert_eq!(found.len(), TERABYTE, "{}", file.display());
        assert!(found.blocks() * 512 < 1 << 20, "{} takes {} blocks", file.display(), found.blocks());
        let mut data = [0; 6];
        let read = fs::File::open(file).and_then(|file| file.read_exact_at(&mut data, 1000 << 20));
        assert_eq!((read.is_ok(), &data), (true, b"data\n\0"), "{}", file.display());
    };
    let (copy, unpacked) = (env.path("copy"), env.path("unpacked"));
    cp(env, "web:/d/big", &copy.display().to_string()).succeeds();
    check(&copy);
    // As GNU tar has it, and back again.
    env.make_dir(&unpacked);
    let script = "\"$0\" --dir \"$1\" cp web:/d - | tar -C \"$2\" -xf -; \
                  tar -C \"$2\" --sparse --format=posix -cf - d/big | \"$0\" --dir \"$1\" cp - web:/";
    let words = [integration_tests::binaries::proa(), env.data(), unpacked.clone()];
    let words = ["-c".into(), script.into()].into_iter().chain(words.map(std::ffi::OsString::from));
    env.command("sh", words.collect::<Vec<_>>()).outcome().succeeds();
    check(&unpacked.join("d/big"));
    check(&unpacked.join("d/same"));
    let (size, blocks) = (TERABYTE.to_string(), inside(env, "stat -c '%s %b' /d/big"));
    let (found, blocks) = blocks.trim().split_once(' ').expect("two numbers");
    assert!(found == size && blocks.parse::<u64>().expect("a number") < 2048, "{found} {blocks}");
    // A layer has no holes: this one could never be taken in again.
    let told = "\"d/big\": with it more than 16 GiB of holes would be written out as zeros";
    env.proa(["commit", "web", "made:1"]).outcome().exits(254).stderr_shows(told).stderr_shows("volume");
    let listed = env.proa(["image", "list", "--no-legend"]).outcome().succeeds();
    assert!(!listed.stdout.contains("made:1"), "{}", listed.stdout);
    end(env);
}

#[test]
fn volumes_are_there_while_the_pod_runs() {
    let env = &needs!(Env::of(User::WithRange));
    let dir = env.path("shared");
    env.make_dir(&dir);
    env.write("shared/mine", "mine\n");
    let volume = format!("host,kind=host,source={},readOnly=true", dir.display());
    let more = ["--volume", &volume, "--mount", "volume=host,target=/host", "--volume", "data,kind=empty"];
    start(env, "true", &[&more[..], &["--mount", "volume=data,target=/data"]].concat());
    let (file, out) = (env.write("file", "x\n").display().to_string(), env.path("got").display().to_string());
    cp(env, "web:/host/mine", &out).succeeds();
    assert_eq!(text(&out), "mine\n");
    cp(env, &file, "web:/data/x").succeeds();
    assert_eq!(inside(env, "cat /data/x"), "x\n");
    cp(env, &file, "web:/host/x")
        .exits(254)
        .stderr_shows("/host/x: Read-only file system")
        .stderr_shows("hint: what is mounted there is read-only");
    cp(env, &dir.display().to_string(), "web:/host").exits(254).stderr_shows("/host/shared: Read-only file system");
    assert!(!dir.join("x").exists());
    end(env);
}

#[test]
fn links_of_an_app_lead_nowhere_but_inside_it() {
    let env = &needs!(Env::of(User::WithRange));
    env.make_dir(&env.path("canary"));
    let canary = env.write("canary/secret", "SECRET\n");
    let dir = env.path("canary").display().to_string();
    let up = "../".repeat(30);
    let script = format!(
        "mkdir /l; ln -s {0} /l/file; ln -s {dir} /l/dir; ln -s {up}{0} /l/up; ln -s /proc/1/root /l/proc",
        canary.display()
    );
    start(env, &script, &[]);
    let out = env.path("out").display().to_string();
    for path in ["/l/file", "/l/up", "/l/dir/secret", "/l/dir/", "/l/proc/etc/passwd", "/proc/1/root/etc/passwd"] {
        env.proa(["cp", "-L", &format!("web:{path}"), &out]).outcome().exits(254);
        assert!(!Path::new(&out).exists(), "{path}");
    }
    let file = env.write("file", "written\n").display().to_string();
    for path in ["/l/dir/secret", "/l/dir/new", "/l/proc/new"] {
        cp(env, &file, &format!("web:{path}")).exits(254);
    }
    // A link is no place: what is copied to it takes its place, or what it leads to inside.
    cp(env, &file, "web:/l/file").succeeds();
    assert_eq!(inside(env, "cat /l/file"), "written\n");
    assert_eq!(text(&canary), "SECRET\n");
    assert_eq!(fs::read_dir(env.path("canary")).expect("it is ours").count(), 1);
    end(env);
}

/// Whatever an app does while something is copied, the host's files are neither read nor written.
#[test]
fn exec_05_an_app_that_swaps_what_is_copied() {
    let env = &needs!(Env::of(User::WithRange));
    env.make_dir(&env.path("canary"));
    let canary = env.write("canary/secret", "SECRET\n");
    let dir = env.path("canary").display().to_string();
    // At the same path inside stands something else.
    let script = format!(
        "mkdir -p {dir} /r/p; echo inside >{dir}/secret; echo inside >/r/f; \
         (while :; do ln -sfn {dir} /r/q; mv -T /r/p /r/o; mv -T /r/q /r/p; rm /r/p; mv -T /r/o /r/p; done) 2>/dev/null & \
         (while :; do ln -sf {0} /r/g; mv /r/g /r/f; echo inside >/r/h; mv /r/h /r/f; done) 2>/dev/null & true",
        canary.display()
    );
    start(env, &script, &[]);
    let file = env.write("file", "written\n").display().to_string();
    for round in 0..rounds() {
        let out = env.path(format!("out{round}"));
        env.make_dir(&out);
        let shown = out.display().to_string();
        for (number, source) in ["web:/r/f", "web:/r", "web:/r/p/."].into_iter().enumerate() {
            let copied = cp(env, source, &format!("{shown}/{number}"));
            assert!([Some(0), Some(254)].contains(&copied.status.code()), "{copied}");
        }
        for target in ["web:/r/p/new", "web:/r/f"] {
            let copied = cp(env, &file, target);
            assert!([Some(0), Some(254)].contains(&copied.status.code()), "{copied}");
        }
        let read = env.command("grep", vec!["-rs".into(), "SECRET".into(), shown.into()]).outcome();
        assert_eq!(read.stdout, "", "the host's file came out in round {round}");
        assert_eq!(text(&canary), "SECRET\n", "round {round}");
        assert_eq!(fs::read_dir(env.path("canary")).expect("it is ours").count(), 1, "round {round}");
    }
    end(env);
}

#[test]
fn mistakes_are_told() {
    let env = &needs!(Env::of(User::WithRange));
    start(env, "mkdir /d", &[]);
    let file = env.write("file", "x\n").display().to_string();
    env.make_dir(&env.path("dir"));
    let dir = env.path("dir").display().to_string();
    for (from, to, told) in [
        ("web:/nosuch", "out", "/nosuch: No such file or directory"),
        (&*file, "web:/nosuch/", "/nosuch/: there is no such directory"),
        (&*file, "web:/no/such", "No such file or directory"),
        (&*file, "web:/bin/busybox/", "/bin/busybox/"),
        (&*dir, "web:/bin/busybox", "/bin/busybox: a directory cannot be copied to a file"),
        ("web:/bin/busybox/.", "out", "/bin/busybox/."),
        ("web:/proc/self/status", "out", "/proc/self/status"),
        ("web:/sys", "out", "/sys: the kernel makes this up"),
        ("nosuch:/x", "out", "no matches found for \"nosuch\""),
        ("web:", "out", "the path in the pod is empty"),
        ("web:/d", "web:/e", "copying between pods is not supported"),
        (&*file, "out", "one of the two must be in a pod"),
        ("-", "-", "one of the two must be in a pod"),
    ] {
        cp(env, from, to).exits(254).stderr_shows(told);
        assert!(!env.path("out").exists(), "{from} {to}");
    }
    env.proa(["cp", "--app", "db", "web:/d", "out"]).outcome().exits(254).stderr_shows("\"db\"");
    end(env);
}

#[test]
fn rkt_export() {
    let env = &needs!(Env::of(User::WithRange));
    start(env, "echo new >/made; rm /bin/true; mkdir -m 700 /deep", &["--set-env=A=1"]);
    let out = |name: &str| env.path(name).display().to_string();
    let export = |words: &[&str]| env.proa(["export"].iter().chain(words)).outcome();
    export(&["web", &out("web.aci")]).exits(254).stderr_shows("pod is not exited. Only exited pods can be exported.");
    let uuid = env.proa(["list", "--no-legend", "--full"]).outcome().succeeds();
    let uuid = uuid.line().split_whitespace().next().expect("a UUID").to_owned();
    export(&["web", &out("web.aci")]).exits(254).stderr_shows(&format!("pod {uuid}: pod is not exited"));
    env.proa(["stop", "web"]).outcome().succeeds();
    export(&["web", &out("web.aci")]).succeeds().prints("");
    export(&["web", &out("web.aci")]).exits(254).stderr_shows("output ACI file exists (try --overwrite)");
    export(&["--overwrite", "web", &out("web.aci")]).succeeds();
    export(&["--format=oci", "--name=w:1", "web", &out("layout")]).succeeds();
    export(&["--app=db", "web", &out("db.aci")]).exits(254).stderr_shows("\"db\"");
    // What was exported does not lean on the pod, nor on its image.
    env.proa(["rm", "web"]).outcome().succeeds();
    let script = "cat /made; test -e /bin/true || echo gone; stat -c %a /deep; echo $A";
    for image in [out("web.aci"), format!("oci:{}", out("layout"))] {
        let words = ["--insecure-options=image", "run", &*image, "--exec", "/bin/sh", "--", "-c", script];
        env.proa(words).outcome().succeeds().prints("new\ngone\n700\n\n");
    }
    env.proa(["aci", "validate", &out("web.aci")]).outcome().succeeds();
    env.assert_nothing_left();
}
