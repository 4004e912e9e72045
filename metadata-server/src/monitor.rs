//! A monitor's connection: it registers its pod, tells of changes, and ends the registration by hanging up.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use appc::{AcName, PodUuid};
use metadata_api::registration::{Log, ToMonitor, ToService, VERSION};
use metadata_api::wire::{self, Inbox, WireError};
use metadata_api::{Token, TokenError};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::documents::{Described, DocumentError, Documents};
use crate::door::{Door, Role};
use crate::http::listener::{Listener, ListenerError};
use crate::pod::Pod;
use crate::service::Service;

/// How long a monitor may take from one message to the last of a registration.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Apps that may be described before they are registered. Far beyond what a host can run, far below what would hurt.
const MOST_APPS: usize = 4096;

/// Bytes of manifests that a registration may have.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// Why a registration is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum Refused {
    #[error("version {0} of the registration is not known here")]
    Version(u32),
    #[error("{0:?} is no pod UUID")]
    Uuid(String),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("{0:?} is no address and port")]
    Host(String),
    #[error("{0:?} is no app name")]
    App(String),
    #[error("a pod was described twice, or a manifest before it")]
    Order,
    #[error("more apps or bytes than a registration may have")]
    TooMuch,
    #[error(transparent)]
    Documents(#[from] DocumentError),
    #[error(transparent)]
    Listener(#[from] ListenerError),
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum End {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("the monitor took longer than {TIME_LIMIT:?}")]
    Slow,
}

/// What a monitor has said since the last commit.
#[derive(Debug, Default)]
struct Draft {
    pod: Option<PodDraft>,
    manifest: Option<Vec<u8>>,
    apps: Vec<Described>,
    /// The apps' own.
    listeners: Vec<(AcName, Listener)>,
    bytes: usize,
}

#[derive(Debug)]
struct PodDraft {
    uuid: PodUuid,
    token: Token,
    host: String,
    listener: Listener,
    log: Option<Log>,
}

/// A registered pod, for as long as its monitor is connected.
struct Registered {
    pod: Arc<Pod>,
    log: Option<Log>,
    service: Arc<Service>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.service.registry.remove(&self.pod);
        debug!(pod = %self.pod.uuid, "pod is no longer registered");
    }
}

/// Serves one monitor.
pub(crate) async fn serve(stream: UnixStream, service: Arc<Service>) {
    let mut registered = None;
    match converse(&stream, &service, &mut registered).await {
        Ok(()) => {}
        Err(End::Refused(refused)) => {
            warn!(reason = %refused, "refused a registration");
            let _ = timeout(TIME_LIMIT, say(&stream, &ToMonitor::Refused { reason: refused.to_string() })).await;
        }
        Err(end) => debug!(reason = %end, "a monitor's connection ended"),
    }
}

