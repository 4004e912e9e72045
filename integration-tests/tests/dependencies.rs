//! Images with dependencies and lists of paths, rendered and run.

use integration_tests::images::{Aci, Tree, busybox};
use integration_tests::{Env, Outcome, each_user};
use serde_json::{Value, json};

fn fetch(env: &Env, aci: &Aci) -> Outcome {
    let path = aci.build(env);
    // What is missing is not looked for elsewhere.
    env.proa(["--insecure-options=image", "fetch", "--pull-policy=never", path.to_str().expect("UTF-8")]).outcome()
}

fn stored(env: &Env, aci: &Aci) -> String {
    fetch(env, aci).succeeds().line().to_owned()
}

/// An image that depends on others and keeps some paths of them all.
fn on(aci: Aci, dependencies: Value, whitelist: Value) -> Aci {
    aci.manifest(|manifest| {
        manifest["dependencies"] = dependencies;
        manifest["pathWhitelist"] = whitelist;
    })
}

fn named(names: &[&str]) -> Value {
    names.iter().map(|name| json!({ "imageName": format!("example.com/{name}") })).collect()
}

each_user! {
    dependencies_lie_below_the_image,
    a_list_that_leaves_nothing_out_changes_nothing,
    lists_leave_things_out,
    what_is_missing_or_circular_is_told,
    rendered_images_leave_and_are_verified,
    files_keep_owners_in_a_rendering,
}

fn dependencies_lie_below_the_image(env: &Env) {
    stored(env, &Aci::new("base", busybox().file("who", "base\n", 0o644).file("base", "base\n", 0o644)));
    let lib = Tree::new().file("who", "lib\n", 0o644).file("lib", "lib\n", 0o644).dir("etc", 0o700);
    stored(env, &Aci::new("lib", lib));
    let image =
        Aci::new("app", Tree::new().file("app", "app\n", 0o600)).sh("cat /who /base /lib /app; stat -c %a /etc");
    let id = stored(env, &on(image, named(&["base", "lib"]), json!([])));
    // Two trees for dependencies, one for the image, and none that they are merged into: nothing had to be left out.
    assert_eq!(std::fs::read_dir(env.data().join("store/trees")).expect("it is there").count(), 3);
    let run = || env.proa(["run", "--net=none", &id]).outcome().succeeds().prints("lib\nbase\nlib\napp\n700\n");
    run();
    // A dependency is used with the image, and what it is needed for is known.
    env.proa(["image", "gc", "--grace-period=24h"]).outcome().succeeds();
    run();
    env.proa(["image", "rm", "example.com/base"]).outcome().succeeds();
    env.proa(["run", "--net=none", &id]).outcome().refuses("example.com/app depends on example.com/base");
}

/// Each image covers those below it, as the specification has it; Go's renderer lets the lowest through.
fn a_list_that_leaves_nothing_out_changes_nothing(env: &Env) {
    let low = busybox().dir("x", 0o755).file("x/low", "x", 0o644);
    stored(env, &Aci::new("low", low));
    stored(env, &on(Aci::new("between", Tree::new().file("x", "x", 0o644)), named(&["low"]), json!([])));
    let high = || Aci::new("high", Tree::new().dir("x", 0o755).file("x/high", "x", 0o644)).sh("ls /x");
    let list = json!(["/bin", "/bin/busybox", "/bin/sh", "/bin/ls", "/x", "/x/low", "/x/high"]);
    for list in [json!([]), list] {
        let id = stored(env, &on(high(), named(&["between"]), list));
        env.proa(["run", "--net=none", &id]).outcome().succeeds().prints("high\n");
    }
}

fn lists_leave_things_out(env: &Env) {
    let base = busybox().file("secret", "x\n", 0o644).dir("data", 0o750).file("data/a", "a\n", 0o644);
    stored(env, &Aci::new("base", base.file("data/b", "b\n", 0o644)));
    let script = "ls /; ls /data; cat /data/a /own; stat -c %a /data";
    let image = Aci::new("app", Tree::new().file("own", "own\n", 0o644).file("dropped", "x", 0o644)).sh(script);
    let busybox: Vec<String> = ["bin/busybox", "bin/sh", "bin/ls", "bin/cat", "bin/stat"].map(str::to_owned).to_vec();
    let mut list = json!(["/data/a", "/own", "/nonsense"]);
    list.as_array_mut().expect("a list").extend(busybox.into_iter().map(Value::from));
    let id = stored(env, &on(image, named(&["base"]), list));
    let outcome = env.proa(["run", "--net=none", &id]).outcome().succeeds();
    let lines: Vec<_> = outcome.stdout.lines().collect();
    for absent in ["secret", "dropped", "b", "nonsense"] {
        assert!(!lines.contains(&absent), "{absent}: {outcome}");
    }
    // The directory is not listed, so it is only there for what is in it.
    assert!(outcome.stdout.ends_with("a\na\nown\n755\n"), "{outcome}");
}

