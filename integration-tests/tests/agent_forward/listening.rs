//! Connections that the agent accepts.

use super::*;

/// One field of the payload of NEW_CONNECTION.
fn field(payload: &[u8], key: &str) -> Vec<u8> {
    let key = Value::Text(key.to_owned()).encode();
    let at = payload.windows(key.len()).position(|it| it == key).expect("the key is there") + key.len();
    payload[at..].to_vec()
}

#[test]
fn listens_on_tcp() {
    for host in ["127.0.0.1", "::1", "localhost"] {
        let port = unused_port();
        let setup = Setup { kind: 1, host, port: port.into(), protocol: "tcp", ..DIAL };
        let mut backend = Backend::set_up(&setup);
        let connect = || {
            let address = if host == "::1" { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
            let deadline = Instant::now() + limit();
            loop {
                // SUCCESS is sent before the agent listens.
                match TcpStream::connect(std::net::SocketAddr::new(address, port)) {
                    Ok(socket) => break socket,
                    Err(error) if std::time::Instant::now() > deadline => panic!("{error}"),
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        };
        for id in 1..=2 {
            let mut socket = connect();
            let payload = backend.expect(NEW_CONNECTION, id);
            let local = socket.local_addr().expect("it is connected");
            let expected = connection("tcp", host, port, (&local.ip().to_string(), local.port()));
            assert_eq!(hex::encode(&payload), hex::encode(expected));
            // Nothing flows before the backend agrees.
            socket.write_all(b"early").expect("the kernel takes it");
            assert!(backend.is_quiet());
            backend.send(DATA, id, Some(b"lost"));
            backend.send(SUCCESS, id, None);
            assert_eq!(backend.data(id, 5), b"early");
            backend.send(DATA, id, Some(b"Message to server"));
            backend.send(CLOSE, id, None);
            backend.expect(SUCCESS, id);
            let mut rest = String::new();
            socket.read_to_string(&mut rest).expect("it is closed in order");
            assert_eq!(rest, "Message to server");
        }
        // The backend refuses the third.
        let mut socket = connect();
        backend.expect(NEW_CONNECTION, 3);
        backend.send(ERROR, 3, None);
        assert!(matches!(socket.read(&mut [0]), Ok(0) | Err(_)));
        // It cannot open any itself.
        backend.dial(9, "127.0.0.1", 1);
        backend.expect(ERROR, 9);
        backend.send(NO_MORE, 0, None);
        backend.ends(0);
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the listener is closed");
    }
}

#[test]
fn listens_on_unix_sockets() {
    let dir = TempDir::new().expect("a folder");
    let path = dir.path().join("socket");
    // ContainerSSH sends type 1 with protocol unix; 3 means the same.
    for kind in [1, 3] {
        let shown = path.display().to_string();
        let mut backend = Backend::set_up(&Setup { kind, host: &shown, protocol: "unix", ..DIAL });
        // The file is there a moment before somebody listens.
        let deadline = Instant::now() + limit();
        let mut socket = loop {
            match UnixStream::connect(&path) {
                Ok(socket) => break socket,
                Err(error) => assert!(Instant::now() < deadline, "the agent listens: {error}"),
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        assert_eq!(backend.expect(NEW_CONNECTION, 1), connection("unix", &shown, 0, ("", 0)));
        backend.send(SUCCESS, 1, None);
        socket.write_all(b"x").expect("the agent reads");
        assert_eq!(backend.data(1, 1), b"x");
        socket.shutdown(Shutdown::Write).expect("it is open");
        backend.expect(CLOSE, 1);
        backend.send(SUCCESS, 1, None);
        backend.send(NO_MORE, 0, None);
        backend.ends(0);
        assert!(!path.exists(), "the socket's file is removed");
    }
}

#[test]
fn single_connection() {
    let port = unused_port();
    let setup = Setup { kind: 1, host: "127.0.0.1", port: port.into(), protocol: "tcp", single: true, ..DIAL };
    let mut backend = Backend::set_up(&setup);
    let socket = loop {
        if let Ok(socket) = TcpStream::connect(("127.0.0.1", port)) {
            break socket;
        }
    };
    backend.expect(NEW_CONNECTION, 1);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "one was enough");
    backend.send(SUCCESS, 1, None);
    drop(socket);
    backend.expect(CLOSE, 1);
    backend.send(SUCCESS, 1, None);
    // Without NO_MORE: nothing more can come.
    backend.ends(0);
}

#[test]
fn bind_failure() {
    let (_taken, port) = listening();
    let dir = TempDir::new().expect("a folder");
    let nowhere = dir.path().join("none/socket").display().to_string();
    for (setup, message) in [
        (Setup { kind: 1, host: "127.0.0.1", port: port.into(), protocol: "tcp", ..DIAL }, "address already in use"),
        (Setup { kind: 1, host: "127.0.0.1", port: 65_536, protocol: "tcp", ..DIAL }, "less than 65536"),
        (Setup { kind: 1, host: "192.0.2.1", port: 1, protocol: "tcp", ..DIAL }, "cannot assign requested address"),
        (Setup { kind: 3, host: &nowhere, protocol: "unix", ..DIAL }, "no such file or directory"),
        (Setup { kind: 1, host: "127.0.0.1", port: 1, protocol: "udp", ..DIAL }, "unknown protocol"),
    ] {
        let mut backend = Backend::set_up(&setup);
        assert_eq!(backend.packet(), None);
        let log = backend.ends(1);
        assert!(log.contains("\"code\":\"AGENT_LISTEN_FAILED\"") && log.contains(message), "{log}");
    }
}

#[test]
fn unknown_ids_hang_nothing() {
    let mut backend = Backend::set_up(&DIAL);
    for kind in [CLOSE, SUCCESS, ERROR, DATA, 99] {
        backend.send(kind, 5, None);
    }
    let (listener, port) = listening();
    let server = shouting(listener, |it| it.accept().expect("the agent connects").0);
    backend.dial(1, "127.0.0.1", port);
    backend.expect(SUCCESS, 1);
    backend.send(DATA, 1, Some(b"works"));
    assert_eq!(backend.data(1, 5), b"WORKS");
    // The end of input closes all connections.
    backend.close_stdin();
    server.join().expect("the server saw the end");
    let log = backend.ends(0);
    assert_eq!(log.matches("\"code\":\"AGENTPROTO_UNKNOWN_CONNECTION\"").count(), 4, "{log}");
    assert_eq!(log.matches("\"code\":\"AGENTPROTO_PACKET_UNKNOWN\"").count(), 1, "{log}");
}

#[test]
fn the_inputs_end_delivers_what_was_sent() {
    let (listener, port) = listening();
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("the agent connects");
        std::thread::sleep(Duration::from_millis(100));
        let mut all = Vec::new();
        socket.read_to_end(&mut all).expect("it is closed in order");
        all.len()
    });
    let mut backend = Backend::set_up(&DIAL);
    backend.dial(1, "127.0.0.1", port);
    backend.expect(SUCCESS, 1);
    for _ in 0..100 {
        backend.send(DATA, 1, Some(&[0; 100_000]));
    }
    backend.close_stdin();
    assert_eq!(server.join().expect("the server saw the end"), 10_000_000);
    backend.ends(0);
}

#[test]
fn x11_setup() {
    needs!(place(Place::Host));
    let xauth = needs!(tool("xauth"));
    // Port 6010 may be somebody's.
    let unshare = needs!(tool("unshare"));
    let dir = TempDir::new().expect("a folder");
    let authority = dir.path().join("authority");
    let shell = "ip link set lo up && exec \"$0\" forward-server";
    let in_own_network = |command: &mut Command| {
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--net", "sh", "-c", shell]).arg(binaries::agent()).env("XAUTHORITY", &authority);
        Backend::of(command.current_dir(dir.path()))
    };
    let cookie = "00112233445566778899aabbccddeeff";
    let setup = Setup { kind: 0, protocol: "tcp", x11: ["0", "MIT-MAGIC-COOKIE-1", cookie], ..DIAL };
    let mut backend = in_own_network(&mut Command::new(&unshare));
    backend.raw(&setup.packet());
    backend.expect(SUCCESS, 0);
    let namespace = format!("--net=/proc/{}/ns/net", backend.pid());
    let client = "exec 3<>/dev/tcp/127.0.0.1/6010 && echo l >&3 && read -r answer <&3 && echo \"$answer\"";
    let mut enter = Command::new(needs!(tool("nsenter")));
    if !rustix::process::geteuid().is_root() {
        enter.args([format!("--user=/proc/{}/ns/user", backend.pid()), "--preserve-credentials".into()]);
    }
    enter.arg(namespace).args(["bash", "-c", &format!("until {client}; do sleep 0.01; done 2>/dev/null")]);
    let client = enter.stdout(Stdio::piped()).spawn().expect("it can be executed");
    let payload = backend.expect(NEW_CONNECTION, 1);
    assert_eq!(field(&payload, "ConnectedPort")[..3], Value::Uint(6010).encode());
    backend.send(SUCCESS, 1, None);
    assert_eq!(backend.data(1, 2), b"l\n");
    backend.send(DATA, 1, Some(b"x11\n"));
    assert_eq!(client.wait_with_output().expect("it is our child").stdout, b"x11\n");
    backend.expect(CLOSE, 1);
    backend.send(SUCCESS, 1, None);
    backend.send(NO_MORE, 0, None);
    backend.ends(0);
    let list = Command::new(&xauth).arg("-f").arg(&authority).arg("list").output().expect("it can be executed");
    let listed = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(listed.contains(":10") && listed.contains(cookie), "{listed}");
    let mode = fs::metadata(&authority).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the cookie is a secret");

    // xauth refuses a cookie that is none.
    let mut backend = in_own_network(&mut Command::new(&unshare));
    backend.raw(&Setup { x11: ["0", "MIT-MAGIC-COOKIE-1", "no hexadecimal"], ..setup }.packet());
    backend.expect(SUCCESS, 0);
    assert_eq!(backend.packet(), None);
    let log = backend.ends(1);
    assert!(log.contains("\"code\":\"AGENT_X11_FAILED\"") && log.contains("/usr/bin/xauth"), "{log}");
}
