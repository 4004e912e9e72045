//! From a pod manifest to the operations that build it. Pure: no system call, same input same plan.
//!
//! Three lists, for three places (docs/stage1-contract.md): the *sandbox* list runs in the pod's pid 1 while it still
//! sees a copy of the host's mounts; an app's *build* list runs at the same place and leaves detached mounts; its
//! *enter* list runs in the app's own mount namespace, where only those mounts are left.

pub mod keep_id;
mod mounts;
mod paths;

use appc::{PodManifest, RuntimeApp};
use metadata_api::ADDRESS;
use serde::{Deserialize, Serialize};
use sys::mount::MountAttr;

use crate::environment;
use crate::host::Host;
use crate::idmap::{Extent, IdMapping, Tier};
use crate::isolators::choices::{BadChoice, Choices};
use crate::isolators::sysctl::{BadSysctl, Sysctl};
use crate::isolators::{self, BadIsolator, Rights};
use crate::network::{CLOUD_ADDRESSES, EtcFile};
use crate::op::{At, Op, Slot};

use keep_id::{KeepId, NotKeepId};
use mounts::Mount;

/// Options of a pod that its manifest does not hold.
#[derive(Debug, Clone, Copy)]
pub struct PodOptions<'a> {
    /// The host name inside.
    pub hostname: &'a str,
    /// The id map.
    pub mapping: &'a IdMapping,
    /// For each app, in the order of the manifest, the number of its image's layers.
    pub layers: &'a [usize],
    /// For each volume of the manifest, what its source is; `None` for an empty volume.
    pub sources: &'a [Option<SourceKind>],
    /// Whether the pod has control groups of its own.
    pub cgroup: bool,
    /// Where apps find the metadata service; without it they have none.
    pub metadata_url: Option<&'a str>,
    /// Whose network the pod has.
    pub net: Net,
    /// The files of /etc that each app is given.
    pub etc: &'a [EtcFile],
}

/// Whose network a pod has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Net {
    /// Its own, with no way out.
    #[default]
    Loopback,
    /// Its own, and it is going to be connected.
    Connected,
    /// The host's.
    Host,
}

/// What the source of a host volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceKind {
    /// A directory.
    Directory,
    /// A device node: the one kind of file that a volume may bring into an app's /dev, and that works there.
    Device,
    /// Any other file: regular, a socket, a pipe.
    File,
}

/// What a pod's processes do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Operations of pid 1 that need no ids: they run while the id maps are being written.
    pub early: Vec<Op>,
    /// Operations of pid 1 for the pod as a whole, as container root.
    pub sandbox: Vec<Op>,
    /// The apps, in the order of the manifest.
    pub apps: Vec<AppPlan>,
    /// For each volume of the manifest, whether it is a directory of the pod's own rather than something of the host.
    pub own_volumes: Vec<bool>,
}

/// What it takes to start one app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppPlan {
    /// Name of the app in the pod.
    pub name: String,
    /// Operations that make the app's detached mounts.
    pub build: Vec<Op>,
    /// Operations in the app's own mount namespace.
    pub enter: Vec<Op>,
    /// User name, number or path, as in the manifest (appc aci.md, "user").
    pub user: String,
    /// Group name, number or path.
    pub group: String,
    /// Supplementary group ids.
    pub supplementary_gids: Vec<u32>,
    /// Absolute path in the app's root.
    pub working_directory: String,
    /// The program and its arguments.
    pub exec: Vec<String>,
    /// Environment, without what depends on the user.
    pub environment: Vec<(String, String)>,
    /// What the app may do.
    pub rights: Rights,
    /// Who of the app is the caller on the host, if not its root.
    pub keep_id: Option<KeepId>,
    /// The ids there are: first and last of each range of users, and of groups.
    pub ids: IdRanges,
    /// Whether it has a socket of its own at which it can ask who it is.
    pub has_identity: bool,
    /// The files of /etc that are made for it.
    pub etc: Vec<EtcFile>,
    /// The names of the listening sockets that it takes over.
    pub sockets: Vec<String>,
}

