//! Processes of the monitor's that work in the pod's network, as the pod's root.
//!
//! They are made container root first and get their death signal after that: changing ids or namespaces clears it
//! (prctl(2)), and pasta that joined the pod by itself would outlive a monitor that is killed. As they are now, nothing of
//! them is left.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};

use rustix::process::{
    Signal, WaitId, WaitIdOptions, getppid, pidfd_send_signal, set_parent_process_death_signal, setsid, waitid,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use sys::fork::{Fork, Namespaces};

use crate::idmap::IdMapping;
use crate::userns::become_container_root;

/// Where they work: the pod's namespaces, and who its root is.
#[derive(Debug)]
pub(super) struct Inside {
    pub(super) net: OwnedFd,
    pub(super) user: OwnedFd,
    pub(super) mapping: IdMapping,
}

/// Kills a process and waits for its end. It may have ended already.
pub(super) fn end(process: &OwnedFd) {
    let _ = pidfd_send_signal(process, Signal::KILL);
    let _ = waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED);
}

/// How a process ended, if it did.
pub(super) fn ended(process: &OwnedFd) -> Option<String> {
    let status = waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG).ok()??;
    Some(match status.terminating_signal() {
        Some(signal) => format!("was killed by signal {signal}"),
        None => format!("ended with status {}", status.exit_status().unwrap_or(0)),
    })
}

/// Closes what the monitor, or its caller, has open: the pod's streams would not end while this process has them.
fn close_all_but(keep: &[RawFd], said: RawFd) -> io::Result<()> {
    let mut keep: Vec<RawFd> = keep.iter().copied().chain([said]).collect();
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep.into_iter().chain([RawFd::MAX]) {
        if fd > first {
            sys::exec::close_range(first, fd - 1)?;
        }
        first = fd.saturating_add(1).max(first);
    }
    Ok(())
}

/// Runs `work` in a child that is the pod's root, in its network namespace if it is to be there. The child says what goes wrong
/// before it, or in it, through `said`. Besides that and `keep` no descriptor is open in it.
pub(super) fn child(
    inside: &Inside,
    enters_network: bool,
    said: &OwnedFd,
    keep: &[RawFd],
    mut work: impl FnMut() -> io::Result<()>,
) -> io::Result<OwnedFd> {
    let parent = rustix::process::getpid();
    match sys::fork::fork(Namespaces::NONE)? {
        Fork::Parent { pidfd, .. } => Ok(pidfd),
        Fork::Child => {
            let mut all = || -> io::Result<()> {
                // The terminal's signals are not for it.
                setsid()?;
                move_into_link_name_space(inside.user.as_fd(), Some(LinkNameSpaceType::User))?;
                if enters_network {
                    move_into_link_name_space(inside.net.as_fd(), Some(LinkNameSpaceType::Network))?;
                }
                become_container_root(&inside.mapping)?;
                set_parent_process_death_signal(Some(Signal::KILL))?;
                if getppid() != Some(parent) {
                    return Err(io::ErrorKind::NotConnected.into());
                }
                close_all_but(keep, said.as_raw_fd())?;
                work()
            };
            if let Err(error) = all() {
                let _ = rustix::io::write(said, error.to_string().as_bytes());
            }
            sys::fork::exit_now(1)
        }
    }
}
