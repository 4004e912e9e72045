//! A pod's listening socket: who connects is let in, served, and seen out.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tracing::warn;

use super::answer;
use super::connection;
use super::request::Visit;
use super::watch::Watch;
use crate::activity::Busy;
use crate::pod::Pod;
use crate::service::Service;

/// How long to wait when the process has no descriptor left for another connection.
const RESPITE: Duration = Duration::from_millis(100);

/// Why a descriptor cannot be listened at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ListenerError {
    /// Something else than a listening TCP socket.
    #[error("the descriptor that came with the pod is no listening TCP socket")]
    NotListening,
    /// A system call failed.
    #[error("listen at the pod's socket")]
    System(#[from] io::Error),
}

/// The socket that the apps of a pod connect to.
#[derive(Debug)]
pub(crate) struct PodListener(TcpListener);

impl PodListener {
    /// Takes a descriptor that a monitor has sent.
    pub(crate) fn new(socket: OwnedFd) -> Result<Self, ListenerError> {
        let is_listening = || {
            let is_tcp = socket_type(&socket)? == SocketType::STREAM
                && [AddressFamily::INET, AddressFamily::INET6].contains(&socket_domain(&socket)?);
            Ok::<bool, Errno>(is_tcp && socket_acceptconn(&socket)?)
        };
        if !is_listening().unwrap_or(false) {
            return Err(ListenerError::NotListening);
        }
        let socket = std::net::TcpListener::from(socket);
        socket.set_nonblocking(true)?;
        Ok(Self(TcpListener::from_std(socket)?))
    }

    /// Accepts for as long as the pod is registered.
    pub(crate) async fn serve(self, pod: Arc<Pod>, service: Arc<Service>) {
        loop {
            match self.0.accept().await {
                Ok((stream, _)) => admit(stream, &pod, &service),
                Err(error) if is_clients(&error) => {}
                Err(error) => {
                    warn!(pod = %pod.uuid, %error, "cannot accept");
                    sleep(RESPITE).await;
                }
            }
        }
    }
}

/// Whether accepting failed because of what the client did.
fn is_clients(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

fn admit(stream: TcpStream, pod: &Arc<Pod>, service: &Service) {
    // Answers are written whole; the kernel has nothing to gain by waiting for more.
    let _ = stream.set_nodelay(true);
    let watch = Arc::new(Watch::default());
    let Some(id) = pod.visitors.enter(watch.clone()) else {
        // As much as goes at once.
        let _ = stream.try_write(answer::TOO_MANY_CONNECTIONS.raw().as_bytes());
        return;
    };
    let leave = Leave { pod: pod.clone(), id, _busy: service.activity.begin() };
    let visit = Visit { pod: pod.clone(), signer: service.signer.clone(), watch: watch.clone() };
    let pod = pod.clone();
    service.workers.serve(
        stream,
        move |stream| async move {
            let _leave = leave;
            connection::serve(stream, visit, watch).await;
        },
        move |task| pod.visitors.served_by(id, task),
    );
}

/// Gives a visitor's place back, however its task ends.
struct Leave {
    pod: Arc<Pod>,
    id: u64,
    _busy: Busy,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.pod.visitors.leave(self.id);
    }
}