/// The ids of a pod: first and last of each range.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdRanges {
    /// Users.
    pub uids: Vec<(u32, u32)>,
    /// Groups.
    pub gids: Vec<(u32, u32)>,
}

/// Why no plan can be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanError {
    /// The app has no `app` section.
    #[error("app {0:?} says nothing about what to run")]
    NoApp(String),
    /// The app has no command.
    #[error("app {0:?} has an empty exec")]
    NoExec(String),
    /// The number is no group id.
    #[error("app {app:?}: supplementary group {gid} is not a group id")]
    BadGroup {
        /// The app.
        app: String,
        /// The number.
        gid: i64,
    },
    /// The pod has no such group; the text is that of users.
    #[error("app {app:?}: supplementary group {gid} is not one of the pod's ids, which are {ids}")]
    UnmappedGroup {
        /// The app.
        app: String,
        /// The group.
        gid: u32,
        /// The groups that there are.
        ids: String,
    },
    /// The owner of an empty volume is none of the pod's ids.
    #[error("volume {volume:?}: its owner {uid}:{gid} is not one of the pod's ids, which are {ids}")]
    UnmappedOwner {
        /// The volume.
        volume: String,
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
        /// The ids that there are, of users and of groups.
        ids: String,
    },
    /// A mount names a volume that the pod does not have.
    #[error("app {app:?}: no volume {volume:?} for its mount at {path:?}")]
    NoVolume {
        /// The app.
        app: String,
        /// The volume.
        volume: String,
        /// Path of the mount.
        path: String,
    },
    /// A mount's path cannot be one.
    #[error("app {app:?}: mount path {path:?} is not absolute or leaves the root")]
    BadPath {
        /// The app.
        app: String,
        /// Path of the mount.
        path: String,
    },
    /// A mount would cover what the runner provides.
    #[error("app {app:?}: mount path {path:?} would cover /, /proc, /sys or /dev")]
    ReservedPath {
        /// The app.
        app: String,
        /// Path of the mount.
        path: String,
    },
    /// An isolator cannot be obeyed.
    #[error("app {app:?}: {error}")]
    Isolator {
        /// The app.
        app: String,
        /// What is wrong.
        error: BadIsolator,
    },
    /// Who is to be the caller is not said as it should, or cannot be with this id map.
    #[error("app {app:?}: its user cannot be the caller: {why}")]
    KeepId {
        /// The app.
        app: String,
        /// Why not.
        why: String,
    },
    /// An isolator of the pod cannot be obeyed.
    #[error(transparent)]
    Sysctl(#[from] BadSysctl),
    /// An annotation of the pod says nothing known.
    #[error(transparent)]
    Choice(#[from] BadChoice),
    /// Nobody has opened the source of a host volume.
    #[error("volume {0:?}: its source is not open")]
    NoSource(String),
    /// The owner of an empty volume is no id.
    #[error("volume {volume:?}: owner {uid}:{gid} is not a user and group id")]
    BadOwner {
        /// The volume.
        volume: String,
        /// The user.
        uid: i64,
        /// The group.
        gid: i64,
    },
    /// Two mounts of an app, one of which would hide the other.
    #[error("app {app:?}: mounts at {outer:?} and {inner:?} overlap")]
    Overlap {
        /// The app.
        app: String,
        /// The path of the one.
        outer: String,
        /// The path of the other, the same or below.
        inner: String,
    },
}

/// Plans a pod.
///
/// # Errors
/// [`PlanError`] where the manifest asks for something that cannot be.
pub fn plan(manifest: &PodManifest, options: &PodOptions<'_>, host: &Host) -> Result<Plan, PlanError> {
    let own_volumes = mounts::own_volumes(manifest, options.sources)?;
    let choices = Choices::of(&manifest.annotations)?;
    let (sysctls, _) = isolators::sysctl::of(manifest, &isolators::Host::unknown())?;
    let apps = manifest.apps.iter().zip(options.layers).map(|(app, &layers)| plan_app(manifest, app, layers, options));
    Ok(Plan {
        early: early(options),
        sandbox: sandbox(options, host, &choices, sysctls),
        apps: apps.collect::<Result<_, _>>()?,
        own_volumes,
    })
}

/// Annotation of a pod's app: the paths of mounts whose volume begins with what the image has there, as a JSON array
/// of strings. OCI images want that of volumes that nobody named (image-spec config.md, "Volumes").
pub const IMAGE_CONTENT: &str = "proa.local/image-content";

/// Annotation of a pod's app: the paths of mounts whose volume, a directory of the host, is filled with what the image has
/// there if it is empty, as a JSON array of strings. Docker has it so of volumes with a name.
pub const FILLED: &str = "proa.local/filled";

/// Annotation of a pod's app whose group is the user's primary one, as OCI images have it (image-spec config.md, "User").
/// An appc manifest cannot say that: its group is always given.
pub const PRIMARY_GROUP: &str = "proa.local/oci/user";

/// Annotation of a pod's app that names the signal which asks it to end, as OCI images have it (image-spec config.md,
/// "StopSignal").
pub const STOP_SIGNAL: &str = "proa.local/oci/stop-signal";

/// The signal that asks the app to end; TERM unless it says otherwise in a way that can be understood.
#[must_use]
pub fn stop_signal(app: &RuntimeApp) -> i32 {
    let named = app.annotations.get(STOP_SIGNAL).and_then(crate::signal::parse);
    named.unwrap_or(rustix::process::Signal::TERM.as_raw())
}

/// The directory of [`metadata_api::IDENTITY_SOCKET`] in an app's root.
const IDENTITY_DIR: &str = "/run/proa";

fn at(slot: Slot, path: &str) -> At {
    At { slot, path: path.to_owned() }
}

/// What pid 1 can do before its ids are mapped: nothing that makes an inode, which would belong to nobody. The kernel's
/// own file systems belong to its root in any case.
fn early(options: &PodOptions<'_>) -> Vec<Op> {
    let mut ops = vec![
        Op::PrivateMounts,
        Op::Hostname(options.hostname.to_owned()),
        Op::NewFs { fs: "proc", options: vec![], attr: MountAttr::INERT, slot: Slot::Proc },
    ];
    let attr = MountAttr::INERT.with(MountAttr::RDONLY);
    if options.net == Net::Host {
        // A sysfs shows a network namespace, and only its owner may mount one (measured: EPERM).
        ops.push(Op::HostTree { path: "/sys", attr, slot: Slot::Sys });
        return ops;
    }
    ops.push(Op::LoopbackUp);
    ops.push(Op::NewFs { fs: "sysfs", options: vec![], attr, slot: Slot::Sys });
    if options.metadata_url.is_some() {
        ops.push(Op::LoopbackAddress((*ADDRESS.ip()).into()));
        ops.push(Op::Listen { address: ADDRESS, slot: Slot::Metadata });
    }
    if options.net == Net::Connected {
        ops.extend(CLOUD_ADDRESSES.map(Op::LoopbackAddress));
    }
    ops
}

/// Pid 1's list: its root, and one copy of everything that the apps of a pod share.
fn sandbox(options: &PodOptions<'_>, host: &Host, choices: &Choices, operator: Vec<Sysctl>) -> Vec<Op> {
    let tmpfs = |size: &str, inodes: &str, mode: &str| {
        vec![("size", size.to_owned()), ("nr_inodes", inodes.to_owned()), ("mode", mode.to_owned())]
    };
    let fs = |fs, options, attr, slot| Op::NewFs { fs, options, attr, slot };
    // A few small files for each app that ever was in the pod.
    let root = fs("tmpfs", tmpfs("16m", "16k", "755"), MountAttr::NOSUID, Slot::Sandbox);
    let mut ops = vec![root, Op::AttachSandbox];
    let dirs = ["dev", "empty", "etc", "identity", "mqueue", "proc", "root", "shm", "sys"];
    ops.extend(dirs.map(|name| Op::MakeDir { at: at(Slot::Sandbox, name) }));
    ops.extend(paths::DEVICES.iter().map(|&(name, device)| Op::HostDevice { name, device }));
    // Masks of directories are clones of this bind: an empty directory that nobody can write to.
    ops.extend([
        Op::ReadOnly { at: at(Slot::Sandbox, "empty") },
        Op::Attach { slot: Slot::Proc, at: at(Slot::Sandbox, "proc") },
        Op::Open { at: at(Slot::Proc, "sys"), slot: Slot::Sysctls },
        Op::Attach { slot: Slot::Sys, at: at(Slot::Sandbox, "sys") },
        fs("tmpfs", tmpfs("64m", "64k", "1777"), MountAttr::INERT, Slot::Scratch),
        Op::Attach { slot: Slot::Scratch, at: at(Slot::Sandbox, "shm") },
        fs("mqueue", vec![], MountAttr::INERT, Slot::Scratch),
        Op::Attach { slot: Slot::Scratch, at: at(Slot::Sandbox, "mqueue") },
    ]);
    if host.unified_cgroups {
        ops.push(fs("cgroup2", vec![], MountAttr::INERT.with(MountAttr::RDONLY), Slot::Scratch));
        ops.push(Op::Attach { slot: Slot::Scratch, at: at(Slot::Sys, "fs/cgroup") });
    } else {
        ops.push(Op::MaskDir { at: at(Slot::Sys, "fs/cgroup") });
    }
    ops.extend(sysctls(options.mapping, options.net));
    ops.extend(operator.into_iter().map(|Sysctl { path, value }| Op::OperatorSysctl { path, value }));
    if !choices.insecure.paths {
        ops.extend(masks(host));
    }
    ops
}

/// Inotify instances of a pod: fewer than the 128 that a kernel gives to a user, so that a pod cannot take them all.
const MAX_INOTIFY_INSTANCES: &str = "96";

/// Apps bind low ports and send pings without capabilities over the pod's network namespace (security.md 3.2), and
/// leave some of what the kernel counts per user of the host.
fn sysctls(mapping: &IdMapping, net: Net) -> Vec<Op> {
    let last_gid = mapping.gids().iter().map(|extent| extent.inside + (extent.count - 1)).max().unwrap_or(0);
    let mut ops = vec![Op::Sysctl { key: "user/max_inotify_instances", value: MAX_INOTIFY_INSTANCES.to_owned() }];
    // Those of the host's network are the host's.
    if net != Net::Host {
        ops.push(Op::Sysctl { key: "net/ipv4/ip_unprivileged_port_start", value: "0".to_owned() });
        ops.push(Op::Sysctl { key: "net/ipv4/ping_group_range", value: format!("0 {last_gid}") });
    }
    ops
}

fn masks(host: &Host) -> Vec<Op> {
    let file = |name: &&str| Op::MaskFile { at: at(Slot::Proc, name) };
    let throttles = (0..host.throttled_cpus).map(|cpu| format!("devices/system/cpu/cpu{cpu}/thermal_throttle"));
    let mut ops: Vec<Op> = paths::MASKED_PROC_FILES.iter().map(file).collect();
    ops.extend(paths::MASKED_PROC_DIRS.iter().map(|name| Op::MaskDir { at: at(Slot::Proc, name) }));
    ops.extend(throttles.map(|path| Op::MaskDir { at: at(Slot::Sys, &path) }));
    ops.extend(paths::MASKED_SYS_DIRS.iter().map(|name| Op::MaskDir { at: at(Slot::Sys, name) }));
    ops.extend(paths::READ_ONLY_PROC_DIRS.iter().map(|name| Op::ReadOnly { at: at(Slot::Proc, name) }));
    ops
}

fn plan_app(
    manifest: &PodManifest,
    runtime: &RuntimeApp,
    layers: usize,
    options: &PodOptions<'_>,
) -> Result<AppPlan, PlanError> {
    let name = runtime.name.as_str();
    let app = runtime.app.as_ref().ok_or_else(|| PlanError::NoApp(name.to_owned()))?;
    if app.exec.first().is_none_or(String::is_empty) {
        return Err(PlanError::NoExec(name.to_owned()));
    }
    let (rights, _) = isolators::rights(&manifest.annotations, runtime, app, &isolators::Host::unknown())
        .map_err(|error| PlanError::Isolator { app: name.to_owned(), error })?;
    let keep_id = keep_id_of(runtime, options.mapping)?;
    let mounts = mounts::of(manifest, runtime, app, &mounts::Surroundings::new(options, keep_id.as_ref()))?;
    let root = keep_id.as_ref().map_or((0, 0), |keep| keep.in_pod(options.mapping.tier(), (0, 0)));
    // A volume there is what somebody wants to be there.
    let is_mounted = |file: &EtcFile| {
        let path = format!("/etc/{}", file.name);
        runtime.mounts.iter().any(|mount| mount.path == path || mount.path.trim_end_matches('/') == "/etc")
    };
    let etc: Vec<EtcFile> = options.etc.iter().filter(|file| !is_mounted(file)).cloned().collect();
    let mut build = Vec::new();
    if root != (0, 0) {
        build.push(Op::OwnUpper { uid: root.0, gid: root.1 });
    }
    build.push(Op::Overlay { layers, attr: MountAttr::NODEV });
    build.extend(mounts.iter().enumerate().flat_map(|(index, mount)| mount.build(index)));
    let ids = id_ranges(options.mapping);
    let gids = app.supplementary_gids.iter().map(|&gid| {
        let bad = || PlanError::BadGroup { app: name.to_owned(), gid };
        let id = u32::try_from(gid).ok().filter(|&id| id != u32::MAX).ok_or_else(bad)?;
        let unmapped = || PlanError::UnmappedGroup { app: name.to_owned(), gid: id, ids: shown(&ids.gids) };
        is_in(&ids.gids, id).then_some(id).ok_or_else(unmapped)
    });
    let supplementary_gids = gids.collect::<Result<_, _>>()?;
    Ok(AppPlan {
        name: name.to_owned(),
        build,
        enter: enter(&mounts, runtime.read_only_root_fs, options, (&etc, keep_id.as_ref())),
        user: app.user.clone(),
        group: if runtime.annotations.get(PRIMARY_GROUP).is_some() { String::new() } else { app.group.clone() },
        supplementary_gids,
        working_directory: app
            .working_directory
            .clone()
            .filter(|dir| !dir.is_empty())
            .unwrap_or_else(|| "/".to_owned()),
        exec: app.exec.clone(),
        environment: environment::of(name, app, options.metadata_url),
        rights,
        keep_id,
        ids,
        has_identity: options.metadata_url.is_some(),
        etc,
        // Whoever has them says so.
        sockets: Vec::new(),
    })
}

fn keep_id_of(runtime: &RuntimeApp, mapping: &IdMapping) -> Result<Option<KeepId>, PlanError> {
    let Some(text) = runtime.annotations.get(keep_id::ANNOTATION) else { return Ok(None) };
    let refuse = |why: String| PlanError::KeepId { app: runtime.name.to_string(), why };
    let keep: KeepId = text.parse().map_err(|error: NotKeepId| refuse(error.to_string()))?;
    if mapping.tier() == Tier::Root {
        return Err(refuse("the caller is root, whom no pod has".to_owned()));
    }
    if keep.tree_mapping(mapping).is_none() {
        return Err(refuse(format!("the pod has no ids {}:{}", keep.uid, keep.gid)));
    }
    Ok(Some(keep))
}

/// With a single id, that one is whatever id the app wants to have.
fn id_ranges(mapping: &IdMapping) -> IdRanges {
    if mapping.tier() == Tier::Single {
        let any = vec![(0, u32::MAX - 1)];
        return IdRanges { uids: any.clone(), gids: any };
    }
    IdRanges { uids: ranges(mapping.uids()), gids: ranges(mapping.gids()) }
}

/// First and last of each range of ids that files of the pod can have.
fn ranges(extents: &[Extent]) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for extent in extents {
        let last = extent.inside + (extent.count - 1);
        match ranges.last_mut() {
            Some((_, end)) if end.checked_add(1) == Some(extent.inside) => *end = last,
            _ => ranges.push((extent.inside, last)),
        }
    }
    ranges
}

