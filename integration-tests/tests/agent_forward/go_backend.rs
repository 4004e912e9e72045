//! An exchange with ContainerSSH's own code, replayed.

use super::*;

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
fn exchange_with_a_go_backend() {
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
