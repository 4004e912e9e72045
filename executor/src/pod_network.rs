//! Networks of pods on disk: where a network's monitors are found by those who come after.
//!
//! `networks/NAME/` in the data directory has a socket at which every monitor of the network listens (`stage1::node`).
//! Each has the directory locked, shared, for as long as it lives. Who comes and who goes has `networks/` locked for a
//! moment: so there is never more than one node of a name, and the last to go, or `proa gc` when that was killed, finds
//! that nobody has the directory locked, and removes it.

use std::fs::DirBuilder;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Dir, FlockOperation, Mode, OFlags, flock, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with};
use stage1::idmap::IdMapping;
use stage1::node::{self, Membership, Node, NodeError};

use crate::error::{CommandError, Explain as _};
use crate::idmap;
use crate::net::{Joins, is_network_name};

/// The directory of networks in the data directory.
const NETWORKS: &str = "networks";

/// The socket in the directory of a network.
const SOCKET: &str = "socket";

/// How long somebody else may take to come or go, and a monitor to answer. Both take milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections that wait to be answered: those who ask come one by one.
const BACKLOG: i32 = 8;

/// A monitor's place in the directory of its network. Dropped, it is given up, and the directory with it if nobody else
/// is there.
#[derive(Debug)]
pub(crate) struct Seat {
    networks: OwnedFd,
    network: OwnedFd,
    name: String,
}

/// Takes a place in the network for a pod with these names, and makes the network if nobody is there.
///
/// # Errors
///
/// The network cannot be had.
pub(crate) fn join(data_dir: &Path, joins: &Joins, names: Vec<String>) -> Result<(Membership, Seat), CommandError> {
    let name = joins.network.clone();
    if !is_network_name(&name) {
        return Err(CommandError::failed(format!("{name:?} is no name of a network")));
    }
    let mapping = idmap::detect(data_dir)?;
    let joined = take_seat(data_dir, &name).and_then(|(seat, lock)| {
        let (node, listener) = match ask(&seat)? {
            Some(found) => found,
            None => make(&seat, &mapping, joins)?,
        };
        drop(lock);
        Ok((node, listener, seat))
    });
    let (node, listener, seat) = joined.during(|| format!("join network {name:?}"))?;
    Ok((Membership { network: name, node, mapping, listener, address: joins.address, names }, seat))
}

/// Removes what monitors that were killed have left.
///
/// # Errors
///
/// The directory cannot be read, or a network not removed.
pub(crate) fn sweep(data_dir: &Path) -> Result<(), CommandError> {
    let during = || format!("sweep {}", data_dir.join(NETWORKS).display());
    let networks = match open(CWD, &data_dir.join(NETWORKS)) {
        Err(Errno::NOENT) => return Ok(()),
        networks => networks.during(during)?,
    };
    let _lock = lock(&networks).during(during)?;
    for entry in Dir::read_from(&networks).during(during)? {
        let entry = entry.during(during)?;
        let Some(name) = entry.file_name().to_str().ok().filter(|name| is_network_name(name)) else { continue };
        let Ok(network) = open(&networks, Path::new(name)) else { continue };
        remove_if_alone(&networks, &network, name).during(during)?;
    }
    Ok(())
}

impl Drop for Seat {
    fn drop(&mut self) {
        // What is left is found by the next pod on the network, and by gc.
        if let Ok(_lock) = lock(&self.networks) {
            let _ = remove_if_alone(&self.networks, &self.network, &self.name);
        }
    }
}

/// Removes the directory of a network if nobody else has it locked. `networks/` is locked meanwhile.
fn remove_if_alone(networks: &OwnedFd, network: &OwnedFd, name: &str) -> Result<(), Errno> {
    match flock(network, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::AGAIN) => return Ok(()),
        locked => locked?,
    }
    let is_gone = |result| if result == Err(Errno::NOENT) { Ok(()) } else { result };
    is_gone(unlinkat(network, SOCKET, AtFlags::empty()))?;
    is_gone(unlinkat(networks, name, AtFlags::REMOVEDIR))
}

/// Opens the directory of the network, and locks both it and the directory of networks.
fn take_seat(data_dir: &Path, name: &str) -> Result<(Seat, OwnedFd), CommandError> {
    let path = data_dir.join(NETWORKS);
    DirBuilder::new().recursive(true).mode(0o700).create(&path).during(|| format!("create {}", path.display()))?;
    let networks = open(CWD, &path).during(|| format!("open {}", path.display()))?;
    let lock = lock(&networks)?;
    let shown = || path.join(name).display().to_string();
    match mkdirat(&networks, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno).during(|| format!("create {}", shown())),
    }
    let network = open(&networks, Path::new(name)).during(|| format!("open {}", shown()))?;
    // Nobody has it locked for himself, because nobody else has the directory of networks locked.
    flock(&network, FlockOperation::NonBlockingLockShared).during(|| format!("lock {}", shown()))?;
    Ok((Seat { networks, network, name: name.to_owned() }, lock))
}

/// Locks the directory of networks. The lock goes with the descriptor.
fn lock(networks: &OwnedFd) -> Result<OwnedFd, CommandError> {
    // A lock is of the open file: another one of the same directory.
    let lock = openat(networks, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(lock),
            Err(Errno::AGAIN) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
            Err(Errno::AGAIN) => {
                return Err(CommandError::failed("another pod has been joining or leaving a network for too long")
                    .hint("is its proa stopped (Ctrl-Z)?"));
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Asks the network's monitors for the node; `None` if there are none.
fn ask(seat: &Seat) -> Result<Option<(Node, OwnedFd)>, CommandError> {
    loop {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        for timeout in [Timeout::Recv, Timeout::Send] {
            set_socket_timeout(&socket, timeout, Some(PATIENCE))?;
        }
        match connect(&socket, &address(seat)?) {
            Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(None),
            // More wait already than it lets wait.
            Err(Errno::AGAIN) => return Err(nobody_answers()),
            connected => connected?,
        }
        match node::take(&socket) {
            Ok(Some(found)) => return Ok(Some(found)),
            // The monitor that was about to answer is gone: perhaps there is another one.
            Ok(None) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                return Err(nobody_answers());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn nobody_answers() -> CommandError {
    CommandError::failed("no pod on it answers").hint("are all of them stopped (Ctrl-Z)?")
}

/// Makes the node, and the socket at which it is handed on.
fn make(seat: &Seat, mapping: &IdMapping, joins: &Joins) -> Result<(Node, OwnedFd), CommandError> {
    let node = Node::create(mapping, joins.subnet).map_err(|error| match error {
        NodeError::Bridge(_) => CommandError::from(error)
            .hint("networks of pods take the kernel's bridge and veth: `modprobe -a bridge veth`, as root, loads them"),
        NodeError::Namespaces(error) => idmap::explain(error.into()),
        error => error.into(),
    })?;
    match unlinkat(&seat.network, SOCKET, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    bind(&socket, &address(seat)?).during(|| "make its socket".into())?;
    listen(&socket, BACKLOG)?;
    Ok((node, socket))
}

/// A path of a socket has at most 107 bytes (unix(7)).
fn address(seat: &Seat) -> Result<SocketAddrUnix, Errno> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", seat.network.as_fd().as_raw_fd()))
}

fn open(at: impl std::os::fd::AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    openat(at, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}
