//! A pod's way to the metadata service: sockets that are there from the beginning, and a registration that is made when
//! an app uses one for the first time (docs/metadata.md).
//!
//! The pod's own socket is on its loopback; each app has another one in its root, at which it is known. The monitor
//! watches them. When somebody connects it starts the service if there is none, registers the pod and hands the sockets
//! over; from then on the service accepts. When the service is gone the sockets are watched again: whoever connects
//! meanwhile waits in the sockets' queues.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use appc::{AcName, ImageManifest, PodManifest, PodUuid, RuntimeApp};
use metadata_api::link::{AppDescription, Link, LinkError, PodDescription};
use metadata_api::place::{Place, PlaceError};
use metadata_api::registration::Log;
use metadata_api::start::start;
use metadata_api::{ADDRESS, Token};
use rustix::event::{PollFd, PollFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with};

use crate::init::BACKLOG;

/// How long to wait after a registration failed. Whoever connected is waiting.
const RESPITE: Duration = Duration::from_secs(1);

/// How a pod registers with the metadata service.
#[derive(Debug)]
pub struct Registration {
    /// The pod's UUID.
    pub uuid: PodUuid,
    /// The pod's token.
    pub token: Token,
    /// The manifest of each app's image, by the app's name.
    pub images: BTreeMap<String, Box<ImageManifest>>,
    /// The directory of the service's socket.
    pub socket_dir: PathBuf,
    /// The data directory, for a service that has to be started.
    pub data_dir: PathBuf,
    /// Where the pod's socket listens, and it, if that is on the host.
    on_host: Option<(SocketAddrV4, OwnedFd)>,
}

impl Registration {
    /// A registration that has not happened.
    #[must_use]
    pub fn new(
        uuid: PodUuid,
        token: Token,
        images: BTreeMap<String, Box<ImageManifest>>,
        socket_dir: PathBuf,
        data_dir: PathBuf,
    ) -> Self {
        Self { uuid, token, images, socket_dir, data_dir, on_host: None }
    }

    /// What the apps' `AC_METADATA_URL` says.
    #[must_use]
    pub fn url(&self) -> String {
        metadata_api::url(self.address(), &self.token)
    }

    fn address(&self) -> SocketAddrV4 {
        self.on_host.as_ref().map_or(ADDRESS, |(address, _)| *address)
    }

    /// A pod with the host's network has no loopback of its own: its socket is on the host's, and the token alone decides
    /// who may ask.
    pub(crate) fn listen_on_the_host(&mut self) -> rustix::io::Result<()> {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
        listen(&socket, BACKLOG)?;
        let address = SocketAddrV4::try_from(getsockname(&socket)?)?;
        self.on_host = Some((address, socket));
        Ok(())
    }
}

/// What the pod manifest says of an app's image, as a manifest: for apps of whose image nothing more is known.
#[must_use]
pub fn image_of(app: &RuntimeApp) -> ImageManifest {
    let blank = app.image.name.clone().map_or_else(ImageManifest::blank, ImageManifest::new);
    ImageManifest { labels: app.image.labels.clone(), ..blank }
}

/// Why the pod is not registered.
#[derive(Debug, thiserror::Error)]
enum RegisterError {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("print a manifest: {0}")]
    Manifest(#[from] appc::ManifestError),
}

/// The monitor's side.
#[derive(Debug)]
pub(crate) struct Metadata {
    registration: Registration,
    address: SocketAddrV4,
    /// The pod's socket, once pid 1 has made it.
    listener: Option<OwnedFd>,
    /// The apps' sockets, by their names.
    identities: BTreeMap<String, OwnedFd>,
    /// The apps whose output is kept in the pod's directory.
    logged: BTreeSet<String>,
    link: Option<Link>,
    /// Not to be tried before.
    respite: Option<Instant>,
    /// Whether the user was told that the service cannot be had.
    complained: bool,
}

impl Metadata {
    pub(crate) fn new(mut registration: Registration) -> Self {
        let (address, listener) = (registration.address(), registration.on_host.take().map(|(_, socket)| socket));
        Self {
            registration,
            address,
            listener,
            identities: BTreeMap::new(),
            logged: BTreeSet::new(),
            link: None,
            respite: None,
            complained: false,
        }
    }

    /// What the apps' `AC_METADATA_URL` says.
    pub(crate) fn url(&self) -> String {
        metadata_api::url(self.address, &self.registration.token)
    }

    /// Pid 1 has made the pod's socket.
    pub(crate) fn set_listener(&mut self, listener: OwnedFd) {
        self.listener = Some(listener);
    }

    /// Pid 1 has made an app's socket.
    pub(crate) fn set_identity(&mut self, app: String, listener: OwnedFd) {
        self.identities.insert(app, listener);
    }

