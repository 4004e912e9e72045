//! Virtual machine images through the real binary: as `proa eci` and under the name `eci`, in layouts and archives.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use integration_tests::needs::{Place, place, tool};
use integration_tests::{Env, Outcome, User, binaries, each_user, needs};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const KERNEL: &str = "application/vnd.lfedge.eci.kernel.layer.v1+kernel";
const INITRD: &str = "application/vnd.lfedge.eci.initrd.layer.v1+cpio";
const RAW: &str = "application/vnd.lfedge.disk.layer.v1+raw";
const QCOW2: &str = "application/vnd.lfedge.disk.layer.v1+qcow2";
const TAR_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const TITLE: &str = "org.opencontainers.image.title";

/// 2001-09-09T01:46:40Z.
const TIME: u64 = 1_000_000_000;

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// The parts of a virtual machine, below the test's folder: `k`, `i`, `root.raw` with holes, `disk1.qcow2`.
fn parts(env: &Env) {
    let noise = |seed: u8, count: usize| (0..count).map(|it| ((it * it) >> 3) as u8 ^ seed).collect::<Vec<u8>>();
    env.write("k", noise(1, 300_000));
    env.write("i", noise(2, 5));
    env.write("disk1.qcow2", noise(3, 70_000));
    let mut root = vec![0; 20_000_000];
    root[..600].copy_from_slice(&noise(4, 600));
    root[9_000_000..9_000_600].copy_from_slice(&noise(5, 600));
    let path = env.write("root.raw", b"");
    let file = fs::File::options().write(true).open(&path).expect("it is ours");
    file.set_len(root.len() as u64).expect("it is ours");
    for at in [0, 9_000_000] {
        std::os::unix::fs::FileExt::write_all_at(&file, &root[at..at + 600], at as u64).expect("it is ours");
    }
    for name in ["k", "i", "disk1.qcow2", "root.raw"] {
        let path = env.path(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("it is ours");
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(TIME);
        let file = fs::File::options().write(true).open(&path).expect("it is ours");
        file.set_modified(time).expect("it is ours");
    }
}

const ALL: [&str; 8] = ["--kernel", "k", "--initrd", "i", "--root", "root.raw:raw", "--disk", "disk1.qcow2:qcow2"];

/// What a pull of everything gives.
const PULLED: [(&str, &str); 4] =
    [("kernel", "k"), ("initrd", "i"), ("disk-root-root.raw", "root.raw"), ("disk-0-disk1.qcow2", "disk1.qcow2")];

fn proa(env: &Env, args: &[&str]) -> Outcome {
    env.proa(["eci"].iter().chain(args)).outcome()
}

/// proa under the name `eci`.
fn eci(env: &Env, args: &[&str]) -> Outcome {
    let link = env.path("eci");
    if !link.exists() {
        symlink(binaries::proa(), &link).expect("the folder is ours");
    }
    env.command(link, args.iter().map(Into::into).collect()).outcome()
}

fn layout(env: &Env) -> String {
    env.path("layout").display().to_string()
}

#[track_caller]
fn push(env: &Env, image: &str, more: &[&str]) -> String {
    let remote = layout(env);
    let args: Vec<&str> = ["push", "--remote", &remote].iter().chain(more).copied().chain([image]).collect();
    let outcome = proa(env, &args).succeeds();
    let digest = outcome.line().rsplit(' ').next().expect("a word").to_owned();
    assert_eq!(outcome.line(), format!("Pushed image {image} to {remote} with digest {digest}"));
    digest
}

/// A blob of the test's layout.
fn blob(env: &Env, digest: &str) -> Vec<u8> {
    let bytes = fs::read(env.path("layout/blobs/sha256").join(&digest[7..])).expect("the blob is there");
    assert_eq!(self::digest(&bytes), digest);
    bytes
}

fn document(env: &Env, digest: &str) -> Value {
    serde_json::from_slice(&blob(env, digest)).expect("JSON")
}

/// Asserts that a folder has exactly these files, the same as the parts, and nothing under other names.
#[track_caller]
fn assert_files(env: &Env, dir: &Path, expected: &[(&str, &str)]) {
    for (name, part) in expected {
        let same = fs::read(dir.join(name)).expect(name) == fs::read(env.path(part)).expect(part);
        assert!(same, "{name} is not as it was");
    }
    let mut names: Vec<_> = expected.iter().map(|it| it.0.to_owned()).collect();
    names.sort();
    let found = fs::read_dir(dir).expect("the folder is there");
    let mut found: Vec<_> = found.map(|it| it.expect("a name").file_name().into_string().expect("text")).collect();
    found.retain(|it| it != "config.json");
    found.sort();
    assert_eq!(found, names);
}

/// A layout of the test's own making.
#[derive(Default)]
struct Made {
    blobs: BTreeMap<String, Vec<u8>>,
    manifests: Vec<Value>,
}

impl Made {
    fn blob(&mut self, bytes: &[u8]) -> (String, usize) {
        self.blobs.insert(digest(bytes), bytes.to_vec());
        (digest(bytes), bytes.len())
    }

    fn descriptor(&mut self, media_type: &str, bytes: &[u8], annotations: Value) -> Value {
        let (digest, size) = self.blob(bytes);
        json!({"mediaType": media_type, "digest": digest, "size": size, "annotations": annotations})
    }

    fn image(mut self, name: &str, layers: Vec<Value>, config: &Value) -> Self {
        let config = serde_json::to_vec(config).expect("JSON");
        let config = self.descriptor("application/vnd.oci.image.config.v1+json", &config, Value::Null);
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        self.document(name, MANIFEST, &manifest)
    }

    fn document(mut self, name: &str, media_type: &str, document: &Value) -> Self {
        let bytes = serde_json::to_vec(document).expect("JSON");
        let annotations = json!({"org.opencontainers.image.ref.name": name});
        let descriptor = self.descriptor(media_type, &bytes, annotations);
        self.manifests.push(descriptor);
        self
    }

    fn write(&self, env: &Env) {
        let dir = env.path("layout");
        let _ = fs::remove_dir_all(&dir);
        env.make_dir(&dir.join("blobs/sha256"));
        for (digest, bytes) in &self.blobs {
            fs::write(dir.join("blobs/sha256").join(&digest[7..]), bytes).expect("the folder is ours");
        }
        let index = json!({"schemaVersion": 2, "manifests": self.manifests});
        fs::write(dir.join("index.json"), index.to_string()).expect("the folder is ours");
    }
}

fn annotations(role: &str, title: &str, media_type: &str) -> Value {
    json!({"org.lfedge.eci.role": role, TITLE: title, "org.lfedge.eci.mediaType": media_type})
}

each_user! {
    line_101_round_trips,
    line_105_directories_are_layouts,
    archives,
}

fn line_101_round_trips(env: &Env) {
    parts(env);
    for format in ["artifacts", "legacy"] {
        push(env, format, &[&ALL[..], &["--format", format]].concat());
        let out = env.path(format);
        let pulled = proa(env, &["pull", "--remote", &layout(env), "--dir", out.to_str().expect("text"), format]);
        let pulled = pulled.succeeds().quietly();
        let lines: Vec<&str> = pulled.stdout.lines().collect();
        assert!(lines[0].starts_with(&format!("Pulled image {format} with digest sha256:")), "{pulled}");
        assert!(lines[0].ends_with(&format!(" to directory {}", out.display())), "{pulled}");
        let dir = out.display();
        let expected = [
            "file locations and types:".to_owned(),
            format!("\tkernel: {dir}/kernel"),
            format!("\tinitrd: {dir}/initrd"),
            format!("\troot: {dir}/disk-root-root.raw Raw"),
            format!("\tadditional disk 0: {dir}/disk-0-disk1.qcow2 Qcow2"),
        ];
        assert_eq!(lines[1..], expected);
        assert_files(env, &out, &PULLED);
        // Holes stay holes.
        let used = out.join("disk-root-root.raw").metadata().expect("it is there").blocks() * 512;
        assert!(used < 100_000, "{used} bytes are used by 1,200");
        let mode = out.join("kernel").metadata().expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
    }
}

fn line_105_directories_are_layouts(env: &Env) {
    parts(env);
    let one = push(env, "lfedge/vm:1", &["--kernel", "k"]);
    let two = push(env, "lfedge/vm:2", &["--kernel", "i"]);
    assert_ne!(one, two);
    let dir = env.path("layout");
    assert_eq!(fs::read_to_string(dir.join("oci-layout")).expect("it is there"), r#"{"imageLayoutVersion":"1.0.0"}"#);
    let index: Value = serde_json::from_slice(&fs::read(dir.join("index.json")).expect("it is there")).expect("JSON");
    assert_eq!(index["schemaVersion"], 2);
    let names = index["manifests"].as_array().expect("a list").iter();
    let names: Vec<_> = names.map(|it| it["annotations"]["org.opencontainers.image.ref.name"].clone()).collect();
    assert_eq!(names, ["lfedge/vm:1", "lfedge/vm:2"]);
    // The same place in both forms, and the same image by its complete name.
    for (remote, image) in [
        (dir.display().to_string(), "lfedge/vm:1"),
        (format!("file://{}", dir.display()), "lfedge/vm:1"),
        (dir.display().to_string(), "docker.io/lfedge/vm:1"),
    ] {
        let shown = proa(env, &["inspect", "--format=json", "--remote", &remote, image]).outcome_of(image);
        assert_eq!(shown["digest"], one.as_str());
    }
    // Again under a name that is taken: the other image stays.
    let three = push(env, "lfedge/vm:1", &["--kernel", "disk1.qcow2"]);
    let of = |image: &str| proa(env, &["inspect", "--format=json", "--remote", &layout(env), image]).outcome_of(image);
    assert_eq!(
        (of("lfedge/vm:1")["digest"].as_str(), of("lfedge/vm:2")["digest"].as_str()),
        (Some(&*three), Some(&*two))
    );
    for remote in ["p", "http://x", "oci-archive:"] {
        let refused = proa(env, &["pull", "--remote", remote, "x"]);
        refused.refuses(&format!("unknown remote: {remote}"));
    }
    proa(env, &["pull", "--remote", "containerd:/run/c.sock", "x"])
        .refuses("unsupported remote: containerd:/run/c.sock");
    let eci = eci(env, &["--remote", "p", "pull", "x"]).exits(1);
    assert!(eci.stderr.ends_with(" unknown remote: p\n"), "{eci}");
}

trait Shown {
    fn outcome_of(self, image: &str) -> Value;
}

impl Shown for Outcome {
    /// The JSON that `inspect` printed.
    #[track_caller]
    fn outcome_of(self, image: &str) -> Value {
        let outcome = self.succeeds().quietly();
        let value: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
        assert_eq!(value["name"], image);
        value
    }
}

fn archives(env: &Env) {
    parts(env);
    let remote = format!("oci-archive:{}", env.path("vm.tar").display());
    proa(env, &[&["push", "--remote", &remote], &ALL[..], &["vm:1"]].concat()).succeeds();
    let out = env.path("out");
    proa(env, &["pull", "--remote", &remote, "--dir", out.to_str().expect("text"), "vm:1"]).succeeds();
    assert_files(env, &out, &PULLED);
    proa(env, &["pull", "--remote", &remote, "--dir", out.to_str().expect("text"), "vm:2"])
        .refuses("no image \"vm:2\"; there is vm:1");
}

fn root_env() -> Result<Env, integration_tests::needs::Why> {
    Env::of(User::WithRange)
}

#[test]
fn line_96_push_artifacts() {
    // The golden files are in the checkout.
    needs!(place(Place::Host));
    let env = needs!(root_env());
    parts(&env);
    let fixed = ["--timestamp", "2001-09-09T01:46:40Z", "--OS", "linux", "--arch", "amd64"];
    let manifest = document(&env, &push(&env, "vm", &[&ALL[..], &fixed].concat()));
    let layers = manifest["layers"].as_array().expect("a list");
    let expected = [
        (KERNEL, "k", "kernel", "kernel"),
        (INITRD, "i", "initrd", "initrd"),
        (RAW, "root.raw", "disk-root", "disk-root-root.raw"),
        (QCOW2, "disk1.qcow2", "disk-additional", "disk-0-disk1.qcow2"),
    ];
    assert_eq!(layers.len(), expected.len());
    for (layer, (media_type, part, role, title)) in layers.iter().zip(expected) {
        let bytes = fs::read(env.path(part)).expect("it is ours");
        let whole = json!({"mediaType": media_type, "digest": digest(&bytes), "size": bytes.len(),
            "annotations": annotations(role, title, media_type)});
        assert_eq!(*layer, whole);
    }
    golden("artifacts", &env, &manifest);
}

#[test]
fn line_97_push_legacy() {
    // The golden files are in the checkout.
    needs!(place(Place::Host));
    let env = needs!(root_env());
    parts(&env);
    let fixed = ["--format=legacy", "--timestamp", "1000000000", "--OS", "linux", "--arch", "amd64"];
    let pushed = push(&env, "vm", &[&ALL[..], &fixed].concat());
    let manifest = document(&env, &pushed);
    assert_eq!(manifest["schemaVersion"], 2);
    let config = document(&env, manifest["config"]["digest"].as_str().expect("text"));
    let diff_ids = config["rootfs"]["diff_ids"].as_array().expect("a list");
    assert_eq!(diff_ids.len(), 4);
    let titles = ["kernel", "initrd", "disk-root-root.raw", "disk-0-disk1.qcow2"];
    let types = [KERNEL, INITRD, RAW, QCOW2];
    let layers = manifest["layers"].as_array().expect("a list");
    for ((layer, diff_id), (title, media_type)) in layers.iter().zip(diff_ids).zip(titles.iter().zip(types)) {
        assert_eq!(
            (&layer["mediaType"], &layer["annotations"]["org.lfedge.eci.mediaType"]),
            (&json!(TAR_GZIP), &json!(media_type))
        );
        let packed = blob(&env, layer["digest"].as_str().expect("text"));
        let mut tar_bytes = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut tar_bytes).expect("gzip");
        assert_eq!(*diff_id, json!(digest(&tar_bytes)));
        let mut archive = tar::Archive::new(&tar_bytes[..]);
        let names: Vec<_> = archive
            .entries()
            .expect("tar")
            .map(|it| {
                let it = it.expect("well-formed");
                let header = it.header();
                let facts = (header.mode().ok(), header.uid().ok(), header.gid().ok(), header.mtime().ok());
                assert_eq!(facts, (Some(0o644), Some(0), Some(0), Some(TIME)));
                it.path().expect("a path").display().to_string()
            })
            .collect();
        assert_eq!(names, [*title]);
    }
    golden("legacy", &env, &manifest);
    // Always the same image.
    assert_eq!(push(&env, "again", &[&ALL[..], &fixed].concat()), pushed);
    assert_ne!(push(&env, "later", &[&ALL[..], &["--format=legacy", "--timestamp", "1"]].concat()), pushed);
}

/// Compares manifest and config with those in fixtures/eci. What gzip makes of a file may differ from processor to
/// processor, so an archive's digest and size are left out (the test has checked them).
fn golden(name: &str, env: &Env, manifest: &Value) {
    let mut manifest = manifest.clone();
    let config = document(env, manifest["config"]["digest"].as_str().expect("text"));
    for layer in manifest["layers"].as_array_mut().expect("a list").iter_mut().filter(|it| it["mediaType"] == TAR_GZIP)
    {
        layer["digest"] = json!("of the archive");
        layer["size"] = json!(0);
    }
    let text = serde_json::to_string_pretty(&json!({"config": config, "manifest": manifest})).expect("JSON") + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/eci").join(format!("{name}.json"));
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(path.parent().expect("a folder"))
            .and_then(|()| fs::write(&path, &text))
            .expect("the checkout is ours");
    }
    let expected = fs::read_to_string(&path).expect("BLESS=1 writes it");
    assert_eq!(text, expected, "{} has changed", path.display());
}

