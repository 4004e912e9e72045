//! Images that lead out of their place, block who reads them, or bring what the host is to run.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use integration_tests::images::{Aci, Layout, Tree, busybox};
use integration_tests::needs::{Place, place};
use integration_tests::{Env, Outcome, User, binaries, limit, needs, process};
use rustix::process::Signal;
use serde_json::json;

use crate::{Canary, somebody};

fn run_layout(env: &Env, layout: &Path, more: &[&str]) -> Outcome {
    let image = format!("oci:{}", layout.display());
    env.proa(["run", "--net=none", &image].iter().chain(more)).outcome()
}

/// A symbolic link of one layer, and a file of the next one through it.
#[test]
fn unp_01_a_link_of_a_lower_layer_is_not_followed() {
    let env = needs!(somebody());
    let canary = Canary::new(&env);
    let lower = busybox().symlink("x", canary.path()).symlink("y", "../../../../../..");
    // `y/d` has no entry of its own: its owner and mode would be taken from below.
    let upper = Tree::new().file("x/pwn", "inside\n", 0o644).file("y/d/pwn", "inside\n", 0o644);
    let layout = Layout::new("linked").layer(lower).layer(upper).sh("cat /x/pwn /y/d/pwn; ls /x").build(&env);
    run_layout(&env, &layout, &[]).succeeds().prints("inside\ninside\npwn\n");
    canary.assert_untouched();
}

/// Fifos and devices in place of what is read of an image file or layout do not block.
#[test]
fn unp_10_a_fifo_in_the_place_of_an_image() {
    let env = needs!(somebody());
    let fifo = env.path("images/fifo.aci");
    let made = Command::new("mkfifo").arg(&fifo).status().expect("mkfifo");
    assert!(made.success() && fifo.metadata().expect("there").file_type().is_fifo());
    env.own(&fifo);
    env.proa(["--insecure-options=image".as_ref(), "fetch".as_ref(), fifo.as_os_str()]).outcome().rejects("fifo.aci");
    env.proa(["--insecure-options=image", "fetch", "/dev/zero"]).outcome().rejects("/dev/zero");
}

#[test]
fn unp_11_volumes_of_an_image_stay_inside() {
    let env = needs!(somebody());
    let canary = Canary::new(&env);
    let path = format!("/../../../..{}", canary.path());
    let look = format!("ls -A {}", canary.path());
    let layout = Layout::new("volumes").layer(busybox()).config("Volumes", json!({ &path: {} })).sh(&look).build(&env);
    // Cleaned it is a path inside, and there is nothing there.
    run_layout(&env, &layout, &[]).succeeds().prints("");
    let mount_point = json!([{"name": "data", "path": path}]);
    let image = Aci::new("volumes", busybox()).sh(&look).app("mountPoints", mount_point).build(&env);
    let outcome = env.run(&image, &["--volume=data,kind=empty"]).outcome();
    assert!(!outcome.stdout.contains("file"), "{outcome}");
    canary.assert_untouched();
}

/// Host programs read these two files of an image.
#[test]
fn unp_12_account_files_that_are_traps() {
    let env = needs!(somebody());
    env.write("accounts", "victim:x:0:0::/:/bin/sh\n");
    let accounts = env.path("accounts");
    let accounts = accounts.to_str().expect("UTF-8");
    for target in [accounts, "/proc/self/environ", "../../../../../../etc/passwd", "passwd"] {
        let tree = busybox().dir("etc", 0o755).symlink("etc/passwd", target).symlink("etc/group", target);
        let image = Aci::new("trap", tree).sh("id -u").user("victim", "0").build(&env);
        let since = Instant::now();
        let outcome = env.run(&image, &[]).outcome();
        assert!(!outcome.status.success() && outcome.stdout.is_empty(), "{target}: {outcome}");
        outcome.stderr_shows("the image's /etc/passwd");
        assert!(since.elapsed() < limit());
    }
    let tree = busybox().dir("etc/passwd", 0o755).dir("etc/group", 0o755);
    let image = Aci::new("folders", tree).sh("id -u").user("victim", "0").build(&env);
    env.run(&image, &[]).outcome().rejects("the image's /etc/passwd");
}

