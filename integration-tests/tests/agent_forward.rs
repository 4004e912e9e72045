//! The guest agent as forward server: every setup type, both directions, bad packets and slow readers.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use integration_tests::backend::{
    Backend, CLOSE, DATA, ERROR, NEW_CONNECTION, NO_MORE, SUCCESS, Setup, Value, connection, packet,
};
use integration_tests::needs::{Place, place, tool};
use integration_tests::{binaries, limit, needs};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

fn hex(text: &str) -> Vec<u8> {
    hex::decode(text).expect("hexadecimal")
}

/// `forward-server` with this whole input: status, output and log.
fn exchange(input: &[u8]) -> (Option<i32>, Vec<u8>, String) {
    let mut command = Command::new(binaries::agent());
    command.arg("forward-server").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the agent can be executed");
    let _ = child.stdin.take().expect("piped").write_all(input);
    let output = child.wait_with_output().expect("it is our child");
    (output.status.code(), output.stdout, String::from_utf8(output.stderr).expect("text"))
}

const DIAL: Setup<'static> = Setup { kind: 2, host: "", port: 0, protocol: "", single: false, x11: ["", "", ""] };
const SETUP_HEX: &str = "a36454797065006c436f6e6e656374696f6e496400675061796c6f61645863a86e436f6e6e656374696f6e5479706502\
    6842696e64486f7374606842696e64506f7274006850726f746f636f6c606653637265656e607053696e676c65436f6e6e656374696f6ef46c41757468\
    50726f746f636f6c606a41757468436f6f6b696560";
const SUCCESS_HEX: &str = "a36454797065016c436f6e6e656374696f6e496400675061796c6f6164f6";

#[test]
fn line_116_setup_is_answered_by_the_originals_bytes() {
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

/// Accepts one connection and gives back what comes, in capitals.
fn shouting<L: Send + 'static, S: Read + Write>(
    listener: L,
    accept: impl FnOnce(&L) -> S + Send + 'static,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut socket = accept(&listener);
        let mut buffer = [0; 1000];
        while let Ok(count @ 1..) = socket.read(&mut buffer) {
            buffer[..count].make_ascii_uppercase();
            if socket.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
    })
}

fn listening() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    (listener, port)
}

fn unused_port() -> u16 {
    listening().1
}

