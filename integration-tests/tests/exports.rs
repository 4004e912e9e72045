//! Stored images leave the store again: as they came, or as something that other programs read.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use integration_tests::images::{Aci, Layout, OciLayer, Packing, Tree, busybox};
use integration_tests::needs::tool;
use integration_tests::{Env, Outcome, User, each_user, needs};

fn image(env: &Env, args: &[&str]) -> Outcome {
    env.proa(["image"].iter().chain(args)).outcome()
}

fn fetch_aci(env: &Env, aci: &Aci) -> String {
    env.store(aci.build(env))
}

fn fetch_oci(env: &Env, layout: &Layout) -> String {
    env.store(format!("oci:{}:latest", layout.build(env).display()))
}

fn out(env: &Env, name: &str) -> String {
    env.path("tmp").join(name).to_str().expect("UTF-8").to_owned()
}

/// An image of two layers that covers everything a layer can do.
fn layered(script: &str) -> Layout {
    let bottom = busybox()
        .dir("etc", 0o755)
        .file("etc/gone", "x", 0o644)
        .dir("data", 0o755)
        .file("data/old", "old\n", 0o644)
        .file("run-me", "#!/bin/sh\necho ran\n", 0o755);
    let top = Tree::new()
        .whiteout("etc/gone")
        .dir("data", 0o750)
        .opaque("data")
        .file("data/new", "new\n", 0o600)
        .symlink("link", "data/new");
    Layout::new("layered").layer(OciLayer::from(bottom).packed(Packing::Gzip)).layer(top).sh(script)
}

const LOOK: &str = "stat -c %a /data /data/new; ls /data /etc; cat /link; /run-me";

each_user! {
    an_aci_comes_back_bit_for_bit,
    a_dash_is_standard_output,
    extract_and_render_write_directories,
    an_image_that_is_another_than_its_id_says_is_refused,
    a_configuration_that_was_changed_goes_nowhere,
    an_oci_image_becomes_an_aci,
    an_oci_image_goes_to_other_programs,
    an_aci_becomes_an_oci_image,
    refusals,
}

fn an_aci_comes_back_bit_for_bit(env: &Env) {
    let aci = Aci::new("back", busybox().file("data", vec![3; 300_000], 0o640).owned_by(1000, 50));
    for (packing, name) in [(Packing::Tar, "tar"), (Packing::Gzip, "gzip"), (Packing::Zstd, "zstd")] {
        let aci = aci.clone().manifest(|manifest| manifest["name"] = format!("example.com/{name}").into());
        let id = fetch_aci(env, &aci.clone().packed(packing));
        let file = out(env, &format!("{name}.aci"));
        image(env, &["export", &id, &file]).succeeds().quietly().prints("");
        assert!(fs::read(&file).expect("it was exported") == aci.tar(), "{name}");
        assert_eq!(fs::metadata(&file).expect("it is there").mode() & 0o777, 0o644);
        image(env, &["export", &id, &file]).refuses(&format!("{file}: output ACI file exists (try --overwrite)"));
        image(env, &["export", "--overwrite", &id, &file]).succeeds();
        fs::remove_file(&file).expect("it is ours");
    }
}

fn a_dash_is_standard_output(env: &Env) {
    let aci = Aci::new("stream", busybox());
    let id = fetch_aci(env, &aci.clone().packed(Packing::Gzip));
    let to =
        |words: &[&str], end: &str| env.proa(words).through(["bash", "-c", &format!("\"$@\" {end}"), "sh"]).outcome();
    // What stands in the file already stays.
    env.write("stream", "before");
    to(&["image", "export", &id, "-"], ">>stream").succeeds().quietly();
    let stream = fs::read(env.path("stream")).expect("it was exported");
    assert!(stream.strip_prefix(b"before").is_some_and(|it| it == aci.tar()));
    let all = [
        &["image", "export", &*id, "-"][..],
        &["image", "export", "--format=oci-archive", &id, "-"],
        &["image", "export", "--format=docker-archive", &id, "-"],
        &["docker", "save", "-o", "-", &id],
        &["docker", "save", &id],
    ];
    for words in all {
        to(words, "| tar -tf - | grep -q .").succeeds().quietly();
        to(words, "| true; exit ${PIPESTATUS[0]}").succeeds().quietly();
    }
    assert!(!env.root().join("-").exists(), "it is standard output");
    image(env, &["export", "--format=oci", &id, "-"]).refuses("--format=oci: a layout is a directory");
    needs!(tool("script"));
    for (words, said) in all.into_iter().zip(["standard output is a terminal"; 3].into_iter().chain(["cowardly"; 2])) {
        let script = "script -qec \"$*\" /dev/null </dev/null";
        let outcome = env.proa(words).through(["sh", "-c", script, "sh"]).outcome();
        assert!(!outcome.status.success() && outcome.stdout.len() < 300, "{outcome}");
        outcome.shows(said);
    }
}

