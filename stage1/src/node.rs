//! Networks of pods: pods of one user that reach one another, and nobody else's.
//!
//! The kernel connects two network namespaces only for who has rights over both, and the user namespaces of two pods have
//! nothing to do with each other (measured: EPERM). So the pods of networks are nested in one user namespace of their
//! user, N0, and for each network a network namespace that belongs to it has a bridge with a port for each pod: both
//! together are the *node* of the network. No process lives in it. The monitors of its pods have it open, and the kernel takes it apart
//! when the last of them is gone, however that ends.
//!
//! What there is to know of a network the kernel keeps as well: a pod's port is named after its address, and noted on it
//! are the pod's names; noted on the bridge is the network's range. A port goes with its pod, and its lease and its names
//! with it. Root needs no N0: it has rights over all of its pods.

mod handover;
mod hosts;
mod join;
mod member;
mod members;
mod subnet;
mod ula;

use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use sys::fork::{Fork, Namespaces};
use sys::netlink::Socket;

use crate::channel::pair;
use crate::idmap::{IdMapping, Tier};
use crate::userns::{self, UsernsError, become_container_root};

pub use handover::take;
pub(crate) use hosts::Edits;
pub(crate) use members::Members;
pub use subnet::{NotASubnet, Subnet};

/// The bridge's name in the node.
const BRIDGE: &str = "pods";

/// Most bytes of the names of one pod: they are noted with its port.
const MOST_NAMES: usize = 255;

/// The namespaces of a network.
#[derive(Debug)]
pub struct Node {
    /// The user namespace that its pods are nested in; none for root.
    user: Option<OwnedFd>,
    /// The network namespace with the bridge.
    net: OwnedFd,
}

/// Why there is no node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// Its namespaces could not be made.
    #[error(transparent)]
    Namespaces(#[from] UsernsError),
    /// Its bridge could not be made.
    #[error("make its bridge: {0}")]
    Bridge(String),
}

/// A pod's membership in a network, as whoever starts the pod wants it.
#[derive(Debug)]
pub struct Membership {
    /// The network's name.
    pub network: String,
    /// Where it is.
    pub node: Node,
    /// The ids of all of the network's pods: those of the node's user namespace.
    pub mapping: IdMapping,
    /// The socket at which the network's monitors hand the node on. It never waits.
    pub listener: OwnedFd,
    /// The address that the pod wants; else it gets the lowest that is free.
    pub address: Option<Ipv4Addr>,
    /// The names that other pods find it by.
    pub names: Vec<String>,
}

impl Node {
    /// Makes the namespaces and the bridge of a network with this range, for pods with these ids or some of them. A pod
    /// can be on this network and on that `beside` it: they have their user namespace in common.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn create(mapping: &IdMapping, subnet: Subnet, beside: Option<&Self>) -> Result<Self, NodeError> {
        let of_root = !Self::is_nested(mapping);
        if let Some(user) = beside.and_then(|node| node.user.as_ref()).filter(|_| !of_root) {
            let user = user.try_clone().map_err(UsernsError::Channel)?;
            return Self::create_in(mapping, subnet, user);
        }
        let namespaces = if of_root { Namespaces::NET } else { Namespaces::USER.with(Namespaces::NET) };
        let (mut user, mut net) = (None, None);
        let admit = |pid: Pid| {
            if !of_root {
                mapping.write(pid)?;
                user = Some(namespace(pid, "user")?);
            }
            net = Some(namespace(pid, "net")?);
            Ok(())
        };
        let running = userns::start(namespaces, admit, |parent| {
            if !of_root {
                become_container_root(mapping)?;
                parent.die_with_it()?;
            }
            Ok(bridge(subnet).map_err(|error| error.to_string()))
        })?;
        running.wait()?.map_err(NodeError::Bridge)?;
        let net = net.ok_or_else(|| NodeError::Bridge("there is no namespace for it".to_owned()))?;
        Ok(Self { user, net })
    }

    /// Whether the pods of networks are nested in a user namespace: those of root need none.
    #[must_use]
    pub fn is_nested(mapping: &IdMapping) -> bool {
        mapping.tier() != Tier::Root
    }

    /// Makes a node in a user namespace that there is.
    fn create_in(mapping: &IdMapping, subnet: Subnet, user: OwnedFd) -> Result<Self, NodeError> {
        let (ours, theirs) = pair::<(), Result<(), String>>().map_err(|errno| UsernsError::Channel(errno.into()))?;
        let make = || -> std::io::Result<OwnedFd> {
            move_into_link_name_space(user.as_fd(), Some(LinkNameSpaceType::User))?;
            become_container_root(mapping)?;
            sys::namespace::unshare(Namespaces::NET)?;
            bridge(subnet)?;
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            Ok(rustix::fs::open("/proc/self/ns/net", flags, Mode::empty())?)
        };
        match sys::fork::fork(Namespaces::NONE).map_err(UsernsError::Create)? {
            Fork::Child => {
                drop(ours);
                let said = match make() {
                    Ok(net) => theirs.say_with(&Ok(()), &[net.as_fd()]),
                    Err(error) => theirs.say(&Err(error.to_string())),
                };
                sys::fork::exit_now(u8::from(said.is_err()))
            }
            Fork::Parent { pidfd, .. } => {
                drop(theirs);
                let heard = ours.hear_with();
                let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
                let (said, mut fds) = heard
                    .map_err(|errno| UsernsError::Channel(errno.into()))?
                    .ok_or_else(|| NodeError::Bridge("the process that makes it ended without a word".to_owned()))?;
                said.map_err(NodeError::Bridge)?;
                let net = fds.pop().ok_or_else(|| NodeError::Bridge("there is no namespace for it".to_owned()))?;
                Ok(Self { user: Some(user), net })
            }
        }
    }

    /// Whether a pod can be on this network and on that one: both have one user namespace, or need none.
    ///
    /// # Errors
    /// Those of fstat(2).
    pub fn is_beside(&self, other: &Self) -> std::io::Result<bool> {
        let identity = |fd: &OwnedFd| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
        match (&self.user, &other.user) {
            (None, None) => Ok(true),
            (Some(one), Some(other)) => Ok(identity(one)? == identity(other)?),
            _ => Ok(false),
        }
    }

    /// The node whose descriptors another monitor has handed on; `None` if they are not those of one.
    fn from_fds(fds: Vec<OwnedFd>) -> Option<Self> {
        let mut fds = fds.into_iter();
        match (fds.next(), fds.next(), fds.next()) {
            (Some(net), user, None) => Some(Self { user, net }),
            _ => None,
        }
    }

    /// Its descriptors, to be handed on.
    fn fds(&self) -> Vec<BorrowedFd<'_>> {
        std::iter::once(&self.net).chain(&self.user).map(|fd| fd.as_fd()).collect()
    }

    /// The user namespace that its pods are nested in, if they are.
    pub(crate) fn user(&self) -> Option<&OwnedFd> {
        self.user.as_ref()
    }
}

/// Opens a namespace of a process of this one's.
fn namespace(pid: Pid, kind: &str) -> Result<OwnedFd, UsernsError> {
    let path = format!("/proc/{}/ns/{kind}", pid.as_raw_nonzero());
    let opened = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    opened.map_err(|errno| UsernsError::Channel(errno.into()))
}

/// Makes the bridge in the current network namespace.
fn bridge(subnet: Subnet) -> std::io::Result<()> {
    let socket = Socket::open()?;
    socket.add_bridge(BRIDGE)?;
    socket.set_up(BRIDGE, Some(&subnet.to_string()), None)
}
