//! The monitor and the pod's network.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, OwnedFd};

use appc::isolator::names;
use appc::isolator::report::{Outcome, ReportEntry};

use super::{Monitor, memory_file};
use crate::channel::{Failure, FailureKind, ToInit};
use crate::network::{HOSTS, NetworkReport};
use crate::plan::Net;
use crate::run::{Keeper, RunError};
use crate::uplink::{Change, Connection};

impl Monitor<'_> {
    /// How the network is.
    pub(super) fn network_report(&self) -> NetworkReport {
        let mode = match self.net {
            Net::Loopback => "none",
            Net::Host => "host",
            Net::Connected if self.uplink.is_none() => "none",
            Net::Connected => "default",
        };
        let down = self.uplink.as_ref().and_then(Connection::down).map(str::to_owned);
        let bandwidth = self.uplink.as_ref().and_then(Connection::bandwidth).cloned();
        NetworkReport {
            mode: mode.to_owned(),
            down,
            joined: self.members.report(),
            bandwidth,
            added: self.ports.added.clone(),
            closed: self.ports.closed.clone(),
        }
    }

    /// Whether all is there of it that can be had.
    pub(super) fn has_network(&self) -> bool {
        self.uplink.as_ref().is_none_or(Connection::is_settled) && self.members.are_settled()
    }

    /// Pid 1 has made the namespaces that are to be connected.
    pub(super) fn connect(&mut self, fds: Vec<OwnedFd>, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        let mut fds = fds.into_iter();
        let (Some(net), Some(user), between) = (fds.next(), fds.next(), fds.next()) else { return Ok(()) };
        let refused = |why: String| RunError::Pod(Failure::new(FailureKind::Setup, &why));
        self.members.join(&net).map_err(refused)?;
        self.write_hosts()?;
        // Without an uplink nothing more is waited for.
        let uplink = self.uplink.as_mut();
        let change = uplink.map_or(Change::Settled, |uplink| uplink.connect((net, between), user, self.mapping));
        self.see_to(change, keeper)
    }

    /// Has the apps' /etc/hosts say who is on the pod's network.
    fn write_hosts(&mut self) -> std::io::Result<()> {
        let Some(edits) = self.members.look_around()? else { return Ok(()) };
        // An app that is added later finds it as it is by then.
        let hosts = self.etc.iter_mut().filter(|file| file.name == HOSTS);
        hosts.for_each(|file| file.content = self.members.hosts().to_owned());
        let edits = memory_file(&edits)?;
        // A pid 1 that is gone is heard of elsewhere.
        let _ = self.init.say_with(&ToInit::Hosts, &[edits.as_fd()]);
        Ok(())
    }

    /// Something about it has changed.
    pub(super) fn network_changed(&mut self, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        if self.members.polled()
            && let Err(error) = self.write_hosts()
        {
            keeper.remark_on_pod(&format!("who is on the pod's network cannot be found out: {error}"));
        }
        let change = self.uplink.as_mut().map_or(Change::None, Connection::polled);
        self.tell_freed();
        self.see_to(change, keeper)
    }

    /// Looks whether it is too late for it.
    pub(super) fn network_clock(&mut self, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        let Some(uplink) = &mut self.uplink else { return Ok(()) };
        let change = uplink.look_at_the_clock();
        self.see_to(change, keeper)
    }

    /// Says that the pod is there, once it is, with its network, and with its programs where those are waited for.
    pub(super) fn tell_started(&mut self, keeper: &mut dyn Keeper) {
        let executed = self.unexecuted.as_ref().is_none_or(BTreeSet::is_empty) && !self.put_off && !self.over;
        if executed && self.has_network() && std::mem::take(&mut self.created) {
            self.unexecuted = None;
            keeper.pod_started();
        }
    }

    fn see_to(&mut self, change: Change, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        match change {
            Change::None => return Ok(()),
            Change::Settled => {
                let bandwidth = self.uplink.as_ref().and_then(Connection::bandwidth).cloned();
                if let Some(outcome) = bandwidth.filter(|outcome| *outcome != Outcome::Enforced) {
                    let isolator = names::NETWORK_BANDWIDTH.parse().expect("names of isolators are identifiers");
                    keeper.remark_on_pod(&format!("isolator {}", ReportEntry { isolator, outcome }));
                }
            }
            Change::Lost { why, fatal: true } => {
                let what = format_args!("the pod's ports cannot be forwarded: {why}");
                return Err(RunError::Pod(Failure::new(FailureKind::Setup, &what)));
            }
            Change::Lost { why, .. } => {
                let networks = self.members.report().into_iter().map(|network| format!(" and {:?}", network.name));
                let left = format!("its own loopback{}", networks.collect::<String>());
                keeper.remark_on_pod(&format!("the pod has no network but {left}: {why}"));
            }
        }
        if std::mem::take(&mut self.put_off) {
            self.start_all(keeper)?;
        }
        self.tell_started(keeper);
        Ok(())
    }
}
