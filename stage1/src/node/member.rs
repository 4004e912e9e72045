//! A monitor as a member of a network of its pod's: it hands the node on to those who come after, and follows who is there.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags};

use super::join::{self, Place};
use super::{BRIDGE, Membership, handover, ula};

/// The monitor's side of a network.
#[derive(Debug)]
pub(super) struct Member {
    membership: Membership,
    /// The name of the interface in the pod.
    interface: String,
    place: Option<Place>,
}

impl Member {
    /// A member-to-be, of the network that is the pod's first, second, … (from 0).
    pub(super) fn new(membership: Membership, index: usize) -> Self {
        // eth0 leads to the world.
        Self { membership, interface: format!("eth{}", index + 1), place: None }
    }

    /// The network's name.
    pub(super) fn network(&self) -> &str {
        &self.membership.network
    }

    /// The pod's address, once it has one.
    pub(super) fn address(&self) -> Option<Ipv4Addr> {
        self.place.as_ref().map(|place| place.address)
    }

    /// The pod's IPv6 address, if it has one.
    pub(super) fn newer_address(&self) -> Option<Ipv6Addr> {
        self.place.as_ref().and_then(|place| place.newer)
    }

    /// Connects the pod with this network namespace.
    ///
    /// # Errors
    /// Why it could not be, in words.
    pub(super) fn join(&mut self, pod: &OwnedFd) -> Result<(), String> {
        let joined = join::join(&self.membership, &self.interface, pod);
        self.place = Some(joined.map_err(|why| format!("join network {:?}: {why}", self.membership.network))?);
        Ok(())
    }

    /// What the monitor waits for.
    pub(super) fn to_poll(&self) -> Vec<PollFd<'_>> {
        let changes = self.place.iter().map(|place| PollFd::new(&place.changes, PollFlags::IN));
        std::iter::once(PollFd::new(&self.membership.listener, PollFlags::IN)).chain(changes).collect()
    }

    /// Something that was waited for may be there. Returns whether pods have come or gone.
    pub(super) fn polled(&mut self) -> bool {
        handover::give(&self.membership.node, &self.membership.listener);
        self.place.as_ref().is_some_and(|place| place.changes.drain().unwrap_or(false))
    }

    /// Asks who is there: lines of /etc/hosts.
    pub(super) fn look_around(&self) -> std::io::Result<Vec<String>> {
        let mut lines = Vec::new();
        let Some(place) = &self.place else { return Ok(lines) };
        for link in place.node.links()?.into_iter().filter(|link| link.name != BRIDGE) {
            match join::address(&link.name) {
                Some(address) if address != place.address && !link.alias.is_empty() => {
                    lines.push(format!("{address} {}\n", link.alias));
                    // Of the kernel that this pod has its own from.
                    if place.newer.is_some() {
                        let newer = ula::address(self.network(), address);
                        lines.push(format!("{newer} {}\n", link.alias));
                    }
                }
                _ => {}
            }
        }
        Ok(lines)
    }
}
