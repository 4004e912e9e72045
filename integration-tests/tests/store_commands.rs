//! The commands about stored images: rkt's columns, messages and statuses, and that pods keep what they need.

use integration_tests::images::{Aci, Layout, Packing, Tree, busybox};
use integration_tests::{Env, Running, User, each_user, needs};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

/// Stores an ACI and returns its ID.
fn fetch(env: &Env, aci: &Aci) -> String {
    env.store(aci.build(env))
}

fn image(env: &Env, args: &[&str]) -> integration_tests::Outcome {
    env.proa(["image"].iter().chain(args)).outcome()
}

fn sleeping(env: &Env, id: &str) -> Running {
    let mut running = env.proa(["run", "--net=none", id]).start();
    running.wait_for("ready");
    running
}

/// What `image list` says in JSON.
fn listed(env: &Env) -> Vec<Value> {
    serde_json::from_str(&image(env, &["list", "--format=json"]).succeeds().quietly().stdout).expect("it is JSON")
}

each_user! {
    list_has_rkts_columns,
    short_ids,
    rm_by_id_and_name,
    running_pods_keep_their_trees,
    kept_pods_keep_their_trees,
    gc_removes_what_was_not_used,
    an_exchanged_archive_is_refused,
    manifests_are_shown,
    names_are_given_and_taken,
    verify_finds_and_mends,
    verify_mends_archives_and_records,
    images_with_a_closed_root_are_whole,
    fetch_is_a_command_about_images_too,
}

#[test]
fn of_several_versions_it_is_told_which_is_taken() {
    let env = &needs!(Env::of(User::WithRange));
    let stored = |version: &str| {
        let label = json!({"name": "version", "value": version});
        let aci = Aci::new("multi", busybox()).sh(&format!("echo {version}"));
        fetch(env, &aci.manifest(|it| it["labels"].as_array_mut().expect("a list").push(label)))
    };
    let run = |name: &str| env.proa(["run", "--net=none", name]).outcome().succeeds();
    stored("1.0.0");
    run("example.com/multi").quietly().prints("1.0.0\n");
    let id = stored("2.0.0");
    let told = format!("2 stored images are called example.com/multi: {}, version 2.0.0 is taken", &id[..39]);
    run("example.com/multi").prints("2.0.0\n").stderr_shows(&told);
    run("example.com/multi,version=1.0.0").quietly().prints("1.0.0\n");
    run(&id).quietly().prints("2.0.0\n");
    env.assert_nothing_left();
}

fn list_has_rkts_columns(env: &Env) {
    image(env, &["list"]).succeeds().quietly().prints("ID\tNAME\tSIZE\tIMPORT TIME\tLAST USED\n");
    image(env, &["list", "--format=json"]).succeeds().prints("[]\n");
    let id = fetch(env, &Aci::new("one", busybox().file("data", vec![7; 3 << 20], 0o644)).packed(Packing::Gzip));
    let oci = Layout::new("two").layer(busybox()).sh("true").build(env);
    let oci = env.proa(["fetch", &format!("oci:{}:latest", oci.display())]).outcome().succeeds().line().to_owned();

    let table = image(env, &["list"]).succeeds().quietly();
    let lines: Vec<Vec<&str>> =
        table.stdout.lines().map(|line| line.split('\t').filter(|cell| !cell.is_empty()).collect()).collect();
    assert_eq!(lines[0], ["ID", "NAME", "SIZE", "IMPORT TIME", "LAST USED"]);
    assert_eq!(lines[1][..2], [&id[..19], "example.com/one"]);
    assert!(lines[1][2].ends_with(" MiB") && (lines[1][3] == "now" || lines[1][3].ends_with(" ago")), "{table}");
    assert_eq!(lines[2][0], &oci[..19]);
    assert!(lines[2][1].ends_with("two:latest"), "{table}");
    assert_eq!(lines.len(), 3);
    assert_eq!(env.proa(["images"]).outcome().succeeds().stdout.lines().count(), 3);

    image(env, &["list", "--fields=id,name", "--no-legend", "--full", "--order=desc", "--sort=name"])
        .succeeds()
        .shows(&format!("{id}\texample.com/one\n"));
    let json = listed(env);
    assert_eq!(json[0]["id"], Value::from(&*id));
    let keys: Vec<_> = json[0].as_object().expect("an object").keys().cloned().collect();
    assert_eq!(keys, ["id", "import_time", "last_used_time", "name", "size"]);
    assert!(json[0]["size"].as_u64().expect("a number") > 3 << 20);
    image(env, &["list", "--format=json"]).succeeds().shows("[{\"id\":\"");
    image(env, &["list", "--format=json-pretty"]).succeeds().shows("\t\t\"id\": \"");
    for (flag, word) in [("--fields=latest", "latest"), ("--fields=name,name", "name"), ("--sort=id", "id")] {
        let outcome = image(env, &["list", flag]).exits(254);
        assert!(outcome.stderr.contains(word), "{outcome}");
    }

    // Being run is a use.
    let used = |json: &[Value]| json[0]["last_used_time"].as_u64().expect("a number");
    std::thread::sleep(std::time::Duration::from_millis(20));
    env.proa(["run", "--net=none", &id]).outcome().succeeds();
    let later = listed(env);
    assert!(used(&later) > used(&json), "{} is not after {}", used(&later), used(&json));
    assert_eq!(later[0]["import_time"], json[0]["import_time"]);
}