#[test]
fn line_98_parts_are_optional() {
    let env = needs!(root_env());
    parts(&env);
    for (part, args) in
        [("kernel", ["--kernel", "k"]), ("initrd", ["--initrd", "i"]), ("root", ["--root", "root.raw:raw"])]
    {
        for format in ["artifacts", "legacy"] {
            let manifest = document(&env, &push(&env, part, &[&args[..], &["--format", format]].concat()));
            assert_eq!(manifest["layers"].as_array().expect("a list").len(), 1);
        }
    }
    // As with the original, an empty value is none.
    let none = ["push", "--remote", &layout(&env), "--kernel", "", "--root=", "none"];
    proa(&env, &none).refuses("no kernel, initrd or disk is given");
}

#[test]
fn line_99_missing_files_and_bad_words() {
    let env = needs!(root_env());
    parts(&env);
    let remote = layout(&env);
    for (args, message) in [
        (
            &["--kernel", "none"][..],
            "error pushing to registry: could not build manifest: error adding kernel: none: No such file",
        ),
        (&["--initrd", "none"], "could not build manifest: error adding initrd: none: "),
        (&["--kernel", "k", "--config", "none"], "could not build manifest: error adding config.json: none: "),
        (&["--root", "none:raw"], "could not build manifest: error adding disk-root-none disk: none: "),
        (&["--disk", "none:raw"], "could not build manifest: error adding disk-0-none disk: none: "),
        (&["--kernel", "/dev/null"], "/dev/null: not a regular file"),
        (&["--kernel", "k", "--config", "k"], "k is not JSON"),
        (&["--root", "root.raw"], "unable to read root disk root.raw: expected structure <path>:<type>"),
        (&["--root", "root.raw:floppy"], "unable to read root disk root.raw:floppy: unknown disk type: floppy"),
        (&["--disk", "root.raw:RAW"], "unknown disk type: RAW"),
        (&["--kernel", "k", "--format", "oci"], "unknown format: oci"),
        (&["--kernel", "k", "second"], "must be exactly one arg, run help"),
    ] {
        let args = [&["push", "--remote", &remote], args, &["vm"]].concat();
        proa(&env, &args).refuses(message);
        let eci = eci(&env, &args).exits(1);
        assert!(eci.stdout.is_empty() && eci.stderr.contains(message) && eci.stderr.lines().count() == 1, "{eci}");
        // 2026/11/22 03:40:13 message
        let stamp = eci.stderr.as_bytes();
        assert!(stamp[4] == b'/' && stamp[10] == b' ' && stamp[13] == b':' && stamp[19] == b' ', "{eci}");
    }
    assert!(!env.path("layout/index.json").exists());
}

