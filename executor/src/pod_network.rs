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

/// Takes places in networks for a pod with these names, and makes those networks where nobody is.
///
/// # Errors
///
/// A network cannot be had, or not together with another one.
pub(crate) fn join(
    data_dir: &Path,
    all: &[Joins],
    names: &[String],
) -> Result<(Vec<Membership>, Vec<Seat>), CommandError> {
    let mapping = idmap::detect(data_dir)?;
    let networks = open_networks(data_dir)?;
    // Once for all of them: who holds a network that is asked for must not wait for the lock.
    let lock = lock(&networks)?;
    // Those that are given up after an error take the lock themselves: they outlive it.
    let mut seats = Vec::new();
    let joined = join_locked(data_dir, &networks, all, &mapping, names, &mut seats);
    drop(lock);
    Ok((joined?, seats))
}

/// As [`join`], with the directory of networks locked.
fn join_locked(
    data_dir: &Path,
    networks: &OwnedFd,
    all: &[Joins],
    mapping: &IdMapping,
    names: &[String],
    seats: &mut Vec<Seat>,
) -> Result<Vec<Membership>, CommandError> {
    let mut found: Vec<Option<(Node, OwnedFd)>> = Vec::new();
    // Those that there are come first: the others are made beside them.
    for joins in all {
        let name = &joins.network;
        let asked = take_seat(networks, data_dir, name).and_then(|seat| {
            let asked = ask(&seat.network);
            seats.push(seat);
            asked
        });
        found.push(asked.during(|| format!("join network {name:?}"))?);
    }
    let mut memberships: Vec<Membership> = Vec::new();
    for (index, joins) in all.iter().enumerate() {
        let name = &joins.network;
        let node = match found[index].take() {
            Some((node, listener)) => Ok((node, listener)),
            None => {
                let beside = memberships.first().map(|it| &it.node).or(found.iter().flatten().next().map(|it| &it.0));
                make(&seats[index], mapping, joins, beside)
            }
        };
        let apart = |node: &Node| memberships.first().filter(|first| !first.node.is_beside(node).unwrap_or(false));
        let node = node.and_then(|(node, listener)| match apart(&node).map(|first| &first.network) {
            None => Ok((node, listener)),
            Some(first) => Err(CommandError::failed(format!("it was made apart from network {first:?}"))
                .hint("a pod can be on both when the pods of one of them have ended")),
        });
        let (node, listener) = node.during(|| format!("join network {name:?}"))?;
        memberships.push(Membership {
            network: name.clone(),
            node,
            mapping: mapping.clone(),
            listener,
            address: joins.address,
            names: names.iter().chain(&joins.aliases).cloned().collect(),
        });
    }
    Ok(memberships)
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

/// Opens the directory of networks, which is made if it is not there.
fn open_networks(data_dir: &Path) -> Result<OwnedFd, CommandError> {
    let path = data_dir.join(NETWORKS);
    DirBuilder::new().recursive(true).mode(0o700).create(&path).during(|| format!("create {}", path.display()))?;
    open(CWD, &path).during(|| format!("open {}", path.display()))
}

/// Opens the directory of the network and locks it. The directory of networks is locked.
fn take_seat(networks: &OwnedFd, data_dir: &Path, name: &str) -> Result<Seat, CommandError> {
    if !is_network_name(name) {
        return Err(CommandError::failed("that is no name of a network"));
    }
    let shown = || data_dir.join(NETWORKS).join(name).display().to_string();
    match mkdirat(networks, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno).during(|| format!("create {}", shown())),
    }
    let network = open(networks, Path::new(name)).during(|| format!("open {}", shown()))?;
    // Nobody has it locked for himself, because nobody else has the directory of networks locked.
    flock(&network, FlockOperation::NonBlockingLockShared).during(|| format!("lock {}", shown()))?;
    Ok(Seat { networks: networks.try_clone()?, network, name: name.to_owned() })
}

