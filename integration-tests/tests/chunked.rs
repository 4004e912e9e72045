//! zstd:chunked layers, as buildah makes them: only what is not stored is downloaded, and no table of contents is believed.

use std::path::Path;
use std::process::Command;

use integration_tests::images::{Tree, sha256};
use integration_tests::needs::{Place, place, tool};
use integration_tests::registry::{Registry, Setup};
use integration_tests::{Env, Outcome, each_user, needs};
use serde_json::{Value, json};

const ANNOTATION: &str = "io.containers.zstd-chunked.manifest-";

/// Bytes that no compression makes fewer, others for each seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// An image of one layer, pushed by buildah.
fn push(env: &Env, buildah: &Path, registry: &Registry, name: &str, tree: &Tree) {
    let run = |args: &[&str]| {
        let mut command = Command::new(buildah);
        command.arg("--root").arg(env.path("storage")).arg("--runroot").arg(env.path("runroot"));
        let output = command.arg("--storage-driver=vfs").args(args).output().expect("buildah runs");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let files = env.write(format!("images/{}.tar", name.replace(':', "-")), tree.tar());
    let container = run(&["from", "scratch"]);
    run(&["add", &container, files.to_str().expect("UTF-8"), "/"]);
    let id = run(&["commit", "--quiet", "--format=oci", &container]);
    let to = format!("docker://{}", registry.name(name));
    run(&["push", "--quiet", "--tls-verify=false", "--compression-format=zstd:chunked", &id, &to]);
}

fn fetch(env: &Env, registry: &Registry, name: &str) -> Outcome {
    env.proa(["--insecure-options=http", "fetch", &format!("docker://{}", registry.name(name))]).outcome()
}

fn first() -> Tree {
    Tree::new().dir("d", 0o755).file("d/a", noise(1, 600 << 10), 0o644).file("d/b", noise(2, 200 << 10), 0o644)
}

/// With `d/a` as it was, though elsewhere in the archive, and another `d/b`.
fn second() -> Tree {
    let tree = Tree::new().file("c", "new", 0o600).owned_by(7, 8).dir("d", 0o750).owned_by(1, 2);
    tree.file("d/b", noise(3, 200 << 10), 0o644).file("d/a", noise(1, 600 << 10), 0o4755).symlink("l", "d/a")
}

each_user! {
    only_what_is_missing_is_downloaded,
}

fn only_what_is_missing_is_downloaded(env: &Env) {
    needs!(place(Place::Host));
    let buildah = needs!(tool("buildah"));
    let registry = needs!(Setup::plain().start(env, "registry"));
    push(env, &buildah, &registry, "app:1", &first());
    push(env, &buildah, &registry, "app:2", &second());
    let before = registry.sent();
    fetch(env, &registry, "app:1").succeeds();
    let between = registry.sent();
    assert!(between - before > 800 << 10, "there was nothing to leave out");
    let id = fetch(env, &registry, "app:2").succeeds().line().to_owned();
    let sent = registry.sent() - between;
    assert!((200 << 10..400 << 10).contains(&sent), "{sent} bytes: d/b alone was missing");
    // Every file against the layer's digest, every owner, mode and time against its archive.
    env.proa(["image", "verify", "--all"]).outcome().succeeds();
    // The same as one who has nothing.
    env.proa(["image", "rm", &id]).outcome().succeeds();
    env.proa(["gc"]).outcome().succeeds();
    let whole = registry.sent();
    env.proa(["image", "rm", &registry.name("app:1")]).outcome().succeeds();
    env.proa(["gc"]).outcome().succeeds();
    assert_eq!(fetch(env, &registry, "app:2").succeeds().line(), id);
    assert!(registry.sent() - whole > 800 << 10);
    env.proa(["image", "verify", "--all"]).outcome().succeeds();
}

/// The manifest of `name`, and its only layer.
fn layer(registry: &Registry, name: &str, version: &str) -> (Value, Vec<u8>) {
    let manifest = registry.get(&format!("{name}/manifests/{version}"), "application/vnd.oci.image.manifest.v1+json");
    let manifest: Value = serde_json::from_slice(&manifest).expect("a manifest");
    let digest = manifest["layers"][0]["digest"].as_str().expect("a digest");
    let blob = registry.get(&format!("{name}/blobs/{digest}"), "*/*");
    (manifest, blob)
}

/// Puts the image there once more with another table of contents.
fn with_table(registry: &Registry, version: &str, change: impl FnOnce(&mut Value)) {
    let (mut manifest, blob) = layer(registry, "app", "2");
    let position = manifest["layers"][0]["annotations"][format!("{ANNOTATION}position")].as_str().expect("a table");
    let numbers: Vec<usize> = position.split(':').map(|it| it.parse().expect("a number")).collect();
    let (start, length) = (numbers[0], numbers[1]);
    let table = zstd::stream::decode_all(&blob[start..start + length]).expect("a table");
    let mut table: Value = serde_json::from_slice(&table).expect("a table");
    change(&mut table);
    let json = table.to_string();
    let packed = zstd::stream::encode_all(json.as_bytes(), 1).expect("it is in memory");
    // The archive, and a skippable frame with the table.
    let mut blob = blob[..start - 8].to_vec();
    blob.extend([0x50, 0x2a, 0x4d, 0x18]);
    blob.extend(u32::try_from(packed.len()).expect("it is short").to_le_bytes());
    blob.extend(&packed);
    let digest = format!("sha256:{}", sha256(&blob));
    registry.put_blob("app", &digest, &blob);
    let layer = &mut manifest["layers"][0];
    layer["digest"] = json!(digest);
    layer["size"] = json!(blob.len());
    layer["annotations"] = json!({
        format!("{ANNOTATION}position"): format!("{start}:{}:{}:1", packed.len(), json.len()),
        format!("{ANNOTATION}checksum"): format!("sha256:{}", sha256(&packed)),
    });
    let manifest = manifest.to_string();
    registry.put_manifest("app", version, "application/vnd.oci.image.manifest.v1+json", manifest.as_bytes());
}

/// The entry of `d/a` or `d/b`.
fn entry<'t>(table: &'t mut Value, name: &str) -> &'t mut Value {
    let entries = table["entries"].as_array_mut().expect("entries");
    entries.iter_mut().find(|it| it["name"] == name && it["type"] == "reg").expect("it is there")
}