#[test]
fn line_100_disks_are_numbered() {
    let env = needs!(root_env());
    parts(&env);
    fs::copy(env.path("k"), env.path("b")).expect("it is ours");
    for more in [&["--disk", "disk1.qcow2:qcow2", "--disk", "b:vmdk"][..], &["--disk", "disk1.qcow2:qcow2,b:vmdk"]] {
        let manifest = document(&env, &push(&env, "vm", more));
        let titles: Vec<_> = (0..2).map(|it| manifest["layers"][it]["annotations"][TITLE].clone()).collect();
        assert_eq!(titles, ["disk-0-disk1.qcow2", "disk-1-b"]);
        let config = document(&env, manifest["config"]["digest"].as_str().expect("text"));
        let labels = json!({"org.lfedge.eci.artifact.disk-0": "/disk-0-disk1.qcow2", "org.lfedge.eci.artifact.disk-1": "/disk-1-b"});
        assert_eq!(config["config"]["Labels"], labels);
    }
}

/// A tar of these files; a value that begins with `->` is a symbolic link.
fn tarball(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        if let Some(target) = content.strip_prefix(b"->") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            let target = std::str::from_utf8(target).expect("text");
            builder.append_link(&mut header, name, target).expect("a vector");
        } else {
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, name, *content).expect("a vector");
        }
    }
    builder.into_inner().expect("a vector")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("a vector")
}