/// Locks the directory of networks. The lock goes with the descriptor.
fn lock(networks: &OwnedFd) -> Result<OwnedFd, CommandError> {
    // A lock is of the open file: another one of the same directory.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let lock = openat(networks, ".", flags, Mode::empty()).during(|| format!("open {NETWORKS}"))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(lock),
            Err(Errno::AGAIN) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
            Err(Errno::AGAIN) => {
                return Err(CommandError::failed("another pod has been joining or leaving a network for too long")
                    .hint("is its proa stopped (Ctrl-Z)?"));
            }
            Err(errno) => return Err(errno).during(|| format!("lock {NETWORKS}")),
        }
    }
}

/// Asks the network's monitors for the node; `None` if there are none.
fn ask(network: &OwnedFd) -> Result<Option<(Node, OwnedFd)>, CommandError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let flags = SocketFlags::CLOEXEC;
        let made = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).and_then(|socket| {
            for timeout in [Timeout::Recv, Timeout::Send] {
                set_socket_timeout(&socket, timeout, Some(PATIENCE))?;
            }
            Ok(socket)
        });
        let socket = made.during(|| "make a socket".into())?;
        match address(network).and_then(|address| connect(&socket, &address)) {
            Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(None),
            // More wait already than it lets wait.
            Err(Errno::AGAIN) => return Err(nobody_answers()),
            connected => connected.during(|| format!("connect to its {SOCKET}"))?,
        }
        match node::take(&socket) {
            Ok(Some(found)) => return Ok(Some(found)),
            // The monitor that was about to answer is gone: perhaps there is another one. Those of another user's pods let
            // everybody else go without a word.
            Ok(None) if Instant::now() < deadline => {}
            Ok(None) => return Err(nobody_answers()),
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

/// The node of any other network that there is: a pod can be on networks whose nodes were made beside each other.
fn neighbour(seat: &Seat) -> Result<Option<Node>, CommandError> {
    let during = || format!("read {NETWORKS}");
    for entry in Dir::read_from(&seat.networks).during(during)? {
        let entry = entry.during(during)?;
        let Some(name) = entry.file_name().to_str().ok().filter(|name| is_network_name(name)) else { continue };
        let Ok(network) = open(&seat.networks, Path::new(name)) else { continue };
        // One whose monitors are all stopped is no reason not to have this one.
        if let Ok(Some((node, _))) = ask(&network) {
            return Ok(Some(node));
        }
    }
    Ok(None)
}

/// Makes the node beside that one, or beside any that there is, and the socket at which it is handed on.
fn make(
    seat: &Seat,
    mapping: &IdMapping,
    joins: &Joins,
    beside: Option<&Node>,
) -> Result<(Node, OwnedFd), CommandError> {
    let neighbour = if beside.is_none() && Node::is_nested(mapping) { neighbour(seat)? } else { None };
    let node = Node::create(mapping, joins.subnet, beside.or(neighbour.as_ref())).map_err(|error| match error {
        NodeError::Bridge(_) => CommandError::from(error)
            .hint("networks of pods take the kernel's bridge and veth: `modprobe -a bridge veth`, as root, loads them"),
        NodeError::Namespaces(error) => idmap::explain(error.into()),
        error => error.into(),
    })?;
    let socket = listen_at(&seat.network).during(|| format!("make the socket {NETWORKS}/{}/{SOCKET}", seat.name))?;
    Ok((node, socket))
}

/// Listens in the directory of a network, where nobody else does.
fn listen_at(network: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    match unlinkat(network, SOCKET, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    bind(&socket, &address(network)?)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// A path of a socket has at most 107 bytes (unix(7)).
fn address(network: &OwnedFd) -> Result<SocketAddrUnix, Errno> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", network.as_fd().as_raw_fd()))
}

fn open(at: impl std::os::fd::AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    openat(at, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}
