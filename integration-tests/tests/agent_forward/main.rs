//! The guest agent as forward server: every setup type, both directions, bad packets and slow readers.

use integration_tests::backend::{
    Backend, CLOSE, DATA, ERROR, NEW_CONNECTION, NO_MORE, SUCCESS, Setup, Value, connection, packet,
};
use integration_tests::needs::{Place, place, tool};
use integration_tests::{binaries, limit, needs};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

mod bulk;
mod dialling;
mod go_backend;
mod listening;
mod malformed;

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