fn tree(dir: &Path) -> Vec<String> {
    let output = Command::new("find").args([".", "-printf", "%P %y %m %s %l\\n"]).current_dir(dir).output();
    let text = String::from_utf8(output.expect("find runs").stdout).expect("UTF-8");
    let mut lines: Vec<_> = text.lines().map(|line| line.trim().to_owned()).collect();
    lines.sort();
    lines
}

fn an_image_that_is_another_than_its_id_says_is_refused(env: &Env) {
    let id = fetch_aci(env, &Aci::new("flipped", Tree::new().file("data", vec![b'a'; 3000], 0o644)));
    let blobs = fs::read_dir(env.data().join("store/blobs/sha256")).expect("it is there");
    let blob = blobs.map(|it| it.expect("readable").path()).find(|it| it.metadata().is_ok_and(|it| it.len() > 3000));
    let blob = blob.expect("the archive is kept");
    fs::set_permissions(&blob, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("its owner may");
    let mut bytes = fs::read(&blob).expect("its owner may");
    let at = bytes.windows(100).position(|it| it == [b'a'; 100]).expect("the content of the file");
    bytes[at] = b'b';
    fs::write(&blob, bytes).expect("its owner may");
    let dir = out(env, "flipped");
    image(env, &["extract", &id, &dir]).refuses("image hash does not match expected (sha512-");
    assert!(!Path::new(&dir).exists(), "nothing is left of it");
    image(env, &["verify", &id]).succeeds().shows("rebuilding");
    image(env, &["extract", &id, &dir]).succeeds();
    fs::remove_dir_all(&dir).expect("root may remove it");
}

fn a_configuration_that_was_changed_goes_nowhere(env: &Env) {
    let id = fetch_oci(env, &layered("sleep 600"));
    let pod = env.proa(["run", "--detach", "--net=none", &id]).outcome().succeeds().line().to_owned();
    // Its digest is the image's ID.
    let config = env.data().join("store/blobs").join(id.replace(':', "/"));
    let mut bytes = fs::read(&config).expect("its owner may");
    bytes.push(b' ');
    fs::set_permissions(&config, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("its owner may");
    fs::write(&config, bytes).expect("its owner may");
    let layout = format!("oci:{}:latest", out(env, "changed"));
    for command in
        [&["image", "inspect", &id][..], &["image", "export", "--format=oci", &id, &layout], &["commit", &pod]]
    {
        let refused = env.proa(command).outcome().refuses(&format!("blob {id}: it is damaged"));
        refused.stderr_shows("hint: `proa image verify --repair` fetches it again");
    }
    fs::remove_file(&config).expect("its owner may");
    image(env, &["inspect", &id]).refuses(&format!("blob {id}: it is missing"));
    env.proa(["stop", &pod]).outcome().succeeds();
    env.proa(["rm", &pod]).outcome().succeeds();
}

fn extract_and_render_write_directories(env: &Env) {
    let files = busybox().file("suid", "x", 0o4755).owned_by(5, 6).dir("d", 0o700).file("d/f", "f\n", 0o444);
    let id = fetch_aci(env, &Aci::new("unpacked", files).sh("true"));
    for command in ["extract", "render"] {
        let dir = out(env, command);
        image(env, &[command, &id, &dir]).succeeds().prints("");
        let dir = Path::new(&dir);
        let manifest = fs::read_to_string(dir.join("manifest")).expect("there is a manifest");
        assert!(manifest.contains("\"example.com/unpacked\""), "{manifest}");
        assert_eq!(fs::read_to_string(dir.join("rootfs/d/f")).expect("root reads all"), "f\n");
        let found = fs::metadata(dir.join("rootfs/suid")).expect("it is there");
        // As root as in the image; else it is the user's, and may not be run as him by everybody.
        let uid = env.account().uid;
        let expected = if env.user() == User::Root { (5, 6, 0o4755) } else { (uid, env.account().gid, 0o755) };
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), expected);
        let exists = format!("{}: output directory exists (try --overwrite)", dir.display());
        image(env, &[command, &id, dir.to_str().unwrap()]).refuses(&exists);
        fs::write(dir.join("stale"), "x").expect("root may write");
        image(env, &[command, "--overwrite", &id, dir.to_str().unwrap()]).succeeds();
        assert!(!dir.join("stale").exists());
        image(env, &[command, "--overwrite", "--rootfs-only", &id, dir.to_str().unwrap()]).succeeds();
        assert!(dir.join("d/f").exists() && !dir.join("manifest").exists());
    }
    let (extracted, rendered) = (tree(&env.path("tmp/extract")), tree(&env.path("tmp/render")));
    assert_eq!(extracted, rendered);
    image(env, &["extract", "--overwrite", &id, "/"]).refuses("this would delete your root filesystem. Refusing.");
    image(env, &["render", &id, &out(env, "no/such/place")]).refuses("place");
    image(env, &["extract", "nonsense", &out(env, "x")]).refuses("nonsense");

    let oci = fetch_oci(env, &layered("true"));
    let dir = out(env, "layers");
    image(env, &["render", "--rootfs-only", &oci, &dir]).succeeds();
    let dir = Path::new(&dir);
    assert!(dir.join("data/new").exists() && !dir.join("data/old").exists() && !dir.join("etc/gone").exists());
    let other = out(env, "layers-extracted");
    image(env, &["extract", "--rootfs-only", &oci, &other]).succeeds();
    assert_eq!(tree(dir), tree(Path::new(&other)));
    for name in ["extract", "render", "layers", "layers-extracted"] {
        fs::remove_dir_all(env.path("tmp").join(name)).expect("root may remove it");
    }
}

