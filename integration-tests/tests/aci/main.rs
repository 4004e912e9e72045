//! `proa aci`: images as files, with the acceptance lines of the App Container contract in the tests' names.

mod building;
mod documented;
mod extracting;
mod other_tools;
mod patching;
mod rendering;
mod validating;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use integration_tests::images::sha512;
use integration_tests::{Env, Outcome};

/// A manifest that is complete.
const MANIFEST: &str = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/test",
    "labels":[{"name":"os","value":"linux"},{"name":"arch","value":"amd64"}],
    "app":{"exec":["/bin/app"],"user":"0","group":"0"}}"#;

/// `proa aci …` in the test's folder.
fn aci<I: AsRef<OsStr>>(env: &Env, args: impl IntoIterator<Item = I>) -> Outcome {
    let args = args.into_iter().map(|it| it.as_ref().to_owned());
    env.proa([OsString::from("aci")].into_iter().chain(args)).outcome()
}

/// A script, run as the test's user in the test's folder.
#[track_caller]
fn sh(env: &Env, script: &str) -> Outcome {
    env.command("/bin/sh", vec!["-ec".into(), format!("umask 022\n{script}").into()]).outcome()
}

/// A layout of this name with [`MANIFEST`], whose rootfs `script` fills.
#[track_caller]
fn layout(env: &Env, name: &str, script: &str) -> PathBuf {
    sh(env, &format!("mkdir -p {name}/rootfs && cd {name}/rootfs\n{script}")).succeeds();
    env.write(format!("{name}/manifest"), MANIFEST);
    env.path(name)
}

/// One entry of an archive, as the crate `tar` reads it.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    path: String,
    kind: tar::EntryType,
    mode: u32,
    owner: (u64, u64),
    link: Option<String>,
    size: u64,
}

/// The uncompressed bytes of a file that is plain or gzip.
fn unpacked(image: &Path) -> Vec<u8> {
    let bytes = fs::read(image).unwrap_or_else(|e| panic!("{}: {e}", image.display()));
    if !bytes.starts_with(b"\x1f\x8b") {
        return bytes;
    }
    let mut tar = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(&bytes[..]), &mut tar).expect("a gzip stream");
    tar
}

/// The entries of an image file.
fn entries(image: &Path) -> Vec<Entry> {
    let tar = unpacked(image);
    let mut archive = tar::Archive::new(&tar[..]);
    let entry = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let entry = entry.expect("a sound entry");
        let header = entry.header();
        Entry {
            path: entry.path().expect("a path").to_string_lossy().into_owned(),
            kind: header.entry_type(),
            mode: header.mode().expect("a mode"),
            owner: (header.uid().expect("a uid"), header.gid().expect("a gid")),
            link: entry.link_name().expect("a name").map(|it| it.to_string_lossy().into_owned()),
            size: entry.size(),
        }
    };
    archive.entries().expect("an archive").map(entry).collect()
}

/// The ID of an image file, computed here.
fn id(image: &Path) -> String {
    format!("sha512-{}", sha512(&unpacked(image)))
}

/// The highest memory a command used, in KiB, measured by its parent.
fn peak_memory(env: &Env, command: &[&OsStr]) -> u64 {
    let script = "import subprocess, resource, sys; \
                  code = subprocess.run(sys.argv[1:]).returncode; \
                  print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)";
    let words = ["-c".into(), script.into()].into_iter().chain(command.iter().map(OsString::from));
    let outcome = env.command("/usr/bin/python3", words.collect()).outcome().succeeds();
    outcome.line().rsplit('\n').next().and_then(|line| line.parse().ok()).expect("a number")
}

/// A program of the host that is no part of this test's environment.
#[track_caller]
fn run(program: &Path, args: &[&OsStr]) -> String {
    let output = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{}: {e}", program.display()));
    assert!(output.status.success(), "{}: {}", program.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
