//! Another machine, for what depends on where a client or a server is.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::limit;
use crate::needs::tool;

/// Another machine: a network namespace with a link to this one. Both go with the process that is in it.
#[derive(Debug)]
pub struct Elsewhere {
    process: Child,
    /// This machine's address on the link.
    pub here: Ipv4Addr,
    /// The other one's.
    pub there: Ipv4Addr,
}

impl Elsewhere {
    /// Another machine.
    ///
    /// # Errors
    /// Says what is missing.
    pub fn new() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("needs root".into());
        }
        tool("ip")?;
        // Of the range for tests of devices (RFC 2544), as nobody's network is.
        let net = std::process::id().to_le_bytes();
        let address = |last| Ipv4Addr::new(198, 18 | (net[1] & 1), net[0], last);
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "echo in; exec cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let process = command.spawn().map_err(|error| format!("unshare: {error}"))?;
        let mut elsewhere = Self { process, here: address(1), there: address(2) };
        let mut said = [0; 3];
        elsewhere.process.stdout.as_mut().expect("it is a pipe").read_exact(&mut said).map_err(|it| it.to_string())?;
        let (pid, name) = (elsewhere.process.id().to_string(), format!("proa{}", std::process::id()));
        let (here, there) = (format!("{}/30", elsewhere.here), format!("{}/30", elsewhere.there));
        let within = ["nsenter", "--net", "--target", pid.as_str(), "ip"];
        let ip = |before: &[&str], words: &[&str]| {
            let line: Vec<&str> = before.iter().chain(words).copied().collect();
            let status = Command::new(line[0]).args(&line[1..]).status().map_err(|error| error.to_string())?;
            if status.success() { Ok(()) } else { Err(format!("{line:?}: {status}")) }
        };
        ip(&["ip"], &["link", "add", &name, "type", "veth", "peer", "name", "eth0", "netns", &pid])?;
        ip(&["ip"], &["address", "add", &here, "dev", &name])?;
        ip(&["ip"], &["link", "set", &name, "up"])?;
        ip(&within, &["address", "add", &there, "dev", "eth0"])?;
        ip(&within, &["link", "set", "eth0", "up"])?;
        Ok(elsewhere)
    }

    /// What a server on this machine says to a client from there.
    ///
    /// # Panics
    /// It says nothing within the limit.
    #[must_use]
    pub fn ask(&self, port: u16) -> String {
        let namespace = std::fs::File::open(format!("/proc/{}/ns/net", self.process.id())).expect("it lives");
        let address = SocketAddr::from((self.here, port));
        // Of this thread alone.
        let asked = std::thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("it is root's");
            ask(address)
        });
        asked.join().expect("it is answered")
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a server says to a client of this machine.
///
/// # Panics
/// It says nothing within the limit.
#[must_use]
pub fn ask(address: SocketAddr) -> String {
    let deadline = Instant::now() + limit();
    let once = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut answer = [0; 100];
        match stream.read(&mut answer)? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            length => Ok(String::from_utf8_lossy(&answer[..length]).trim().to_owned()),
        }
    };
    loop {
        match once() {
            Ok(answer) => return answer,
            Err(error) => assert!(Instant::now() < deadline, "{address}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