/// rkt's TestShortHash.
fn short_ids(env: &Env) {
    let mut seen = std::collections::BTreeMap::new();
    let (one, other) = (0..)
        .find_map(|n| {
            let aci = Aci::new(&format!("short-{n}"), busybox().file("n", n.to_string(), 0o644));
            let digest = sha512(&aci.tar());
            seen.insert(digest[..2].to_owned(), aci.clone()).map(|earlier| (earlier, aci))
        })
        .expect("of 257 images two begin alike");
    let ids = [fetch(env, &one), fetch(env, &other)];
    let long = "sha512-".len() + 12;
    image(env, &["cat-manifest", "sha512-12341234"]).refuses("no image IDs found");
    image(env, &["cat-manifest", &ids[0][..8]]).refuses("image ID too short");
    image(env, &["cat-manifest", &ids[0][..9]]).refuses("ambiguous image ID");
    image(env, &["cat-manifest", &ids[0][..long]]).succeeds().shows("ImageManifest");
    image(env, &["rm", &ids[1][..long]]).succeeds().shows("successfully removed aci");
}

fn sha512(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha512::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn rm_by_id_and_name(env: &Env) {
    let ids = ["a", "b", "c"].map(|name| fetch(env, &Aci::new(name, busybox().file("name", name, 0o644))));
    let outcome = image(env, &["rm", &ids[0], "example.com/a", "nonsense", "example.com/b"]).exits(254);
    let removed = |id: &str| format!("successfully removed aci for image: \"{id}\"\n");
    assert_eq!(outcome.stdout, removed(&ids[0]) + &removed(&ids[1]), "{outcome}");
    assert!(outcome.stderr.contains("2 image(s) successfully removed\n"), "{outcome}");
    assert!(outcome.stderr.contains("nonsense"), "{outcome}");
    assert_eq!(listed(env).len(), 1);
    env.proa(["rmi", "example.com/c"]).outcome().succeeds().prints(&removed(&ids[2]));
    image(env, &["rm", "example.com/c"]).refuses("example.com/c");
    assert_eq!(stored(env), Vec::<String>::new(), "nothing is left that no image names");
}

/// Trees, blobs and unfinished work in the store.
fn stored(env: &Env) -> Vec<String> {
    let mut found = Vec::new();
    for directory in ["trees", "blobs/sha256", "blobs/sha512", "tmp", "images"] {
        for entry in std::fs::read_dir(env.data().join("store").join(directory)).expect("the store is there") {
            found.push(format!("{directory}/{}", entry.expect("readable").file_name().to_string_lossy()));
        }
    }
    found
}

fn running_pods_keep_their_trees(env: &Env) {
    let script = "echo ready; while [ ! -e /go ]; do sleep 0.05; done; cat /marker";
    let id = fetch(env, &Aci::new("kept", busybox().file("marker", "still here\n", 0o644)).sh(script));
    let running = sleeping(env, &id);
    image(env, &["rm", &id]).succeeds();
    image(env, &["gc", "--grace-period=0"]).succeeds();
    assert!(listed(env).is_empty());
    assert!(stored(env).iter().any(|name| name.starts_with("trees/")), "{:?}", stored(env));
    running.kill(rustix::process::Signal::TERM);
    let _ = running.wait();
    image(env, &["gc"]).succeeds();
    assert_eq!(stored(env), Vec::<String>::new());
}

fn kept_pods_keep_their_trees(env: &Env) {
    let id = fetch(env, &Aci::new("kept", busybox()));
    env.proa(["run", "--net=none", "--keep", &id]).outcome().succeeds();
    image(env, &["rm", &id]).succeeds();
    let tree = |env: &Env| stored(env).iter().filter(|name| name.starts_with("trees/")).count();
    assert_eq!(tree(env), 1, "an exited pod can be looked at as long as it is there: {:?}", stored(env));
    env.proa(["gc", "--grace-period=0"]).outcome().succeeds();
    assert_eq!(stored(env), Vec::<String>::new());
}

fn gc_removes_what_was_not_used(env: &Env) {
    let running = sleeping(env, &fetch(env, &Aci::new("runs", busybox()).sh("echo ready; sleep 60")));
    let id = fetch(env, &Aci::new("idle", busybox().file("x", "x", 0o644)));
    image(env, &["gc"]).succeeds().prints("");
    assert_eq!(listed(env).len(), 2, "both were used within the last day");
    let outcome = image(env, &["gc", "--grace-period=0s"]).succeeds();
    assert_eq!(outcome.stdout, format!("successfully removed aci for image: \"{id}\"\n"));
    assert!(outcome.stderr.contains(&format!("removed treestore \"aci-{id}.")), "{outcome}");
    assert_eq!(listed(env)[0]["name"], "example.com/runs");
    running.kill(rustix::process::Signal::TERM);
    let _ = running.wait();
}

fn manifests_are_shown(env: &Env) {
    let id = fetch(env, &Aci::new("shown", busybox()).sh("true"));
    let pretty = image(env, &["cat-manifest", &id]).succeeds().quietly();
    assert!(pretty.stdout.starts_with("{\n\t\"acKind\": \"ImageManifest\",\n"), "{pretty}");
    let plain = image(env, &["cat-manifest", "--pretty-print=false", "example.com/shown"]).succeeds();
    let [pretty, plain]: [Value; 2] = [pretty, plain].map(|it| serde_json::from_str(&it.stdout).expect("it is JSON"));
    assert_eq!(pretty, plain);
    let inspected = image(env, &["inspect", "example.com/shown"]).succeeds().quietly();
    let inspected: Value = serde_json::from_str(&inspected.stdout).expect("it is JSON");
    assert_eq!(inspected[0]["id"], Value::from(&*id));
    assert_eq!(inspected[0]["manifest"], plain);
    assert_eq!(inspected[0]["labels"]["os"], "linux");
    assert_eq!(inspected[0]["pods"], Value::Array(vec![]));
    image(env, &["inspect", "nonsense"]).refuses("nonsense");
    image(env, &["cat-manifest", "nonsense"]).refuses("nonsense");
}

fn names_are_given_and_taken(env: &Env) {
    let [one, two] = ["one", "two"].map(|name| fetch(env, &Aci::new(name, busybox().file("n", name, 0o644))));
    image(env, &["tag", "example.com/one", "mine:1", "mine:2"]).succeeds().quietly();
    image(env, &["tag", &two, "mine:2"]).succeeds();
    let id = |name: &str| {
        let outcome = image(env, &["inspect", name]).succeeds();
        let value: Value = serde_json::from_str(&outcome.stdout).expect("it is JSON");
        value[0]["id"].as_str().expect("a string").to_owned()
    };
    assert_eq!((id("mine:1"), id("mine:2")), (one, two));
    image(env, &["untag", "mine:2"]).succeeds();
    image(env, &["inspect", "mine:2"]).refuses("mine:2");
    image(env, &["untag", "mine:2"]).refuses("mine:2");
    image(env, &["tag", "example.com/one", "./file"]).refuses("./file");
    image(env, &["tag", "example.com/one", "sha512-abcdef"]).refuses("sha512-abcdef");
}

/// Changes a file of the only tree that has it, behind proa's back.
fn tamper(env: &Env, name: &str, change: impl Fn(&std::path::Path)) {
    let mut changed = 0;
    for tree in std::fs::read_dir(env.data().join("store/trees")).expect("the store is there") {
        let file = tree.expect("readable").path().join("rootfs").join(name);
        if file.exists() {
            change(&file);
            changed += 1;
        }
    }
    assert_eq!(changed, 1, "one tree has {name}");
}

fn remove_file(path: &std::path::Path) {
    std::fs::remove_file(path).expect("root may remove it");
}

/// The user who checks such a tree may not look into it.
fn images_with_a_closed_root_are_whole(env: &Env) {
    for (name, mode, owner) in [("closed", 0, 0), ("others", 0o700, 1000)] {
        let manifest = json!({"acKind": "ImageManifest", "acVersion": "0.8.11", "name": format!("example.com/{name}")});
        let tree = Tree::new().file("manifest", manifest.to_string(), 0o644);
        let tree = tree.dir("rootfs", mode).owned_by(owner, owner).file("rootfs/x", "x", 0o600).owned_by(owner, owner);
        let file = env.write(format!("images/{name}.aci"), tree.tar());
        let id = env.store(&file);
        let whole = format!("successfully verified checksum for image: \"example.com/{name}\" (\"{id}\")\n");
        image(env, &["verify", &format!("example.com/{name}")]).succeeds().quietly().prints(&whole);
        image(env, &["export", &id, &format!("{name}.aci")]).succeeds().quietly();
        assert_eq!(std::fs::read(env.path(format!("{name}.aci"))).expect("it is there"), tree.tar());
    }
}

/// As in rkt, where it is a hidden name, too.
fn fetch_is_a_command_about_images_too(env: &Env) {
    let file = Aci::new("either", busybox()).build(env);
    let id =
        env.proa(["--insecure-options=image", "image", "fetch"].map(OsStr::new).into_iter().chain([file.as_os_str()]));
    let id = id.outcome().succeeds().line().to_owned();
    assert_eq!(listed(env)[0]["id"], Value::from(&*id));
    let help = image(env, &["--help"]).succeeds();
    assert!(!help.stdout.contains("fetch"), "{help}");
}

/// rkt's TestImageVerify, and the same for the images that rkt did not have.
fn verify_finds_and_mends(env: &Env) {
    let id = fetch(env, &Aci::new("checked", busybox().file("marker", "as stored\n", 0o644)).sh("cat /marker"));
    let whole = format!("successfully verified checksum for image: \"example.com/checked\" (\"{id}\")\n");
    image(env, &["verify", "example.com/checked"]).succeeds().quietly().prints(&whole);
    tamper(env, "marker", remove_file);
    // The archive is in the store: nothing else is needed.
    std::fs::remove_file(env.path("images/checked.aci")).expect("it is the test's");
    let outcome = image(env, &["verify", "example.com/checked"]).succeeds();
    outcome.prints(
        "tree cache verification failed for image example.com/checked: \
         file \"marker\": No such file or directory;  rebuilding...\n",
    );
    image(env, &["verify", "example.com/checked"]).succeeds().prints(&whole);
    env.proa(["run", "--net=none", &id]).outcome().succeeds().prints("as stored\n");

    // An OCI layer is fetched again, from where it came; the other layer is not.
    let layout = Layout::new("layered").layer(busybox()).layer(busybox().file("top", "top\n", 0o640)).sh("cat top");
    let reference = format!("oci:{}:latest", layout.build(env).display());
    let oci = env.proa(["fetch", &reference]).outcome().succeeds().line().to_owned();
    tamper(env, "top", |path| std::fs::write(path, "TOP\n").expect("root may write"));
    let all = image(env, &["verify", "--all"]).exits(254);
    assert!(all.stdout.contains(&format!("successfully verified checksum for image: \"{id}\"")), "{all}");
    assert!(all.stdout.contains("contents of files were changed"), "{all}");
    image(env, &["verify", &oci]).refuses("not in the store");
    image(env, &["verify", "--all", "--repair"]).succeeds().shows("rebuilding...");
    image(env, &["verify", "--all"]).succeeds();
    env.proa(["run", "--net=none", &oci]).outcome().succeeds().prints("top\n");
    assert!(stored(env).iter().all(|name| !name.starts_with("tmp/")), "{:?}", stored(env));
}

/// What else may be damaged: an archive, a document, a record.
fn verify_mends_archives_and_records(env: &Env) {
    let id = fetch(env, &Aci::new("a", busybox().file("a", "a\n", 0o644)).packed(Packing::Gzip).sh("cat /a"));
    let layout = Layout::new("b").layer(busybox().file("b", "b\n", 0o644)).sh("cat /b").build(env);
    let oci = env.proa(["fetch", &format!("oci:{}:latest", layout.display())]).outcome().succeeds().line().to_owned();
    let store = env.data().join("store");
    for blob in std::fs::read_dir(store.join("blobs/sha256")).expect("the store is there") {
        let path = blob.expect("readable").path();
        let mut bytes = std::fs::read(&path).expect("root may read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        // Blobs are read-only, which binds their owner where he is not root.
        let mode = std::fs::metadata(&path).expect("it is there").permissions();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("its owner may");
        std::fs::write(&path, bytes).expect("it is writable now");
        std::fs::set_permissions(&path, mode).expect("its owner may");
    }
    let outcome = image(env, &["verify", "--all"]).exits(254);
    assert_eq!(outcome.stdout.matches(": its contents have the digest sha256:").count(), 3, "{outcome}");
    std::fs::remove_file(env.path("images/a.aci")).expect("it is the test's");
    image(env, &["verify", "--all", "--repair"]).succeeds();
    image(env, &["verify", "--all"]).succeeds().quietly();
    env.proa(["run", "--net=none", &id]).outcome().succeeds().prints("a\n");
    env.proa(["run", "--net=none", &oci]).outcome().succeeds().prints("b\n");

    std::fs::write(store.join("images").join(format!("{id}.json")), "{").expect("root may write");
    image(env, &["verify", "--all"]).refuses(&id);
    image(env, &["verify", "--all", "--repair"]).exits(254);
    image(env, &["verify", "--all"]).succeeds();
    image(env, &["list"]).succeeds();
    std::fs::remove_file(store.join("images").join(format!("{id}.json.damaged"))).expect("it was set aside");
}

/// An archive that was exchanged in the store is not unpacked, whoever asks for what it was.
fn an_exchanged_archive_is_refused(env: &Env) {
    let id = fetch(env, &Aci::new("a", busybox().file("a", "a\n", 0o644)).sh("cat /a"));
    let other = Aci::new("a", busybox().file("a", "b\n", 0o644)).sh("cat /a").tar();
    let store = env.data().join("store");
    let only = |directory: &str| {
        let mut entries = std::fs::read_dir(store.join(directory)).expect("the store is there");
        entries.next().expect("one image is stored").expect("readable").path()
    };
    let blob = only("blobs/sha256");
    std::fs::set_permissions(&blob, Permissions::from_mode(0o600)).expect("its owner may");
    std::fs::write(&blob, other).expect("it is writable now");
    std::fs::remove_dir_all(only("trees")).expect("root may remove it");
    for args in [&["run", "--net=none"][..], &["image", "render"]] {
        let dir = env.path("tmp/rendered");
        let more = if args[0] == "image" { vec![dir.to_str().expect("UTF-8")] } else { vec![] };
        let line: Vec<&str> = args.iter().copied().chain([id.as_str()]).chain(more).collect();
        env.proa(line)
            .outcome()
            .refuses("image hash does not match expected")
            .stderr_shows("proa image verify --repair");
        assert!(!dir.exists());
    }
    assert_eq!(std::fs::read_dir(store.join("trees")).expect("the store is there").count(), 0);
    image(env, &["rm", &id]).succeeds();
}
