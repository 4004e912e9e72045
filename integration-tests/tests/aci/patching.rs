//! `patch-manifest`: another manifest around the same files.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use integration_tests::images::{Packing, Tree};
use integration_tests::{Env, User, needs};

use crate::{MANIFEST, aci, entries, id, sh, unpacked};

const WITHOUT_APP: &str = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/base"}"#;

fn env() -> Result<Env, integration_tests::needs::Why> {
    Env::of(User::WithRange)
}

/// The manifest of an image, and nothing said.
#[track_caller]
fn manifest(env: &Env, image: &str) -> serde_json::Value {
    let printed = aci(env, ["cat-manifest", image]).succeeds().quietly();
    serde_json::from_str(&printed.stdout).expect("JSON")
}

#[test]
fn exec_makes_an_app() {
    let env = needs!(env());
    env.write("x.aci", Tree::new().file("manifest", WITHOUT_APP, 0o644).dir("rootfs", 0o755).tar());
    let patch = |options: &[&str]| {
        let fixed = ["patch-manifest", "--overwrite"].into_iter().chain(options.iter().copied());
        aci(&env, fixed.chain(["x.aci", "y.aci"]))
    };
    patch(&["--user=1000"]).refuses("no app in the supplied manifest and no exec command provided");
    patch(&["--exec=/app"]).refuses("user is required");
    assert!(!env.path("y.aci").exists());
    let patched = patch(&["--exec", "/app --debug", "--user=1000", "--group=50"]).succeeds().quietly();
    assert_eq!(patched.line(), id(&env.path("y.aci")));
    let app = &manifest(&env, "y.aci")["app"];
    assert_eq!(app, &serde_json::json!({"exec": ["/app", "--debug"], "user": "1000", "group": "50"}));
    aci(&env, ["validate", "y.aci"]).succeeds().quietly();
}

#[test]
fn images_that_cannot_be_patched_say_why() {
    let env = needs!(env());
    let broken = Tree::new().file("manifest", "{\n \"acKind\": }", 0o644).dir("rootfs", 0o755).tar();
    env.write("broken.aci", &broken);
    let patch = |image: &str| aci(&env, ["patch-manifest", "--user=1", image, "y.aci"]);
    let pictured = patch("broken.aci").refuses("broken.aci: Error at line 2, column 13");
    assert!(pictured.stderr.contains("\n    2:  \"acKind\": }\n"), "{pictured}");
    let whole = Tree::new().file("manifest", crate::MANIFEST, 0o644).dir("rootfs", 0o755).tar();
    env.write("cut.aci", &whole[..1300]);
    patch("cut.aci").refuses("truncated").stderr_shows("hint: the file is damaged or no image");
    assert!(!env.path("y.aci").exists());
}

#[test]
fn one_capability_set_takes_the_others_place() {
    let env = needs!(env());
    env.write("x.aci", Tree::new().file("manifest", MANIFEST, 0o644).dir("rootfs", 0o755).tar());
    aci(&env, ["patch-manifest", "--capability=CAP_A", "--revoke-capability=CAP_B", "x.aci", "y.aci"])
        .refuses("conflicting capabilities isolators provided");
    let isolators = |option: &str| {
        aci(&env, ["patch-manifest", "--replace", option, "x.aci"]).succeeds();
        manifest(&env, "x.aci")["app"]["isolators"].clone()
    };
    let set = |kind: &str, names: &[&str]| serde_json::json!([{"name": format!("os/linux/capabilities-{kind}-set"), "value": {"set": names}}]);
    assert_eq!(isolators("--capability=CAP_KILL,CAP_CHOWN"), set("retain", &["CAP_KILL", "CAP_CHOWN"]));
    assert_eq!(isolators("--revoke-capability=CAP_KILL"), set("remove", &["CAP_KILL"]));
    assert_eq!(isolators("--capability=CAP_FOWNER"), set("retain", &["CAP_FOWNER"]));
}

