//! From the ports of a pod manifest to what carries them: sockets that are opened here, and what pasta is told.

mod activation;
mod carried;
mod exposed;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use appc::{ExposedPort, PodManifest};
use stage1::bandwidth::Bandwidth;
use stage1::limits;
use stage1::network::{CarriedPort, Network, Passed, Uplink};

use crate::diagnostics::warn;
use crate::error::CommandError;
use crate::handed::Handed;
use crate::net::{Mode, NetRequest};

pub(crate) use activation::check as check_activated;
use activation::sockets;
use carried::{bind, is_carried, is_missing};
use exposed::{Forward, forward, forwards};

/// Where pasta is looked for; not in PATH, as every helper program.
const PASTA: [&str; 3] = ["/usr/bin/pasta", "/usr/local/bin/pasta", "/bin/pasta"];

/// Most ports of a range that is added: their sockets are handed over in one message.
const MOST_ADDED: u16 = 128;

/// The program that connects pods with the world, if it is installed.
pub(crate) fn pasta() -> Option<PathBuf> {
    PASTA.iter().map(PathBuf::from).find(|path| path.exists())
}

/// What leads into a pod.
#[derive(Debug)]
pub(crate) struct Entrances {
    /// Its network, with the sockets of forwarded ports open.
    pub(crate) network: Network,
    /// For each app the listening sockets that it takes over (appc aci.md, "socketActivated").
    pub(crate) sockets: Vec<Vec<Passed>>,
}

/// Opens what leads into the pod, but for the sockets that this process was handed.
///
/// # Errors
///
/// A port leads nowhere, or cannot be listened on.
pub(crate) fn open(manifest: &PodManifest, net: &NetRequest, handed: Vec<Handed>) -> Result<Entrances, CommandError> {
    let (activated, forwarded) = forwards(manifest)?.into_iter().partition(|forward| forward.activates.is_some());
    let network = network(&forwarded, net, Bandwidth::of(manifest))?;
    Ok(Entrances { network, sockets: sockets(manifest, &activated, handed)? })
}

/// Makes sure that the ports of a manifest lead through this network.
///
/// # Errors
///
/// They do not.
pub(crate) fn fit(manifest: &PodManifest, net: &NetRequest) -> Result<(), CommandError> {
    let forwarded = forwards(manifest)?.iter().any(|forward| forward.activates.is_none());
    if forwarded && net.mode == Mode::None { Err(closed(net)) } else { Ok(()) }
}

/// Makes sure that ports that were asked for do not lead past the pod. (Those of a pod manifest may: it is for any network.)
///
/// # Errors
///
/// The pod has the host's network, and no app takes them over.
pub(crate) fn expect_own_network(manifest: &PodManifest, net: &NetRequest) -> Result<(), CommandError> {
    let forwarded = forwards(manifest)?.iter().any(|forward| forward.activates.is_none());
    if forwarded && net.mode == Mode::Host { Err(leads_past()) } else { Ok(()) }
}

/// Makes sure of what can be told before there are images: ports by number, which no app takes over, lead into a pod.
///
/// # Errors
///
/// Nothing leads into a pod on this network, or it has the host's.
pub(crate) fn expect_way_in(ports: &[ExposedPort], net: &NetRequest) -> Result<(), CommandError> {
    match net.mode {
        _ if ports.iter().all(|port| port.pod_port.is_none()) => Ok(()),
        Mode::Host => Err(leads_past()),
        Mode::None => Err(closed(net)),
        Mode::Default => Ok(()),
    }
}

/// The error for ports of a pod that has the host's network.
fn leads_past() -> CommandError {
    CommandError::usage("--port flag does not work with 'host' networking")
        .hint("leave --port out: apps listen on the host's own ports")
}

/// The error for ports of a pod that nothing leads into.
fn closed(net: &NetRequest) -> CommandError {
    if net.joins.is_empty() {
        CommandError::usage(
            "--port flag does not work with 'none' networking: with --net=none nothing leads into the pod",
        )
        .hint("leave --net=none out: --port brings a network")
    } else {
        CommandError::usage("--port: nothing leads into a network that is configured as internal")
            .hint("leave \"internal\" out of its configuration, or --port")
    }
}

fn network(
    forwards: &BTreeSet<Forward>,
    net: &NetRequest,
    bandwidth: Option<Bandwidth>,
) -> Result<Network, CommandError> {
    match net.mode {
        Mode::None if forwards.is_empty() => Ok(Network::Loopback),
        Mode::None => Err(closed(net)),
        Mode::Host => {
            if !forwards.is_empty() {
                warn("ports have no effect with the host's network: apps listen on the host's own");
            }
            Ok(Network::Host)
        }
        Mode::Default => uplink(forwards, bandwidth).map(Network::Uplink),
    }
}

