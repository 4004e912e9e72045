//! A monitor as a member of a network of its pod's: it hands the node on to those who come after, and follows who is there.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};

use super::join::{self, Place};
use super::{BRIDGE, Membership, handover, ula};
use crate::control::PAUSE;

/// The monitor's side of a network.
#[derive(Debug)]
pub(super) struct Member {
    membership: Membership,
    /// The name of the interface in the pod.
    interface: String,
    place: Option<Place>,
    /// Until when nobody is listened to for want of descriptors.
    pause: Option<Instant>,
}

impl Member {
    /// A member-to-be, of the network that is the pod's first, second, … (from 0).
    pub(super) fn new(membership: Membership, index: usize) -> Self {
        // eth0 leads to the world.
        Self { membership, interface: format!("eth{}", index + 1), place: None, pause: None }
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
        let listener = self.pause.is_none().then(|| PollFd::new(&self.membership.listener, PollFlags::IN));
        listener.into_iter().chain(changes).collect()
    }

    /// Until when nobody is listened to.
    pub(super) fn respite(&self) -> Option<Instant> {
        self.pause
    }

    /// The time is up, perhaps.
    pub(super) fn look_at_the_clock(&mut self) {
        self.pause = self.pause.filter(|until| Instant::now() < *until);
    }

    /// Something that was waited for may be there. Returns whether pods have come or gone.
    pub(super) fn polled(&mut self) -> bool {
        if self.pause.is_none() && handover::give(&self.membership.node, &self.membership.listener).is_err() {
            self.pause = Some(Instant::now() + PAUSE);
        }
        self.place.as_ref().is_some_and(|place| place.changes.drain().unwrap_or(false))
    }

    /// Asks who is there: lines of /etc/hosts. The pod finds itself by `own` names and those that others find it by.
    pub(super) fn look_around(&self, own: &str) -> std::io::Result<Vec<String>> {
        let mut lines = Vec::new();
        let Some(place) = &self.place else { return Ok(lines) };
        for link in place.node.links()?.into_iter().filter(|link| link.name != BRIDGE) {
            match join::address(&link.name) {
                // By IPv4 alone: programs take `hostname -i` for one address.
                Some(address) if address == place.address => {
                    let others = link.alias.split_whitespace().filter(|name| own.split(' ').all(|it| it != *name));
                    let names = own.split(' ').filter(|it| *it != "localhost").chain(others);
                    lines.push(format!("{address} {}\n", names.collect::<Vec<_>>().join(" ")));
                }
                Some(address) if !link.alias.is_empty() => {
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
