//! `extract`: an image becomes a layout again, and nothing is ever written outside of it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use integration_tests::images::{Tree, busybox};
use integration_tests::{Env, User, each_user, needs};

use crate::{MANIFEST, aci, sh};

each_user! {
    a_layout_comes_back,
    nothing_is_written_outside,
    what_fails_leaves_nothing,
}

fn sound() -> Tree {
    Tree::new().file("manifest", MANIFEST, 0o644).dir("rootfs", 0o755)
}

fn a_layout_comes_back(env: &Env) {
    let tree = sound().then(busybox().file("of-4321", "x", 0o4755).owned_by(4321, 4321).below("rootfs"));
    env.write("x.aci", tree.tar());
    let outcome = aci(env, ["extract", "x.aci", "out"]).succeeds();
    assert!(outcome.line().starts_with("sha512-"), "{outcome}");
    assert_eq!(fs::read_to_string(env.path("out/manifest")).expect("it is there"), MANIFEST);
    let file = fs::metadata(env.path("out/rootfs/of-4321")).expect("it is there");
    let expected = match env.user() {
        User::Root => (4321, 0o4755),
        // A set-user-id bit would now mean the caller.
        _ => (env.account().uid, 0o755),
    };
    assert_eq!((file.uid(), file.permissions().mode() & 0o7777), expected);
    assert_eq!(outcome.stderr.contains("1 files belong to you, but to others in the image"), env.user() != User::Root);
    aci(env, ["validate", "out"]).succeeds().quietly();
    aci(env, ["extract", "--no-same-owner", "x.aci", "mine"]).succeeds();
    let file = fs::metadata(env.path("mine/rootfs/of-4321")).expect("it is there");
    assert_eq!((file.uid(), file.permissions().mode() & 0o7777), (env.account().uid, 0o755));
}

/// Attacks on unpackers (docs/security/corpus.md): the canary stays as it is, and its link count with it.
fn nothing_is_written_outside(env: &Env) {
    env.make_dir(&env.path("canary"));
    env.write("canary/file", "untouched");
    let canary = env.path("canary").display().to_string();
    let up = "../".repeat(30) + &canary[1..];
    let hostile = [
        ("unp-01-relative", sound().symlink("rootfs/x", "../../canary").file("rootfs/x/pwn", "x", 0o644)),
        ("unp-01-absolute", sound().symlink("rootfs/x", &canary).file("rootfs/x/pwn", "x", 0o644)),
        ("unp-02", sound().symlink("rootfs/up", "..").file("rootfs/up/up/canary/pwn", "x", 0o644)),
        ("unp-03", sound().symlink("rootfs/d", &canary).dir("rootfs/d", 0o777)),
        ("unp-07-up", sound().hardlink("rootfs/h", "../canary/file")),
        ("unp-07-absolute", sound().hardlink("rootfs/h", &format!("{canary}/file"))),
        ("unp-07-cwd", sound().hardlink("rootfs/h", "canary/file")),
        (
            "unp-07-chain",
            sound().symlink("rootfs/a", "..").symlink("rootfs/b", "a/..").hardlink("rootfs/h", "rootfs/b/canary/file"),
        ),
        (
            "unp-08",
            Tree::new().file("manifest", MANIFEST, 0o644).symlink("rootfs", &canary).file("rootfs/pwn", "x", 0o644),
        ),
        ("unp-10", Tree::new().symlink("manifest", &format!("{canary}/file")).dir("rootfs", 0o755)),
        ("unp-17-dots", sound().file("rootfs/../../canary/pwn", "x", 0o644)),
        ("unp-17-absolute", sound().file("/tmp/proa-pwn", "x", 0o644)),
        ("unp-17-up", sound().file(up.chars().take(100).collect::<String>(), "x", 0o644)),
        ("unp-18", sound().file("rootfs/f", "1", 0o644).symlink("rootfs/f", &canary).file("rootfs/f/pwn", "x", 0o644)),
    ];
    for (name, tree) in hostile {
        env.write("x.aci", tree.tar());
        let outcome = aci(env, ["extract", "x.aci", name]);
        if outcome.status.success() {
            // unp-03: the directory takes the link's place, inside.
            assert!(fs::symlink_metadata(env.path(name).join("rootfs/d")).expect("it is there").is_dir(), "{name}");
        } else {
            outcome.refuses("x.aci");
            assert!(!env.path(name).exists(), "{name}");
        }
        let canary = fs::metadata(env.path("canary")).expect("it is there");
        assert_eq!(fs::read_dir(env.path("canary")).expect("readable").count(), 1, "{name}");
        let file = fs::metadata(env.path("canary/file")).expect("it is there");
        assert_eq!((file.nlink(), canary.permissions().mode() & 0o777), (1, 0o755), "{name}");
        assert_eq!(fs::read(env.path("canary/file")).expect("it is there"), b"untouched", "{name}");
    }
    let left = sh(env, "ls -A | grep -c proa-tmp || true").succeeds();
    assert_eq!(left.line(), "0", "nothing unfinished is left");
}

fn what_fails_leaves_nothing(env: &Env) {
    env.write("x.aci", sound().tar());
    env.make_dir(&env.path("there"));
    aci(env, ["extract", "x.aci", "there"]).refuses("there exists");
    aci(env, ["extract", "x.aci", "no/such"]).refuses("no/such");
    aci(env, ["extract", "nosuch.aci", "out"]).refuses("nosuch.aci");
    let large = sound().file("rootfs/large", vec![7; 2 << 20], 0o644).dir("rootfs/closed", 0).tar();
    for length in [large.len() - 600, large.len() / 2, 1100] {
        env.write("cut.aci", &large[..length]);
        aci(env, [OsStr::new("extract"), "cut.aci".as_ref(), "out".as_ref()]).refuses("truncated");
    }
    let names = sh(env, "ls -A").succeeds();
    assert!(!names.stdout.contains("out") && !names.stdout.contains("proa-tmp"), "{names}");
}

/// A directory that may not be written to, in a directory of the same kind: it must be possible to make and to remove.
#[test]
fn closed_directories_are_no_obstacle() {
    let env = needs!(Env::of(User::WithRange));
    let tree = sound().dir("rootfs/a", 0o555).dir("rootfs/a/b", 0).file("rootfs/a/b/c", "x", 0);
    env.write("x.aci", tree.tar());
    aci(&env, ["extract", "x.aci", "out"]).succeeds();
    sh(
        &env,
        "stat -c %a out/rootfs/a && chmod 700 out/rootfs/a && chmod 700 out/rootfs/a/b && stat -c %a out/rootfs/a/b/c",
    )
    .succeeds()
    .prints("555\n0\n");
}