#[test]
fn seccomp_is_replaced() {
    let env = needs!(env());
    env.write("x.aci", Tree::new().file("manifest", MANIFEST, 0o644).dir("rootfs", 0o755).tar());
    aci(&env, ["patch-manifest", "--seccomp-set=read", "x.aci", "y.aci"])
        .refuses("--seccomp-set specified without --seccomp-mode");
    let isolators = |mode: &str, set: &str| {
        let options = ["patch-manifest", "--replace", "--seccomp-mode", mode, "--seccomp-set", set, "x.aci"];
        aci(&env, options).succeeds();
        manifest(&env, "x.aci")["app"]["isolators"].clone()
    };
    let expected = serde_json::json!([{"name": "os/linux/seccomp-retain-set",
        "value": {"set": ["read", "write"], "errno": "EPERM"}}]);
    assert_eq!(isolators("retain,errno=EPERM", "read,write"), expected);
    let replaced = isolators("remove", "reboot");
    assert_eq!(
        (replaced.as_array().map(Vec::len), &replaced[0]["name"]),
        (Some(1), &"os/linux/seccomp-remove-set".into())
    );
}

#[test]
fn the_payload_is_the_same_and_the_file_changes_at_once() {
    let env = needs!(env());
    // Members of every kind, with the manifest in their midst.
    let tree = Tree::new()
        .dir("rootfs", 0o750)
        .file("rootfs/a", vec![1; 100_000], 0o4755)
        .owned_by(7, 8)
        .file("manifest", MANIFEST, 0o600)
        .owned_by(3, 4)
        .hardlink("rootfs/b", "rootfs/a")
        .symlink("rootfs/c", "a")
        .device("rootfs/null");
    let before = tree.tar();
    env.write("x.aci", Packing::Gzip.pack(&before));
    sh(&env, "ln x.aci old").succeeds();
    aci(&env, ["patch-manifest", "--replace", "--overwrite", "--name=example.com/new", "x.aci"]).exits(254);
    aci(&env, ["patch-manifest", "--replace", "--no-compression", "--name=example.com/new", "x.aci"]).succeeds();
    // Another file took the name: whoever had the old one open still has all of it.
    assert_eq!(unpacked(&env.path("old")), before);
    assert_ne!(
        fs::metadata(env.path("old")).expect("there").ino(),
        fs::metadata(env.path("x.aci")).expect("there").ino()
    );
    let after = unpacked(&env.path("x.aci"));
    let head = 512 + 512 + 100_352;
    assert!(after[..head] == before[..head], "what stands before the manifest");
    let rest = |tar: &[u8]| tar[tar.len() - 1024 - 3 * 512..].to_vec();
    assert!(rest(&after) == rest(&before), "what stands behind it");
    let entries = entries(&env.path("x.aci"));
    assert_eq!((entries[2].path.as_str(), entries[2].mode, entries[2].owner), ("manifest", 0o600, (3, 4)));
    assert_eq!(manifest(&env, "x.aci")["name"], "example.com/new");
    let names = sh(&env, "ls -A").succeeds();
    assert!(!names.stdout.contains("tmp."), "{names}");
}

#[test]
fn a_broken_manifest_can_be_replaced_but_not_patched() {
    let env = needs!(env());
    env.write("x.aci", Tree::new().file("manifest", "{}", 0o644).dir("rootfs", 0o755).tar());
    env.write("new.yaml", "acKind: ImageManifest\nacVersion: 0.8.11\nname: example.com/new\n");
    aci(&env, ["patch-manifest", "--name=example.com/x", "x.aci", "y.aci"]).refuses("missing or bad ACKind");
    aci(&env, [OsStr::new("patch-manifest"), "--manifest=new.yaml".as_ref(), "x.aci".as_ref(), "y.aci".as_ref()])
        .succeeds();
    aci(&env, ["validate", "y.aci"]).succeeds().quietly();
    env.write("bad.json", "{}");
    aci(&env, ["patch-manifest", "--manifest=bad.json", "y.aci", "z.aci"]).refuses("bad.json: missing or bad ACKind");
    aci(&env, ["patch-manifest", "--manifest=new.yaml", "--name=example.com/x", "y.aci", "z.aci"]).exits(254);
    env.write("none.aci", Tree::new().dir("rootfs", 0o755).tar());
    aci(&env, ["patch-manifest", "--manifest=new.yaml", "none.aci", "z.aci"]).refuses("missing manifest");
    assert!(!env.path("z.aci").exists());
}
