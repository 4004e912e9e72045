//! Registering, and what ends a registration.

use std::io::Write;
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use metadata_api::link::{AppDescription, LinkError};
use metadata_api::registration::{ToService, VERSION};
use metadata_api::wire;
use metadata_server::Options;

use crate::harness::{IMAGE, PodSpec, Server, TestPod, eventually, manifest, read_all};

#[test]
fn what_makes_no_pod_is_refused_with_the_reason() {
    let server = Server::shared();
    let refused = |spec: PodSpec| match spec.register(server) {
        Err(LinkError::Refused(reason)) => reason,
        other => panic!("{:?}", other.map(drop)),
    };
    let mut spec = PodSpec::new();
    spec.manifest = "{".into();
    assert!(refused(spec).starts_with("pod manifest: "));
    let mut spec = PodSpec::new();
    spec.image = "{}".into();
    assert!(refused(spec).starts_with("image manifest of app "));
    let mut spec = PodSpec::new();
    spec.apps = vec!["web"];
    assert_eq!(refused(spec), "app side of the pod manifest was not described");
    let mut spec = PodSpec::new();
    spec.apps = vec!["web", "side", "other"];
    assert_eq!(refused(spec), "app other is not in the pod manifest");
    TestPod::new();
}

#[test]
fn a_descriptor_that_is_no_listening_tcp_socket_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let unix = UnixListener::bind(dir.path().join("s")).unwrap();
    let pod = TestPod::new();
    let connected = TcpStream::connect(pod.spec.address()).unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    for fd in [unix.as_fd(), connected.as_fd(), file.as_fd()] {
        let mut spec = PodSpec::new();
        spec.listener = fd.try_clone_to_owned().unwrap().into();
        let names: Vec<appc::AcName> = spec.apps.iter().map(|it| it.parse().unwrap()).collect();
        let app = |name| AppDescription { name, image_manifest: IMAGE.as_bytes(), identity: None, log: None };
        let description = metadata_api::link::PodDescription {
            uuid: spec.uuid,
            token: &spec.token,
            listener: spec.listener.as_fd(),
            host: "127.0.0.1:1".into(),
            manifest: spec.manifest.as_bytes(),
            log: None,
            apps: names.iter().map(app).collect(),
        };
        let socket = Server::shared().place().connect().unwrap().unwrap();
        match metadata_api::link::Link::register(socket, &description) {
            Err(LinkError::Refused(reason)) => assert!(reason.contains("no listening TCP socket"), "{reason}"),
            other => panic!("{:?}", other.map(drop)),
        }
    }
}

