//! What is to be run, and how.

use std::os::fd::OwnedFd;
use std::path::Path;

use appc::PodManifest;

use crate::cgroup::PodCgroup;
use crate::idmap::IdMapping;
use crate::metadata::Registration;
use crate::nest::Nest;
use crate::network::{EtcFile, Network, Passed};
use crate::node::Membership;
use crate::output::LogLimits;
use crate::protocol::StdioKind;
use crate::supervise::{ExitPolicy, Restart};

/// A pod to run.
#[derive(Debug)]
pub struct PodSpec<'a> {
    /// The reified manifest.
    pub manifest: &'a PodManifest,
    /// The host name inside.
    pub hostname: &'a str,
    /// The id map.
    pub mapping: &'a IdMapping,
    /// What it is nested in, where that was made while the rest was prepared. One for other ids is not used.
    pub nest: Option<Nest>,
    /// The file in which running pods offer theirs ([`crate::nest`]).
    pub offers: Option<&'a Path>,
    /// For each app, the trees of its image, lowest first.
    pub layers: Vec<Vec<OwnedFd>>,
    /// For each volume of the manifest, its source on the host, opened with `O_PATH`; `None` for an empty volume.
    pub sources: Vec<Option<OwnedFd>>,
    /// What the manifest does not say of each app; one for each, or none where all have the defaults.
    pub apps: Vec<AppOptions>,
    /// When the pod is over.
    pub exit_policy: ExitPolicy,
    /// How much of each app's output is kept, where it is.
    pub logs: LogLimits,
    /// What a signal to the monitor means.
    pub signals: Signals,
    /// Whether the apps are started only when a client attaches and holds the pod.
    pub held: bool,
    /// Whether the pod counts as started only when the apps' programs are executed, or one could not be.
    pub executes_first: bool,
    /// The control groups of the pod, if it has any.
    pub cgroup: Option<PodCgroup>,
    /// How the pod registers with the metadata service; without it the apps have none.
    pub metadata: Option<Registration>,
    /// Its network.
    pub network: Network,
    /// The networks of pods that it is on as well. All have one user namespace ([`crate::node::Node::is_beside`]).
    pub memberships: Vec<Membership>,
    /// The files of /etc that each app is given.
    pub etc: Vec<EtcFile>,
    /// For each app the listening sockets that it takes over; none at all where no app does.
    pub sockets: Vec<Vec<Passed>>,
}

/// What the monitor does with INT, TERM, HUP, QUIT, USR1 and USR2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signals {
    /// It hands them on to the apps: a pod in the foreground.
    Forward,
    /// INT and TERM stop the pod in order, the others are handed on: a pod of its own.
    Stop,
}

/// What a manifest does not say of an app.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AppOptions {
    /// Its streams.
    pub stdio: AppStdio,
    /// Whether it is started again.
    pub restart: Restart,
}

/// Where an app's standard streams go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AppStdio {
    /// They are the monitor's own.
    #[default]
    Inherited,
    /// The same, but for those (input, output, errors) that are nobody's.
    Muted([bool; 3]),
    /// Into its log, and to whoever attaches.
    Kept(StdioKind),
}