/// An image that has every program which somebody might start, in the place where it is looked for.
#[test]
fn unp_13_programs_of_an_image_are_not_run_on_the_host() {
    let env = needs!(somebody());
    let canary = Canary::new(&env);
    let trap = format!("echo ran \"$0\" >>{}/file", canary.path());
    let programs = [
        "xz",
        "gzip",
        "unpigz",
        "bzip2",
        "zstd",
        "tar",
        "gpg",
        "gpgv",
        "nsenter",
        "newuidmap",
        "newgidmap",
        "getent",
        "pasta",
        "ip",
        "sh",
        "cp",
        "mount",
        "unshare",
        "ldconfig",
    ];
    let name = |program: &&str| format!("bin/{program}");
    let tree = programs.iter().fold(Tree::new(), |tree, program| tree.script(name(program), &trap));
    let layout = Layout::new("traps").layer(tree.clone()).layer(Tree::new().file("f", "x", 0o644)).build(&env);
    let image = format!("oci:{}", layout.display());
    let inside = env.path("inside");
    // The control: they would tell.
    let control = env.path("control");
    env.make_dir(&control);
    fs::write(control.join("tar"), format!("#!/bin/sh\necho ran >>{}\n", control.join("told").display()))
        .expect("ours");
    fs::set_permissions(control.join("tar"), fs::Permissions::from_mode(0o755)).expect("ours");
    let ran = env.command("/usr/bin/env", vec!["tar".into()]).var("PATH", &control).outcome();
    assert!(ran.status.success() && control.join("told").exists(), "{ran}");
    let path = env.path("inside/rootfs/bin");
    let program = binaries::proa();
    // There, with nothing else in PATH.
    let proa = |args: &[&str]| {
        let data = env.data();
        let script = "cd inside/rootfs 2>/dev/null; exec \"$@\"";
        let start =
            ["-c".as_ref(), script.as_ref(), "sh".as_ref(), program.as_os_str(), "--dir".as_ref(), data.as_os_str()];
        let line = start.into_iter().chain(args.iter().map(OsStr::new)).map(OsStr::to_owned).collect();
        env.command("/bin/sh", line).var("PATH", &path).outcome().succeeds()
    };
    let id = env.proa(["fetch", &image]).outcome().succeeds().line().to_owned();
    proa(&["image", "render", &id, inside.to_str().expect("UTF-8")]);
    assert!(path.join("tar").exists(), "the traps are in PATH");
    let out = |name: &str| env.path(name).to_str().expect("UTF-8").to_owned();
    proa(&["fetch", &image]);
    proa(&["image", "verify", "--all"]);
    proa(&["image", "export", &id, &out("out.tar")]);
    proa(&["image", "extract", &id, &out("extracted")]);
    proa(&["image", "rm", &id]);
    proa(&["gc"]);
    canary.assert_untouched();
}

#[test]
fn unp_14_set_user_id_files_are_out_of_reach() {
    needs!(place(Place::Host));
    needs!(User::Root.account());
    let env = needs!(Env::of(User::NoRange));
    let other = needs!(User::WithRange.account());
    let image = Aci::new("suid", busybox().file("suid", "#!/bin/sh\nid -u\n", 0o4755)).build(&env);
    env.proa(["--insecure-options=image".as_ref(), "fetch".as_ref(), image.as_os_str()]).outcome().succeeds();
    let trees = env.data().join("store/trees");
    let tree = fs::read_dir(&trees).expect("there").next().expect("one").expect("readable").path();
    let file = tree.join("rootfs/suid");
    assert!(file.exists());
    // Whoever it belongs to, the folders above are closed.
    let ids = [format!("--reuid={}", other.uid), format!("--regid={}", other.gid)];
    let read = |file: &Path| {
        Command::new("setpriv").arg("--clear-groups").args(&ids).arg("cat").arg(file).output().expect("setpriv")
    };
    let refused = read(&file);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("Permission denied"));
    assert!(read(&env.write("open", "x")).status.success(), "the control: this user reads what is open");
    for dir in file.ancestors().skip(3).take_while(|dir| *dir != env.data()) {
        assert_eq!(dir.metadata().expect("there").mode() & 0o7777, 0o700, "{}", dir.display());
    }
}

/// Somebody with the same rights puts a link in the place of the folder that is being filled (also table 30).
#[test]
fn unp_23_the_folder_of_a_fetch_is_exchanged() {
    let env = needs!(somebody());
    let canary = Canary::new(&env);
    let folder = |tree: Tree, n| tree.dir(format!("d{n}"), 0o755).file(format!("d{n}/f"), vec![7; 20_000], 0o644);
    let image = Aci::new("many", (0..400).fold(busybox(), folder)).build(&env);
    let tmp = env.data().join("store/tmp");
    // What is under way: it has begun with the folders, and not come to the last one.
    let half = || {
        let works = fs::read_dir(&tmp).into_iter().flatten().flatten();
        let layers = works.flat_map(|work| fs::read_dir(work.path()).into_iter().flatten().flatten());
        let roots = layers.map(|layer| layer.path().join("rootfs"));
        roots.filter(|root| root.join("d3").exists() && !root.join("d390").exists()).last()
    };
    let exchange = || {
        let running = env.proa(["--insecure-options=image".as_ref(), "fetch".as_ref(), image.as_os_str()]).start();
        let all = |signal| {
            let children = process::descendants(running.pid()).into_iter().map(|child| child.pid);
            for pid in children.chain([running.pid()]) {
                process::kill(pid, signal);
            }
        };
        let mut exchanged = false;
        let lives = || process::all().iter().any(|it| it.pid == running.pid() && it.state != 'Z');
        while !exchanged && lives() {
            if half().is_none() {
                continue;
            }
            all(Signal::STOP);
            if let Some(root) = half() {
                fs::rename(&root, root.with_file_name("away")).expect("it stands still");
                symlink(canary.path(), &root).expect("the place is free");
                exchanged = true;
            }
            all(Signal::CONT);
        }
        let outcome = running.wait();
        assert!(!outcome.stderr.contains("panicked"), "{outcome}");
        canary.assert_untouched();
        env.proa(["gc"]).outcome();
        let _ = fs::remove_dir_all(env.data());
        exchanged
    };
    // It may be too fast to be caught.
    assert!((0..20).any(|_| exchange()), "nothing was exchanged");
}