fn pull(env: &Env, image: &str) -> Outcome {
    proa(env, &["pull", "--remote", &layout(env), "--dir", env.path("out").to_str().expect("text"), image])
}

/// An image as docker builds it: labels tell the paths, and several layers make the file system.
#[test]
fn line_101_labels_alone() {
    let env = needs!(root_env());
    parts(&env);
    let [kernel, initrd, root, disk] =
        ["k", "i", "root.raw", "disk1.qcow2"].map(|it| fs::read(env.path(it)).expect("ours"));
    let layers = [
        // What later layers replace, remove, and link to.
        tarball(&[
            ("boot/vmlinuz", b"old"),
            ("disks/root.img", b"old"),
            ("srv/disk1.qcow2", b"old"),
            ("initrd", b"old"),
        ]),
        tarball(&[
            ("boot/vmlinuz-6", &kernel),
            ("boot/vmlinuz", b"->vmlinuz-6"),
            ("./initrd", &initrd),
            (".wh.disks", b""),
        ]),
        tarball(&[("disks/root.img", &root), ("vm", b"->/srv"), ("srv/.wh..wh..opq", b""), ("srv/disk1.qcow2", &disk)]),
    ];
    let mut made = Made::default();
    let packed = [gzip(&layers[0]), layers[1].clone(), zstd::encode_all(&layers[2][..], 1).expect("a vector")];
    let layers = packed.iter().zip([".tar+gzip", ".tar", ".tar+zstd"]);
    let layers = layers
        .map(|(bytes, kind)| made.descriptor(&format!("application/vnd.oci.image.layer.v1{kind}"), bytes, Value::Null));
    let layers = layers.collect();
    let label = |name: &str| format!("org.lfedge.eci.artifact.{name}");
    let labels = json!({label("kernel"): "/boot/vmlinuz", label("initrd"): "initrd", label("root"): "/disks/root.img",
        label("disk-0"): "/vm/disk1.qcow2", "maintainer": "me"});
    made.image("vm", layers, &json!({"os": "linux", "config": {"Labels": labels}})).write(&env);
    let pulled = pull(&env, "vm").succeeds();
    let named =
        [("kernel", "k"), ("initrd", "i"), ("disk-root-root.img", "root.raw"), ("disk-0-disk1.qcow2", "disk1.qcow2")];
    assert_files(&env, &env.path("out"), &named);
    pulled.shows("disk-root-root.img Raw\n").shows("disk-0-disk1.qcow2 Qcow2\n");
    let shown = proa(&env, &["inspect", "--remote", &layout(&env), "vm"]).succeeds();
    shown.shows("kind: labels").shows("/vm/disk1.qcow2");
}

