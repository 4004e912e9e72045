//! The monitor's side: registers a pod and keeps it registered.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use appc::{AcName, PodUuid};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use crate::Token;
use crate::registration::{Log, ToMonitor, ToService, VERSION};
use crate::wire::{self, WireError};

/// How long the service may take to answer: a drowning machine needs seconds where others need milliseconds. A monitor
/// does nothing else meanwhile.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Why a pod is not registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The service will not have it.
    #[error("the metadata service refused the pod: {0}")]
    Refused(String),
    /// The conversation failed; the service may be gone.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A document that is not UTF-8.
    #[error("a manifest is not UTF-8")]
    NotText(#[from] std::str::Utf8Error),
}

/// A pod as its monitor knows it.
#[derive(Debug)]
pub struct PodDescription<'a> {
    /// Its UUID.
    pub uuid: PodUuid,
    /// Its token.
    pub token: &'a Token,
    /// The listening TCP socket its apps connect to.
    pub listener: BorrowedFd<'a>,
    /// Address and port of that socket, as in the apps' URL.
    pub host: String,
    /// The reified manifest, as it stands in the pod's directory.
    pub manifest: &'a [u8],
    /// Where its log is, if anywhere.
    pub log: Option<Log>,
    /// Its apps.
    pub apps: Vec<AppDescription<'a>>,
}

/// An app of the pod.
#[derive(Debug)]
pub struct AppDescription<'a> {
    /// Its name in the pod.
    pub name: &'a AcName,
    /// The manifest of its image.
    pub image_manifest: &'a [u8],
    /// The listening Unix socket at which it, and nobody else, asks for its identity.
    pub identity: Option<BorrowedFd<'a>>,
    /// Where its log is, if anywhere.
    pub log: Option<Log>,
}

/// A registration. It holds until this is dropped, or until the service is gone, which shows as the end of file on it.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
}

impl Link {
    /// Registers a pod over a connection from [`crate::place::Place`].
    ///
    /// # Errors
    /// [`LinkError`]; the pod is not registered then.
    pub fn register(socket: OwnedFd, pod: &PodDescription<'_>) -> Result<Self, LinkError> {
        for direction in [Timeout::Recv, Timeout::Send] {
            set_socket_timeout(&socket, direction, Some(TIME_LIMIT)).map_err(WireError::from)?;
        }
        let link = Self { socket };
        let message = ToService::Pod {
            version: VERSION,
            uuid: pod.uuid.to_string().into(),
            token: pod.token.expose().into(),
            host: pod.host.as_str().into(),
            manifest: std::str::from_utf8(pod.manifest)?.into(),
            log: pod.log.clone(),
        };
        link.conclude(link.tell(&message, Some(pod.listener), &pod.apps))?;
        Ok(link)
    }

    /// Tells of another manifest, and of the apps in it that are new.
    ///
    /// # Errors
    /// [`LinkError`]; the service has let go of the pod then.
    pub fn update(&self, manifest: &[u8], new: &[AppDescription<'_>]) -> Result<(), LinkError> {
        let message = ToService::Manifest { manifest: std::str::from_utf8(manifest)?.into() };
        self.conclude(self.tell(&message, None, new))
    }

    fn tell(
        &self,
        first: &ToService<'_>,
        fd: Option<BorrowedFd<'_>>,
        apps: &[AppDescription<'_>],
    ) -> Result<(), LinkError> {
        wire::say(self, first, fd)?;
        for app in apps {
            let message = ToService::App {
                name: app.name.as_str().into(),
                manifest: std::str::from_utf8(app.image_manifest)?.into(),
                identity: app.identity.is_some(),
                log: app.log.clone(),
            };
            wire::say(self, &message, app.identity)?;
        }
        Ok(wire::say(self, &ToService::Commit, None)?)
    }

    /// Hears the answer. A service that has heard enough to refuse the pod closes the connection while it is being told
    /// more, and has said why before.
    fn conclude(&self, told: Result<(), LinkError>) -> Result<(), LinkError> {
        match told {
            Ok(()) | Err(LinkError::Wire(WireError::Closed)) => {}
            Err(error) => return Err(error),
        }
        match wire::hear(self)? {
            ToMonitor::Registered => Ok(()),
            ToMonitor::Refused { reason } => Err(LinkError::Refused(reason)),
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
