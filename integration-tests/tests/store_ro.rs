//! Stores that are only read: images in them run without being copied.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use integration_tests::images::{Aci, Layout, busybox};
use integration_tests::{Env, Outcome, User, binaries, each_user};

/// A run with `data` as the data directory and `behind` read only.
fn proa(env: &Env, data: &Path, behind: &[&Path], args: &[&str]) -> Outcome {
    let mut line = vec![OsString::from("--dir"), data.into(), "--insecure-options=image".into()];
    for store in behind {
        line.extend(["--store-ro".into(), (*store).into()]);
    }
    line.extend(args.iter().map(OsString::from));
    env.command(binaries::proa(), line).outcome()
}

fn trees(data: &Path) -> usize {
    fs::read_dir(data.join("store/trees")).expect("the store is there").count()
}

/// Every file below a directory with its times: what changes if anything is written.
fn state(dir: &Path) -> String {
    let find = std::process::Command::new("find").arg(dir).args(["-printf", "%p %T@ %C@ %s\\n"]).output();
    String::from_utf8_lossy(&find.expect("find runs").stdout).into_owned()
}

each_user! {
    images_run_without_being_copied,
    what_cannot_be_trusted_is_refused,
}

fn images_run_without_being_copied(env: &Env) {
    let (shared, own) = (env.path("shared"), env.path("own"));
    let aci = Aci::new("shared", busybox().file("who", "shared\n", 0o644)).sh("cat /who; echo x >/who && cat /who");
    let aci = aci.build(env);
    let id = proa(env, &shared, &[], &["fetch", aci.to_str().expect("UTF-8")]).succeeds().line().to_owned();
    let layout = Layout::new("layers").layer(busybox()).layer(busybox().file("top", "top\n", 0o644)).sh("cat /top");
    let layout = format!("oci:{}:latest", layout.build(env).display());
    let oci = proa(env, &shared, &[], &["fetch", &layout]).succeeds().line().to_owned();
    let before = state(&shared);

    let run = |args: &[&str]| proa(env, &own, &[&shared], args);
    run(&["run", "--net=none", &id]).succeeds().quietly().prints("shared\nx\n");
    run(&["run", "--net=none", "example.com/shared"]).succeeds().prints("shared\nx\n");
    run(&["run", "--net=none", &oci[..20]]).succeeds().prints("top\n");
    assert_eq!(trees(&own), 0, "nothing was copied");
    let listed = run(&["image", "list", "--no-legend", "--full", "--fields=id"]).succeeds();
    assert_eq!(listed.stdout.lines().collect::<Vec<_>>(), [&*id, &*oci]);
    run(&["image", "verify", "--all"]).succeeds();
    // What is there already is not stored again; another image shares its layers.
    run(&["fetch", aci.to_str().expect("UTF-8")]).succeeds();
    assert_eq!(trees(&own), 0);
    let other = Layout::new("other").layer(busybox()).layer(busybox().file("mine", "mine\n", 0o644)).sh("cat /mine");
    let other = format!("oci:{}:latest", other.build(env).display());
    run(&["run", "--net=none", &other]).succeeds().prints("mine\n");
    assert_eq!(trees(&own), 1, "only the layer that is new");
    run(&["image", "rm", &id]).refuses("which is only read");
    run(&["image", "tag", &id, "mine:1"]).succeeds();
    run(&["run", "--net=none", "mine:1"]).succeeds().prints("shared\nx\n");
    run(&["gc", "--grace-period=0"]).succeeds();
    run(&["image", "gc", "--grace-period=0"]).succeeds();
    run(&["run", "--net=none", &id]).succeeds();
    assert_eq!(state(&shared), before, "nothing was written");
    // The store itself can be given, too; without it its images are not there.
    proa(env, &own, &[&shared.join("store")], &["run", "--net=none", &id]).succeeds();
    proa(env, &own, &[], &["run", "--net=none", &id]).refuses("no image IDs found");
}

fn what_cannot_be_trusted_is_refused(env: &Env) {
    let own = env.path("own");
    let list = |store: &Path| proa(env, &own, &[store], &["image", "list"]);
    list(&env.path("nowhere")).refuses("nowhere");
    let empty = env.path("empty");
    env.make_dir(&empty);
    list(&empty).refuses("empty is no store");
    let open = env.path("open");
    proa(env, &open, &[], &["fetch", "hello"]).succeeds();
    fs::set_permissions(open.join("store"), std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("root may");
    list(&open).refuses("0777");
    // Only root gives files away.
    if env.user() != User::Root && rustix::process::geteuid().is_root() {
        fs::set_permissions(open.join("store"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("root may");
        std::os::unix::fs::chown(open.join("store"), Some(12345), Some(12345)).expect("root may");
        list(&open).refuses("belongs to uid 12345");
    }
}
