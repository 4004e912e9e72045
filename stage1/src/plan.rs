//! From a pod manifest to the operations that build it. Pure: no system call, same input same plan.
//!
//! Three lists, for three places (docs/stage1-contract.md): the *sandbox* list runs in the pod's pid 1 while it still
//! sees a copy of the host's mounts; an app's *build* list runs at the same place and leaves detached mounts; its
//! *enter* list runs in the app's own mount namespace, where only those mounts are left.

mod annotations;
mod app;
mod entry;
mod error;
mod ids;
pub mod keep_id;
mod mounts;
mod paths;
mod sandbox;
pub mod tmpfs;

use appc::PodManifest;
use serde::{Deserialize, Serialize};

use crate::host::Host;
use crate::idmap::IdMapping;
use crate::isolators;
use crate::isolators::choices::Choices;
use crate::isolators::net_admin::NetAdmin;
use crate::network::{EtcFile, Uplink};
use crate::op::{At, Op, Slot};

pub(crate) use annotations::strings;
pub use annotations::{
    DOCKERS_RULES, ENVIRONMENT, FILLED, GROUPS, IMAGE_CONTENT, PRIMARY_GROUP, STOP_SIGNAL, stop_signal,
};
pub use app::{AppPlan, numbers_of};
pub use error::PlanError;
pub use ids::IdRanges;
pub(crate) use ids::{is_in, shown};

/// Pid 1 counts among the processes of its pod.
const PID_1: u64 = 1;

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
    /// How it is going to be connected with the world, where that is known.
    pub uplink: Option<&'a Uplink>,
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Operations of pid 1 that need no ids: they run while the id maps are being written.
    pub early: Vec<Op>,
    /// Operations of pid 1 for the pod as a whole, as container root.
    pub sandbox: Vec<Op>,
    /// The apps, in the order of the manifest.
    pub apps: Vec<AppPlan>,
    /// For each volume of the manifest, whether it is a directory of the pod's own rather than something of the host.
    pub own_volumes: Vec<bool>,
    /// Most processes of its user namespace, if fewer than usual: those of its apps together, pid 1, and what the monitor
    /// has in there.
    pub processes: Option<u64>,
}

impl Plan {
    /// Whether the pod's network belongs to a user namespace of its own.
    #[must_use]
    pub fn has_network_owner(&self) -> bool {
        matches!(self.sandbox.first(), Some(Op::OwnNetwork { .. }))
    }
}

/// Plans a pod.
///
/// # Errors
/// [`PlanError`] where the manifest asks for something that cannot be.
pub fn plan(manifest: &PodManifest, options: &PodOptions<'_>, host: &Host) -> Result<Plan, PlanError> {
    let own_volumes = mounts::own_volumes(manifest, options.sources)?;
    let choices = Choices::of(&manifest.annotations)?;
    // The host's network is nobody's to give.
    let has_owner = options.net != Net::Host && !NetAdmin::of(&manifest.annotations)?.is_empty();
    let of_uplink = options.uplink.map_or(0, |uplink| uplink.processes(has_owner));
    let processes = choices.processes.map(|of_apps| of_apps.saturating_add(PID_1 + of_uplink));
    let (sysctls, _) = isolators::sysctl::of(manifest, &isolators::Host::unknown())?;
    let apps = manifest.apps.iter().zip(options.layers).map(|(app, &layers)| app::plan(manifest, app, layers, options));
    Ok(Plan {
        early: sandbox::early(options, has_owner),
        sandbox: sandbox::own_network(options, processes, has_owner)
            .chain(sandbox::sandbox(options, host, &choices, sysctls))
            .collect(),
        apps: apps.collect::<Result<_, _>>()?,
        own_volumes,
        processes,
    })
}

fn at(slot: Slot, path: &str) -> At {
    At { slot, path: path.to_owned() }
}

#[cfg(test)]
mod tests;