#[test]
fn nonsense_ends_the_connection_and_nothing_else() {
    let server = Server::start();
    let pod = PodSpec::new().registered(&server);
    let ended = |bytes: &[u8]| {
        let socket = server.place().connect().unwrap().unwrap();
        let mut stream = std::os::unix::net::UnixStream::from(socket);
        let _ = stream.write_all(bytes);
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut answer = Vec::new();
        // A connection that is closed with something unread is reset.
        let _ = std::io::Read::read_to_end(&mut stream, &mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    let message = |message: &ToService<'_>| wire::encode(message).unwrap();
    let pod_message = |version| ToService::Pod {
        version,
        uuid: "6733c088-a507-4694-aabf-edbe4fc5266f".into(),
        token: "x".into(),
        host: "127.0.0.1:1".into(),
        manifest: "{}".into(),
        log: None,
    };
    assert_eq!(ended(&u32::MAX.to_le_bytes()), "", "too long");
    assert_eq!(ended(b"\x02\0\0\0{}"), "");
    let deep = "[".repeat(100_000);
    let length = u32::try_from(deep.len()).unwrap().to_le_bytes();
    assert_eq!(ended(&[&length, deep.as_bytes()].concat()), "");
    assert!(ended(&message(&ToService::Commit)).contains("refused"));
    assert!(ended(&message(&pod_message(VERSION + 1))).contains("version 2 of the registration"));
    assert!(ended(&message(&pod_message(VERSION))).contains("not a token"));
    let app = ToService::App { name: "A".into(), manifest: IMAGE.into(), identity: false, log: None };
    assert!(ended(&message(&app)).contains(r#""A\" is no app name"#) || ended(&message(&app)).contains("no app name"));
    assert_eq!(pod.service().get_path("/acMetadata/v1/pod/uuid").unwrap().status, 200);
}

#[test]
fn nothing_of_a_pod_is_held_after_its_monitor_has_hung_up() {
    let server = Server::start();
    let spec = PodSpec::new();
    let address = spec.address();
    let pod = spec.registered(&server);
    let mut open = pod.connect();
    open.write_all(pod.get("/pod/uuid", "").as_bytes()).unwrap();
    let TestPod { spec, link } = pod;
    drop(spec);
    assert!(TcpStream::connect(address).is_ok(), "the service holds the listener");
    drop(link);
    eventually("the listener is closed", || TcpStream::connect(address).is_err());
    let answer = read_all(&mut open);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn a_pod_whose_apps_change_tells_the_service() {
    let server = Server::shared();
    let pod = PodSpec::new().registered(server);
    let get = |route: &str| pod.service().get_path(&format!("/acMetadata/v1{route}")).unwrap();
    let late = "late".parse().unwrap();
    let new = [AppDescription { name: &late, image_manifest: IMAGE.as_bytes(), identity: None, log: None }];
    let with_late = manifest(&["late", "web"], "");
    assert_eq!(get("/apps/late/image/id").status, 404);
    pod.link.update(with_late.as_bytes(), &new).unwrap();
    assert_eq!(get("/pod/manifest").body, with_late.as_bytes());
    assert_eq!((get("/apps/late/image/id").status, get("/apps/web/image/id").status), (200, 200));
    assert_eq!(get("/apps/side/image/id").status, 404, "it is gone from the manifest");
    let refused = pod.link.update(manifest(&["unknown"], "").as_bytes(), &[]).unwrap_err();
    assert!(matches!(refused, LinkError::Refused(_)));
    // A refusal ends the registration: what the service would answer is no longer the truth.
    let address = pod.spec.address();
    drop(pod.spec.listener);
    eventually("the pod is let go", || TcpStream::connect(address).is_err());
}

#[test]
fn an_idle_service_ends_and_a_busy_one_does_not() {
    let idle_exit = Some(Duration::from_millis(200));
    let server = Server::start_with(Options { threads: NonZeroUsize::MIN, idle_exit, empty_exit: None, rest: || {} });
    let pod = PodSpec::new().registered(&server);
    let open = pod.connect();
    std::thread::sleep(Duration::from_secs(1));
    assert!(server.place().connect().unwrap().is_some(), "an app is connected");
    drop(open);
    // Not by connecting, which would keep it busy.
    eventually("the service ends", || !server.place().socket().exists());
    // The pod's listener is the monitor's again: nothing is lost, only nobody accepts.
    assert!(TcpStream::connect(pod.spec.address()).is_ok());
}

#[test]
fn a_service_without_pods_ends_sooner() {
    let empty_exit = Some(Duration::from_millis(100));
    let idle_exit = Some(Duration::from_hours(1));
    let server = Server::start_with(Options { threads: NonZeroUsize::MIN, idle_exit, empty_exit, rest: || {} });
    let pod = PodSpec::new().registered(&server);
    std::thread::sleep(Duration::from_millis(500));
    assert!(server.place().socket().exists(), "a pod is registered");
    drop(pod);
    eventually("the service ends", || !server.place().socket().exists());
}

#[test]
fn connections_are_served_on_as_many_threads_as_asked_for() {
    let server = Server::start_with(Options {
        threads: NonZeroUsize::new(3).unwrap(),
        idle_exit: None,
        empty_exit: None,
        rest: || {},
    });
    let pod = PodSpec::new().registered(&server);
    let open: Vec<_> = (0..9).map(|_| pod.connect()).collect();
    for mut stream in open {
        stream.write_all(pod.get("/pod/uuid", "Connection: close\r\n").as_bytes()).unwrap();
        assert!(read_all(&mut stream).ends_with(&pod.spec.uuid.to_string()));
    }
}
