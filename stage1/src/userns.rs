//! Runs a piece of work as container root inside the user's id map, in a child process.
//!
//! The store's trees and the pods' upper layers hold files of mapped ids; extracting and removing them needs a process
//! that owns those ids. The child has a user namespace of its own and nothing else: it works on the descriptors that it
//! inherits.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::marker::PhantomData;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, getpid, getppid, pidfd_send_signal,
    set_parent_process_death_signal, waitid,
};
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
    /// The child was killed: by the kernel, which had no memory left, or by somebody.
    #[error("the child in the user namespace was killed by signal {0}")]
    Killed(i32),
    /// The child ended without a result.
    #[error("the child in the user namespace ended with status {0} and without a result")]
    Ended(i32),
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
    start_in(mapping, work)?.wait()
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
    let running = start_in(mapping, work)?;
    let beside = beside();
    Ok((running.wait()?, beside))
}

/// Starts `work` like [`run_in`] and does not wait for it. Whatever it holds is let go of here.
///
/// # Errors
/// [`UsernsError`].
pub fn start_in<T, F>(mapping: &IdMapping, work: F) -> Result<Running<T>, UsernsError>
where
    T: Serialize + DeserializeOwned,
    F: FnOnce() -> T,
{
    start(
        Namespaces::USER,
        |pid| Ok(mapping.write(pid)?),
        |parent| {
            become_container_root(mapping)?;
            parent.die_with_it()?;
            Ok(work())
        },
    )
}

/// Starts `work` in a child with these new namespaces, which waits until `admit` has done with it what its parent must,
/// and dies with this process. What `work` holds is let go of here.
///
/// # Errors
/// [`UsernsError`]; the child is gone then.
pub(crate) fn start<T, F>(
    namespaces: Namespaces,
    admit: impl FnOnce(Pid) -> Result<(), UsernsError>,
    work: F,
) -> Result<Running<T>, UsernsError>
where
    T: Serialize,
    F: FnOnce(Parent) -> std::io::Result<T>,
{
    let work = |parent| Ok(serde_json::to_vec(&work(parent)?)?);
    let child = Child::start(namespaces, Box::new(admit), Box::new(work))?;
    Ok(Running { child, result: PhantomData })
}

/// Work in a child process. Dropped, it ends the child.
#[derive(Debug)]
pub struct Running<T> {
    child: Child,
    result: PhantomData<T>,
}

impl<T: DeserializeOwned> Running<T> {
    /// Can be read when there is more of the answer, or its end.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.child.socket.as_fd()
    }

    /// Reads what there is of the answer, without waiting for more. Returns whether that was the end.
    ///
    /// # Errors
    /// [`UsernsError::Channel`].
    pub fn read(&mut self) -> Result<bool, UsernsError> {
        self.child.read()
    }

    /// Waits for the end of the child and returns its answer.
    ///
    /// # Errors
    /// [`UsernsError::Channel`], [`UsernsError::Killed`], [`UsernsError::Ended`].
    pub fn wait(mut self) -> Result<T, UsernsError> {
        let status = self.child.wait()?;
        serde_json::from_slice(&self.child.answer).map_err(|_| {
            match status.as_ref().and_then(WaitIdStatus::terminating_signal) {
                Some(signal) => UsernsError::Killed(signal),
                None => UsernsError::Ended(status.as_ref().and_then(WaitIdStatus::exit_status).unwrap_or(0)),
            }
        })
    }
}

/// What a child does: its answer, in bytes.
type Work<'a> = Box<dyn FnOnce(Parent) -> std::io::Result<Vec<u8>> + 'a>;

/// A child process, whatever it answers with.
#[derive(Debug)]
struct Child {
    socket: File,
    pidfd: OwnedFd,
    answer: Vec<u8>,
    reaped: bool,
}

impl Child {
    fn start(
        namespaces: Namespaces,
        admit: Box<dyn FnOnce(Pid) -> Result<(), UsernsError> + '_>,
        work: Work<'_>,
    ) -> Result<Self, UsernsError> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|errno| UsernsError::Channel(errno.into()))?;
        let parent = Parent(getpid());
        match sys::fork::fork(namespaces).map_err(UsernsError::Create)? {
            Fork::Child => {
                drop(ours);
                sys::fork::exit_now(u8::from(serve(parent, theirs, work).is_err()))
            }
            Fork::Parent { pid, pidfd } => {
                drop((theirs, work));
                let mut child = Self { socket: File::from(ours), pidfd, answer: Vec::new(), reaped: false };
                admit(pid)?;
                child.socket.write_all(b"m").map_err(UsernsError::Channel)?;
                Ok(child)
            }
        }
    }

    fn read(&mut self) -> Result<bool, UsernsError> {
        let mut piece = [0; 64 << 10];
        loop {
            match recv(&self.socket, &mut piece, RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return Ok(true),
                Ok((_, length)) => self.answer.extend_from_slice(&piece[..length]),
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(UsernsError::Channel(errno.into())),
            }
        }
    }

    fn wait(&mut self) -> Result<Option<WaitIdStatus>, UsernsError> {
        self.socket.read_to_end(&mut self.answer).map_err(UsernsError::Channel)?;
        Ok(self.reap())
    }

    fn reap(&mut self) -> Option<WaitIdStatus> {
        self.reaped = true;
        waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED).ok().flatten()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            // It may have ended already.
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
            self.reap();
        }
    }
}

/// What the child is.
fn serve(parent: Parent, socket: OwnedFd, work: Work<'_>) -> std::io::Result<()> {
    parent.die_with_it()?;
    let mut socket = File::from(socket);
    // End of file here: the parent is gone, or has no use for the child.
    socket.read_exact(&mut [0])?;
    socket.write_all(&work(parent)?)
}

/// The process that has started a child, as the child knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parent(Pid);

impl Parent {
    /// Has the child killed when its parent dies. Once more after each change of ids, which clears it (prctl(2)).
    ///
    /// # Errors
    /// The parent has died in between. That must be noticed here: the work may wait for the end of a pipe whose other end
    /// this process has inherited too, and would wait for ever.
    pub(crate) fn die_with_it(self) -> std::io::Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        match getppid() == Some(self.0) {
            true => Ok(()),
            false => Err(std::io::ErrorKind::NotConnected.into()),
        }
    }
}

/// Takes the ids of container root, and drops the caller's supplementary groups where the map allows that.
///
/// # Errors
/// Those of setgroups(2), setresgid(2), setresuid(2).
pub(crate) fn become_container_root(mapping: &IdMapping) -> rustix::io::Result<()> {
    become_root_of(mapping.tier())
}

/// The same in a namespace that is there already.
pub(crate) fn become_root_of(tier: Tier) -> rustix::io::Result<()> {
    if tier != Tier::Single {
        set_thread_groups(&[])?;
    }
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
}
