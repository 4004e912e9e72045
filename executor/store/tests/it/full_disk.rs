//! No room left: the error says so, nothing is left behind, and what was there stays (security corpus, DOS-12).

use std::path::Path;
use std::process::{Command, Stdio};

use store::{AsUser, Store};

use crate::archive::{aci, gzip};
use crate::imports::{check, import_aci, names, nobody};

const VARIABLE: &str = "PROA_STORE_TEST_FULL_DISK";

fn large_aci() -> Vec<u8> {
    aci(|archive| (0..12).fold(archive, |archive, n| archive.file(format!("rootfs/f{n}"), vec![n; 30_000])))
}

fn small_aci() -> Vec<u8> {
    aci(|archive| archive.file("rootfs/small", "small"))
}

/// Fills the file system of `data` step by step, and imports at every step.
fn import_with_less_and_less_room(data: &Path) {
    let store = Store::ensure(data).unwrap();
    let small = import_aci(&store, &small_aci(), &["small"]).unwrap();
    let ballast = data.join("ballast");
    let (mut failures, mut successes) = (0, 0);
    for free in (0..1_200_000).step_by(40_000) {
        let room = rustix::fs::statvfs(data).unwrap();
        let bytes = (room.f_bavail * room.f_frsize).saturating_sub(free);
        std::fs::write(&ballast, vec![1; usize::try_from(bytes).unwrap()]).unwrap();
        match import_aci(&store, &large_aci(), &["large"]) {
            Ok(image) => {
                successes += 1;
                store.remove(&image.id).unwrap();
            }
            Err(error) => {
                failures += 1;
                assert!(error.to_string().ends_with("No space left on device"), "{error}");
                assert_eq!(names(data, "tmp"), Vec::<String>::new(), "with {free} bytes free");
            }
        }
        std::fs::remove_file(&ballast).unwrap();
        assert!(store.gc(&AsUser, &nobody).unwrap().failures.is_empty());
        assert_eq!(check(data), std::slice::from_ref(&small));
        assert_eq!(names(data, "trees").len(), 1);
    }
    assert!(failures > 5 && successes > 5, "{failures} failures, {successes} successes: the sizes do not fit");
}

#[test]
fn dos_12_a_disk_without_room() {
    if let Some(data) = std::env::var_os(VARIABLE) {
        return import_with_less_and_less_room(data.as_ref());
    }
    let data = tempfile::tempdir().unwrap();
    // A file system of its own, in a mount namespace of its own.
    let script = "mount -t tmpfs -o size=4m,mode=700 proa-test \"$1\" && shift && exec \"$@\"";
    let mut child = Command::new("unshare");
    child.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]).arg(data.path());
    let possible = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "proa-test"])
        .arg(data.path())
        .stderr(Stdio::null())
        .status();
    if !possible.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no unshare, or no mounts in user namespaces here");
        return;
    }
    child.arg(std::env::current_exe().unwrap());
    child.args(["--exact", "full_disk::dos_12_a_disk_without_room", "--nocapture", "-q"]);
    let output = child.env(VARIABLE, data.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn dos_12_a_limit_on_the_size_of_files() {
    let name = "full_disk::dos_12_a_limit_on_the_size_of_files";
    if let Some(data) = std::env::var_os(VARIABLE) {
        let store = Store::ensure(data.as_ref()).unwrap();
        let large = gzip(&aci(|archive| archive.file("rootfs/large", vec![1; 300_000])));
        let error = import_aci(&store, &large, &[]).unwrap_err().to_string();
        assert!(error.ends_with("File too large"), "{error}");
        assert_eq!(names(data.as_ref(), "tmp"), Vec::<String>::new());
        import_aci(&store, &small_aci(), &["small"]).unwrap();
        return;
    }
    let data = tempfile::tempdir().unwrap();
    // 200 blocks of 512 bytes; without the signal, which would kill, the call fails.
    let mut child = Command::new("sh");
    child.args(["-c", "trap '' XFSZ; ulimit -f 200; exec \"$@\"", "sh"]).arg(std::env::current_exe().unwrap());
    let output = child.args(["--exact", name, "-q"]).env(VARIABLE, data.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(check(data.path()).len(), 1);
}
