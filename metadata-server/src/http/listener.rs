//! A pod's listening sockets: who connects is let in, served, and seen out.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};
use tokio::net::{TcpListener, UnixListener};
use tokio::time::sleep;
use tracing::warn;

use super::answer;
use super::connection;
use super::request::Visit;
use super::watch::Watch;
use crate::activity::Busy;
use crate::door::Door;
use crate::service::Service;
use crate::stream::Stream;

/// How long to wait when the process has no descriptor left for another connection.
const RESPITE: Duration = Duration::from_millis(100);

/// Why a descriptor cannot be listened at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ListenerError {
    /// Something else than a listening TCP socket.
    #[error("the descriptor that came with the pod is no listening TCP socket")]
    NotTcp,
    /// Something else than a listening Unix socket.
    #[error("the descriptor that came with the app is no listening Unix socket")]
    NotUnix,
    /// A system call failed.
    #[error("listen at the pod's socket")]
    System(#[from] io::Error),
}

/// A socket that apps connect to.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Takes the descriptor that a monitor has sent for its pod.
    pub(crate) fn tcp(socket: OwnedFd) -> Result<Self, ListenerError> {
        if !is_listening(&socket, &[AddressFamily::INET, AddressFamily::INET6]).unwrap_or(false) {
            return Err(ListenerError::NotTcp);
        }
        let socket = std::net::TcpListener::from(socket);
        socket.set_nonblocking(true)?;
        Ok(Self::Tcp(TcpListener::from_std(socket)?))
    }

    /// Takes the descriptor that a monitor has sent for one app.
    pub(crate) fn unix(socket: OwnedFd) -> Result<Self, ListenerError> {
        if !is_listening(&socket, &[AddressFamily::UNIX]).unwrap_or(false) {
            return Err(ListenerError::NotUnix);
        }
        let socket = std::os::unix::net::UnixListener::from(socket);
        socket.set_nonblocking(true)?;
        Ok(Self::Unix(UnixListener::from_std(socket)?))
    }

    /// Accepts until the task is ended; all connections end with it.
    pub(crate) async fn serve(self, door: Arc<Door>, service: Arc<Service>) {
        let _closing = Closing(door.clone());
        loop {
            let accepted = match &self {
                Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                    // Answers are written whole; the kernel has nothing to gain by waiting for more.
                    let _ = stream.set_nodelay(true);
                    Stream::Tcp(stream)
                }),
                Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
            };
            match accepted {
                Ok(stream) => admit(stream, &door, &service),
                Err(error) if is_clients(&error) => {}
                Err(error) => {
                    warn!(pod = %door.pod.uuid, %error, "cannot accept");
                    sleep(RESPITE).await;
                }
            }
        }
    }
}

fn is_listening(socket: &OwnedFd, families: &[AddressFamily]) -> Result<bool, Errno> {
    let fits = socket_type(socket)? == SocketType::STREAM && families.contains(&socket_domain(socket)?);
    Ok(fits && socket_acceptconn(socket)?)
}

/// Ends the connections of a listener that is no longer served.
struct Closing(Arc<Door>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.visitors.close();
    }
}

/// Whether accepting failed because of what the client did.
fn is_clients(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

fn admit(stream: Stream, door: &Arc<Door>, service: &Arc<Service>) {
    let watch = Arc::new(Watch::default());
    let Some(id) = door.visitors.enter(watch.clone()) else {
        // As much as goes at once.
        let _ = stream.try_write(answer::TOO_MANY_CONNECTIONS.raw().as_bytes());
        return;
    };
    let leave = Leave { door: door.clone(), id, _busy: service.activity.begin() };
    let visit = Visit { door: door.clone(), service: service.clone(), watch: watch.clone() };
    let serve = async move |stream| {
        let _leave = leave;
        match stream {
            Stream::Tcp(stream) => connection::serve(stream, visit, watch).await,
            Stream::Unix(stream) => connection::serve(stream, visit, watch).await,
        }
    };
    let door = door.clone();
    service.workers.serve(stream, serve, move |task| door.visitors.served_by(id, task));
}

/// Gives a visitor's place back, however its task ends.
struct Leave {
    door: Arc<Door>,
    id: u64,
    _busy: Busy,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.door.visitors.leave(self.id);
    }
}