fn an_oci_image_becomes_an_aci(env: &Env) {
    let layout = layered(LOOK)
        .config("Env", serde_json::json!(["A=b", "PATH=/bin"]))
        .config("ExposedPorts", serde_json::json!({"80/tcp": {}}))
        .config("Volumes", serde_json::json!({"/var/lib/x": {}}));
    let id = fetch_oci(env, &layout);
    let seen = env.proa(["run", "--net=none", &id]).outcome().succeeds();
    assert!(seen.stdout.starts_with("750\n600\n/data:\nnew\n") && seen.stdout.ends_with("new\nran\n"), "{seen}");
    let file = out(env, "converted.aci");
    image(env, &["export", &id, &file]).succeeds().quietly();
    let again = env.store(&file);
    assert!(again.starts_with("sha512-"), "{again}");
    env.proa(["run", "--net=none", &again]).outcome().succeeds().prints(&seen.stdout);
    let manifest = image(env, &["cat-manifest", &again]).succeeds();
    for part in ["\"version\"", "\"latest\"", "\"volume-var-lib-x\"", "\"80-tcp\"", "\"A\""] {
        assert!(manifest.stdout.contains(part), "{part}: {manifest}");
    }
    // The same image gives the same file.
    let second = out(env, "second.aci");
    image(env, &["export", &id, &second]).succeeds();
    assert!(fs::read(&file).expect("it is there") == fs::read(&second).expect("it is there"));
    fs::remove_file(file).and_then(|()| fs::remove_file(second)).expect("they are ours");
}

/// What skopeo, run by the test's user, says of an image: the digest of its configuration, and its layers.
fn skopeo(env: &Env, args: &[&str]) -> serde_json::Value {
    let args = args.iter().map(Into::into).collect();
    let outcome = env.command("skopeo", args).var("TMPDIR", "/var/tmp").outcome().succeeds();
    serde_json::from_str(&outcome.stdout).expect("it is JSON")
}

fn an_oci_image_goes_to_other_programs(env: &Env) {
    needs!(tool("skopeo"));
    let layout = layered(LOOK);
    let dir = layout.build(env);
    let original = skopeo(env, &["inspect", "--raw", &format!("oci:{}:latest", dir.display())]);
    let id = fetch_oci(env, &layout);
    for (format, name, transport) in
        [("oci", "dir", "oci"), ("oci-archive", "o.tar", "oci-archive"), ("docker-archive", "d.tar", "docker-archive")]
    {
        let path = out(env, name);
        let format = format!("--format={format}");
        image(env, &["export", &format, "--name=exported:v1", &id, &path]).succeeds().quietly();
        let reference = format!("{transport}:{path}:exported:v1");
        let config = skopeo(env, &["inspect", "--config", &reference]);
        assert_eq!(config["rootfs"]["diff_ids"].as_array().map(Vec::len), Some(2), "{format}");
        // The ID is the digest of the configuration, and that did not change.
        let raw = skopeo(env, &["inspect", "--raw", &reference]);
        assert_eq!(raw["config"]["digest"], original["config"]["digest"], "{format}");
        assert_eq!(original["config"]["digest"], serde_json::Value::from(&*id));
        // skopeo checks every digest on the way.
        let copy = out(env, "copy");
        let copied = Command::new("skopeo").args(["copy", "--quiet", &reference, &format!("dir:{copy}")]).output();
        let copied = copied.expect("skopeo runs");
        assert!(copied.status.success(), "{format}: {}", String::from_utf8_lossy(&copied.stderr));
        fs::remove_dir_all(copy).expect("it is ours");
        image(env, &["export", &format, &id, &path]).refuses("exists (try --overwrite)");
        image(env, &["export", "--overwrite", &format, &id, &path]).succeeds();
    }
    // With the layers kept it is the very same image, manifest and all.
    env.proa(["image", "rm", &id]).outcome().succeeds();
    let reference = format!("oci:{}:latest", dir.display());
    env.proa(["fetch", "--keep-layers", &reference]).outcome().succeeds();
    let path = out(env, "kept.tar");
    image(env, &["export", &id, &path]).succeeds();
    let exported = skopeo(env, &["inspect", "--raw", &format!("oci-archive:{path}")]);
    assert_eq!(exported, original);
    fs::remove_dir_all(env.path("tmp/dir")).expect("root may remove it");
    for name in ["o.tar", "d.tar", "kept.tar"] {
        fs::remove_file(env.path("tmp").join(name)).expect("root may remove it");
    }
}