/// A table that lies harms nobody: the archive that comes of it has another digest.
#[test]
fn a_table_that_lies_is_found_out() {
    needs!(place(Place::Host));
    let buildah = needs!(tool("buildah"));
    let env = &needs!(Env::of(integration_tests::User::WithRange));
    let registry = needs!(Setup::plain().start(env, "registry"));
    push(env, &buildah, &registry, "app:1", &first());
    push(env, &buildah, &registry, "app:2", &second());
    // The content that is stored as d/a is said to be that of the name d/b was, and the other way round.
    with_table(&registry, "other-place", |table| {
        let (a, b) = (entry(table, "d/a").clone(), entry(table, "d/b").clone());
        for key in ["offset", "endOffset"] {
            entry(table, "d/a")[key] = b[key].clone();
            entry(table, "d/b")[key] = a[key].clone();
        }
    });
    with_table(&registry, "half", |table| {
        let end = entry(table, "d/a")["endOffset"].as_u64().expect("a number");
        entry(table, "d/a")["endOffset"] = json!(end - 1000);
    });
    with_table(&registry, "beyond", |table| entry(table, "d/a")["endOffset"] = json!(1_u64 << 40));
    with_table(&registry, "twice", |table| {
        let copy = entry(table, "d/a").clone();
        table["entries"].as_array_mut().expect("entries").push(copy);
    });
    with_table(&registry, "no-table", |table| *table = json!([[[]]]));
    let base = fetch(env, &registry, "app:1").succeeds().line().to_owned();
    let trees = || std::fs::read_dir(env.data().join("store/trees")).expect("a store").count();
    for version in ["other-place", "half"] {
        let refused = fetch(env, &registry, &format!("app:{version}")).exits(254);
        assert!(refused.stderr.contains("its table of contents"), "{refused}");
        assert_eq!(trees(), 1, "{version}");
    }
    // What is no table is passed over: the layer comes as a whole.
    for version in ["beyond", "twice", "no-table"] {
        let id = fetch(env, &registry, &format!("app:{version}")).succeeds().line().to_owned();
        env.proa(["image", "verify", "--all"]).outcome().succeeds();
        env.proa(["image", "rm", &id]).outcome().succeeds();
        env.proa(["gc"]).outcome().succeeds();
    }
    // Nor is it asked where nothing is stored.
    env.proa(["image", "rm", &base]).outcome().succeeds();
    env.proa(["gc"]).outcome().succeeds();
    fetch(env, &registry, "app:other-place").succeeds();
    env.proa(["image", "verify", "--all"]).outcome().succeeds();
}
