//! Where the binaries under test are, at a path that every test user can reach.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The `proa` under test: a copy, because a checkout below /root or a private home is closed to the test users.
///
/// # Panics
/// When there is none: build it first.
pub fn proa() -> PathBuf {
    let built = std::env::var_os("PROA_TEST_BIN").map(PathBuf::from).or_else(|| newest("proa"));
    reachable(&built.expect("no proa beside the tests: run `cargo build --release` or set PROA_TEST_BIN"))
}

/// The static binary the tests put into images.
///
/// # Panics
/// When there is none: cargo builds it with the integration tests.
pub fn probe() -> PathBuf {
    let built = std::env::var_os("PROA_TEST_PROBE").map(PathBuf::from);
    let built = built.or_else(|| profile_dir().map(|it| it.join("probe"))).filter(|it| it.exists());
    reachable(&built.expect("no probe beside the tests: set PROA_TEST_PROBE"))
}

/// The `containerssh-agent` under test.
///
/// # Panics
/// When there is none: build it first.
pub fn agent() -> PathBuf {
    let built = std::env::var_os("PROA_TEST_AGENT").map(PathBuf::from).or_else(|| newest("containerssh-agent"));
    let missing = "no containerssh-agent beside the tests: run `cargo build --release -p guest-agent` or set \
                   PROA_TEST_AGENT";
    reachable(&built.expect(missing))
}

/// The static program that checks from inside what appc's own validator checks.
///
/// # Panics
/// When there is none: cargo builds it with the integration tests.
pub fn ace_validator() -> PathBuf {
    let built = std::env::var_os("PROA_TEST_ACE_VALIDATOR").map(PathBuf::from);
    let built = built.or_else(|| profile_dir().map(|it| it.join("ace-validator"))).filter(|it| it.exists());
    reachable(&built.expect("no ace-validator beside the tests: set PROA_TEST_ACE_VALIDATOR"))
}

/// The program that plays monitors of pods that there are not.
///
/// # Panics
/// When there is none: cargo builds it with the integration tests.
pub fn monitors() -> PathBuf {
    let built = profile_dir().map(|it| it.join("monitors")).filter(|it| it.exists());
    reachable(&built.expect("no program `monitors` beside the tests"))
}

/// The program that kills others at chosen system calls, or lets those fail.
///
/// # Panics
/// When there is none: cargo builds it with the integration tests.
pub fn inject() -> PathBuf {
    let built = profile_dir().map(|it| it.join("inject")).filter(|it| it.exists());
    reachable(&built.expect("no program `inject` beside the tests"))
}

/// The folder below which tests make theirs: on a disk file system, because tmpfs has user xattrs (which overlays
/// need) only since Linux 6.6, and /tmp often is one.
///
/// # Panics
/// When it cannot be made.
pub fn work_dir() -> PathBuf {
    let dir = PathBuf::from(format!("/var/tmp/proa-tests-{}", rustix::process::geteuid().as_raw()));
    fs::create_dir_all(&dir).expect("/var/tmp must be writable");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("the work folder must be ours");
    dir
}

/// The cargo target directory the running test was built in.
pub fn target_dir() -> Option<PathBuf> {
    // TARGET/TRIPLE/PROFILE
    profile_dir()?.ancestors().nth(2).map(Path::to_owned)
}

/// `…/debug` or `…/release` of the running test, which is `…/debug/deps/NAME-HASH`.
fn profile_dir() -> Option<PathBuf> {
    let exe = std::env::current_exe().ok()?;
    let dir = exe.parent()?;
    Some(if dir.ends_with("deps") { dir.parent()?.to_owned() } else { dir.to_owned() })
}

fn newest(name: &str) -> Option<PathBuf> {
    let triple = profile_dir()?.parent()?.to_owned();
    ["release", "debug"]
        .map(|profile| triple.join(profile).join(name))
        .into_iter()
        .filter(|it| it.exists())
        .max_by_key(|it| it.metadata().and_then(|it| it.modified()).ok())
}

/// A copy of a program in the work folder, made once per build of it.
fn reachable(program: &Path) -> PathBuf {
    let meta = program.metadata().unwrap_or_else(|e| panic!("{}: {e}", program.display()));
    let name = program.file_name().expect("a program has a name").to_string_lossy();
    let dir = work_dir().join("bin").join(format!("{}-{}", meta.mtime_nsec(), meta.size()));
    let copy = dir.join(&*name);
    if !copy.exists() {
        forget_old(&work_dir().join("bin"));
        fs::create_dir_all(&dir).expect("the work folder is writable");
        // Tests are threads of one process, or processes.
        let partial = dir.join(format!("{name}.{}.{:?}", std::process::id(), std::thread::current().id()));
        // By a process of its own: a child that another thread forks meanwhile would have the copy open for writing,
        // and nobody could execute it then.
        let copied = std::process::Command::new("cp").arg(program).arg(&partial).status();
        assert!(copied.is_ok_and(|status| status.success()), "copy {}", program.display());
        fs::set_permissions(&partial, fs::Permissions::from_mode(0o755)).expect("the copy is ours");
        fs::rename(&partial, &copy).expect("the copy is ours");
    }
    // It is in use.
    let touched = fs::File::open(&dir).and_then(|it| it.set_modified(SystemTime::now()));
    touched.expect("the copy's folder is ours");
    copy
}

/// Removes copies of builds that no test run has asked for lately: each has 100 MB, and who builds every few minutes
/// would have 10 GB of them in an afternoon. (Every test asks anew, so what is in use is younger.)
fn forget_old(copies: &Path) {
    const OLD: Duration = Duration::from_mins(45);
    for copy in fs::read_dir(copies).into_iter().flatten().flatten() {
        let age = copy.metadata().and_then(|it| it.modified()).ok().and_then(|it| it.elapsed().ok());
        if age.is_some_and(|age| age > OLD) {
            // Another test may be doing the same.
            let _ = fs::remove_dir_all(copy.path());
        }
    }
}
