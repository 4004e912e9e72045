//! The pod's control socket: made by its monitor, connected to by its user's other processes.
//!
//! It lies in the pod's directory, moves with it and goes with it. A path of a socket has at most 107 bytes (unix(7)),
//! so it is reached through the directory's descriptor, whatever the length of the data directory's path.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with};

use crate::contents::Kind;
use crate::handle::{Pod, Running};
use crate::record::PodRef;
use crate::{CallError, Preparing};

/// The socket's name in the pod's directory.
pub(crate) const NAME: &str = "control";

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

impl Pod<Preparing> {
    /// Makes the control socket, and returns it listening and non-blocking.
    ///
    /// # Errors
    /// A failed system call: `EPERM` or `EOPNOTSUPP` where the file system has no sockets.
    pub fn listen(&self) -> Result<OwnedFd, CallError> {
        self.listen_here()
    }
}

impl Pod<Running> {
    /// As [`Pod::<Preparing>::listen`], for a pod that was prepared before.
    ///
    /// # Errors
    /// As there.
    pub fn listen(&self) -> Result<OwnedFd, CallError> {
        self.listen_here()
    }
}

impl<S> Pod<S> {
    fn listen_here(&self) -> Result<OwnedFd, CallError> {
        let failed = |call| move |source| self.call_error(call, NAME, source);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(failed("socket"))?;
        bind(&socket, &address(self.dir()).map_err(failed("bind"))?).map_err(failed("bind"))?;
        self.made(NAME, Kind::File);
        listen(&socket, BACKLOG).map_err(failed("listen"))?;
        Ok(socket)
    }
}

impl PodRef {
    /// Connects to the pod's monitor.
    ///
    /// # Errors
    /// `ENOENT` or `ECONNREFUSED` when there is none, or none yet.
    pub fn connect(&self) -> Result<OwnedFd, CallError> {
        let failed = |call| move |source| CallError { call, path: format!("pods/{}/{NAME}", self.uuid()), source };
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(failed("socket"))?;
        connect(&socket, &address(self.dir()).map_err(failed("connect"))?).map_err(failed("connect"))?;
        Ok(socket)
    }
}

fn address(dir: BorrowedFd<'_>) -> Result<SocketAddrUnix, Errno> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{NAME}", dir.as_fd().as_raw_fd()))
}
