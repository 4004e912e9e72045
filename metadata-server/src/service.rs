//! The running service: its parts, its main loop, its end.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use metadata_api::place::{Place, PlaceError};
use rustix::process::{DumpableBehavior, Resource, Rlimit, geteuid, getrlimit, set_dumpable_behavior, setrlimit};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Instant, interval_at, sleep};
use tracing::{debug, warn};

use crate::activity::Activity;
use crate::identity::{Identities, Issuer};
use crate::monitor;
use crate::registry::Registry;
use crate::secrets::{SecretError, Secrets};
use crate::signer::Signer;
use crate::workers::{Workers, runtime};

/// How long to wait when the process has no descriptor left for another connection.
const RESPITE: Duration = Duration::from_millis(100);

/// How the service runs.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Threads that serve connections.
    pub threads: NonZeroUsize,
    /// End after nobody has needed the service for so long.
    pub idle_exit: Option<Duration>,
    /// The same while no pod is registered.
    pub empty_exit: Option<Duration>,
    /// Gives memory back that was needed for the start and for registrations, and is not for requests.
    pub rest: fn(),
}

/// How long after a registration there is rest: they come in bursts.
const BREATH: Duration = Duration::from_secs(1);

/// Why the service cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The socket's place cannot be given up.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A system call failed.
    #[error("run the metadata service")]
    System(#[from] io::Error),
}

/// What the service's tasks share.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) registry: Registry,
    pub(crate) signer: Signer,
    pub(crate) identities: Identities,
    pub(crate) workers: Workers,
    pub(crate) activity: Arc<Activity>,
}

/// A service that has its keys, and can be run.
#[derive(Debug)]
pub struct Server {
    signer: Signer,
    identities: Identities,
    options: Options,
}

impl Server {
    /// Reads the user's keys, and makes those that are missing.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn new(secrets: Secrets, issuer: Issuer, options: Options) -> Result<Self, SecretError> {
        Ok(Self { signer: Signer::of(&secrets)?, identities: Identities::new(secrets, issuer), options })
    }

    /// Serves the monitors that connect to `listener`, and the apps of their pods. `place` is where the listener's
    /// socket is, to be taken away if the service ends for want of work.
    ///
    /// # Errors
    /// [`ServeError`]. It returns without one only if it has been idle for as long as the options say.
    pub fn run(self, listener: OwnedFd, place: &Place) -> Result<(), ServeError> {
        run(self, listener, place)
    }
}

fn run(server: Server, listener: OwnedFd, place: &Place) -> Result<(), ServeError> {
    let Server { signer, identities, options } = server;
    protect()?;
    runtime()?.block_on(async {
        let workers = Workers::start(options.threads)?;
        let activity = Arc::new(Activity::default());

        let service = Arc::new(Service { registry: Registry::default(), signer, identities, workers, activity });
        let listener = std::os::unix::net::UnixListener::from(listener);
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        (options.rest)();
        tokio::spawn(rest(service.clone(), options.rest));
        let Some(shortest) = options.idle_exit.into_iter().chain(options.empty_exit).min() else {
            return accept(&listener, &service).await;
        };
        let mut looks = interval_at(Instant::now() + shortest, shortest);
        let (mut begun, mut quiet_since) = (0, Instant::now());
        loop {
            tokio::select! {
                end = accept(&listener, &service) => return end,
                _ = looks.tick() => {}
            }
            let before = std::mem::replace(&mut begun, service.activity.begun());
            if before != begun || !service.activity.is_quiet() {
                quiet_since = Instant::now();
                continue;
            }
            let is_idle = || {
                let waiting = rustix::net::accept(&listener);
                let nobody = waiting.is_err();
                if let Ok(stream) = waiting {
                    take(stream.into(), &service);
                }
                nobody
            };
            let empty = options.empty_exit.filter(|_| service.registry.is_empty());
            let enough = empty.or(options.idle_exit).is_some_and(|enough| quiet_since.elapsed() >= enough);
            if enough && place.retire(listener.as_fd(), is_idle)? {
                debug!("idle");
                return Ok(());
            }
        }
    })
}

/// Rests after each burst of registrations.
async fn rest(service: Arc<Service>, rest: fn()) {
    loop {
        service.registry.changed.notified().await;
        sleep(BREATH).await;
        rest();
    }
}

/// Keeps the key out of core files and of the reach of the user's other processes, and makes room for two descriptors
/// for each pod.
fn protect() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?)
}

/// Accepts monitors until that is impossible.
async fn accept(listener: &UnixListener, service: &Arc<Service>) -> Result<(), ServeError> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => hear(stream, service),
            Err(error) => {
                warn!(%error, "cannot accept a monitor");
                sleep(RESPITE).await;
            }
        }
    }
}

fn take(stream: std::os::unix::net::UnixStream, service: &Arc<Service>) {
    match stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream)) {
        Ok(stream) => hear(stream, service),
        Err(error) => warn!(%error, "cannot take a monitor's connection"),
    }
}

/// Hears a monitor of the same user. The directory of the socket keeps others out already; root is not another's guest.
fn hear(stream: UnixStream, service: &Arc<Service>) {
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == geteuid().as_raw() => {
            tokio::spawn(monitor::serve(stream, service.clone()));
        }
        Ok(peer) => warn!(uid = peer.uid(), "refused a connection of another user"),
        Err(error) => warn!(%error, "cannot tell who connects"),
    }
}
