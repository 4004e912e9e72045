//! Runs a piece of work as container root inside the user's id map, in a child process.
//!
//! The store's trees and the pods' upper layers hold files of mapped ids; extracting and removing them needs a process
//! that owns those ids. The child has a user namespace of its own and nothing else: it works on the descriptors that it
//! inherits.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Signal, WaitIdOptions, set_parent_process_death_signal};
use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sys::fork::{Fork, Namespaces};

use crate::idmap::{IdMapError, IdMapping, Tier};

/// Why work in the namespace failed before or after the work itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UsernsError {
    /// No user namespace could be made.
    #[error("create a user namespace")]
    Create(#[source] std::io::Error),
    /// The id map was refused.
    #[error(transparent)]
    Map(#[from] IdMapError),
    /// The pipe to the child failed.
    #[error("talk to the child in the user namespace")]
    Channel(#[source] std::io::Error),
    /// The child ended without a result.
    #[error("the child in the user namespace ended without a result ({0})")]
    Died(String),
}

/// Runs `work` in a child that is container root of `mapping`, waits for it, and returns what it returned.
///
/// The child dies with this process. `work` must not rely on threads of this process; it may start its own.
///
/// # Errors
/// [`UsernsError`]; errors of the work itself belong into `T`.
pub fn run_in<T, F>(mapping: &IdMapping, work: F) -> Result<T, UsernsError>
where
    T: Serialize + DeserializeOwned,
    F: FnOnce() -> T,
{
    run_beside(mapping, work, || ()).map(|(result, ())| result)
}

/// [`run_in`], with something for this process to do while the child works: to read what it writes into a pipe, for
/// instance. Whatever `work` holds is let go of here before `beside` begins, so the pipe ends with the child.
///
/// # Errors
/// As [`run_in`].
pub fn run_beside<T, F, U>(mapping: &IdMapping, work: F, beside: impl FnOnce() -> U) -> Result<(T, U), UsernsError>
where
    T: Serialize + DeserializeOwned,
    F: FnOnce() -> T,
{
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(|errno| UsernsError::Channel(errno.into()))?;
    match sys::fork::fork(Namespaces::USER).map_err(UsernsError::Create)? {
        Fork::Child => {
            drop(ours);
            sys::fork::exit_now(u8::from(child(mapping, theirs, work).is_err()))
        }
        Fork::Parent { pid, pidfd } => {
            drop((theirs, work));
            let result = mapping.write(pid).map_err(UsernsError::from).and_then(|()| converse(ours, beside));
            let status = rustix::process::waitid(
                rustix::process::WaitId::PidFd(std::os::fd::AsFd::as_fd(&pidfd)),
                WaitIdOptions::EXITED,
            );
            match result? {
                (Some(answer), beside) => Ok((answer, beside)),
                (None, _) => Err(UsernsError::Died(format!("{:?}", status.ok().flatten()))),
            }
        }
    }
}

/// The parent's half: say that the map is written, do its own work, then read the answer to its end.
fn converse<T: DeserializeOwned, U>(
    socket: OwnedFd,
    beside: impl FnOnce() -> U,
) -> Result<(Option<T>, U), UsernsError> {
    let mut socket = File::from(socket);
    socket.write_all(b"m").map_err(UsernsError::Channel)?;
    let beside = beside();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).map_err(UsernsError::Channel)?;
    Ok((serde_json::from_slice(&answer).ok(), beside))
}

fn child<T: Serialize>(mapping: &IdMapping, socket: OwnedFd, work: impl FnOnce() -> T) -> std::io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut socket = File::from(socket);
    // End of file here: the parent is gone or the map was refused.
    socket.read_exact(&mut [0])?;
    become_container_root(mapping)?;
    // Changing ids clears the death signal (prctl(2)); a parent that died in between shows as a broken socket below.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let answer = serde_json::to_vec(&work())?;
    socket.write_all(&answer)
}

/// Takes the ids of container root, and drops the caller's supplementary groups where the map allows that.
///
/// # Errors
/// Those of setgroups(2), setresgid(2), setresuid(2).
pub(crate) fn become_container_root(mapping: &IdMapping) -> rustix::io::Result<()> {
    if mapping.tier() != Tier::Single {
        set_thread_groups(&[])?;
    }
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
}
