//! The fork of pid 1 into its user namespace.

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::Pid;
use sys::fork::Fork;

use crate::idmap::IdMapping;
use crate::init::{self, Init};
use crate::nest::{Nest, OF_PID_1, Outer};

use super::{MonitorEnd, RunError};

/// What pid 1 and its monitor begin with: at the fork both have all of it, and each keeps its part.
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) init: Init,
    pub(super) monitor_end: MonitorEnd,
}

impl Beginning {
    /// In pid 1.
    fn become_init(self: Box<Self>) -> ! {
        let Self { init, monitor_end } = *self;
        drop(monitor_end);
        let init = Box::new(init);
        // The frames of its monitor would be there as long as the pod.
        sys::stack::afresh(move || init::run(init))
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

/// Forks pid 1: nested in an N0 if there is one; then its maps are written. The monitor gets its end of the conversation
/// back; the rest is pid 1's, and would be here as long as the pod.
///
/// # Errors
/// [`RunError::Namespace`], [`RunError::IdMap`].
pub(super) fn fork(
    pod: Box<Beginning>,
    mapping: &IdMapping,
    nest: Option<Nest>,
) -> Result<(Pid1, MonitorEnd), RunError> {
    let Some(nest) = nest else {
        return match sys::fork::fork(OF_PID_1).map_err(RunError::Namespace)? {
            Fork::Child => pod.become_init(),
            Fork::Parent { pid, pidfd } => Ok((Pid1 { pid, pidfd, outer: None }, pod.monitor_end)),
        };
    };
    let mut pod = Some(pod);
    let (pid, pidfd, outer) = nest.fork(mapping, &mut pod, Beginning::become_init)?;
    let pod = pod.ok_or_else(|| io::Error::other("pid 1 has taken its monitor's part"))?;
    Ok((Pid1 { pid, pidfd, outer: Some(outer) }, pod.monitor_end))
}
