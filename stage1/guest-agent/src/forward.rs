//! Mode `forward-server`: ContainerSSH's agent protocol over standard input and output.
//!
//! CBOR items stand back to back in both directions, without framing. Each is a packet:
//!
//! ```text
//! {"Type": uint, "ConnectionId": uint, "Payload": bytes or null}
//!
//! 0 SETUP                 in      once, first; the payload is a map: ConnectionType 0 X11, 1 port forward, 2 port dial,
//!                                 3 socket forward, 4 socket dial; BindHost, BindPort, Protocol, Screen,
//!                                 SingleConnection, AuthProtocol, AuthCookie
//! 1 SUCCESS               both    answers SETUP (id 0), NEW_CONNECTION and CLOSE_CONNECTION
//! 2 ERROR                 both    refuses NEW_CONNECTION, ends a connection at once
//! 3 DATA                  both    some bytes of a connection
//! 4 NEW_CONNECTION        both    in: connect to …; out: somebody connected. The payload is a map: Protocol tcp or
//!                                 unix, ConnectedAddress, ConnectedPort, OriginatorAddress, OriginatorPort
//! 5 CLOSE_CONNECTION      both    no more data in either direction; there are no half-closed connections
//! 6 NO_MORE_CONNECTIONS   in      the listener closes; the agent ends when the last connection has
//! ```
//!
//! Keys are matched whatever their order and case, unknown ones are passed over. The protocol has no flow control: what
//! a slow reader has not taken is kept for it, up to a bound; at the bound standard input waits, and while other
//! connections wait with it, not for long ([`server`]). Standard error has a line of JSON for each event.

mod backend;
mod connection;
mod dial;
mod journal;
mod listener;
mod packet;
mod server;
mod x11;

use rustix::io::Errno;

use backend::{Input, Output};
use journal::{Level, log};
use packet::{ConnectionType, Kind, Malformed, Packet, Setup};
use server::{Role, Server};

use crate::errno;

/// Why forwarding ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum Fatal {
    #[error("decode a packet: {0}")]
    Packet(#[from] Malformed),
    #[error("the input ends within a packet")]
    CutOff,
    #[error("the input ends before the setup packet")]
    NoSetup,
    #[error("a packet of type {0} came where the setup packet must be")]
    NotSetup(i64),
    #[error("read from the backend: {}", errno::text(*.0))]
    Read(Errno),
    #[error("write to the backend: {}", errno::text(*.0))]
    Write(Errno),
    #[error("wait for events: {}", errno::text(*.0))]
    Poll(Errno),
    #[error("listen on {0}: {1}")]
    Listen(String, String),
    #[error("set up X11: {0}")]
    X11(String),
}

impl Fatal {
    /// The original's codes where it has one.
    fn code(&self) -> &'static str {
        match self {
            Self::Packet(_) | Self::CutOff => "AGENTPROTO_DECODE_FAILED",
            Self::NoSetup | Self::NotSetup(_) => "AGENTPROTO_PACKET_INVALID",
            Self::Read(_) | Self::Poll(_) => "AGENT_READ_FAILED",
            Self::Write(_) => "AGENTPROTO_WRITE_FAILED",
            Self::Listen(..) => "AGENT_LISTEN_FAILED",
            Self::X11(_) => "AGENT_X11_FAILED",
        }
    }
}

/// Serves until all is done. Status 0: it is, or the input has ended; 1: an error, told on standard error.
pub(crate) fn run() -> u8 {
    log(Level::Debug, "AGENT_START", "the agent starts", &[]);
    match serve() {
        Ok(()) => 0,
        Err(error) => {
            log(Level::Error, error.code(), &error.to_string(), &[]);
            1
        }
    }
}

fn serve() -> Result<(), Fatal> {
    let (mut input, mut output) = (Input::default(), Output::new());
    let setup = receive_setup(&mut input)?;
    // Before acting on it, as the original: the backend waits for this answer and takes failures from our end.
    output.send(Kind::Success, 0, None);
    output.flush_all()?;
    let Some(kind) = setup.kind() else {
        let kind = setup.connection_type.to_string();
        log(Level::Warning, "AGENTPROTO_PACKET_INVALID", "unknown connection type", &[("connectionType", &kind)]);
        return Ok(());
    };
    raise_descriptor_limit();
    let role = match kind {
        ConnectionType::PortDial | ConnectionType::SocketDial => Role::Dial,
        ConnectionType::X11 => Role::Listen(x11::listen(&setup)?),
        ConnectionType::PortForward | ConnectionType::SocketForward => Role::Listen(listener::listen(&setup)?),
    };
    Server::new(output, role).run(input)
}

fn receive_setup(input: &mut Input) -> Result<Setup, Fatal> {
    loop {
        if let Some(Packet { kind, payload, .. }) = input.next()? {
            if kind != Kind::Setup as i64 {
                return Err(Fatal::NotSetup(kind));
            }
            return Ok(Setup::decode(&payload.unwrap_or_default())?);
        }
        if !input.receive()? {
            return Err(if input.is_within_packet() { Fatal::CutOff } else { Fatal::NoSetup });
        }
    }
}

/// Each connection is a descriptor, and the usual limit is meant for programs that use select(2).
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}
