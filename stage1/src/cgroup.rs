//! The pod's control groups (cgroup v2): where its processes are counted and bounded.
//!
//! ```text
//! DELEGATED/            given to us by systemd, or by whoever started us; nothing of ours runs in it directly
//! ├── supervisor/       the monitor and whatever helps it
//! └── pod/              the pod's own limits; pids.max always
//!     ├── init/         pid 1
//!     └── app-NAME/     an app, whatever is executed in it, and its limits
//! ```
//!
//! Processes can be in leaves only (Documentation/admin-guide/cgroup-v2.rst, "No Internal Process Constraint"). The
//! directories are opened once and used by descriptor; names of apps are AC names, which no path can be made of.

mod disks;
mod freezer;
pub mod limits;
pub mod usage;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use appc::AcName;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, mkdirat, openat2, unlinkat};
use rustix::io::Errno;

use limits::Limits;

/// Where the kernel shows control groups.
pub const MOUNT: &str = "/sys/fs/cgroup";

/// The controllers whose limits are known here.
pub const CONTROLLERS: [&str; 4] = ["cpu", "memory", "pids", "io"];

/// Most processes of a pod; its user namespace has the same bound.
const MAX_PROCESSES: u64 = crate::limits::MAX_PROCESSES;

/// Why a pod has no control group of its own, or a limit cannot be set.
#[derive(Debug, thiserror::Error)]
#[error("{call}")]
pub struct CgroupError {
    call: String,
    source: io::Error,
}

fn named(call: impl Into<String>) -> impl FnOnce(Errno) -> CgroupError {
    |errno| CgroupError { call: call.into(), source: errno.into() }
}

/// The control group of a pod.
#[derive(Debug)]
pub struct PodCgroup {
    /// DELEGATED, below [`MOUNT`].
    path: PathBuf,
    delegated: OwnedFd,
    pod: OwnedFd,
    controllers: Vec<String>,
}

/// The control group of an app.
#[derive(Debug)]
pub(crate) struct AppCgroup {
    dir: OwnedFd,
    /// Kills for want of memory that have been told.
    kills: u64,
}

impl PodCgroup {
    /// Makes the pod's groups below `path`, a group that was delegated to the caller and holds no process but this one,
    /// and moves this process to its place in there.
    ///
    /// # Errors
    /// [`CgroupError`] names the call.
    pub fn make(path: &Path) -> Result<Self, CgroupError> {
        let shown = path.display().to_string();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |flags| rustix::fs::openat(CWD, path, flags, Mode::empty());
        let delegated = open(flags).map_err(named(format!("open({shown:?})")))?;
        let supervisor = directory(&delegated, "supervisor")?;
        write(&supervisor, "cgroup.procs", "0")?;
        let controllers = enable(&delegated)?;
        let pod = directory(&delegated, "pod")?;
        enable(&pod)?;
        let cgroup = Self { path: path.to_owned(), delegated, pod, controllers };
        if cgroup.has("pids") {
            write(&cgroup.pod, "pids.max", &MAX_PROCESSES.to_string())?;
        }
        directory(&cgroup.pod, "init")?;
        Ok(cgroup)
    }

