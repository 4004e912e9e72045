//! From the ports of a pod manifest to what carries them: sockets that are opened here, and what pasta is told.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use appc::{ExposedPort, PodManifest, Port, RuntimeApp};
use stage1::bandwidth::Bandwidth;
use stage1::network::{CarriedPort, Network, Passed, Relay, Target, Uplink};

use crate::diagnostics::warn;
use crate::error::CommandError;
use crate::handed::Handed;
use crate::net::{MOST_PORTS, Mode, NetRequest};

/// Where pasta is looked for; not in PATH, as every helper program.
const PASTA: [&str; 3] = ["/usr/bin/pasta", "/usr/local/bin/pasta", "/bin/pasta"];

/// Most ports of a range that is added: their sockets are handed over in one message.
const MOST_ADDED: u16 = 128;

/// The program that connects pods with the world, if it is installed.
pub(crate) fn pasta() -> Option<PathBuf> {
    PASTA.iter().map(PathBuf::from).find(|path| path.exists())
}

/// Ports of the host that lead into the pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Forward {
    ip: Option<IpAddr>,
    host_port: u16,
    pod_port: u16,
    count: u16,
    udp: bool,
    /// The app that takes the socket over, and under which name.
    activates: Option<(usize, String)>,
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

/// The error for ports of a pod that nothing leads into.
fn closed(net: &NetRequest) -> CommandError {
    if net.joins.is_empty() {
        CommandError::usage("--port: with --net=none nothing leads into the pod")
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
        Mode::Default => uplink(forwards).map(|uplink| Network::Uplink(Uplink { bandwidth, ..uplink })),
    }
}

