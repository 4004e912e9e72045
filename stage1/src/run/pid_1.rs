//! The fork of pid 1 into its user namespace.

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::Pid;
use sys::fork::Fork;

use crate::init::{self, Init, InitCgroups, InitEnd};
use crate::nest::{Nest, OF_PID_1, Outer};
use crate::plan::{Net, Plan};
use crate::streams::AppStreams;

use super::{MonitorEnd, PodSpec, RunError};

/// What pid 1 and its monitor begin with: at the fork both have all of it, and each keeps its part.
#[derive(Debug)]
pub(super) struct Beginning<'a> {
    pub(super) spec: PodSpec<'a>,
    pub(super) plan: Plan,
    pub(super) net: Net,
    pub(super) streams: Vec<AppStreams>,
    pub(super) cgroups: Option<InitCgroups>,
    pub(super) monitor_end: MonitorEnd,
    pub(super) init_end: InitEnd,
}

impl<'a> Beginning<'a> {
    /// In the monitor. The plan and the rest is pid 1's, and would be here as long as the pod.
    pub(super) fn into_monitors_part(self: Box<Self>) -> (PodSpec<'a>, MonitorEnd) {
        (self.spec, self.monitor_end)
    }

    /// In pid 1.
    fn become_init(self: Box<Self>) -> ! {
        let Self { spec, plan, net, streams, cgroups, monitor_end, init_end } = *self;
        drop(monitor_end);
        let PodSpec { mapping, layers, sources, sockets, .. } = spec;
        init::run(Init { plan, mapping, layers, sources, streams: &streams, cgroups, monitor: &init_end, net, sockets })
    }
}

/// Pid 1, as its monitor knows it.
#[derive(Debug)]
pub(super) struct Pid1 {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    /// What it is nested in; `None` if its maps have yet to be written.
    pub(super) outer: Option<Outer>,
}

/// Forks pid 1: nested in an N0 if there is one; then its maps are written.
///
/// # Errors
/// [`RunError::Namespace`], [`RunError::IdMap`].
pub(super) fn fork(pod: Box<Beginning<'_>>, nest: Option<Nest>) -> Result<(Box<Beginning<'_>>, Pid1), RunError> {
    let mapping = pod.spec.mapping;
    let Some(nest) = nest else {
        return match sys::fork::fork(OF_PID_1).map_err(RunError::Namespace)? {
            Fork::Child => pod.become_init(),
            Fork::Parent { pid, pidfd } => Ok((pod, Pid1 { pid, pidfd, outer: None })),
        };
    };
    let mut pod = Some(pod);
    let (pid, pidfd, outer) = nest.fork(mapping, &mut pod, Beginning::become_init)?;
    let pod = pod.ok_or_else(|| io::Error::other("pid 1 has taken its monitor's part"))?;
    Ok((pod, Pid1 { pid, pidfd, outer: Some(outer) }))
}