    /// The groups of a pod that runs, by the path that its supervisor tells.
    ///
    /// # Errors
    /// [`CgroupError`], where the pod is gone.
    pub fn of_running(path: &Path) -> Result<Self, CgroupError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let delegated = rustix::fs::openat(CWD, path, flags, Mode::empty());
        let delegated = delegated.map_err(named(format!("open({:?})", path.display().to_string())))?;
        let pod = open(&delegated, "pod", flags)?;
        let there = read(&pod, "cgroup.controllers")?;
        let controllers = there.split_whitespace().map(str::to_owned).collect();
        Ok(Self { path: path.to_owned(), delegated, pod, controllers })
    }

    /// Sets limits of an app that is there.
    ///
    /// # Errors
    /// [`CgroupError`] names the file and what the kernel refused.
    pub fn limit_app(&self, name: &AcName, limits: &Limits) -> Result<(), CgroupError> {
        self.set(&self.app_dir(name)?, limits)
    }

    fn app_dir(&self, name: &AcName) -> Result<OwnedFd, CgroupError> {
        open(&self.pod, &format!("app-{name}"), OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// The controllers that are there for the pod.
    #[must_use]
    pub fn controllers(&self) -> &[String] {
        &self.controllers
    }

    /// The group that was delegated, as a path of the host.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|known| known == controller)
    }

    /// Sets limits of the pod as a whole.
    ///
    /// # Errors
    /// [`CgroupError`] names the file and what the kernel refused.
    pub fn limit(&self, limits: &Limits) -> Result<(), CgroupError> {
        self.set(&self.pod, limits)
    }

    fn set(&self, dir: &OwnedFd, limits: &Limits) -> Result<(), CgroupError> {
        let mut files = limits.files(disks::all).into_iter().filter(|file| self.has(file.controller));
        files.try_for_each(|file| match write(dir, file.name, &file.text) {
            // A disk that was unplugged meanwhile.
            Err(error)
                if file.controller == "io" && error.source.raw_os_error() == Some(Errno::NODEV.raw_os_error()) =>
            {
                Ok(())
            }
            written => written,
        })
    }

    /// What puts a process into the group of pid 1 when `0` is written to it.
    pub(crate) fn init(&self) -> Result<OwnedFd, CgroupError> {
        procs(&directory(&self.pod, "init")?)
    }

    /// Makes the group of an app. Comes with what puts a process into it when `0` is written to it, whoever writes.
    pub(crate) fn app(&self, name: &AcName, limits: &Limits) -> Result<(AppCgroup, OwnedFd), CgroupError> {
        let dir = directory(&self.pod, &format!("app-{name}"))?;
        self.set(&dir, limits)?;
        let procs = procs(&dir)?;
        Ok((AppCgroup { dir, kills: 0 }, procs))
    }

    /// Removes the group of an app, all of whose processes are gone.
    pub(crate) fn remove_app(&self, name: &AcName) {
        // One that stays goes with the pod.
        let _ = unlinkat(&self.pod, format!("app-{name}").as_str(), AtFlags::REMOVEDIR);
    }

    /// Removes the groups of a pod whose processes are gone. The group that was delegated belongs to whoever did it.
    pub(crate) fn remove(&self) {
        let groups = rustix::fs::Dir::read_from(&self.pod).into_iter().flatten().flatten();
        for entry in groups.filter(|entry| entry.file_type().is_dir()) {
            let name = entry.file_name();
            if name.to_bytes().starts_with(b"app-") || name.to_bytes() == b"init" {
                let _ = unlinkat(&self.pod, name, AtFlags::REMOVEDIR);
            }
        }
        let _ = unlinkat(&self.delegated, "pod", AtFlags::REMOVEDIR);
    }
}

impl AppCgroup {
    /// Whether the kernel has killed in it for want of memory since this was last asked.
    pub(crate) fn ran_out_of_memory(&mut self) -> bool {
        let events = read(&self.dir, "memory.events").unwrap_or_default();
        let kills = events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0);
        std::mem::replace(&mut self.kills, kills) < kills
    }
}

/// Gives the children of a group every controller of [`CONTROLLERS`] that the group itself has. Returns those.
fn enable(dir: &OwnedFd) -> Result<Vec<String>, CgroupError> {
    let there = read(dir, "cgroup.controllers")?;
    let wanted = CONTROLLERS.into_iter().filter(|name| there.split_whitespace().any(|known| known == *name));
    let mut enabled = Vec::new();
    for name in wanted {
        write(dir, "cgroup.subtree_control", &format!("+{name}"))?;
        enabled.push(name.to_owned());
    }
    Ok(enabled)
}

fn procs(dir: &OwnedFd) -> Result<OwnedFd, CgroupError> {
    open(dir, "cgroup.procs", OFlags::WRONLY)
}

fn directory(parent: &OwnedFd, name: &str) -> Result<OwnedFd, CgroupError> {
    match mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(named(format!("mkdirat(<cgroup>, {name:?})"))(errno)),
    }
    open(parent, name, OFlags::RDONLY | OFlags::DIRECTORY)
}

fn open(dir: &OwnedFd, name: &str, flags: OFlags) -> Result<OwnedFd, CgroupError> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    openat2(dir, name, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
        .map_err(named(format!("openat2(<cgroup>, {name:?})")))
}

fn write(dir: &OwnedFd, name: &str, text: &str) -> Result<(), CgroupError> {
    let file = open(dir, name, OFlags::WRONLY)?;
    let written = rustix::io::write(&file, text.as_bytes());
    written.map(drop).map_err(named(format!("write(<cgroup/{name}>, {text:?})")))
}

fn read(dir: &OwnedFd, name: &str) -> Result<String, CgroupError> {
    let mut buffer = vec![0; 4096];
    let read = rustix::io::read(open(dir, name, OFlags::RDONLY)?, &mut buffer);
    buffer.truncate(read.map_err(named(format!("read(<cgroup/{name}>)")))?);
    Ok(String::from_utf8_lossy(&buffer).into_owned())
}
