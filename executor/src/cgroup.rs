//! Control groups for a pod whose resources are to be bounded: where they come from, and getting them.
//!
//! Who may write limits is decided by whoever delegates a group: systemd gives the unit that we are in to us
//! (`Delegate=yes`), or makes a scope for the pod on one D-Bus call. A pod without limits asks for neither: that would
//! cost its start several milliseconds.

mod freezer;
mod scope;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use appc::{Isolator, IsolatorValue, PodManifest};
use pod::{PodEntry, Pods};
use stage1::cgroup::{CONTROLLERS, MOUNT, PodCgroup};
use stage1::protocol::{Call, PodReport, Reply};

use crate::client::Client;
use crate::error::{CommandError, Explain as _};

pub(crate) use freezer::{freezer, is_frozen, refuse_frozen, thaw};

/// How long systemd may take to move this process.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether the pod's manifest bounds a resource.
pub(crate) fn is_wanted(manifest: &PodManifest) -> bool {
    let bounds = |isolators: &[Isolator]| {
        isolators.iter().any(|isolator| {
            use IsolatorValue::{BlockBandwidth, BlockIops, Cpu, CpuShares, Memory};
            matches!(isolator.value(), Memory(_) | Cpu(_) | CpuShares(_) | BlockBandwidth(_) | BlockIops(_))
        })
    };
    bounds(&manifest.isolators)
        || manifest.apps.iter().any(|app| app.app.as_ref().is_some_and(|app| bounds(&app.isolators)))
}

/// Where the control groups of a pod could come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// The group that we are in is ours, and nobody else is in it.
    Own(PathBuf),
    /// A systemd manager that listens here.
    Systemd(PathBuf),
}

/// What a pod could get on this host: where from, and which controllers it would have.
///
/// # Errors
///
/// Why it could get nothing, in words.
pub(crate) fn prospects() -> Result<(Source, Vec<String>), &'static str> {
    if !stage1::host::Host::detect().unified_cgroups {
        return Err("control groups are not unified (cgroup v2) on this host");
    }
    let own = own_group().ok_or("the control group of this process is not to be found")?;
    if is_ours_alone(&own) {
        let controllers = controllers(&own);
        return Ok((Source::Own(own), controllers));
    }
    let uid = rustix::process::geteuid().as_raw();
    let (socket, manager) = if uid == 0 {
        (PathBuf::from("/run/dbus/system_bus_socket"), PathBuf::from(MOUNT))
    } else {
        let usual = PathBuf::from(format!("/run/user/{uid}/bus"));
        let told = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| Path::new(&dir).join("bus"));
        let bus = told.filter(|bus| bus.is_absolute() && bus.exists()).unwrap_or(usual);
        let manager = format!("{MOUNT}/user.slice/user-{uid}.slice/user@{uid}.service");
        (bus, PathBuf::from(manager))
    };
    if !socket.exists() {
        return Err("no systemd manager is running for this user");
    }
    Ok((Source::Systemd(socket), controllers(&manager)))
}

/// Gets control groups for the pod, and moves this process, its monitor, into them. `name` goes into the scope's.
///
/// # Errors
///
/// Nobody gives any, or they cannot be made.
pub(crate) fn obtain(name: &str) -> Result<PodCgroup, CommandError> {
    let (source, _) = prospects().map_err(CommandError::failed)?;
    let path = match source {
        Source::Own(path) => path,
        Source::Systemd(socket) => {
            let unit = format!("proa-{name}.scope");
            scope::start(&socket, &unit).during(|| format!("have systemd start {unit}"))?;
            wait_for(&unit)?
        }
    };
    Ok(PodCgroup::make(&path)?)
}

/// The control groups of a pod that runs, and what its supervisor says.
///
/// # Errors
///
/// It does not run, or has none.
pub(crate) fn of_pod(pods: &Pods, entry: &PodEntry) -> Result<(PodCgroup, PodReport), CommandError> {
    let (Reply::Status(report), _) = Client::connect(pods, entry)?.ask(Call::Status, &[])? else {
        return Err(CommandError::failed(format!("pod {}: its supervisor does not tell its state", entry.uuid)));
    };
    let path = report.cgroup.clone().ok_or_else(|| {
        CommandError::failed(format!("pod {} has no control groups", entry.uuid))
            .hint("start it with a limit, such as --memory=1G after the image; `proa doctor` says what the host gives")
    })?;
    Ok((PodCgroup::of_running(Path::new(&path))?, report))
}

/// The controllers that can be given on from here, of those that matter.
pub(crate) fn controllers(group: &Path) -> Vec<String> {
    let text = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    CONTROLLERS.into_iter().filter(|name| text.split_whitespace().any(|it| it == *name)).map(str::to_owned).collect()
}

/// Waits until this process is in the unit's group.
fn wait_for(unit: &str) -> Result<PathBuf, CommandError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match own_group() {
            Some(group) if group.ends_with(unit) => return Ok(group),
            _ if Instant::now() > deadline => {
                return Err(CommandError::failed(format!("systemd did not move this process into {unit}")));
            }
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// The control group of this process, as a path of the host.
fn own_group() -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new(MOUNT).join(path))
}

/// Whether the group was delegated to us and no other process is in it: only then can limits be set below it.
fn is_ours_alone(group: &Path) -> bool {
    let ours = |path: &Path| fs::metadata(path).is_ok_and(|it| it.uid() == rustix::process::geteuid().as_raw());
    let procs = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let alone = procs.trim() == std::process::id().to_string();
    group != Path::new(MOUNT) && alone && ours(group) && ours(&group.join("cgroup.subtree_control"))
}
