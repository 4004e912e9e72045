//! Monitors without pods: registers pods with a running metadata service, as many as wanted, by the very client that
//! real monitors use.
//!
//! `monitors DIR COUNT [APPS]` registers COUNT pods of APPS apps each with the service whose socket is in DIR, and
//! prints a line for each: `UUID URL`. With `--start PROA DATA` before DIR it starts the service if there is none. On
//! a service's end it registers again when an app connects, as monitors do. It ends with its standard input.

use std::error::Error;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use appc::{AcName, PodUuid};
use metadata_api::Token;
use metadata_api::link::{AppDescription, Link, PodDescription};
use metadata_api::place::Place;
use metadata_api::start::start;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::stdio::stdin;

const IMAGE_ID: &str = "sha512-cc36a93d1cbd1ebbfc2b9bfa6e3a1a2b1b4a2f6b0d0c0f4f9b8f5c7b6a5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e5f4a3b2c1d0e9f8a7b6c5d4e3f2a";

/// Of the size that images have: what `skopeo` makes of a small web server.
const IMAGE: &str = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/web","labels":[{"name":"os","value":"linux"},{"name":"arch","value":"amd64"},{"name":"version","value":"1.2.3"}],"app":{"exec":["/usr/sbin/server","--port=8080"],"user":"0","group":"0","environment":[{"name":"PATH","value":"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}],"ports":[{"name":"http","protocol":"tcp","port":8080,"count":1,"socketActivated":false}],"isolators":[{"name":"os/linux/capabilities-retain-set","value":{"set":["CAP_NET_BIND_SERVICE"]}}]},"annotations":[{"name":"created","value":"2026-11-01T10:11:12Z"},{"name":"authors","value":"Example <web@example.com>"}]}"#;

/// A pod, and its registration if it has one.
struct Pod {
    uuid: PodUuid,
    token: Token,
    listener: TcpListener,
    address: SocketAddrV4,
    manifest: String,
    apps: Vec<AcName>,
    link: Option<Link>,
}

/// How to come by a connection to the service.
struct Service {
    place: Place,
    dir: PathBuf,
    start: Option<(PathBuf, PathBuf)>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (start, rest) = match args[..] {
        ["--start", proa, data, ref rest @ ..] => (Some((proa.into(), data.into())), rest.to_vec()),
        _ => (None, args),
    };
    let (dir, count, apps) = match rest[..] {
        [dir, count] => (dir, count.parse()?, 1),
        [dir, count, apps] => (dir, count.parse()?, apps.parse()?),
        _ => return Err("usage: monitors [--start PROA DATA] DIR COUNT [APPS]".into()),
    };
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files })?;
    let service = Service { place: Place::ensure(Path::new(dir))?, dir: dir.into(), start };
    let mut pods = (0..count).map(|_| Pod::new(apps)).collect::<Result<Vec<_>, _>>()?;
    let mut lines = String::new();
    for pod in &mut pods {
        // With a service that is there; else when an app asks for the first time.
        if service.start.is_none() {
            pod.register(&service)?;
        }
        lines += &format!("{} {}\n", pod.uuid, metadata_api::url(pod.address, &pod.token));
    }
    std::io::stdout().write_all(lines.as_bytes())?;
    watch(pods, &service)
}

/// Keeps the pods registered until standard input ends.
fn watch(mut pods: Vec<Pod>, service: &Service) -> Result<(), Box<dyn Error>> {
    loop {
        let stdin = stdin();
        let mut ready: Vec<PollFd<'_>> = pods.iter().map(|pod| pod.waits_for()).collect();
        ready.push(PollFd::new(&stdin, PollFlags::IN));
        poll(&mut ready, None)?;
        let ready: Vec<bool> = ready.iter().map(|it| !it.revents().is_empty()).collect();
        if ready[pods.len()] {
            return Ok(());
        }
        for (pod, _) in pods.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            match pod.link.take() {
                Some(gone) => drop(gone),
                // The service may be killed again at any instant; the app is still waiting then.
                None => pod.register(service).unwrap_or_else(|error| eprintln!("monitors: {error}")),
            }
        }
    }
}

impl Pod {
    fn new(apps: usize) -> Result<Self, Box<dyn Error>> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let SocketAddr::V4(address) = listener.local_addr()? else { return Err("not IPv4".into()) };
        let names = (0..apps).map(|n| format!("app-{n}"));
        let app =
            |name: &String| format!(r#"{{"name":"{name}","image":{{"name":"example.com/web","id":"{IMAGE_ID}"}}}}"#);
        let apps = names.clone().map(|it| app(&it)).collect::<Vec<_>>().join(",");
        Ok(Self {
            uuid: PodUuid::new_v4(),
            token: Token::generate()?,
            listener,
            address,
            manifest: format!(r#"{{"acVersion":"0.8.11","acKind":"PodManifest","apps":[{apps}]}}"#),
            apps: names.map(|it| it.parse()).collect::<Result<_, _>>()?,
            link: None,
        })
    }

    fn waits_for(&self) -> PollFd<'_> {
        match &self.link {
            Some(link) => PollFd::new(link, PollFlags::RDHUP),
            None => PollFd::new(&self.listener, PollFlags::IN),
        }
    }

    fn register(&mut self, service: &Service) -> Result<(), Box<dyn Error>> {
        let app = |name| AppDescription { name, image_manifest: IMAGE.as_bytes(), identity: None, log: None };
        let pod = PodDescription {
            uuid: self.uuid,
            token: &self.token,
            listener: self.listener.as_fd(),
            host: self.address.to_string(),
            manifest: self.manifest.as_bytes(),
            log: None,
            apps: self.apps.iter().map(app).collect(),
        };
        self.link = Some(Link::register(service.connect()?, &pod)?);
        Ok(())
    }
}

impl Service {
    fn connect(&self) -> Result<OwnedFd, Box<dyn Error>> {
        match &self.start {
            None => Ok(self.place.connect()?.ok_or("no service listens")?),
            Some((proa, data)) => Ok(self.place.connect_or_start(|listener| start(proa, data, &self.dir, listener))?),
        }
    }
}
