//! What pid 1 does for the pod as a whole.

use metadata_api::ADDRESS;
use sys::mount::MountAttr;

use super::{Net, PodOptions, at, paths};
use crate::host::Host;
use crate::idmap::{IdMapping, map_text, nested};
use crate::isolators::choices::{Choices, SHM_BYTES};
use crate::isolators::sysctl::Sysctl;
use crate::network::CLOUD_ADDRESSES;
use crate::op::{Op, Slot};

/// Inotify instances of a pod: fewer than the 128 that a kernel gives to a user, so that a pod cannot take them all.
const MAX_INOTIFY_INSTANCES: &str = "96";

/// What pid 1 can do before its ids are mapped: nothing that makes an inode, which would belong to nobody. The kernel's
/// own file systems belong to its root in any case.
pub(super) fn early(options: &PodOptions<'_>, has_owner: bool) -> Vec<Op> {
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
    match (has_owner, options.net) {
        (false, _) => ops.extend(network(options)),
        (true, Net::Connected) => {
            // This network is on the way from the pod's to the world, and takes what must not get there.
            ops.push(Op::LoopbackUp);
            ops.push(Op::LoopbackAddress((*ADDRESS.ip()).into()));
            ops.extend(CLOUD_ADDRESSES.map(Op::LoopbackAddress));
        }
        (true, _) => {}
    }
    ops
}

/// The pod's network namespace, while nothing is connected to it.
fn network(options: &PodOptions<'_>) -> Vec<Op> {
    let attr = MountAttr::INERT.with(MountAttr::RDONLY);
    let mut ops = vec![Op::LoopbackUp, Op::NewFs { fs: "sysfs", options: vec![], attr, slot: Slot::Sys }];
    if options.metadata_url.is_some() {
        ops.push(Op::LoopbackAddress((*ADDRESS.ip()).into()));
        ops.push(Op::Listen { address: ADDRESS, slot: Slot::Metadata });
    }
    if options.net == Net::Connected {
        ops.extend(CLOUD_ADDRESSES.map(Op::LoopbackAddress));
    }
    ops
}

/// The same where it belongs to a user namespace of its own, which takes ids: apps with rights over the network live
/// there (docs/decisions/0014).
pub(super) fn own_network(
    options: &PodOptions<'_>,
    processes: Option<u64>,
    has_owner: bool,
) -> impl Iterator<Item = Op> {
    let same = |extents| map_text(&nested(extents, None));
    let (uids, gids) = (options.mapping.uids(), options.mapping.gids());
    let owner = || Op::OwnNetwork { uids: same(uids), gids: same(gids), processes };
    let ops = has_owner.then(|| std::iter::once(owner()).chain(network(options)));
    ops.into_iter().flatten()
}

/// Pid 1's list: its root, and one copy of everything that the apps of a pod share.
pub(super) fn sandbox(options: &PodOptions<'_>, host: &Host, choices: &Choices, operator: Vec<Sysctl>) -> Vec<Op> {
    let tmpfs = |size: &str, inodes: &str, mode: &str| {
        vec![("size", size.to_owned()), ("nr_inodes", inodes.to_owned()), ("mode", mode.to_owned())]
    };
    let fs = |fs, options, attr, slot| Op::NewFs { fs, options, attr, slot };
    let shm = choices.shm_bytes.map_or_else(|| format!("{}m", SHM_BYTES >> 20), |bytes| bytes.to_string());
    // A few small files for each app of the pod.
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
        fs("tmpfs", tmpfs(&shm, "64k", "1777"), MountAttr::INERT, Slot::Scratch),
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

/// Apps bind low ports and send pings without capabilities over the pod's network namespace, and
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
