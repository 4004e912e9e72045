//! Virtual machine images through the real binary: as `proa eci` and under the name `eci`, in layouts, archives and registries.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use integration_tests::needs::{Place, Why, place, tool};
use integration_tests::registry::{Registry, Setup};
use integration_tests::{Env, Outcome, User, binaries, each_user, needs};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use made::{Made, annotations, gzip, tarball};

mod command_line;
mod made;
mod packing;
mod places;
mod pulling;
mod refusing;
mod registries;

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

fn root_env() -> Result<Env, Why> {
    Env::of(User::WithRange)
}

fn pull(env: &Env, image: &str) -> Outcome {
    proa(env, &["pull", "--remote", &layout(env), "--dir", env.path("out").to_str().expect("text"), image])
}
