//! ContainerSSH's end of the agent protocol, written for the tests: it shares no code with the agent.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::{binaries, limit};

/// Packet types.
pub const SETUP: u64 = 0;
/// See [`SETUP`].
pub const SUCCESS: u64 = 1;
/// See [`SETUP`].
pub const ERROR: u64 = 2;
/// See [`SETUP`].
pub const DATA: u64 = 3;
/// See [`SETUP`].
pub const NEW_CONNECTION: u64 = 4;
/// See [`SETUP`].
pub const CLOSE: u64 = 5;
/// See [`SETUP`].
pub const NO_MORE: u64 = 6;

/// A CBOR value of the kinds the protocol has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// An unsigned integer.
    Uint(u64),
    /// A byte string.
    Bytes(Vec<u8>),
    /// A text string.
    Text(String),
    /// true or false.
    Bool(bool),
    /// Null.
    Null,
    /// A map with text keys, in order.
    Map(Vec<(String, Value)>),
}

impl Value {
    /// A map.
    pub fn map<const N: usize>(pairs: [(&str, Value); N]) -> Self {
        Self::Map(pairs.map(|(key, value)| (key.to_owned(), value)).to_vec())
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Uint(number) => head(0, *number),
            Self::Bytes(bytes) => [head(2, bytes.len() as u64), bytes.clone()].concat(),
            Self::Text(text) => [head(3, text.len() as u64), text.clone().into_bytes()].concat(),
            Self::Bool(truth) => vec![0xf4 + u8::from(*truth)],
            Self::Null => vec![0xf6],
            Self::Map(pairs) => {
                let pair = |(key, value): &(String, Self)| [Self::Text(key.clone()).encode(), value.encode()].concat();
                [head(5, pairs.len() as u64), pairs.iter().flat_map(pair).collect()].concat()
            }
        }
    }

    /// Reads one value.
    fn read(from: &mut impl Read) -> std::io::Result<Self> {
        let mut first = [0];
        from.read_exact(&mut first)?;
        let (major, info) = (first[0] >> 5, first[0] & 31);
        let mut number = [0; 8];
        let argument = match info {
            0..24 => u64::from(info),
            24..28 => {
                from.read_exact(&mut number[8 - (1 << (info - 24))..])?;
                u64::from_be_bytes(number)
            }
            _ => panic!("{:#x} is not of the protocol", first[0]),
        };
        let string = |from: &mut dyn Read| {
            let mut bytes = vec![0; argument as usize];
            from.read_exact(&mut bytes).map(|()| bytes)
        };
        Ok(match (major, info) {
            (0, _) => Self::Uint(argument),
            (2, _) => Self::Bytes(string(from)?),
            (3, _) => Self::Text(String::from_utf8(string(from)?).expect("text is UTF-8")),
            (5, _) => {
                let mut pairs = Vec::new();
                for _ in 0..argument {
                    let Self::Text(key) = Self::read(from)? else { panic!("a key must be text") };
                    pairs.push((key, Self::read(from)?));
                }
                Self::Map(pairs)
            }
            (7, 20 | 21) => Self::Bool(info == 21),
            (7, 22) => Self::Null,
            _ => panic!("{:#x} is not of the protocol", first[0]),
        })
    }
}

fn head(major: u8, argument: u64) -> Vec<u8> {
    let bytes = argument.to_be_bytes();
    let (info, length) = match argument {
        0..24 => return vec![major << 5 | argument as u8],
        24..0x100 => (24, 1),
        0x100..0x1_0000 => (25, 2),
        0x1_0000..0x1_0000_0000 => (26, 4),
        _ => (27, 8),
    };
    [&[major << 5 | info], &bytes[8 - length..]].concat()
}

/// A packet's bytes.
pub fn packet(kind: u64, id: u64, payload: Option<&[u8]>) -> Vec<u8> {
    let payload = payload.map_or(Value::Null, |it| Value::Bytes(it.to_vec()));
    Value::map([("Type", Value::Uint(kind)), ("ConnectionId", Value::Uint(id)), ("Payload", payload)]).encode()
}

/// What SETUP asks for.
#[derive(Debug, Default, Clone)]
pub struct Setup<'s> {
    /// ConnectionType.
    pub kind: u64,
    /// BindHost.
    pub host: &'s str,
    /// BindPort.
    pub port: u64,
    /// Protocol.
    pub protocol: &'s str,
    /// SingleConnection.
    pub single: bool,
    /// Screen, AuthProtocol and AuthCookie.
    pub x11: [&'s str; 3],
}

impl Setup<'_> {
    /// The whole packet.
    pub fn packet(&self) -> Vec<u8> {
        let text = |it: &str| Value::Text(it.to_owned());
        let payload = Value::map([
            ("ConnectionType", Value::Uint(self.kind)),
            ("BindHost", text(self.host)),
            ("BindPort", Value::Uint(self.port)),
            ("Protocol", text(self.protocol)),
            ("Screen", text(self.x11[0])),
            ("SingleConnection", Value::Bool(self.single)),
            ("AuthProtocol", text(self.x11[1])),
            ("AuthCookie", text(self.x11[2])),
        ]);
        packet(SETUP, 0, Some(&payload.encode()))
    }
}