fn an_aci_becomes_an_oci_image(env: &Env) {
    needs!(tool("skopeo"));
    let aci = Aci::new("to-oci", busybox().dir("data", 0o750).file("data/x", "x\n", 0o640).owned_by(7, 8))
        .sh("cat /data/x")
        .app("environment", serde_json::json!([{"name": "A", "value": "b"}]))
        .app("ports", serde_json::json!([{"name": "web", "protocol": "tcp", "port": 80}]))
        .app("mountPoints", serde_json::json!([{"name": "v", "path": "/v", "readOnly": true}]));
    let id = fetch_aci(env, &aci);
    let path = out(env, "converted.tar");
    let exported = image(env, &["export", "--format=oci-archive", "--name=made:1", &id, &path]).succeeds();
    assert!(exported.stderr.contains("warning") && exported.stderr.contains("readOnly"), "{exported}");
    let config = skopeo(env, &["inspect", "--config", &format!("oci-archive:{path}:made:1")]);
    assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["/bin/sh", "-c", "cat /data/x"]));
    assert_eq!(config["config"]["Env"], serde_json::json!(["A=b"]));
    assert_eq!(config["config"]["ExposedPorts"], serde_json::json!({"80/tcp": {}}));
    assert_eq!(config["config"]["Volumes"], serde_json::json!({"/v": {}}));
    let layout = out(env, "layout");
    image(env, &["export", "--format=oci", "--name=latest", &id, &layout]).succeeds();
    let listed = Command::new("sh")
        .args(["-c", "tar -tvzf \"$1\"/blobs/sha256/$(jq -r .layers[0].digest \"$1\"/blobs/sha256/$(jq -r .manifests[0].digest \"$1\"/index.json | cut -d: -f2) | cut -d: -f2)", "sh", &layout])
        .output()
        .expect("sh runs");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.lines().any(|line| line.starts_with("-rw-r----- 7/8") && line.ends_with(" data/x")), "{listed}");
    let again = env.store(format!("oci:{layout}:latest"));
    env.proa(["run", "--net=none", &again]).outcome().succeeds().prints("x\n");
    fs::remove_dir_all(layout).and_then(|()| fs::remove_file(path)).expect("root may remove them");
}

fn refusals(env: &Env) {
    let id = fetch_aci(env, &Aci::new("refused", busybox()));
    let dir = out(env, "dir");
    fs::create_dir(&dir).expect("root may make it");
    image(env, &["export", "--overwrite", &id, &dir]).rejects("dir");
    image(env, &["export", &id, &out(env, "no/such/file.aci")]).rejects("no/such");
    image(env, &["export", "nonsense", &out(env, "x.aci")]).refuses("nonsense");
    image(env, &["export", "--format=zip", &id, &out(env, "x.aci")]).exits(254);
    let file = out(env, "file");
    fs::write(&file, "x").expect("root may write");
    image(env, &["render", "--overwrite", &id, &file]).refuses("is no directory");
    image(env, &["export", "--format=oci", "--overwrite", &id, &file]).refuses("is no directory");
    assert_eq!(fs::read_to_string(&file).expect("it is still there"), "x");
    image(env, &["export", "--format=oci", &id, &dir]).refuses(&format!("{dir}: output directory exists"));
    // Whatever is made of it, the directory one is in stays.
    for words in [&["export", "--format=oci"][..], &["extract"], &["render"]] {
        let words = [&["image"], words, &["--overwrite", &id, &dir]].concat();
        let inside = env.proa(words).through(["sh", "-c", &format!("cd {dir} && exec \"$@\""), "sh"]).outcome();
        inside.exits(254).stderr_shows(&format!("{dir}: this would delete the directory you are in"));
    }
    image(env, &["export", "--overwrite", &id, "/dev/null"]).rejects("/dev/null is no regular file");
    fs::remove_file(file).and_then(|()| fs::remove_dir(dir)).expect("they are ours");
}
