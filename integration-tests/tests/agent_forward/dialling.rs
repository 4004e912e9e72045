//! Connections that the backend opens.

use super::*;

#[test]
fn setup_is_answered_by_the_originals_bytes() {
    assert_eq!(DIAL.packet(), hex(SETUP_HEX), "the tests' own encoder is right");
    let (status, output, _) = exchange(&hex(SETUP_HEX));
    assert_eq!((status, hex::encode(output)), (Some(0), SUCCESS_HEX.to_owned()));
    // In whatever pieces it comes.
    let mut backend = Backend::start();
    for byte in hex(SETUP_HEX) {
        backend.raw(&[byte]);
    }
    backend.expect(SUCCESS, 0);
}

#[test]
fn dials_tcp() {
    let (listener, port) = listening();
    let server = shouting(listener, |it| it.accept().expect("the agent connects").0);
    let mut backend = Backend::set_up(&DIAL);
    backend.dial(1, "127.0.0.1", port);
    backend.expect(SUCCESS, 1);
    backend.send(DATA, 1, Some(b"hello"));
    assert_eq!(backend.data(1, 5), b"HELLO");
    // A port where nobody listens; the id is used up, and nothing of it keeps the agent from ending.
    backend.dial(2, "127.0.0.1", unused_port());
    backend.expect(ERROR, 2);
    backend.send(NO_MORE, 0, None);
    backend.send(DATA, 1, Some(b"again"));
    assert_eq!(backend.data(1, 5), b"AGAIN");
    backend.send(CLOSE, 1, None);
    backend.expect(SUCCESS, 1);
    server.join().expect("the server saw the end");
    backend.ends(0);
}

#[test]
fn a_rejected_connection_keeps_nobody() {
    let mut backend = Backend::set_up(&DIAL);
    backend.dial(1, "127.0.0.1", unused_port());
    backend.expect(ERROR, 1);
    backend.send(NO_MORE, 0, None);
    backend.ends(0);
}

#[test]
fn dials_ipv6() {
    let listener = needs!(TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).map_err(|e| format!("needs IPv6: {e}")));
    let port = listener.local_addr().expect("it is bound").port();
    let server = std::thread::spawn(move || {
        for byte in *b"ab" {
            listener.accept().expect("the agent connects").0.write_all(&[byte]).expect("it reads");
        }
    });
    let mut backend = Backend::set_up(&DIAL);
    for (id, host, data) in [(1, "::1", b"a"), (2, "[::1]", b"b")] {
        backend.dial(id, host, port);
        backend.expect(SUCCESS, id);
        assert_eq!(backend.data(id, 1), data);
        backend.expect(CLOSE, id);
        backend.send(SUCCESS, id, None);
    }
    server.join().expect("both came");
}

#[test]
fn dials_unix_sockets() {
    let dir = TempDir::new().expect("a folder");
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).expect("the folder is ours");
    let server = shouting(listener, |it| it.accept().expect("the agent connects").0);
    let mut backend = Backend::set_up(&Setup { kind: 4, ..DIAL });
    let to = |path: &str| connection("unix", path, 0, ("", 0));
    backend.send(NEW_CONNECTION, 1, Some(&to(&path.display().to_string())));
    backend.expect(SUCCESS, 1);
    backend.send(DATA, 1, Some(b"unix"));
    assert_eq!(backend.data(1, 4), b"UNIX");
    backend.send(NEW_CONNECTION, 2, Some(&to(&dir.path().join("none").display().to_string())));
    backend.expect(ERROR, 2);
    backend.send(NEW_CONNECTION, 3, Some(&to(&"x".repeat(200))));
    backend.expect(ERROR, 3);
    backend.send(CLOSE, 1, None);
    backend.expect(SUCCESS, 1);
    server.join().expect("the server saw the end");
}

/// What a dialled server says before it closes comes before the close.
#[test]
fn the_servers_end_closes_the_connection() {
    let (listener, port) = listening();
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("the agent connects");
        socket.write_all(&[b'x'; 100_000]).expect("the agent reads");
    });
    let mut backend = Backend::set_up(&DIAL);
    backend.dial(1, "127.0.0.1", port);
    backend.expect(SUCCESS, 1);
    assert_eq!(backend.data(1, 100_000), [b'x'; 100_000]);
    backend.expect(CLOSE, 1);
    backend.send(DATA, 1, Some(b"too late"));
    backend.send(SUCCESS, 1, None);
    backend.send(NO_MORE, 0, None);
    server.join().expect("it is done");
    assert!(backend.ends(0).contains("\"code\":\"AGENTPROTO_INVALID_STATE\""));
}