fn what_is_missing_or_circular_is_told(env: &Env) {
    let missing = on(Aci::new("app", busybox()), named(&["base"]), json!([]));
    fetch(env, &missing).refuses("example.com/app depends on example.com/base, which is not in the store");
    let a = on(Aci::new("a", busybox()), named(&["b"]), json!([]));
    let b = on(Aci::new("b", busybox()), named(&["a"]), json!([]));
    fetch(env, &b).exits(254);
    let cycle = "dependency cycle: example.com/a -> example.com/b -> example.com/a";
    fetch(env, &a).refuses(cycle);
    env.proa(["run", "--net=none", "example.com/a"]).outcome().refuses(cycle);
    stored(env, &Aci::new("base", busybox()));
    let sized = json!([{ "imageName": "example.com/base", "size": 7 }]);
    fetch(env, &on(Aci::new("sized", busybox()), sized, json!([]))).refuses("of 7 bytes, but that has");
    let other = json!([{ "imageName": "example.com/base", "imageID": format!("sha512-{}", "ab".repeat(64)) }]);
    fetch(env, &on(Aci::new("other", busybox()), other, json!([]))).refuses("which is not in the store");
    let labelled = json!([{ "imageName": "example.com/base", "labels": [{"name": "version", "value": "9"}] }]);
    fetch(env, &on(Aci::new("labelled", busybox()), labelled, json!([]))).refuses("example.com/base:9");
}

fn rendered_images_leave_and_are_verified(env: &Env) {
    let base = stored(env, &Aci::new("base", busybox().file("base", "base\n", 0o644).file("not", "x", 0o644)));
    let list: Value = json!(["base", "bin/busybox", "bin/sh", "bin/cat"]);
    let id = stored(env, &on(Aci::new("app", Tree::new()).sh("cat /base"), named(&["base"]), list));
    let image = |args: &[&str]| env.proa(["image"].iter().chain(args)).outcome();
    image(&["verify", &id]).succeeds().quietly();
    let dir = env.path("tmp/rendered");
    let place = dir.to_str().expect("UTF-8");
    image(&["render", &id, place]).succeeds();
    assert!(dir.join("rootfs/base").exists() && !dir.join("rootfs/not").exists());
    image(&["extract", "--overwrite", &id, place]).succeeds();
    assert!(!dir.join("rootfs/base").exists(), "one image without its dependencies");
    std::fs::remove_dir_all(&dir).expect("root may remove it");
    let archive = env.path("tmp/rendered.tar");
    let archive_name = archive.to_str().expect("UTF-8");
    image(&["export", "--format=oci-archive", &id, archive_name]).succeeds();
    std::fs::remove_file(&archive).expect("root may remove it");

    // A file that only the rendering has lost.
    let trees = std::fs::read_dir(env.data().join("store/trees")).expect("it is there");
    let rendering =
        trees.map(|tree| tree.expect("readable").path()).find(|tree| tree.to_string_lossy().contains("-on-"));
    let root = rendering.expect("images with a list are merged").join("rootfs");
    let modified = root.metadata().and_then(|it| it.modified()).expect("it is there");
    std::fs::remove_file(root.join("base")).expect("root may remove it");
    std::fs::File::open(&root).and_then(|it| it.set_modified(modified)).expect("root may");
    image(&["verify", &id]).succeeds().shows("\"base\": it is missing;  rebuilding...");
    image(&["verify", "--all"]).succeeds();
    env.proa(["run", "--net=none", &id]).outcome().succeeds().prints("base\n");
    // The image that it was rendered from may go; what is rendered stays, in pods and in the store.
    env.proa(["run", "--net=none", "--keep", &id]).outcome().succeeds();
    image(&["rm", &id, &base]).succeeds();
    assert_eq!(std::fs::read_dir(env.data().join("store/trees")).expect("it is there").count(), 1);
    env.proa(["gc", "--grace-period=0"]).outcome().succeeds();
    assert_eq!(std::fs::read_dir(env.data().join("store/trees")).expect("it is there").count(), 0);
}

fn files_keep_owners_in_a_rendering(env: &Env) {
    let base = busybox().file("a", "a\n", 0o640).owned_by(33, 34).dir("d", 0o2750).owned_by(1000, 50);
    stored(env, &Aci::new("base", base));
    let script = "stat -c '%a %u:%g' /a /d";
    let list = json!(["a", "d", "bin/busybox", "bin/sh", "bin/stat"]);
    let id = stored(env, &on(Aci::new("app", Tree::new()).sh(script), named(&["base"]), list));
    let outcome = env.proa(["run", "--net=none", &id]).outcome().succeeds();
    match env.user() {
        // With a single id all belongs to it.
        integration_tests::User::NoRange => outcome.prints("640 0:0\n2750 0:0\n"),
        _ => outcome.prints("640 33:34\n2750 1000:50\n"),
    };
}