    /// The app has a log in the pod's directory.
    pub(crate) fn set_logged(&mut self, app: String) {
        self.logged.insert(app);
    }

    /// What the monitor waits for: the end of the service, or somebody who needs it.
    pub(crate) fn to_poll(&self) -> Vec<PollFd<'_>> {
        match (&self.link, self.respite) {
            (Some(link), _) => vec![PollFd::new(link, PollFlags::RDHUP)],
            (None, Some(_)) => Vec::new(),
            (None, None) => {
                self.listener.iter().chain(self.identities.values()).map(|fd| PollFd::new(fd, PollFlags::IN)).collect()
            }
        }
    }

    /// Until when nothing is waited for.
    pub(crate) fn respite(&self) -> Option<Instant> {
        self.respite
    }

    /// Something that was waited for is there. Returns what the user should know of.
    pub(crate) fn polled(&mut self, manifest: &PodManifest) -> Option<String> {
        if self.link.take().is_some() {
            // The service is gone. Its next connection shows whether it is needed again.
            return None;
        }
        match self.register(manifest) {
            Ok(link) => {
                self.link = Some(link);
                None
            }
            Err(error) => {
                self.respite = Some(Instant::now() + RESPITE);
                let again = std::mem::replace(&mut self.complained, true);
                (!again).then(|| format!("the metadata service cannot be had: {}", crate::run::chain(&error)))
            }
        }
    }

    /// The time is up, perhaps.
    pub(crate) fn look_at_the_clock(&mut self) {
        self.respite = self.respite.filter(|until| Instant::now() < *until);
    }

    /// An app was added; its image has this manifest.
    pub(crate) fn app_added(&mut self, app: &AcName, image: ImageManifest, manifest: &PodManifest) {
        self.registration.images.insert(app.as_str().to_owned(), Box::new(image));
        self.tell(manifest, Some(app));
    }

    /// An app was removed.
    pub(crate) fn app_removed(&mut self, app: &str, manifest: &PodManifest) {
        self.registration.images.remove(app);
        self.identities.remove(app);
        self.logged.remove(app);
        self.tell(manifest, None);
    }

    /// Tells a service that knows the pod of its change; one that does not is told of everything when it is needed.
    fn tell(&mut self, manifest: &PodManifest, added: Option<&AcName>) {
        let Some(link) = &self.link else { return };
        let told = || -> Result<(), RegisterError> {
            let image = added.and_then(|app| self.registration.images.get(app.as_str()));
            let image = image.map(|image| image.to_json()).transpose()?;
            let described = added.zip(image.as_deref()).map(|(app, image)| self.describe(app, image));
            Ok(link.update(&manifest.to_json()?, described.as_slice())?)
        };
        if told().is_err() {
            // The registration is void then, and made anew.
            self.link = None;
        }
    }

    fn register(&self, manifest: &PodManifest) -> Result<Link, RegisterError> {
        let Registration { uuid, token, images, socket_dir, data_dir, .. } = &self.registration;
        let apps: Vec<&AcName> = manifest.apps.iter().map(|app| &app.name).collect();
        let image = |app: &&AcName| images.get(app.as_str()).map(|image| image.to_json()).transpose();
        let images = apps.iter().map(image).collect::<Result<Vec<_>, _>>()?;
        let described = apps.into_iter().zip(&images);
        let described = described.filter_map(|(app, image)| Some(self.describe(app, image.as_deref()?)));
        let described: Vec<_> = described.collect();
        let place = Place::ensure(socket_dir)?;
        let program = PathBuf::from("/proc/self/exe");
        let service = place.connect_or_start(|listener| start(&program, data_dir, socket_dir, listener))?;
        let Some(listener) = &self.listener else { return Err(LinkError::Refused("no socket".into()).into()) };
        let pod = PodDescription {
            uuid: *uuid,
            token,
            listener: listener.as_fd(),
            host: self.address.to_string(),
            manifest: &manifest.to_json()?,
            // Each app has its own.
            log: None,
            apps: described,
        };
        Ok(Link::register(service, &pod)?)
    }

    fn describe<'a>(&'a self, name: &'a AcName, image_manifest: &'a [u8]) -> AppDescription<'a> {
        let identity = self.identities.get(name.as_str()).map(|fd| fd.as_fd());
        AppDescription { name, image_manifest, identity, log: self.log_of(name) }
    }

    /// Where the app's log is below the directory of pods, which is told as little as any other of the host.
    fn log_of(&self, app: &AcName) -> Option<Log> {
        let location = format!("{}/log.{app}", self.registration.uuid);
        self.logged.contains(app.as_str()).then(|| Log { driver: "k8s-file".into(), location })
    }
}