/// The same from a real builder.
#[test]
fn line_101_buildah_image() {
    needs!(place(Place::Host));
    let buildah = needs!(tool("buildah"));
    let env = needs!(Env::of(User::Root));
    parts(&env);
    let storage = env.path("storage");
    let run = |args: &[&str]| {
        let mut command = Command::new(&buildah);
        command
            .arg("--storage-driver=vfs")
            .arg("--root")
            .arg(storage.join("root"))
            .arg("--runroot")
            .arg(storage.join("run"));
        let output = command.args(args).output().expect("buildah runs");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    };
    let container = run(&["from", "scratch"]);
    for (part, to) in [("k", "/kernel"), ("i", "/initrd"), ("root.raw", "/root.img"), ("disk1.qcow2", "/disk1.qcow2")] {
        run(&["copy", &container, env.path(part).to_str().expect("text"), to]);
    }
    for (label, path) in
        [("kernel", "/kernel"), ("initrd", "/initrd"), ("root", "/root.img"), ("disk-1", "/disk1.qcow2")]
    {
        run(&["config", "--label", &format!("org.lfedge.eci.artifact.{label}={path}"), &container]);
    }
    run(&["commit", "--rm", &container, &format!("oci:{}:vm", layout(&env))]);
    pull(&env, "vm").succeeds().shows("additional disk 0: ");
    let named =
        [("kernel", "k"), ("initrd", "i"), ("disk-root-root.img", "root.raw"), ("disk-1-disk1.qcow2", "disk1.qcow2")];
    assert_files(&env, &env.path("out"), &named);
    fs::remove_dir_all(&storage).expect("it is ours");
}

