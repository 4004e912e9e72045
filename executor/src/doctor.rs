//! What a machine must offer to run pods, tried rather than guessed.

use std::fmt;
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::path::Path;

use pod::TreeRemover as _;
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};
use stage1::idmap::{IdMapping, Tier};
use stage1::userns;
use sys::fork::Namespaces;

use crate::cgroup;
use crate::context::Context;
use crate::diagnostics::silenced;
use crate::error;
use crate::escape::printable;
use crate::forward;
use crate::idmap::{self, Remover};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// As it should be.
    Ok,
    /// Pods run, with less.
    Warn,
    /// Pods cannot run.
    Fail,
}

/// One line of the examination.
#[derive(Debug)]
pub(crate) struct Check {
    verdict: Verdict,
    what: &'static str,
    finding: String,
    mend: Option<&'static str>,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok  ",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        write!(f, "{verdict}  {}: {}", self.what, printable(&self.finding))?;
        match self.mend {
            Some(mend) if self.verdict != Verdict::Ok => writeln!(f, "; {mend}"),
            _ => writeln!(f),
        }
    }
}

/// How the directories of the overlay check are opened.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Does every check. What one of them makes is gone when it returns.
pub(crate) fn examine(context: &Context) -> Vec<Check> {
    let mut checks = vec![kernel(), user_namespaces()];
    match context.create_data_dir() {
        Ok(dir) => {
            checks.push(data_directory(dir));
            match idmap::detect(dir) {
                // Without user namespaces the other two would only repeat that.
                Ok(mapping) if failed(&checks) => checks.push(subordinate_ids(&mapping)),
                Ok(mapping) => checks.extend([subordinate_ids(&mapping), id_map(&mapping), overlay(dir, &mapping)]),
                Err(error) => checks.push(fail(
                    "subordinate ids",
                    error.chain(),
                    "check that /etc/subuid and /etc/subgid can be read",
                )),
            }
        }
        Err(error) => checks.push(fail("data directory", error.chain(), OTHER_DIRECTORY)),
    }
    checks.push(landlock());
    checks.push(seccomp());
    checks.push(control_groups());
    checks.push(pasta());
    checks
}

const OTHER_DIRECTORY: &str = "give a directory of yours with --dir, or set XDG_DATA_HOME";

/// Whether pods cannot run, by what was found so far.
pub(crate) fn failed(checks: &[Check]) -> bool {
    checks.iter().any(|check| check.verdict == Verdict::Fail)
}

/// What bounds of resources take (docs/guides/resources.md).
fn control_groups() -> Check {
    let warning = |finding: String, mend| Check { verdict: Verdict::Warn, what: "control groups", finding, mend };
    let (source, controllers) = match cgroup::prospects() {
        Ok(prospects) => prospects,
        Err(why) => {
            return warning(
                why.to_owned(),
                Some("limits are ignored without: log in to a machine with systemd, or boot with cgroup v2"),
            );
        }
    };
    let giver = match source {
        cgroup::Source::Own(_) => "delegated to this process",
        cgroup::Source::Systemd(_) => "from systemd",
    };
    let finding = format!("{giver}: {}", controllers.join(" "));
    let missing = ["cpu", "memory", "pids"].iter().any(|name| !controllers.iter().any(|known| known == name));
    if missing {
        let mend =
            "as root, add Delegate=cpu memory pids io under [Service] of user@.service: systemctl edit user@.service";
        return warning(finding, Some(mend));
    }
    ok("control groups", &finding)
}

/// What the default network takes (docs/guides/networking.md).
fn pasta() -> Check {
    match forward::pasta() {
        Some(path) => ok("pasta", &path.display().to_string()),
        None => Check {
            verdict: Verdict::Warn,
            what: "pasta",
            finding: "not installed, so pods have a loopback interface alone".into(),
            mend: Some("install the package passt, or use --net=host"),
        },
    }
}

/// The oldest kernel that is tested.
const OLDEST_KERNEL: (u32, u32) = (6, 1);

fn kernel() -> Check {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let verdict = if version >= OLDEST_KERNEL { Verdict::Ok } else { Verdict::Warn };
    Check { verdict, what: "kernel", finding: release, mend: Some("proa is tested with 6.1 and later") }
}

fn user_namespaces() -> Check {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mapping = IdMapping::single(uid, gid);
    match userns::run_in(&mapping, || silenced(|| ())) {
        Ok(()) => ok("user namespaces", "can be created"),
        Err(error) => fail(
            "user namespaces",
            error::chain(&error),
            "check the sysctls user.max_user_namespaces, kernel.unprivileged_userns_clone and \
             kernel.apparmor_restrict_unprivileged_userns",
        ),
    }
}

fn subordinate_ids(mapping: &IdMapping) -> Check {
    match mapping.tier() {
        Tier::Range | Tier::Root => {
            let extent = mapping.uids().last();
            let finding = extent.map_or_else(String::new, |e| format!("{} from {} on", e.count, e.outside));
            ok("subordinate ids", &finding)
        }
        Tier::Single => Check {
            verdict: Verdict::Warn,
            what: "subordinate ids",
            finding: "none, so every app runs as one user".into(),
            mend: Some(
                "install newuidmap and newgidmap (package uidmap) and add a range, as root: \
                 usermod --add-subuids 300000-365535 --add-subgids 300000-365535 USER",
            ),
        },
    }
}

