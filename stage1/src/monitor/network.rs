//! The monitor and the pod's network.

use std::os::fd::OwnedFd;

use super::Monitor;
use crate::channel::{Failure, FailureKind};
use crate::network::NetworkReport;
use crate::plan::Net;
use crate::run::{Keeper, RunError};
use crate::uplink::{Change, Connection};

impl Monitor<'_> {
    /// How the network is.
    pub(super) fn network_report(&self) -> NetworkReport {
        let mode = match self.net {
            Net::Loopback => "none",
            Net::Host => "host",
            Net::Connected => "default",
        };
        let down = self.uplink.as_ref().and_then(Connection::down).map(str::to_owned);
        NetworkReport { mode: mode.to_owned(), down }
    }

    /// Pid 1 has made the namespaces that are to be connected.
    pub(super) fn connect(&mut self, fds: Vec<OwnedFd>, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        let (Some(uplink), Ok([net, user])) = (&mut self.uplink, <[OwnedFd; 2]>::try_from(fds)) else { return Ok(()) };
        let change = uplink.connect(net, user, self.mapping);
        self.see_to(change, keeper)
    }

    /// Something about it has changed.
    pub(super) fn network_changed(&mut self, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        let change = self.uplink.as_mut().map_or(Change::None, Connection::polled);
        self.see_to(change, keeper)
    }

    /// Looks whether it is too late for it.
    pub(super) fn network_clock(&mut self, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        let Some(uplink) = &mut self.uplink else { return Ok(()) };
        let change = uplink.look_at_the_clock();
        self.see_to(change, keeper)
    }

    /// Says that the pod is there, once it is, with its network.
    pub(super) fn tell_started(&mut self, keeper: &mut dyn Keeper) {
        if self.uplink.as_ref().is_none_or(Connection::is_settled) && std::mem::take(&mut self.created) {
            keeper.pod_started();
        }
    }

    fn see_to(&mut self, change: Change, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        match change {
            Change::None => return Ok(()),
            Change::Settled => {}
            Change::Lost { why, fatal: true } => {
                let what = format_args!("the pod's ports cannot be forwarded: {why}");
                return Err(RunError::Pod(Failure::new(FailureKind::Setup, &what)));
            }
            Change::Lost { why, .. } => {
                keeper.remark_on_pod(&format!("the pod has no network but its own loopback: {why}"));
            }
        }
        self.tell_started(keeper);
        if std::mem::take(&mut self.put_off) { self.start_all(keeper) } else { Ok(()) }
    }
}