#[test]
fn line_116_dials_tcp() {
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
fn line_116_a_rejected_connection_keeps_nobody() {
    let mut backend = Backend::set_up(&DIAL);
    backend.dial(1, "127.0.0.1", unused_port());
    backend.expect(ERROR, 1);
    backend.send(NO_MORE, 0, None);
    backend.ends(0);
}

#[test]
fn line_116_dials_ipv6() {
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
fn line_116_dials_unix_sockets() {
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
fn line_116_ids_must_rise() {
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

/// One field of the payload of NEW_CONNECTION.
fn field(payload: &[u8], key: &str) -> Vec<u8> {
    let key = Value::Text(key.to_owned()).encode();
    let at = payload.windows(key.len()).position(|it| it == key).expect("the key is there") + key.len();
    payload[at..].to_vec()
}

#[test]
fn line_117_listens_on_tcp() {
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
fn line_117_listens_on_unix_sockets() {
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
fn line_117_single_connection() {
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
fn line_117_bind_failure() {
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
fn line_117_unknown_ids_hang_nothing() {
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
fn line_117_the_inputs_end_delivers_what_was_sent() {
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

/// What ContainerSSH's own Go code sent and got when it ran its test's exchange with this agent (reverse forward, one
/// message there and back), one packet a line; 8080 and 8081 stand for the ports of that run.
const GO_SENT: [&str; 5] = [
    "a36454797065006c436f6e6e656374696f6e496400675061796c6f61645871a86e436f6e6e656374696f6e54797065016842696e64486f7374693132372e302e302e316842696e64506f7274191f906850726f746f636f6c637463706653637265656e607053696e676c65436f6e6e656374696f6ef46c4175746850726f746f636f6c606a41757468436f6f6b696560",
    "a36454797065016c436f6e6e656374696f6e496401675061796c6f6164f6",
    "a36454797065036c436f6e6e656374696f6e496401675061796c6f6164514d65737361676520746f20736572766572",
    "a36454797065016c436f6e6e656374696f6e496401675061796c6f6164f6",
    "a36454797065066c436f6e6e656374696f6e496400675061796c6f6164f6",
];
const GO_GOT: [&str; 4] = [
    "a36454797065016c436f6e6e656374696f6e496400675061796c6f6164f6",
    "a36454797065046c436f6e6e656374696f6e496401675061796c6f61645868a56850726f746f636f6c6374637070436f6e6e656374656441646472657373693132372e302e302e316d436f6e6e6563746564506f7274191f90714f726967696e61746f7241646472657373693132372e302e302e316e4f726967696e61746f72506f7274191f91",
    "a36454797065036c436f6e6e656374696f6e496401675061796c6f6164514d65737361676520746f20736572766572",
    "a36454797065056c436f6e6e656374696f6e496401675061796c6f6164f6",
];

#[test]
fn line_118_exchange_with_a_go_backend() {
    let port = unused_port();
    let with_ports = |packet: &str, originator: u16| {
        let packet = packet.replace("191f90", &hex::encode(Value::Uint(port.into()).encode()));
        hex(&packet.replace("191f91", &hex::encode(Value::Uint(originator.into()).encode())))
    };
    let mut backend = Backend::start();
    let mut got = Vec::new();
    let mut take = |backend: &mut Backend| {
        let it = backend.packet().expect("a packet");
        got.push(packet(it.kind, it.id, it.payload.as_deref()));
    };
    backend.raw(&with_ports(GO_SENT[0], 0));
    take(&mut backend);
    let mut socket = loop {
        if let Ok(socket) = TcpStream::connect(("127.0.0.1", port)) {
            break socket;
        }
    };
    socket.write_all(b"Message to server").expect("the kernel takes it");
    take(&mut backend);
    backend.raw(&with_ports(GO_SENT[1], 0));
    take(&mut backend);
    backend.raw(&with_ports(GO_SENT[2], 0));
    let mut echo = [0; 17];
    socket.read_exact(&mut echo).expect("the agent writes");
    assert_eq!(&echo, b"Message to server");
    let originator = socket.local_addr().expect("it is connected").port();
    drop(socket);
    take(&mut backend);
    backend.raw(&with_ports(GO_SENT[3], 0));
    backend.raw(&with_ports(GO_SENT[4], 0));
    assert_eq!(got, GO_GOT.map(|it| with_ports(it, originator)));
    backend.ends(0);
}

/// An unknown setup type ends the agent, as the original; a first packet of another type is an error.
#[test]
fn bad_setups() {
    let (status, output, _) = exchange(&Setup { kind: 5, ..DIAL }.packet());
    assert_eq!((status, output), (Some(0), hex(SUCCESS_HEX)));
    for (input, code) in [
        (packet(DATA, 0, None), "AGENTPROTO_PACKET_INVALID"),
        (packet(0, 0, None), "AGENTPROTO_DECODE_FAILED"),
        (packet(0, 0, Some(b"")), "AGENTPROTO_DECODE_FAILED"),
        (packet(0, 0, Some(&[0xa0, 0])), "AGENTPROTO_DECODE_FAILED"),
        (packet(0, 0, Some(&Value::map([("BindPort", Value::Text("x".into()))]).encode())), "AGENTPROTO_DECODE_FAILED"),
        (b"hello".to_vec(), "AGENTPROTO_DECODE_FAILED"),
        (b"\n".to_vec(), "AGENTPROTO_DECODE_FAILED"),
        (vec![], "AGENTPROTO_PACKET_INVALID"),
    ] {
        let (status, output, log) = exchange(&input);
        assert_eq!((status, output), (Some(1), vec![]), "{log}");
        let last = log.lines().last().expect("a line");
        let line: serde_json::Value = serde_json::from_str(last).expect("JSON");
        assert_eq!((&line["level"], &line["code"]), (&"error".into(), &code.into()), "{log}");
        assert!(line["timestamp"].is_string() && line["message"].is_string() && line["details"].is_object());
    }
}

/// Wherever the input ends, the agent does too: between packets in peace, within one with an error.
#[test]
fn early_ends_of_input() {
    let whole = DIAL.packet();
    for end in (1..whole.len()).step_by(7) {
        let (status, output, log) = exchange(&whole[..end]);
        assert_eq!((status, output.len()), (Some(1), 0), "cut at {end}: {log}");
        assert!(log.contains("AGENTPROTO_DECODE_FAILED"), "{log}");
    }
    for second in [packet(DATA, 1, Some(b"hi")), packet(NEW_CONNECTION, 1, Some(&connection("tcp", "::1", 1, ("", 0))))]
    {
        for end in (0..second.len()).step_by(5) {
            let (status, output, log) = exchange(&[&whole, &second[..end]].concat());
            assert_eq!((status, output), (Some(i32::from(end > 0)), hex(SUCCESS_HEX)), "cut at {end}: {log}");
        }
    }
}

#[test]
fn malformed_packets_end_it() {
    for bytes in
        ["00", "80", "f6", "ff", "a164547970656130", "a16c436f6e6e656374696f6e496420", "a1675061796c6f61646161", "bc"]
    {
        let (status, output, log) = exchange(&[DIAL.packet(), hex(bytes)].concat());
        assert_eq!((status, output), (Some(1), hex(SUCCESS_HEX)), "{bytes}: {log}");
        assert!(log.contains("AGENTPROTO_DECODE_FAILED") && !log.contains("panicked"), "{log}");
    }
}

/// A stream of bytes that repeats only after long, so that a lost or doubled block cannot go unnoticed.
fn noise(seed: u64) -> impl FnMut(&mut [u8]) {
    let mut state = seed | 1;
    move |block| {
        for word in block.chunks_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes()[..word.len()]);
        }
    }
}

const BULK: usize = 100 << 20;
const BLOCK: usize = 32 << 10;

/// Writes the noise to its end and gives its checksum.
fn pour(mut write: impl FnMut(&[u8]), seed: u64) -> Vec<u8> {
    let (mut fill, mut hash, mut block) = (noise(seed), Sha256::new(), vec![0; BLOCK]);
    for _ in 0..BULK / BLOCK {
        fill(&mut block);
        hash.update(&block);
        write(&block);
    }
    hash.finalize().to_vec()
}

/// 100 MB from the backend to a socket and 100 MB back, at the same time.
fn carry(mut backend: Backend, socket: impl Read + Write + Send + 'static, clone: impl Write + Send + 'static) {
    let mut socket = socket;
    let mut clone = clone;
    let into = std::thread::spawn(move || pour(|it| clone.write_all(it).expect("the agent reads"), 1));
    let out = std::thread::spawn(move || {
        let (mut hash, mut block, mut left) = (Sha256::new(), vec![0; 1 << 16], BULK);
        while left > 0 {
            let count = socket.read(&mut block).expect("the agent writes");
            assert!(count > 0, "{left} bytes are missing");
            hash.update(&block[..count]);
            left -= count;
        }
        (hash.finalize().to_vec(), socket)
    });
    let mut stdin = backend.take_stdin();
    let sent = std::thread::spawn(move || {
        let sum = pour(|it| stdin.write_all(&packet(DATA, 1, Some(it))).expect("the agent reads"), 2);
        (sum, stdin)
    });
    let (mut hash, mut left) = (Sha256::new(), BULK);
    while left > 0 {
        let data = backend.expect(DATA, 1);
        hash.update(&data);
        left -= data.len();
    }
    assert!(hash.finalize().to_vec() == into.join().expect("all is written"), "to the backend");
    let (received, socket) = out.join().expect("all is read");
    let (sum, mut stdin) = sent.join().expect("all is sent");
    assert!(received == sum, "from the backend");
    drop(socket);
    backend.expect(CLOSE, 1);
    stdin.write_all(&[packet(SUCCESS, 1, None), packet(NO_MORE, 0, None)].concat()).expect("the agent reads");
    backend.ends(0);
}

#[test]
fn direct_forward_carries_100_mb_both_ways() {
    needs!(place(Place::Host));
    let (listener, port) = listening();
    let mut backend = Backend::set_up(&DIAL);
    backend.dial(1, "127.0.0.1", port);
    let (socket, _) = listener.accept().expect("the agent connects");
    backend.expect(SUCCESS, 1);
    let clone = socket.try_clone().expect("a descriptor");
    carry(backend, socket, clone);
}

#[test]
fn reverse_forward_carries_100_mb_both_ways() {
    needs!(place(Place::Host));
    let dir = TempDir::new().expect("a folder");
    let path = dir.path().join("socket");
    let shown = path.display().to_string();
    let mut backend = Backend::set_up(&Setup { kind: 3, host: &shown, protocol: "unix", ..DIAL });
    let socket = loop {
        if let Ok(socket) = UnixStream::connect(&path) {
            break socket;
        }
    };
    backend.expect(NEW_CONNECTION, 1);
    backend.send(SUCCESS, 1, None);
    let clone = socket.try_clone().expect("a descriptor");
    carry(backend, socket, clone);
}

/// The most memory the process has had, in bytes.
fn peak_memory(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|it| it.starts_with("VmHWM:")).expect("the line is there");
    line.split_whitespace().nth(1).and_then(|it| it.parse::<usize>().ok()).expect("a number") << 10
}

#[test]
fn a_slow_reader_is_its_own_problem() {
    let (listener, port) = listening();
    let mut backend = Backend::set_up(&DIAL);
    backend.dial(1, "127.0.0.1", port);
    let (slow, _) = listener.accept().expect("the agent connects");
    backend.expect(SUCCESS, 1);
    let server = shouting(listener, |it| it.accept().expect("the agent connects").0);
    backend.dial(2, "127.0.0.1", port);
    backend.expect(SUCCESS, 2);
    // More than the kernel keeps for a reader that never reads.
    for _ in 0..200 {
        backend.send(DATA, 1, Some(&[7; 100_000]));
    }
    backend.send(DATA, 2, Some(b"beside it"));
    assert_eq!(backend.data(2, 9), b"BESIDE IT");
    // More than the agent keeps: the connection that holds up the other one is closed, and memory is bounded.
    for _ in 0..400 {
        backend.send(DATA, 1, Some(&[7; 100_000]));
    }
    backend.send(DATA, 2, Some(b"still"));
    let mut heard = Vec::new();
    let mut closed = false;
    while heard.len() < 5 || !closed {
        let packet = backend.packet().expect("a packet");
        match (packet.kind, packet.id) {
            (CLOSE, 1) => closed = true,
            (DATA, 2) => heard.extend(packet.payload.expect("data")),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(heard, b"STILL");
    assert!(peak_memory(backend.pid()) < 80 << 20, "{} bytes", peak_memory(backend.pid()));
    backend.close_stdin();
    server.join().expect("the server saw the end");
    assert!(backend.ends(0).contains("\"code\":\"AGENT_CONNECTION_STALLED\""));
    drop(slow);
}

/// A reader that is alone holds up only itself, for as long as it likes.
#[test]
fn a_slow_reader_that_is_alone_loses_nothing() {
    let (listener, port) = listening();
    let mut backend = Backend::set_up(&DIAL);
    backend.dial(1, "127.0.0.1", port);
    let (mut slow, _) = listener.accept().expect("the agent connects");
    backend.expect(SUCCESS, 1);
    let mut stdin = backend.take_stdin();
    let sender = std::thread::spawn(move || {
        for _ in 0..600 {
            stdin.write_all(&packet(DATA, 1, Some(&[7; 100_000]))).expect("the agent reads in the end");
        }
        stdin.write_all(&packet(CLOSE, 1, None)).expect("the agent reads in the end");
        stdin
    });
    while peak_memory(backend.pid()) < 32 << 20 {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(100));
    assert!(!sender.is_finished(), "the agent stopped reading");
    let mut all = Vec::new();
    slow.read_to_end(&mut all).expect("it is closed in order");
    assert_eq!(all.len(), 60_000_000);
    backend.expect(SUCCESS, 1);
    drop(sender.join().expect("all is sent"));
    assert!(peak_memory(backend.pid()) < 80 << 20);
    backend.ends(0);
}

/// A backend that does not read does not make the agent hoard what sockets send.
#[test]
fn a_backend_that_does_not_read_stops_the_sockets() {
    let (listener, port) = listening();
    let mut backend = Backend::set_up(&DIAL);
    backend.dial(1, "127.0.0.1", port);
    let (mut socket, _) = listener.accept().expect("the agent connects");
    backend.expect(SUCCESS, 1);
    socket.set_write_timeout(Some(Duration::from_millis(300))).expect("a time");
    let mut sent = 0;
    while let Ok(count) = socket.write(&[1; 1 << 16]) {
        sent += count;
    }
    assert!(peak_memory(backend.pid()) < 16 << 20, "{sent} bytes were taken");
    let pid = backend.pid();
    backend.data(1, sent);
    assert!(peak_memory(pid) < 16 << 20);
}

/// Many at once, each with its own order.
#[test]
fn hundreds_of_connections() {
    let (listener, port) = listening();
    let mut backend = Backend::set_up(&DIAL);
    const COUNT: u64 = 300;
    let server = std::thread::spawn(move || {
        let mut sockets: Vec<TcpStream> =
            (0..COUNT).map(|_| listener.accept().expect("the agent connects").0).collect();
        for socket in &mut sockets {
            let mut line = [0; 8];
            socket.read_exact(&mut line).expect("the agent writes");
            socket.write_all(&line).expect("the agent reads");
        }
    });
    for id in 1..=COUNT {
        backend.dial(id, "127.0.0.1", port);
    }
    let mut sums = vec![Vec::new(); COUNT as usize + 1];
    let mut open = 0;
    while open < COUNT || sums[1..].iter().any(|it| it.len() < 8) {
        let packet = backend.packet().expect("a packet");
        match packet.kind {
            SUCCESS => {
                open += 1;
                backend.send(DATA, packet.id, Some(&packet.id.to_le_bytes()));
            }
            DATA => sums[packet.id as usize].extend(packet.payload.expect("data")),
            CLOSE => backend.send(SUCCESS, packet.id, None),
            _ => panic!("{packet:?}"),
        }
    }
    assert!((1..=COUNT).all(|id| sums[id as usize] == id.to_le_bytes()));
    server.join().expect("it is done");
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