fn uplink(forwards: &BTreeSet<Forward>) -> Result<Uplink, CommandError> {
    let (mut relays, mut tcp, mut udp) = (Vec::new(), Vec::new(), Vec::new());
    for forward in forwards {
        if let Some(ip) = forward.ip.filter(IpAddr::is_loopback) {
            let inside = if ip.is_ipv4() { IpAddr::from(Ipv4Addr::LOCALHOST) } else { Ipv6Addr::LOCALHOST.into() };
            for offset in 0..forward.count {
                let address = SocketAddr::new(ip, forward.host_port + offset);
                let socket = match bind(address, forward.udp) {
                    Ok(socket) => socket,
                    // A host without IPv6 has one loopback address.
                    Err(error) if ip.is_ipv6() && error.kind() == io::ErrorKind::AddrNotAvailable => continue,
                    Err(error) => return Err(refused(address, &error)),
                };
                let target = Target::Loopback(SocketAddr::new(inside, forward.pod_port + offset));
                relays.push(Relay { socket, target, datagrams: forward.udp });
            }
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
        pasta => Ok(Uplink { pasta, ports, relays, required, bandwidth: None }),
    }
}

fn sockets(
    manifest: &PodManifest,
    activated: &BTreeSet<Forward>,
    handed: Vec<Handed>,
) -> Result<Vec<Vec<Passed>>, CommandError> {
    let mut sockets: Vec<Vec<Passed>> = manifest.apps.iter().map(|_| Vec::new()).collect();
    let mut served = BTreeSet::new();
    for Handed { name, address, socket } in handed {
        match taker(manifest, activated, &name, address.map(|address| address.port())) {
            Some((app, name)) => {
                served.insert(name.clone());
                sockets[app].push(Passed { name, socket });
            }
            None => {
                let at = address.map_or_else(String::new, |address| format!(" at {address}"));
                warn(&format!(
                    "the socket {name:?}{at} that proa was handed is for no socket-activated port of an app"
                ));
            }
        }
    }
    for forward in activated {
        let Some((app, name)) = &forward.activates else { continue };
        if served.contains(name) {
            continue;
        }
        let ip = forward.ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        // One socket is what a program expects for a port: of the two loopback addresses, the older.
        let twin = Forward { ip: Some(Ipv4Addr::LOCALHOST.into()), ..forward.clone() };
        if ip == IpAddr::from(Ipv6Addr::LOCALHOST) && activated.contains(&twin) {
            continue;
        }
        for offset in 0..forward.count {
            let address = SocketAddr::new(ip, forward.host_port + offset);
            let socket = TcpListener::bind(address).map(OwnedFd::from).map_err(|error| refused(address, &error))?;
            sockets[*app].push(Passed { name: name.clone(), socket });
        }
    }
    Ok(sockets)
}

/// Which app takes over a socket that this process was handed, and as which of its ports: the one that has the socket's
/// name, else the one that its port of the host leads to, else the one of that number.
fn taker(
    manifest: &PodManifest,
    activated: &BTreeSet<Forward>,
    name: &str,
    number: Option<u16>,
) -> Option<(usize, String)> {
    let ports = || {
        let of_app = |(index, app): (usize, &RuntimeApp)| {
            let ports: Vec<(usize, Port)> =
                app.app.iter().flat_map(|app| &app.ports).map(|port| (index, port.clone())).collect();
            ports
        };
        manifest.apps.iter().enumerate().flat_map(of_app).filter(|(_, port)| port.socket_activated)
    };
    let has = |first: u16, count: u16, number: u16| number >= first && number - first < count.max(1);
    let by_name = ports().find(|(_, port)| port.name.as_str() == name);
    let owned = |(app, port): (usize, Port)| (app, port.name.to_string());
    by_name.map(owned).or_else(|| {
        let number = number?;
        let exposed = activated.iter().find(|forward| has(forward.host_port, forward.count, number));
        let by_number = || ports().find(|(_, port)| has(port.port, port.count, number)).map(owned);
        exposed.and_then(|forward| forward.activates.clone()).or_else(by_number)
    })
}

/// Listens on the ports that pasta is going to listen on, for an error that says which.
fn try_out(forward: &Forward) -> Result<(), CommandError> {
    let ip = forward.ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    (0..forward.count).try_for_each(|offset| {
        let address = SocketAddr::new(ip, forward.host_port + offset);
        bind(address, forward.udp).map(drop).map_err(|error| refused(address, &error))
    })
}

/// A socket at this address of the host: one for datagrams, or one that listens.
fn bind(address: SocketAddr, udp: bool) -> io::Result<OwnedFd> {
    if udp { UdpSocket::bind(address).map(OwnedFd::from) } else { TcpListener::bind(address).map(OwnedFd::from) }
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
        match bind(address, udp) {
            Ok(socket) => sockets.push(socket),
            Err(error)
                if port.host_ip == IpAddr::from(Ipv6Addr::LOCALHOST)
                    && error.kind() == io::ErrorKind::AddrNotAvailable =>
            {
                return Ok(None);
            }
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

/// What the manifest's ports come to: those of the apps by name, or as they say themselves (appc pods.md, "ports").
fn forwards(manifest: &PodManifest) -> Result<BTreeSet<Forward>, CommandError> {
    manifest.ports.iter().map(|exposed| forward(manifest, exposed)).collect()
}

fn forward(manifest: &PodManifest, exposed: &ExposedPort) -> Result<Forward, CommandError> {
    let ExposedPort { name, host_port, host_ip, pod_port } = exposed;
    let of_apps = || manifest.apps.iter().filter_map(|app| app.app.as_ref()).flat_map(|app| &app.ports);
    let has_it = |app: &RuntimeApp| app.app.as_ref().is_some_and(|app| app.ports.iter().any(|it| it.name == *name));
    // Names of ports are unique in a pod (appc pods.md, "ports"). Where nobody asks for one by its name, two apps of one
    // image do no harm.
    if pod_port.is_none() && of_apps().filter(|port| port.name == *name).count() > 1 {
        let owners: Vec<&str> = manifest.apps.iter().filter(|app| has_it(app)).map(|app| app.name.as_str()).collect();
        let name = name.as_str();
        return Err(CommandError::failed(format!(
            "port {name:?}: several ports have this name, of the apps {}",
            owners.join(", ")
        ))
        .hint("give its number: --port 80:8080, or podPort in a pod manifest"));
    }
    let owner = manifest.apps.iter().position(has_it);
    let port = pod_port.as_ref().or_else(|| of_apps().find(|port| port.name == *name));
    // A port by number is forwarded, whatever an image calls its own.
    let is_taken_over = pod_port.is_none() && port.is_some_and(|port| port.socket_activated);
    let activates = owner.filter(|_| is_taken_over).map(|app| (app, name.to_string()));
    let Some(Port { protocol, port, count, .. }) = port else {
        let mut names: Vec<String> = of_apps().map(|port| format!("{} ({})", port.name, port.port)).collect();
        names.dedup();
        let hint = match names.as_slice() {
            [] => "no image names its ports: give the number, as in 80:8080".to_owned(),
            names => format!("there are: {}", names.join(", ")),
        };
        return Err(CommandError::failed(format!("no app has a port called {:?}", name.as_str())).hint(hint));
    };
    let count = (*count).max(1);
    if count > MOST_PORTS {
        return Err(CommandError::failed(format!(
            "port {:?}: {count} ports, at most {} can be had",
            name.as_str(),
            MOST_PORTS
        ))
        .hint("give the numbers that are wanted, as in 80-89:8080-8089"));
    }
    let host_port = u16::try_from(*host_port).ok().filter(|first| *first > 0 && first.checked_add(count - 1).is_some());
    let host_port = host_port.ok_or_else(|| {
        CommandError::failed(format!("port {:?}: {} is no port of the host", name.as_str(), exposed.host_port))
    })?;
    let udp = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => false,
        "udp" => true,
        other => {
            return Err(CommandError::failed(format!(
                "port {:?}: protocol {other:?} cannot be forwarded",
                name.as_str()
            ))
            .hint("tcp and udp can"));
        }
    };
    if udp && activates.is_some() {
        return Err(CommandError::failed(format!(
            "port {:?}: a socket for datagrams is not handed over",
            name.as_str()
        ))
        .hint("it would be a way to whatever the host reaches; give the port's number to have it forwarded"));
    }
    Ok(Forward { ip: *host_ip, host_port, pod_port: *port, count, udp, activates })
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

    #[test]
    fn a_socket_that_was_handed_over_has_a_taker() {
        let json = r#"{"acKind":"PodManifest","acVersion":"0.8.11","apps":[{"name":"a","image":{"id":"sha512-00"},
            "app":{"exec":["/x"],"user":"0","group":"0","ports":[{"name":"plain","protocol":"tcp","port":90}]}},
            {"name":"b","image":{"id":"sha512-00"},"app":{"exec":["/x"],"user":"0","group":"0","ports":[
            {"name":"www","protocol":"tcp","port":80,"socketActivated":true},
            {"name":"api","protocol":"tcp","port":81,"count":2,"socketActivated":true}]}}],
            "ports":[{"name":"www","hostPort":8080}]}"#;
        let manifest = PodManifest::from_json(json.as_bytes()).unwrap();
        let (activated, _) = forwards(&manifest).unwrap().into_iter().partition(|it| it.activates.is_some());
        let taken =
            |name: &str, number| taker(&manifest, &activated, name, number).map(|(app, name)| format!("{app} {name}"));
        for (name, number, expected) in [
            ("api", Some(8080), Some("1 api")),
            ("x.socket", Some(8080), Some("1 www")),
            ("x.socket", Some(82), Some("1 api")),
            ("x.socket", Some(83), None),
            ("plain", Some(90), None),
            ("www", None, Some("1 www")),
            ("", None, None),
        ] {
            assert_eq!(taken(name, number).as_deref(), expected, "{name} {number:?}");
        }
    }

    #[test]
    fn a_port_leads_somewhere() {
        let json = r#"{"acKind":"PodManifest","acVersion":"0.8.11","apps":[{"name":"web","image":{"id":"sha512-00"},
            "app":{"exec":["/x"],"user":"0","group":"0","ports":[{"name":"http","protocol":"tcp","port":80},
            {"name":"many","protocol":"udp","port":90,"count":3}]}}],
            "ports":[{"name":"http","hostPort":8080},{"name":"many","hostPort":9090,"hostIP":"127.0.0.1"},
            {"name":"x","hostPort":7,"podPort":{"name":"x","protocol":"tcp","port":8}}]}"#;
        let mut manifest = PodManifest::from_json(json.as_bytes()).unwrap();
        let found: Vec<String> = forwards(&manifest).unwrap().iter().map(option).collect();
        assert_eq!(found, ["7:8", "8080:80", "127.0.0.1/9090-9092:90-92"]);
        manifest.ports[0].name = "https".parse().unwrap();
        assert!(forwards(&manifest).unwrap_err().chain().contains("https"));
        manifest.ports[0].name = "http".parse().unwrap();
        let mut twin = manifest.apps[0].clone();
        twin.name = "twin".parse().unwrap();
        manifest.apps.push(twin);
        let error = forwards(&manifest).unwrap_err().chain();
        assert_eq!(error, "port \"http\": several ports have this name, of the apps web, twin");
        // By its number, or not at all, it is no matter.
        manifest.ports.retain(|port| port.pod_port.is_some());
        assert_eq!(forwards(&manifest).unwrap().len(), 1);
    }
}