pub(crate) fn is_in(ranges: &[(u32, u32)], id: u32) -> bool {
    ranges.iter().any(|(first, last)| (*first..=*last).contains(&id))
}

/// Ranges of ids for people.
pub(crate) fn shown(ranges: &[(u32, u32)]) -> String {
    let range =
        |(first, last): &(u32, u32)| if first == last { first.to_string() } else { format!("{first} to {last}") };
    ranges.iter().map(range).collect::<Vec<_>>().join(", ")
}

/// The list in the app's own mount namespace: what apps share is moved in, what each has alone is made, then pivot.
fn enter(
    mounts: &[Mount],
    read_only: bool,
    options: &PodOptions<'_>,
    (etc, keep_id): (&[EtcFile], Option<&KeepId>),
) -> Vec<Op> {
    let mut pts = vec![("newinstance", String::new()), ("ptmxmode", "0666".to_owned()), ("mode", "0620".to_owned())];
    if options.mapping.tier() != Tier::Single {
        // The group tty; a single-id map has no such group and the kernel would refuse it.
        pts.push(("gid", "5".to_owned()));
    }
    let mut dev = vec![("size", "64k".to_owned()), ("nr_inodes", "256".to_owned()), ("mode", "755".to_owned())];
    let root = keep_id.map_or((0, 0), |keep| keep.in_pod(options.mapping.tier(), (0, 0)));
    if root != (0, 0) {
        dev.extend([("uid", root.0.to_string()), ("gid", root.1.to_string())]);
    }
    let attr = MountAttr::NOSUID.with(MountAttr::NOEXEC);
    let mut ops = Vec::new();
    if root != (0, 0) {
        ops.push(Op::RootIs { uid: root.0, gid: root.1 });
    }
    ops.extend([
        Op::Attach { slot: Slot::Root, at: at(Slot::Sandbox, "root") },
        Op::MoveIntoRoot { from: "proc", path: "proc" },
        Op::MoveIntoRoot { from: "sys", path: "sys" },
    ]);
    if options.cgroup {
        // Its root is the group of whoever makes it: the app, which is in its own by now.
        let attr = MountAttr::INERT.with(MountAttr::RDONLY);
        ops.push(Op::NewFs { fs: "cgroup2", options: vec![], attr, slot: Slot::Scratch });
        ops.push(Op::Attach { slot: Slot::Scratch, at: at(Slot::Root, "sys/fs/cgroup") });
    }
    ops.extend([Op::NewFs { fs: "tmpfs", options: dev, attr, slot: Slot::Dev }, Op::AttachDev]);
    ops.extend(["pts", "shm", "mqueue"].map(|name| Op::MakeDir { at: at(Slot::Dev, name) }));
    ops.extend(paths::DEVICES.iter().map(|&(name, _)| Op::Device { name, from: name }));
    // OS-SPEC.md wants a console; without a terminal it is one that nobody looks at.
    ops.push(Op::Device { name: "console", from: "null" });
    ops.extend(paths::DEV_LINKS.iter().map(|&(name, target)| Op::Symlink { target, at: at(Slot::Dev, name) }));
    ops.extend([
        Op::NewFs { fs: "devpts", options: pts, attr, slot: Slot::Pts },
        Op::Attach { slot: Slot::Pts, at: at(Slot::Dev, "pts") },
        Op::MoveIntoRoot { from: "shm", path: "dev/shm" },
        Op::MoveIntoRoot { from: "mqueue", path: "dev/mqueue" },
    ]);
    if let Some(keep) = keep_id {
        let (uid, gid, name) = (keep.uid, keep.gid, keep.name.clone());
        let owner = keep.in_pod(options.mapping.tier(), (uid, gid));
        ops.push(Op::Account { uid, gid, name, owner });
    }
    ops.extend(mounts.iter().enumerate().map(|(index, mount)| mount.enter(index)));
    ops.extend(etc.iter().enumerate().map(|(file, EtcFile { name, replaces, .. })| Op::AttachEtc {
        file,
        name: name.clone(),
        replaces: *replaces,
    }));
    if options.metadata_url.is_some() {
        ops.push(Op::AttachIdentity { path: IDENTITY_DIR });
    }
    if read_only {
        ops.push(Op::RootAttr { attr: MountAttr::RDONLY });
    }
    ops.push(Op::Pivot { slot: Slot::Root });
    ops
}

#[cfg(test)]
mod tests;