#[test]
fn line_101_regular_images_are_told() {
    let env = needs!(root_env());
    let mut made = Made::default();
    let layer = made.descriptor(TAR_GZIP, &gzip(&tarball(&[("kernel", b"x")])), Value::Null);
    made.image("vm", vec![layer], &json!({"config": {"Labels": {"a": "b"}}})).write(&env);
    pull(&env, "vm").refuses("vm is a regular OCI image");
    assert!(!env.path("out").exists());
    proa(&env, &["inspect", "--remote", &layout(&env), "vm"]).succeeds().shows("kind: regular OCI image\n");
}

#[test]
fn line_102_missing_roles_are_empty_lines() {
    let env = needs!(root_env());
    parts(&env);
    push(&env, "vm", &["--disk", "disk1.qcow2:iso"]);
    let dir = env.path("out").display().to_string();
    let pulled = pull(&env, "vm").succeeds().quietly();
    let rest = pulled.stdout.split_once('\n').expect("lines").1;
    let lines = format!("\tkernel: \n\tinitrd: \n\troot: \n\tadditional disk 0: {dir}/disk-0-disk1.qcow2 ISO\n");
    assert_eq!(rest, format!("file locations and types:\n{lines}"));
}

#[test]
fn line_103_pullfiles() {
    let env = needs!(root_env());
    parts(&env);
    let remote = layout(&env);
    for format in ["artifacts", "legacy"] {
        push(&env, "vm", &[&ALL[..], &["--format", format]].concat());
        // Longer than what comes: nothing of it stays.
        env.write("kernel.out", vec![9; 400_000]);
        let args = [
            "pullfiles",
            "--remote",
            &remote,
            "--kernel",
            "kernel.out",
            "--root",
            "root.out",
            "--config",
            "c.out",
            "vm",
        ];
        for _ in 0..2 {
            let outcome = proa(&env, &args).succeeds().quietly();
            let rest = outcome.stdout.split_once('\n').expect("lines").1;
            assert_eq!(rest, "file locations and types:\n\tkernel: kernel\n\troot: disk-root-root.raw Raw\n");
            for (file, part) in [("kernel.out", "k"), ("root.out", "root.raw")] {
                assert!(
                    fs::read(env.path(file)).expect("it is there") == fs::read(env.path(part)).expect("ours"),
                    "{file}"
                );
            }
            let config: Value =
                serde_json::from_slice(&fs::read(env.path("c.out")).expect("it is there")).expect("JSON");
            assert_eq!(config["author"], "lf-edge/edge-containers");
        }
        for file in ["kernel.out", "root.out", "c.out"] {
            fs::remove_file(env.path(file)).expect("it is ours");
        }
    }
    proa(&env, &["pullfiles", "--remote", &remote, "--kernel", "/dev/null", "vm"])
        .refuses("/dev/null is not a regular file");
    // One wrong byte: no file, and the one that was there stays.
    let mut victim =
        fs::read_dir(env.path("layout/blobs/sha256")).expect("it is there").map(|it| it.expect("a name").path());
    let victim: PathBuf = victim.find(|it| it.metadata().is_ok_and(|it| it.len() == 300_000)).expect("the kernel");
    let mut bytes = fs::read(&victim).expect("it is ours");
    bytes[1000] ^= 1;
    fs::write(&victim, bytes).expect("it is ours");
    push(&env, "vm", &["--kernel", "k"]);
    env.write("was-there", b"as it was");
    for file in ["was-there", "new"] {
        proa(&env, &["pullfiles", "--remote", &remote, "--kernel", file, "vm"]).refuses("has the digest sha256:");
    }
    assert_eq!(fs::read(env.path("was-there")).expect("it is ours"), b"as it was");
    assert!(!env.path("new").exists());
    let left = fs::read_dir(env.root())
        .expect("it is ours")
        .filter(|it| it.as_ref().is_ok_and(|it| it.file_name().to_string_lossy().ends_with(".part")));
    assert_eq!(left.count(), 0);
}

