//! A monitor as a member of its pod's network: it hands the node on to those who come after, and follows who is there.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags};

use super::hosts::{Edits, Hosts};
use super::join::{self, Place};
use super::{BRIDGE, Membership, handover};

/// The monitor's side of a network.
#[derive(Debug)]
pub(crate) struct Member {
    membership: Membership,
    hosts: Hosts,
    place: Option<Place>,
}

impl Member {
    /// A member-to-be whose apps have this /etc/hosts.
    pub(crate) fn new(membership: Membership, hosts: String) -> Self {
        Self { membership, hosts: Hosts::new(hosts), place: None }
    }

    /// The network's name.
    pub(crate) fn network(&self) -> &str {
        &self.membership.network
    }

    /// The pod's address, once it has one.
    pub(crate) fn address(&self) -> Option<Ipv4Addr> {
        self.place.as_ref().map(|place| place.address)
    }

    /// What the apps' /etc/hosts says.
    pub(crate) fn hosts(&self) -> &str {
        self.hosts.text()
    }

    /// Connects the pod with this network namespace.
    ///
    /// # Errors
    /// Why it could not be, in words.
    pub(crate) fn join(&mut self, pod: &OwnedFd) -> Result<(), String> {
        let joined = join::join(&self.membership, pod);
        self.place = Some(joined.map_err(|why| format!("join network {:?}: {why}", self.membership.network))?);
        Ok(())
    }

    /// What the monitor waits for.
    pub(crate) fn to_poll(&self) -> Vec<PollFd<'_>> {
        let changes = self.place.iter().map(|place| PollFd::new(&place.changes, PollFlags::IN));
        std::iter::once(PollFd::new(&self.membership.listener, PollFlags::IN)).chain(changes).collect()
    }

    /// Something that was waited for may be there. Returns whether pods have come or gone.
    pub(crate) fn polled(&mut self) -> bool {
        handover::give(&self.membership.node, &self.membership.listener);
        self.place.as_ref().is_some_and(|place| place.changes.drain().unwrap_or(false))
    }

    /// Asks who is there; what of that is new is to be written to the apps' /etc/hosts.
    pub(crate) fn look_around(&mut self) -> std::io::Result<Option<Edits>> {
        let Some(place) = &self.place else { return Ok(None) };
        let mut lines = Vec::new();
        for link in place.node.links()?.into_iter().filter(|link| link.name != BRIDGE) {
            match join::address(&link.name) {
                Some(address) if address != place.address && !link.alias.is_empty() => {
                    lines.push(format!("{address} {}\n", link.alias));
                }
                _ => {}
            }
        }
        Ok(self.hosts.update(&lines))
    }
}