/// The payload of NEW_CONNECTION.
pub fn connection(protocol: &str, address: &str, port: u16, originator: (&str, u16)) -> Vec<u8> {
    let text = |it: &str| Value::Text(it.to_owned());
    Value::map([
        ("Protocol", text(protocol)),
        ("ConnectedAddress", text(address)),
        ("ConnectedPort", Value::Uint(port.into())),
        ("OriginatorAddress", text(originator.0)),
        ("OriginatorPort", Value::Uint(originator.1.into())),
    ])
    .encode()
}

/// One packet of the agent's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Type.
    pub kind: u64,
    /// ConnectionId.
    pub id: u64,
    /// Payload.
    pub payload: Option<Vec<u8>>,
}

/// An agent in forward-server mode and the pipes to it.
#[derive(Debug)]
pub struct Backend {
    child: Child,
    stdin: Option<ChildStdin>,
    packets: Receiver<Packet>,
    stderr: Receiver<String>,
}

impl Backend {
    /// Starts `containerssh-agent forward-server`.
    pub fn start() -> Self {
        Self::of(Command::new(binaries::agent()).arg("forward-server"))
    }

    /// Starts the agent by a command of the test's.
    pub fn of(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the agent can be executed");
        let (mut stdout, mut log) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        // Bounded: the test's pace is the backend's, and what is not read stays in the pipe.
        let (sender, packets) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let mut stdout = std::io::BufReader::with_capacity(1 << 17, &mut stdout);
            while let Ok(Value::Map(pairs)) = Value::read(&mut stdout) {
                let keys: Vec<&str> = pairs.iter().map(|it| it.0.as_str()).collect();
                assert_eq!(keys, ["Type", "ConnectionId", "Payload"]);
                let mut values = pairs.into_iter().map(|it| it.1);
                let (Some(Value::Uint(kind)), Some(Value::Uint(id))) = (values.next(), values.next()) else {
                    panic!("type and connection id must be numbers")
                };
                let payload = match values.next() {
                    Some(Value::Null) => None,
                    Some(Value::Bytes(bytes)) => Some(bytes),
                    other => panic!("{other:?} is no payload"),
                };
                if sender.send(Packet { kind, id, payload }).is_err() {
                    return;
                }
            }
        });
        let (sender, stderr) = channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            let _ = log.read_to_string(&mut text);
            let _ = sender.send(text);
        });
        Self { stdin: child.stdin.take(), child, packets, stderr }
    }

    /// Starts the agent, sets it up and takes its answer.
    #[track_caller]
    pub fn set_up(setup: &Setup<'_>) -> Self {
        let mut backend = Self::start();
        backend.raw(&setup.packet());
        backend.expect(SUCCESS, 0);
        backend
    }

    /// The agent's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends these bytes.
    #[track_caller]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().expect("it is open").write_all(bytes).expect("the agent reads");
    }

    /// Sends a packet.
    #[track_caller]
    pub fn send(&mut self, kind: u64, id: u64, payload: Option<&[u8]>) {
        self.raw(&packet(kind, id, payload));
    }

    /// Asks for a TCP connection.
    #[track_caller]
    pub fn dial(&mut self, id: u64, host: &str, port: u16) {
        self.send(NEW_CONNECTION, id, Some(&connection("tcp", host, port, ("127.0.0.1", 1))));
    }

    /// The pipe to the agent, for a thread of the test's.
    pub fn take_stdin(&mut self) -> ChildStdin {
        self.stdin.take().expect("it is open")
    }

    /// Ends the agent's input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// The next packet, or `None` at the end of output.
    ///
    /// # Panics
    /// When neither comes within [`limit`].
    #[track_caller]
    pub fn packet(&mut self) -> Option<Packet> {
        use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
        match self.packets.recv_timeout(limit()) {
            Ok(packet) => Some(packet),
            Err(Disconnected) => None,
            Err(Timeout) => panic!("the agent sends nothing"),
        }
    }

    /// Whether nothing comes for a while.
    pub fn is_quiet(&mut self) -> bool {
        self.packets.recv_timeout(Duration::from_millis(200)).is_err()
    }

    /// Takes the next packet, which must be of this type and for this connection, and gives its payload.
    #[track_caller]
    pub fn expect(&mut self, kind: u64, id: u64) -> Vec<u8> {
        let packet = self.packet().expect("a packet");
        assert_eq!((packet.kind, packet.id), (kind, id), "{packet:?}");
        packet.payload.unwrap_or_default()
    }

    /// Collects data of a connection until there is `count` of it.
    #[track_caller]
    pub fn data(&mut self, id: u64, count: usize) -> Vec<u8> {
        let mut data = Vec::new();
        while data.len() < count {
            data.extend(self.expect(DATA, id));
        }
        data
    }

    /// Waits for the agent's end: its status and what it wrote to standard error.
    #[track_caller]
    pub fn end(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + limit();
        loop {
            // What nobody takes would keep it from ending.
            while self.packets.try_recv().is_ok() {}
            match self.child.try_wait().expect("it is our child") {
                Some(status) => return (status, self.stderr.recv_timeout(limit()).expect("its log")),
                None if Instant::now() > deadline => panic!("the agent does not end"),
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Waits for the agent's end, whose status must be this one, and gives its log.
    #[track_caller]
    pub fn ends(self, status: i32) -> String {
        let (ended, log) = self.end();
        assert_eq!(ended.code(), Some(status), "{log}");
        log
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