/// Whatever is wrong with an image: one error that says what, and no file.
#[test]
fn line_104_bad_images() {
    let env = needs!(root_env());
    let one = |layer: &dyn Fn(&mut Made) -> Value| {
        let mut made = Made::default();
        let layer = layer(&mut made);
        made.image("vm", vec![layer], &json!({}))
    };
    let titled = |title: &'static str| {
        move |it: &mut Made| it.descriptor(KERNEL, b"kernel", annotations("kernel", title, KERNEL))
    };
    let gzipped =
        |bytes: Vec<u8>| move |it: &mut Made| it.descriptor(TAR_GZIP, &bytes, annotations("kernel", "kernel", KERNEL));
    let whole = gzip(&tarball(&[("kernel", &[7; 10_000])]));
    let resized = |by: i64| {
        move |it: &mut Made| {
            let mut layer = it.descriptor(KERNEL, b"kernel", annotations("kernel", "kernel", KERNEL));
            layer["size"] = json!(6 + by);
            layer
        }
    };
    let missing = |it: &mut Made| {
        let layer = it.descriptor(KERNEL, b"gone", annotations("kernel", "kernel", KERNEL));
        it.blobs.remove(&digest(b"gone"));
        layer
    };
    let twice = |roles: [&str; 2], titles: [&str; 2]| {
        let mut made = Made::default();
        let layers = [0, 1].map(|it| made.descriptor(KERNEL, &[it as u8], annotations(roles[it], titles[it], KERNEL)));
        made.image("vm", layers.into(), &json!({}))
    };
    let nested = {
        let mut made = Made::default();
        let inner = made.descriptor(INDEX, br#"{"schemaVersion":2,"manifests":[]}"#, Value::Null);
        made.document("vm", INDEX, &json!({"schemaVersion": 2, "manifests": [inner]}))
    };
    let foreign = {
        let mut made = Made::default();
        let mut other = made.descriptor(MANIFEST, b"{}", Value::Null);
        other["platform"] = json!({"os": "plan9", "architecture": "mips"});
        made.document("vm", INDEX, &json!({"schemaVersion": 2, "manifests": [other]}))
    };
    let no_json = {
        let mut made = Made::default();
        let config = made.descriptor("application/vnd.oci.image.config.v1+json", b"config?", Value::Null);
        made.document("vm", MANIFEST, &json!({"schemaVersion": 2, "config": config, "layers": []}))
    };
    let labelled = |path: &str| {
        Made::default().image("vm", vec![], &json!({"config": {"Labels": {"org.lfedge.eci.artifact.kernel": path}}}))
    };
    for (made, message) in [
        (one(&titled("../x")), "path_traversal_disallowed"),
        (one(&titled("/etc/x")), "path_traversal_disallowed"),
        (one(&titled("a/../../x")), "path_traversal_disallowed"),
        (one(&titled("")), "path_traversal_disallowed"),
        (labelled("/../etc/passwd"), "path_traversal_disallowed"),
        (labelled("/kernel"), "has none"),
        (one(&|it| it.descriptor(KERNEL, b"k", annotations("bootloader", "k", KERNEL))), "unknown role \"bootloader\""),
        (
            one(&|it| it.descriptor("application/vnd.lfedge.disk.layer.v1+floppy", b"k", json!({TITLE: "k"}))),
            "unknown type",
        ),
        (one(&|it| it.descriptor("application/x-made-up", b"k", annotations("kernel", "k", KERNEL))), "unknown type"),
        (one(&|it| it.descriptor(KERNEL, b"k", json!({}))), "no title"),
        (twice(["kernel", "kernel"], ["a", "b"]), "two layers have the role kernel"),
        (twice(["kernel", "initrd"], ["a", "a"]), "two layers have the title \"a\""),
        (one(&resized(1)), "6 bytes, not 7"),
        (one(&resized(-1)), "6 bytes, not 5"),
        (one(&missing), "No such file or directory"),
        (one(&gzipped(whole[..whole.len() / 2].to_vec())), "layer sha256:"),
        (one(&gzipped(b"no gzip".to_vec())), "layer sha256:"),
        (one(&gzipped(gzip(b"no tar"))), "layer sha256:"),
        (one(&gzipped(gzip(&tarball(&[("other", b"x")])))), "has none"),
        (nested, "only images may be in one"),
        (foreign, "only for plan9/mips"),
        (no_json, "config sha256:"),
        (Made::default().document("vm", MANIFEST, &json!([])), "manifest sha256:"),
        (Made::default().document("vm", "text/plain", &json!({})), "neither manifest nor index"),
    ] {
        made.write(&env);
        let outcome = pull(&env, "vm").refuses(message);
        let files = fs::read_dir(env.path("out")).map_or(0, Iterator::count);
        assert_eq!(files, 0, "something is left by {outcome}");
    }
}