#[test]
fn ids_must_rise() {
    let (listener, port) = listening();
    let keep = std::thread::spawn(move || (0..3).map(|_| listener.accept().expect("the agent").0).collect::<Vec<_>>());
    let mut backend = Backend::set_up(&DIAL);
    backend.dial(2, "127.0.0.1", port);
    backend.expect(SUCCESS, 2);
    // Neither a lower id nor one in use is answered: an answer would be taken for one about another connection.
    backend.dial(1, "127.0.0.1", port);
    backend.dial(2, "127.0.0.1", port);
    backend.dial(7, "127.0.0.1", port);
    backend.expect(SUCCESS, 7);
    backend.send(CLOSE, 2, None);
    backend.expect(SUCCESS, 2);
    backend.dial(2, "127.0.0.1", port);
    backend.dial(8, "127.0.0.1", port);
    backend.expect(SUCCESS, 8);
    backend.send(NO_MORE, 0, None);
    backend.dial(9, "127.0.0.1", port);
    backend.expect(ERROR, 9);
    drop(keep.join().expect("three came"));
    for _ in 0..2 {
        let closed = backend.packet().expect("a packet");
        assert_eq!(closed.kind, CLOSE);
        backend.send(SUCCESS, closed.id, None);
    }
    backend.ends(0);
}

#[test]
fn connections_that_cannot_be_are_refused() {
    let mut backend = Backend::set_up(&DIAL);
    let bad = [
        connection("sctp", "127.0.0.1", 1, ("", 0)),
        connection("unix", "", 0, ("", 0)),
        connection("tcp", "256.256.256.256.", 1, ("", 0)),
        Value::map([("Protocol", Value::Text("tcp".into())), ("ConnectedPort", Value::Uint(65_536))]).encode(),
        Value::map([("Protocol", Value::Uint(1))]).encode(),
        [connection("tcp", "127.0.0.1", 1, ("", 0)), vec![0]].concat(),
        vec![0xff],
        vec![],
    ];
    for (id, payload) in (1..).zip(&bad) {
        backend.send(NEW_CONNECTION, id, Some(payload));
        backend.expect(ERROR, id);
    }
    backend.send(NO_MORE, 0, None);
    backend.ends(0);
}

/// Names from the image's /etc/hosts, and from DNS as its /etc/resolv.conf says, without a C library to ask.
#[test]
fn names_are_resolved_without_nss() {
    needs!(place(Place::Host));
    let (unshare, dnsmasq) = (needs!(tool("unshare")), needs!(tool("dnsmasq")));
    let busybox = needs!(tool("busybox"));
    let root = TempDir::new_in(binaries::work_dir()).expect("a folder");
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    fs::create_dir(root.path().join("etc")).expect("the folder is ours");
    fs::copy(binaries::agent(), root.path().join("agent")).expect("the folder is ours");
    fs::write(root.path().join("etc/hosts"), "127.0.0.1 from-hosts\n").expect("it is ours");
    let conf = "nameserver 127.0.0.9\nnameserver 127.0.0.1\nsearch nowhere.example corp.example\n\
                options ndots:2 timeout:1 attempts:1\n";
    fs::write(root.path().join("etc/resolv.conf"), conf).expect("it is ours");
    // So many addresses that UDP's 512 bytes cannot hold them; only one of them answers.
    let many: String = (2..60).map(|it| format!(" --host-record=many.example,127.0.3.{it}")).collect();
    let script = format!(
        "set -e; ip link set lo up; \
         {dnsmasq} --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user= --pid-file= \
             --bind-interfaces --listen-address=127.0.0.1 --host-record=db.corp.example,127.0.0.1,::1 \
             --cname=alias.example,db.corp.example --address=/six.example/::1 {many} --local=/example/ & \
         {busybox} nc -ll -p 7 -e /bin/cat & \
         until {busybox} nslookup db.corp.example 127.0.0.1 >/dev/null 2>&1 && \
             grep -q ':0007 .* 0A ' /proc/net/tcp /proc/net/tcp6; do sleep 0.01; done; \
         exec {chroot} {root} /agent forward-server",
        dnsmasq = dnsmasq.display(),
        busybox = busybox.display(),
        chroot = needs!(tool("chroot")).display(),
        root = root.path().display(),
    );
    let mut command = Command::new(unshare);
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "--pid", "--fork", "--kill-child", "sh", "-c", &script]);
    let mut backend = Backend::of(&mut command);
    backend.raw(&DIAL.packet());
    backend.expect(SUCCESS, 0);
    let names =
        ["from-hosts", "localhost", "db", "DB.corp.example", "db.corp.example.", "alias.example", "many.example"];
    for (id, name) in (1..).zip(names) {
        backend.dial(id, name, 7);
        let answer = backend.packet().expect("a packet");
        assert_eq!((answer.kind, answer.id), (SUCCESS, id), "{name}: {}", backend.ends(1));
        backend.send(DATA, id, Some(name.as_bytes()));
        assert_eq!(backend.data(id, name.len()), name.as_bytes());
        backend.send(CLOSE, id, None);
        backend.expect(SUCCESS, id);
    }
    // busybox listens on IPv4 and IPv6 alike, or on IPv4 alone: then the connection is refused, but the name is known.
    backend.dial(20, "six.example", 7);
    assert!(matches!(backend.packet(), Some(it) if it.id == 20));
    backend.dial(21, "none.corp.example", 7);
    backend.expect(ERROR, 21);
    backend.close_stdin();
    let log = backend.ends(0);
    assert!(log.contains("no such host"), "{log}");
}
