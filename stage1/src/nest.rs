//! The user namespace that a pod's own is made in.
//!
//! Where a range of ids is mapped, newuidmap and newgidmap write the maps, and need as long for that as everything else
//! before a pod's first mount. Three things are done about it. The maps are those of an outer namespace, N0, which can
//! be made before anything is known of the pod. Pods whose ids are the same have one N0: who has all rights there hands its
//! ids on to a pod without those programs. And so a pod that runs offers its N0 to those which start meanwhile ([`offer`]).
//!
//! No process lives in an N0. The monitors of its pods have it open, and it is gone with the last of them. The pods on
//! networks are nested in the same way, in the N0 of their networks ([`crate::node`]).

mod offer;

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use sys::fork::Namespaces;
use sys::outpost::{IdMaps, Outpost};

use crate::idmap::{IdMapping, Tier, Writing, map_text};
use crate::run::RunError;

use offer::Line;

/// The namespaces of a pod that come with its pid 1; the rest it makes itself.
pub(crate) const OF_PID_1: Namespaces = Namespaces::USER.with(Namespaces::PID);

/// An N0, and a process that forks pid 1 of a pod in it. Dropped, the process is gone, and so are the programs that still
/// write maps.
#[derive(Debug)]
pub struct Nest {
    // The programs end before the process whose maps they write.
    maps: Option<Writing>,
    outpost: Outpost,
    outer: Outer,
}

/// An N0. It is there as long as somebody has it open.
#[derive(Debug)]
pub(crate) struct Outer {
    namespace: OwnedFd,
    mapping: IdMapping,
    source: Source,
}

/// Where an N0 comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// It was made for this pod.
    New,
    /// Another pod that runs has offered it, by this line.
    Offered(Line),
    /// It is the networks'.
    Node,
}

impl Nest {
    /// Takes the N0 that a running pod offers in this file, or begins to make one. `None` where pods need none.
    ///
    /// # Errors
    /// [`RunError::Namespace`], [`RunError::IdMap`].
    pub fn open(mapping: &IdMapping, offers: Option<&Path>) -> Result<Option<Self>, RunError> {
        if mapping.tier() != Tier::Range {
            return Ok(None);
        }
        match offers.and_then(|offers| offer::find(offers, mapping)) {
            Some((namespace, line)) => Self::within(namespace, mapping, Source::Offered(line)),
            None => Self::found(mapping),
        }
        .map(Some)
    }

    /// The N0 of networks, with these ids.
    ///
    /// # Errors
    /// [`RunError::Namespace`].
    pub(crate) fn of_node(namespace: &OwnedFd, mapping: &IdMapping) -> Result<Self, RunError> {
        let namespace = namespace.try_clone().map_err(RunError::Namespace)?;
        Self::within(namespace, mapping, Source::Node)
    }

    /// Begins to make one.
    fn found(mapping: &IdMapping) -> Result<Self, RunError> {
        let outpost = Outpost::found().map_err(RunError::Namespace)?;
        let maps = Some(mapping.start(outpost.pid())?);
        let path = format!("/proc/{}/ns/user", outpost.pid().as_raw_nonzero());
        let namespace = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let namespace = namespace.map_err(|errno| RunError::Namespace(errno.into()))?;
        Ok(Self { maps, outpost, outer: Outer { namespace, mapping: mapping.clone(), source: Source::New } })
    }

    fn within(namespace: OwnedFd, mapping: &IdMapping, source: Source) -> Result<Self, RunError> {
        let outpost = namespace.try_clone().and_then(Outpost::within).map_err(RunError::Namespace)?;
        Ok(Self { maps: None, outpost, outer: Outer { namespace, mapping: mapping.clone(), source } })
    }

    /// Whether a pod with these ids can be nested in it. In that of networks that is found out later.
    pub(crate) fn fits(&self, mapping: &IdMapping) -> bool {
        self.outer.source == Source::Node || self.outer.mapping == *mapping
    }

    /// Forks pid 1 of a pod, which calls `child` with what is given, as [`Outpost::fork`] does. Where an offer comes to
    /// nothing, an N0 is made.
    ///
    /// # Errors
    /// [`RunError::IdMap`], [`RunError::Namespace`].
    pub(crate) fn fork<T>(
        self,
        mapping: &IdMapping,
        given: &mut Option<T>,
        child: fn(T) -> !,
    ) -> Result<(Pid, OwnedFd, Outer), RunError> {
        let Self { maps, outpost, outer } = self;
        maps.map_or(Ok(()), Writing::finish)?;
        let inner = mapping.within(&outer.mapping);
        let inner = inner.ok_or_else(|| RunError::Namespace(io::Error::other("the network's pods have other ids")))?;
        match outpost.fork(OF_PID_1, &id_maps(&inner), given, child) {
            Ok((pid, pidfd)) => Ok((pid, pidfd, outer)),
            // Not beside another child that may be there.
            Err(error) if matches!(outer.source, Source::Offered(_)) && error.kind() != io::ErrorKind::BrokenPipe => {
                Self::found(&outer.mapping)?.fork(mapping, given, child)
            }
            Err(error) => Err(RunError::Namespace(error)),
        }
    }
}

impl Outer {
    /// Offers it to others in this file, for as long as this process has it open. That of networks they find by other ways.
    pub(crate) fn offer(&self, offers: &Path) {
        let line = match self.source {
            Source::New => Line::First,
            Source::Offered(line) => line.other(),
            Source::Node => return,
        };
        offer::make(offers, line, self.namespace.as_fd(), &self.mapping);
    }
}

/// The maps as they are written by one who has all rights over the outer namespace.
fn id_maps(mapping: &IdMapping) -> IdMaps {
    IdMaps {
        // As without a parent of its own: root of such a pod changes no groups.
        deny_setgroups: mapping.tier() == Tier::Single,
        uids: map_text(mapping.uids()),
        gids: map_text(mapping.gids()),
    }
}