/// An index has images for several platforms.
#[test]
fn indexes_are_chosen_from() {
    let env = needs!(root_env());
    let mut made = Made::default();
    let mut entries = Vec::new();
    for arch in ["amd64", "arm64", "riscv64"] {
        let layer = made.descriptor(KERNEL, arch.as_bytes(), annotations("kernel", "kernel", KERNEL));
        let config = made.descriptor("application/vnd.oci.image.config.v1+json", b"{}", Value::Null);
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer]}).to_string();
        let mut entry = made.descriptor(MANIFEST, manifest.as_bytes(), Value::Null);
        entry["platform"] = json!({"os": "linux", "architecture": arch});
        entries.push(entry);
    }
    made.document("vm", INDEX, &json!({"schemaVersion": 2, "manifests": entries})).write(&env);
    let kernel = || fs::read_to_string(env.path("out/kernel")).expect("it is there");
    pull(&env, "vm").succeeds();
    assert_eq!(kernel(), if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" });
    proa(
        &env,
        &["pull", "--arch=riscv64", "--remote", &layout(&env), "--dir", env.path("out").to_str().expect("text"), "vm"],
    )
    .succeeds();
    assert_eq!(kernel(), "riscv64");
}

#[test]
fn other_tools_read_what_is_pushed() {
    needs!(place(Place::Host));
    let skopeo = needs!(tool("skopeo"));
    let env = needs!(root_env());
    parts(&env);
    for format in ["artifacts", "legacy"] {
        let digest = push(&env, format, &[&ALL[..], &["--format", format]].concat());
        // There and back through another program's hands.
        let copy = env.path(format!("copy-{format}"));
        let from = format!("oci:{}:{format}", layout(&env));
        let mut command = Command::new(&skopeo);
        command.args(["copy", "--quiet", "--insecure-policy", &from]).arg(format!("oci:{}:{format}", copy.display()));
        let output = command.output().expect("skopeo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let copy = copy.display().to_string();
        let out = env.path(format!("out-{format}"));
        let pulled = proa(&env, &["pull", "--remote", &copy, "--dir", out.to_str().expect("text"), format]).succeeds();
        pulled.shows(&digest);
        assert_files(&env, &out, &PULLED);
    }
}

#[test]
fn a_full_disk_leaves_nothing() {
    needs!(place(Place::Host));
    let env = needs!(root_env());
    env.write("big", vec![1; 6 << 20]);
    push(&env, "vm", &["--kernel", "big"]);
    let small = env.path("small");
    env.make_dir(&small);
    // As the user: a file system of his own namespace that is smaller than the kernel.
    let script = format!(
        "mount -t tmpfs -o size=4m none {0} && \"$@\"; status=$?; ls -A {0} | sed 's/^/left: /'; exit $status",
        small.display()
    );
    let remote = layout(&env);
    let args = ["eci", "pull", "--remote", &remote, "--dir", small.to_str().expect("text"), "vm"];
    let outcome = env
        .proa(args)
        .through(["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"])
        .outcome();
    assert!(!outcome.stdout.contains("left: "), "{outcome}");
    outcome.refuses("No space left on device");
}

#[test]
fn line_107_bad_command_lines_fail() {
    let env = needs!(root_env());
    for (args, message) in [
        (&["fly"][..], "Error: unknown command \"fly\" for \"eci\"\nRun 'eci --help' for usage.\n"),
        (&["push", "--fly"], "Error: unknown flag: --fly\n"),
        (&["--fly", "push"], "Error: unknown flag: --fly\n"),
    ] {
        let outcome = eci(&env, args).exits(1);
        assert!(outcome.stderr.starts_with(message) && outcome.stdout.is_empty(), "{outcome}");
    }
    for args in [&[][..], &["help"], &["--help"], &["help", "push"], &["push", "--help"]] {
        eci(&env, args).succeeds().quietly().shows("Usage: eci");
    }
    let outcome = eci(&env, &["pull"]).exits(1);
    assert!(outcome.stderr.ends_with(" must be exactly one arg, the name of the image to download\n"), "{outcome}");
    assert!(proa(&env, &["fly"]).exits(254).stderr.contains("fly"));
}
