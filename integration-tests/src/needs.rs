//! What a test cannot do without, and the account of what was skipped for lack of it.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where a test can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The machine with the checkout.
    Host,
    /// The lab's guest: systemd, cgroup v2, nothing but the binaries.
    Vm,
}

/// Why a test does not run here.
#[derive(Debug)]
pub enum Why {
    /// It runs in another place, as it should.
    Elsewhere(Place),
    /// Something is missing.
    Missing(String),
}

impl From<String> for Why {
    fn from(missing: String) -> Self {
        Self::Missing(missing)
    }
}

/// Gives the value of a `Result<T, impl Into<Why>>`, or ends the test as skipped.
#[macro_export]
macro_rules! needs {
    ($what:expr) => {
        match $what {
            Ok(it) => it,
            Err(why) => return $crate::needs::skip(why.into()),
        }
    };
}

/// The place this process runs in.
pub fn here() -> Place {
    match std::env::var("PROA_TEST_PLACE").as_deref() {
        Ok("vm") => Place::Vm,
        _ => Place::Host,
    }
}

/// Asks for one place; a test that asks for none runs in both.
///
/// # Errors
/// [`Why::Elsewhere`], which is not a failure in CI.
pub fn place(wanted: Place) -> Result<(), Why> {
    if here() == wanted { Ok(()) } else { Err(Why::Elsewhere(wanted)) }
}

/// Asks for a program, of the distribution before any other: what else is in `PATH` may be in a home that the users of the
/// tests cannot enter.
///
/// # Errors
/// Names the program.
pub fn tool(name: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .map(PathBuf::from)
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| format!("needs the program {name}"))
}

/// Asks for a file.
///
/// # Errors
/// Names the file.
pub fn file(path: impl AsRef<Path>) -> Result<PathBuf, String> {
    let path = path.as_ref();
    if path.exists() { Ok(path.to_owned()) } else { Err(format!("needs {}", path.display())) }
}

/// Counts the running test as skipped.
///
/// # Panics
/// In CI, unless the test belongs elsewhere.
pub fn skip(why: Why) {
    let test =
        std::env::var("NEXTEST_TEST_NAME").unwrap_or_else(|_| std::thread::current().name().unwrap_or("?").to_owned());
    let line = match &why {
        Why::Elsewhere(place) => format!("elsewhere {place:?} {}::{test}", test_file()),
        Why::Missing(what) => format!("skipped {}::{test}: {what}", test_file()),
    };
    eprintln!("{line}");
    if let Some(file) = std::env::var_os("PROA_TEST_SKIPS") {
        // One write of one line in append mode: parallel tests do not mix.
        let file = std::fs::OpenOptions::new().append(true).create(true).open(file);
        file.and_then(|mut it| it.write_all(format!("{line}\n").as_bytes())).expect("PROA_TEST_SKIPS must be writable");
    }
    let missing = matches!(why, Why::Missing(_));
    assert!(
        !missing || std::env::var_os("CI").as_deref() != Some(OsStr::new("true")),
        "in CI a skip is a failure: {line}"
    );
}

/// The test binary's name without cargo's hash.
fn test_file() -> String {
    let exe = std::env::current_exe().unwrap_or_default();
    let name = exe.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.rsplit_once('-').map_or(name.clone(), |(stem, _)| stem.to_owned())
}
