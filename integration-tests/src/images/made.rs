//! Images made by real makers, once: `integration-tests/fixtures/debian` makes them as root.

use std::path::PathBuf;
use std::process::Command;

use crate::binaries;

/// A Debian root file system as a three-layer OCI layout with gzip layers, made by debootstrap and umoci.
///
/// # Errors
/// Says how to make it.
pub fn debian() -> Result<PathBuf, String> {
    fixture("debian")
}

/// The same image with Zstandard layers, repacked by skopeo.
///
/// # Errors
/// Says how to make it.
pub fn debian_zstd() -> Result<PathBuf, String> {
    fixture("debian-zstd")
}

/// A fixture, copied to the work folder when the test users cannot reach the checkout.
fn fixture(name: &str) -> Result<PathBuf, String> {
    let dir = std::env::var_os("PROA_TEST_FIXTURES").map(PathBuf::from);
    let dir = dir.or_else(|| binaries::target_dir().map(|it| it.join("test-fixtures")));
    let made = dir.map(|it| it.join(name)).filter(|it| it.join("index.json").exists());
    let made =
        made.ok_or_else(|| format!("needs the image {name}: integration-tests/fixtures/debian makes it, as root"))?;
    let index = std::fs::read(made.join("index.json")).map_err(|e| format!("{}: {e}", made.display()))?;
    let key = hex::encode(&<sha2::Sha256 as sha2::Digest>::digest(index)[..8]);
    let copy = binaries::work_dir().join("fixtures").join(format!("{name}-{key}"));
    if !copy.exists() {
        let partial = copy.with_extension(std::process::id().to_string());
        std::fs::create_dir_all(&partial).map_err(|e| format!("{}: {e}", partial.display()))?;
        let copied = Command::new("cp").args(["-R", "--reflink=auto"]).arg(made.join(".")).arg(&partial).status();
        let readable = Command::new("chmod").args(["-R", "a+rX"]).arg(&partial).status();
        if !copied.is_ok_and(|it| it.success()) || !readable.is_ok_and(|it| it.success()) {
            return Err(format!("cannot copy {} to {}", made.display(), partial.display()));
        }
        // Another test may have been faster, which is as good.
        if std::fs::rename(&partial, &copy).is_err() {
            let _ = std::fs::remove_dir_all(&partial);
        }
    }
    Ok(copy)
}
