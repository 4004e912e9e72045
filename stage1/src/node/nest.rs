//! Forking pid 1 of a pod into the node's user namespace.
//!
//! The monitor stays outside. A short-lived process goes in, forks pid 1 there as a child of the monitor's
//! (`CLONE_PARENT`), and writes its maps: that takes no newuidmap, because who has all rights over N0 may hand its ids on.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use sys::fork::{Fork, Namespaces, fork_sibling};

use crate::idmap::IdMapping;

/// As [`sys::fork::fork`] with user namespaces among `namespaces`, whose parent is `user`. The child's maps are written.
///
/// # Errors
/// Those of the system calls; maps that N0 does not have.
pub(crate) fn fork(
    namespaces: Namespaces,
    user: &OwnedFd,
    (mapping, outer): (&IdMapping, &IdMapping),
) -> io::Result<Fork> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    match sys::fork::fork(Namespaces::NONE)? {
        Fork::Child => {
            drop(ours);
            let said = match between(namespaces, user, (mapping, outer)) {
                // Pid 1: what called this function sees it return a second time. It has no use for the pipe, whose end
                // is waited for.
                Ok(None) => return Ok(Fork::Child),
                Ok(Some(pid)) => Ok(pid.as_raw_nonzero().get()),
                Err(error) => Err(error.to_string()),
            };
            let text = serde_json::to_vec(&said).unwrap_or_default();
            sys::fork::exit_now(u8::from(File::from(theirs).write_all(&text).is_err()))
        }
        Fork::Parent { pidfd, .. } => {
            drop(theirs);
            let mut text = Vec::new();
            let read = File::from(ours).read_to_end(&mut text);
            waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?;
            read?;
            let said: Result<i32, String> = serde_json::from_slice(&text)
                .map_err(|_| io::Error::other("the process that makes pid 1 ended without a word"))?;
            let pid = said.map_err(io::Error::other)?;
            // It is this process's own child: the number is nobody else's before it is reaped.
            let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::other("pid 1 has no number"))?;
            Ok(Fork::Parent { pid, pidfd: pidfd_open(pid, PidfdFlags::empty())? })
        }
    }
}

/// In the process between; `None` in pid 1.
fn between(
    namespaces: Namespaces,
    user: &OwnedFd,
    (mapping, outer): (&IdMapping, &IdMapping),
) -> io::Result<Option<Pid>> {
    let inner = mapping.within(outer).ok_or_else(|| io::Error::other("the network's pods have other ids"))?;
    move_into_link_name_space(user.as_fd(), Some(LinkNameSpaceType::User))?;
    match fork_sibling(namespaces)? {
        Fork::Child => Ok(None),
        Fork::Parent { pid, .. } => {
            inner.hand_on(pid).map_err(|error| io::Error::other(crate::run::chain(&error)))?;
            Ok(Some(pid))
        }
    }
}
