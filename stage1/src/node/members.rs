//! The networks of a pod, as its monitor has them: its places there, and what its apps' /etc/hosts says of others.

use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::PollFd;

use super::Membership;
use super::hosts::{Edits, Hosts};
use super::member::Member;
use crate::network::{NamedReport, own_names};

/// The monitor's side of all networks of its pod.
#[derive(Debug)]
pub(crate) struct Members {
    members: Vec<Member>,
    hosts: Hosts,
    /// The names by which the pod finds itself, besides those that others find it by.
    own_names: String,
}

impl Members {
    /// Members-to-be whose apps have this /etc/hosts.
    pub(crate) fn new(memberships: Vec<Membership>, hosts: String, hostname: &str) -> Self {
        let members = memberships.into_iter().enumerate().map(|(index, it)| Member::new(it, index)).collect();
        Self { members, hosts: Hosts::new(hosts), own_names: own_names(hostname) }
    }

    /// Whether the pod is on no network.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether it has all its places.
    pub(crate) fn are_settled(&self) -> bool {
        self.members.iter().all(|member| member.address().is_some())
    }

    /// The networks, for people.
    pub(crate) fn report(&self) -> Vec<NamedReport> {
        let named = |member: &Member| NamedReport {
            name: member.network().to_owned(),
            address: member.address(),
            newer_address: member.newer_address(),
        };
        self.members.iter().map(named).collect()
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
        self.members.iter_mut().try_for_each(|member| member.join(pod))
    }

    /// What the monitor waits for.
    pub(crate) fn to_poll(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.members.iter().flat_map(Member::to_poll)
    }

    /// Until when one of the networks is not listened to.
    pub(crate) fn respite(&self) -> Option<Instant> {
        self.members.iter().filter_map(Member::respite).min()
    }

    /// The time is up, perhaps.
    pub(crate) fn look_at_the_clock(&mut self) {
        self.members.iter_mut().for_each(Member::look_at_the_clock);
    }

    /// Something that was waited for may be there. Returns whether pods have come or gone.
    pub(crate) fn polled(&mut self) -> bool {
        // Each is asked, whatever the others say.
        self.members.iter_mut().fold(false, |changed, member| member.polled() | changed)
    }

    /// Asks who is there; what of that is new is to be written to the apps' /etc/hosts.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub(crate) fn look_around(&mut self) -> std::io::Result<Option<Edits>> {
        let lines: Vec<Vec<String>> =
            self.members.iter().map(|it| it.look_around(&self.own_names)).collect::<Result<_, _>>()?;
        Ok(self.hosts.update(&lines.concat()))
    }
}