fn id_map(mapping: &IdMapping) -> Check {
    match userns::run_in(mapping, || silenced(|| ())) {
        Ok(()) => ok("id map", "can be written"),
        Err(error) => fail("id map", error::chain(&error), "check that newuidmap and newgidmap are set-uid root"),
    }
}

fn data_directory(dir: &Path) -> Check {
    match rustix::fs::access(dir, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK) {
        Ok(()) => ok("data directory", &dir.display().to_string()),
        Err(errno) => fail("data directory", format!("{}: {}", dir.display(), error::chain(&errno)), OTHER_DIRECTORY),
    }
}

fn overlay(data_dir: &Path, mapping: &IdMapping) -> Check {
    let mend = "overlay needs a local file system (not NFS) and a kernel with overlay in user namespaces";
    match try_overlay(data_dir, mapping) {
        Ok(()) => ok("overlay", "can be mounted in a user namespace"),
        Err(error) => fail("overlay", error, mend),
    }
}

/// Mounts an overlay as a pod does, in a directory of its own below `data_dir`.
fn try_overlay(data_dir: &Path, mapping: &IdMapping) -> Result<(), String> {
    // Root's own range may not pass the directories above; what the kernel can do does not depend on the ids.
    let root = || IdMapping::single(0, 0);
    let mapping = &if mapping.tier() == Tier::Root { root() } else { mapping.clone() };
    let named = |what: &'static str| move |errno: Errno| format!("{what}: {}", error::chain(&errno));
    let parent = openat(CWD, data_dir, DIRECTORY, Mode::empty()).map_err(named("open the data directory"))?;
    let name = format!("doctor-{}", std::process::id());
    mkdirat(&parent, &name, Mode::RWXU).map_err(named("make a directory"))?;
    let top = data_dir.join(&name);
    let mount = || mount_overlay(&top).map_err(|(call, errno)| format!("{call}: {}", error::chain(&errno)));
    let tried = userns::run_in(mapping, || silenced(mount)).map_err(|error| error::chain(&error));
    let removed = remove(parent.as_fd(), &name, mapping);
    tried.and_then(|mounted| mounted).and(removed)
}

/// Mounts an overlay of directories made in `top`; it goes away with the process. Names the call that fails.
fn mount_overlay(top: &Path) -> Result<(), (&'static str, Errno)> {
    fn at<T>(call: &'static str) -> impl FnOnce(Errno) -> Result<T, (&'static str, Errno)> {
        move |errno| Err((call, errno))
    }
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    // Before the directories are opened: overlay takes mounts of this process's mount namespace only.
    sys::namespace::unshare(Namespaces::MOUNT).map_err(errno).or_else(at("unshare"))?;
    let top = openat(CWD, top, DIRECTORY, Mode::empty()).or_else(at("open"))?;
    let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).or_else(at("fsopen"))?;
    let mut open = Vec::new();
    for (key, part) in [("lowerdir", "lower"), ("upperdir", "upper"), ("workdir", "work")] {
        mkdirat(&top, part, Mode::RWXU).or_else(at("mkdir"))?;
        let dir = openat(&top, part, DIRECTORY, Mode::empty()).or_else(at("open"))?;
        let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
        fsconfig_set_string(overlay.as_fd(), key, path).or_else(at("fsconfig"))?;
        open.push(dir);
    }
    for flag in ["userxattr", "volatile"] {
        fsconfig_set_flag(overlay.as_fd(), flag).or_else(at("fsconfig"))?;
    }
    fsconfig_create(overlay.as_fd()).or_else(at("fsconfig"))?;
    fsmount(overlay.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).or_else(at("fsmount")).map(drop)
}

fn remove(parent: BorrowedFd<'_>, name: &str, mapping: &IdMapping) -> Result<(), String> {
    match pod::removal::remove_tree(parent, name) {
        Err(error) if error.is_denied() => {
            Remover::new(mapping).remove_tree(parent, name).map_err(|error| error::chain(error.as_ref()))
        }
        result => result.map_err(|error| error::chain(&error)),
    }
}

fn landlock() -> Check {
    if stage1::landlock::supported() {
        return ok("landlock", "available");
    }
    Check {
        verdict: Verdict::Warn,
        what: "landlock",
        finding: "not available".into(),
        mend: Some("boot with landlock in the lsm= list"),
    }
}

fn seccomp() -> Check {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    if actions.split_whitespace().any(|action| action == "errno") {
        return ok("seccomp", "available");
    }
    fail("seccomp", "no filters".into(), "the kernel needs CONFIG_SECCOMP_FILTER")
}

fn ok(what: &'static str, finding: &str) -> Check {
    Check { verdict: Verdict::Ok, what, finding: finding.to_owned(), mend: None }
}

fn fail(what: &'static str, finding: String, mend: &'static str) -> Check {
    Check { verdict: Verdict::Fail, what, finding, mend: Some(mend) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_one_line_and_says_how_to_mend_it() {
        assert_eq!(ok("landlock", "available").to_string(), "ok    landlock: available\n");
        let failed = fail("overlay", "mount: bad\nthing".into(), "use a local file system");
        assert_eq!(failed.to_string(), "FAIL  overlay: mount: bad\\x0athing; use a local file system\n");
    }
}
