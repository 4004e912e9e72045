//! A running service, pods that are registered with it, and a client that sends any bytes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use appc::{AcName, PodUuid};
use metadata_api::Token;
use metadata_api::ask::Service;
use metadata_api::link::{AppDescription, Link, LinkError, PodDescription};
use metadata_api::place::Place;
use metadata_api::registration::Log;
use metadata_server::identity::Issuer;
use metadata_server::secrets::Secrets;
use metadata_server::{self as service, Options};
use tempfile::TempDir;

/// How long anything may take that is not a matter of time limits.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) const IMAGE_ID: &str = "sha512-86298e1fdb95ec9a45b5935504e26ec29b8feffd3d2bb1d0f6f5c7d6e2a1b4c3\
    86298e1fdb95ec9a45b5935504e26ec29b8feffd3d2bb1d0f6f5c7d6e2a1b4c3";

pub(crate) const IMAGE: &str = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/web","annotations":[{"name":"authors","value":"image"},{"name":"created","value":"2014-10-27T19:32:27.67021798Z"}]}"#;

/// A service on a socket of its own. It ends with the test process, as a daemon ends with the machine.
pub(crate) struct Server {
    dir: TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(Options { threads: NonZeroUsize::MIN, idle_exit: None, empty_exit: None, rest: || {} })
    }

    pub(crate) fn start_with(options: Options) -> Self {
        Self::run(tempfile::tempdir().unwrap(), options)
    }

    fn run(dir: TempDir, options: Options) -> Self {
        let server = Self { dir };
        let listener = server.place().occupy().unwrap();
        let (place, secrets) = (server.place(), Secrets::ensure(server.dir.path()).unwrap());
        let service = service::Server::new(secrets, issuer(), options).unwrap();
        std::thread::spawn(move || service.run(listener, &place).unwrap());
        server
    }

    pub(crate) fn place(&self) -> Place {
        Place::ensure(&self.dir.path().join("run")).unwrap()
    }

    pub(crate) fn data(&self) -> &Path {
        self.dir.path()
    }

    /// Another service with the same keys, as after the first one was killed.
    pub(crate) fn restart(self) -> Self {
        std::fs::remove_file(self.place().socket()).unwrap();
        Self::run(self.dir, Options { threads: NonZeroUsize::MIN, idle_exit: None, empty_exit: None, rest: || {} })
    }

    /// One server for the tests that need nothing special.
    pub(crate) fn shared() -> &'static Self {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(Self::start)
    }
}

/// In whose name identities are issued.
pub(crate) fn issuer() -> Issuer {
    Issuer { user: "alice".into(), uid: 1000, host: "box".into() }
}

/// What a pod is made of.
pub(crate) struct PodSpec {
    pub(crate) uuid: PodUuid,
    pub(crate) token: Token,
    pub(crate) listener: TcpListener,
    pub(crate) manifest: String,
    pub(crate) image: String,
    pub(crate) apps: Vec<&'static str>,
    /// The listeners of the apps that have one.
    pub(crate) identities: BTreeMap<&'static str, UnixListener>,
}

/// A manifest with these apps, each with an annotation of its own, and with more members.
pub(crate) fn manifest(apps: &[&str], more: &str) -> String {
    let app = |name: &&str| {
        let annotations = r#"[{"name":"authors","value":"app"},{"name":"extra","value":"app"}]"#;
        format!(r#"{{"name":"{name}","image":{{"id":"{IMAGE_ID}"}},"annotations":{annotations}}}"#)
    };
    let apps = apps.iter().map(app).collect::<Vec<_>>().join(",");
    format!(r#"{{"acVersion":"0.8.11","acKind":"PodManifest","apps":[{apps}]{more}}}"#)
}

impl PodSpec {
    pub(crate) fn new() -> Self {
        let apps = vec!["web", "side"];
        Self {
            uuid: PodUuid::new_v4(),
            token: Token::generate().unwrap(),
            listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
            manifest: manifest(&apps, ""),
            image: IMAGE.to_owned(),
            apps,
            identities: BTreeMap::new(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Registers the pod; the descriptor of its listener stays with the monitor, as it does in a real one.
    pub(crate) fn register(&self, server: &Server) -> Result<Link, LinkError> {
        let names: Vec<AcName> = self.apps.iter().map(|it| it.parse().unwrap()).collect();
        let log = |place: &str| Some(Log { driver: "k8s-file".into(), location: place.into() });
        let apps = names.iter().map(|name| AppDescription {
            name,
            image_manifest: self.image.as_bytes(),
            identity: self.identities.get(name.as_str()).map(|listener| listener.as_fd()),
            log: (name.as_str() == "web").then(|| log("web")).flatten(),
        });
        let pod = PodDescription {
            uuid: self.uuid,
            token: &self.token,
            listener: self.listener.as_fd(),
            host: self.address().to_string(),
            manifest: self.manifest.as_bytes(),
            log: None,
            apps: apps.collect(),
        };
        Link::register(server.place().connect().unwrap().expect("it listens"), &pod)
    }

    pub(crate) fn registered(self, server: &Server) -> TestPod {
        let link = self.register(server).unwrap();
        TestPod { spec: self, link }
    }
}

/// A registered pod.
pub(crate) struct TestPod {
    pub(crate) spec: PodSpec,
    pub(crate) link: Link,
}

impl TestPod {
    pub(crate) fn new() -> Self {
        PodSpec::new().registered(Server::shared())
    }

    /// The service as this pod's apps ask it.
    pub(crate) fn service(&self) -> Service {
        self.service_with(self.spec.token.expose())
    }

    pub(crate) fn service_with(&self, token: &str) -> Service {
        Service::at(&format!("http://{}/{token}", self.spec.address()), PATIENCE).unwrap()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.spec.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The target of a route.
    pub(crate) fn target(&self, route: &str) -> String {
        format!("/{}/acMetadata/v1{route}", self.spec.token.expose())
    }

    /// A whole GET request with more fields.
    pub(crate) fn get(&self, route: &str, more: &str) -> String {
        format!("GET {} HTTP/1.1\r\nHost: {}\r\n{more}\r\n", self.target(route), self.spec.address())
    }

    /// Sends bytes, says that there are no more, and returns everything that comes back.
    pub(crate) fn exchange(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect();
        // A service that refuses early may close while this is still being written.
        let _ = stream.write_all(bytes.as_ref());
        let _ = stream.shutdown(Shutdown::Write);
        read_all(&mut stream)
    }

    /// The status of the first answer to these bytes.
    pub(crate) fn status_of(&self, bytes: impl AsRef<[u8]>) -> u16 {
        status(&self.exchange(bytes))
    }
}

/// Reads until the service closes the connection.
pub(crate) fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("{error}"),
        _ => String::from_utf8(answer).unwrap(),
    }
}

/// The status of an answer; 0 for none.
pub(crate) fn status(answer: &str) -> u16 {
    answer.strip_prefix("HTTP/1.1 ").map_or(0, |rest| rest[..3].parse().unwrap())
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