/// Hears the monitor until it hangs up.
async fn converse(stream: &UnixStream, service: &Arc<Service>, registered: &mut Option<Registered>) -> Result<(), End> {
    let mut inbox = Inbox::default();
    let mut draft = Draft::default();
    let mut busy = Some(service.activity.begin());
    loop {
        while let Some(message) = inbox.next(|json| Ok(serde_json::from_slice::<ToService<'static>>(json)?))? {
            if draft.hear(message, &mut inbox)? {
                commit(std::mem::take(&mut draft), service, registered)?;
                say(stream, &ToMonitor::Registered).await?;
                busy = None;
            }
        }
        // Between registrations there is all the time in the world.
        let received = receive(stream, &mut inbox);
        let more = match busy {
            Some(_) => timeout(TIME_LIMIT, received).await.map_err(|_| End::Slow)??,
            None => received.await?,
        };
        if !more {
            return Ok(());
        }
        busy.get_or_insert_with(|| service.activity.begin());
    }
}

impl Draft {
    /// Takes a message down; returns whether that was all.
    fn hear(&mut self, message: ToService<'static>, inbox: &mut Inbox) -> Result<bool, End> {
        match message {
            ToService::Pod { version, uuid, token, host, manifest, log } => {
                if version > VERSION {
                    return Err(Refused::Version(version).into());
                }
                let pod = PodDraft {
                    uuid: uuid.parse().map_err(|_| Refused::Uuid(uuid.into_owned()))?,
                    token: token.parse().map_err(Refused::from)?,
                    host: host.parse::<SocketAddr>().map_err(|_| Refused::Host(host.into_owned()))?.to_string(),
                    listener: Listener::tcp(inbox.take_fd()?).map_err(Refused::from)?,
                    log,
                };
                if self.pod.replace(pod).is_some() || self.manifest.is_some() {
                    return Err(Refused::Order.into());
                }
                self.manifest = Some(self.counted(manifest.into_owned())?);
            }
            ToService::Manifest { manifest } => {
                let manifest = self.counted(manifest.into_owned())?;
                if self.manifest.replace(manifest).is_some() {
                    return Err(Refused::Order.into());
                }
            }
            ToService::App { name, manifest, identity, log } => {
                let name: AcName = name.parse().map_err(|_| Refused::App(name.into_owned()))?;
                let image_manifest = self.counted(manifest.into_owned())?;
                if identity {
                    self.listeners.push((name.clone(), Listener::unix(inbox.take_fd()?).map_err(Refused::from)?));
                }
                self.apps.push(Described { name, image_manifest, log });
            }
            ToService::Commit => return Ok(true),
        }
        Ok(false)
    }

    fn counted(&mut self, document: String) -> Result<Vec<u8>, Refused> {
        self.bytes += document.len();
        if self.bytes > MOST_BYTES || self.apps.len() >= MOST_APPS {
            return Err(Refused::TooMuch);
        }
        Ok(document.into_bytes())
    }
}

/// Makes what was said count.
fn commit(draft: Draft, service: &Arc<Service>, registered: &mut Option<Registered>) -> Result<(), Refused> {
    let images = &service.registry.images;
    let Draft { pod, manifest, apps, listeners, .. } = draft;
    let manifest = manifest.ok_or(Refused::Order)?;
    let pod = match (pod, registered) {
        (Some(pod), registered @ None) => {
            let PodDraft { uuid, token, host, listener, log } = pod;
            let documents = Documents::new(manifest, log.as_ref(), apps, None, images)?;
            let pod = Arc::new(Pod::new(uuid, token, host, documents));
            // From here on, it is closed whatever happens.
            *registered = Some(Registered { pod: pod.clone(), log, service: service.clone() });
            service.registry.insert(pod.clone());
            open(listener, &pod, Role::Metadata, service);
            debug!(pod = %uuid, "registered a pod");
            pod
        }
        (None, Some(Registered { pod, log, .. })) => {
            let documents = Documents::new(manifest, log.as_ref(), apps, Some(&*pod.documents()), images)?;
            pod.set_documents(documents);
            pod.clone()
        }
        _ => return Err(Refused::Order),
    };
    for (app, listener) in listeners {
        open(listener, &pod, Role::Identity(app), service);
    }
    images.sweep();
    Ok(())
}

/// Serves a listener for as long as the pod is registered.
fn open(listener: Listener, pod: &Arc<Pod>, role: Role, service: &Arc<Service>) {
    let door = Arc::new(Door::new(pod.clone(), role));
    pod.own(tokio::spawn(listener.serve(door, service.clone())).abort_handle());
}

async fn receive(stream: &UnixStream, inbox: &mut Inbox) -> Result<bool, WireError> {
    loop {
        stream.readable().await.map_err(WireError::System)?;
        let received = stream.try_io(Interest::READABLE, || match inbox.receive(stream) {
            Err(WireError::System(error)) => Err(error),
            received => Ok(received),
        });
        match received {
            Ok(received) => return received,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(WireError::System(error)),
        }
    }
}

async fn say(stream: &UnixStream, message: &ToMonitor) -> Result<(), WireError> {
    let bytes = wire::encode(message)?;
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        stream.writable().await.map_err(WireError::System)?;
        match stream.try_write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(WireError::System(error)),
        }
    }
    Ok(())
}