fn uplink(forwards: &BTreeSet<Forward>, bandwidth: Option<Bandwidth>) -> Result<Uplink, CommandError> {
    let (mut relays, mut tcp, mut udp) = (Vec::new(), Vec::new(), Vec::new());
    limits::expect_files(forwards.iter().map(|forward| usize::from(forward.count)).sum());
    for forward in forwards {
        if is_carried(forward, bandwidth) {
            relays.extend(carried::relays(forward, forwards)?);
        } else {
            try_out(forward)?;
            if forward.udp { &mut udp } else { &mut tcp }.push(option(forward));
        }
    }
    let mut ports: Vec<String> = Vec::new();
    for (name, specs) in [("tcp-ports", tcp), ("udp-ports", udp)] {
        if specs.is_empty() {
            ports.push(format!("--{name}=none"));
        }
        ports.extend(specs.into_iter().map(|spec| format!("--{name}={spec}")));
    }
    let pasta = pasta();
    let required = !forwards.is_empty();
    match pasta {
        None if required => {
            Err(CommandError::failed("--port: ports need pasta, which is not installed")
                .hint("install the package passt"))
        }
        pasta => Ok(Uplink { pasta, ports, relays, required, bandwidth }),
    }
}

/// Listens on the ports that pasta is going to listen on, for an error that says which.
fn try_out(forward: &Forward) -> Result<(), CommandError> {
    let ip = forward.ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    (0..forward.count).try_for_each(|offset| {
        let address = SocketAddr::new(ip, forward.host_port + offset);
        bind(address, forward.udp).map(drop).map_err(|error| refused(address, &error))
    })
}

/// A port that is to lead into a pod which runs, and its sockets. None of a loopback address that this host does not have.
///
/// # Errors
///
/// The port leads nowhere, cannot be added, or cannot be listened on.
pub(crate) fn further(
    manifest: &PodManifest,
    exposed: &ExposedPort,
) -> Result<Option<(CarriedPort, Vec<OwnedFd>)>, CommandError> {
    let Forward { ip, host_port, pod_port, count, udp, activates } = forward(manifest, exposed)?;
    let name = exposed.name.to_string();
    if activates.is_some() {
        return Err(CommandError::failed(format!("port {name:?}: an app takes its socket over when it starts"))
            .hint("give its number to have it forwarded, as in 80:8080"));
    }
    if count > MOST_ADDED {
        return Err(CommandError::failed(format!("port {name:?}: at most {MOST_ADDED} ports can be added at once"))
            .hint("several ranges can be given"));
    }
    let port = CarriedPort {
        name,
        datagrams: udp,
        host_ip: ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
        host_port,
        pod_port,
        count,
    };
    let mut sockets = Vec::new();
    for address in port.addresses() {
        match carried::open(address, udp) {
            Ok(socket) => sockets.push(socket),
            Err(error) if is_missing(port.host_ip, &error) => return Ok(None),
            Err(error) => return Err(deaf(address, &error)),
        }
    }
    Ok(Some((port, sockets)))
}

fn refused(address: SocketAddr, error: &io::Error) -> CommandError {
    deaf(address, error).during("--port")
}

/// There is no listening at an address.
fn deaf(address: SocketAddr, error: &io::Error) -> CommandError {
    let refused = CommandError::failed(format!("listen on {address}: {error}"));
    match error.kind() {
        io::ErrorKind::PermissionDenied => refused.hint(
            "ports below 1024 are root's: take another one (root can change net.ipv4.ip_unprivileged_port_start)",
        ),
        io::ErrorKind::AddrInUse => refused.hint("another program listens there: take another port"),
        io::ErrorKind::AddrNotAvailable => refused.hint("that is no address of this host"),
        _ => refused,
    }
}

/// As pasta wants it: IP/FIRST-LAST:FIRST-LAST.
fn option(forward: &Forward) -> String {
    let range = |first: u16| match forward.count {
        1 => first.to_string(),
        count => format!("{first}-{}", first + (count - 1)),
    };
    // For pasta both families are no address at all.
    let ip = forward.ip.filter(|ip| *ip != IpAddr::from(Ipv6Addr::UNSPECIFIED)).map(|ip| format!("{ip}/"));
    format!("{}{}:{}", ip.unwrap_or_default(), range(forward.host_port), range(forward.pod_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pasta_is_told() {
        let forward = |ip: Option<&str>, count| Forward {
            ip: ip.map(|ip| ip.parse().unwrap()),
            host_port: 8080,
            pod_port: 80,
            count,
            udp: false,
            activates: None,
        };
        assert_eq!(option(&forward(None, 1)), "8080:80");
        assert_eq!(option(&forward(Some("::"), 1)), "8080:80");
        assert_eq!(option(&forward(Some("0.0.0.0"), 1)), "0.0.0.0/8080:80");
        assert_eq!(option(&forward(Some("192.0.2.1"), 3)), "192.0.2.1/8080-8082:80-82");
    }
}
