//! Which app takes over which listening socket (appc aci.md, "socketActivated").

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use appc::{PodManifest, Port};
use stage1::network::{Listener, Passed};

use super::exposed::Forward;
use super::refused;
use crate::diagnostics::warn;
use crate::error::CommandError;
use crate::handed::Handed;
use crate::net::MOST_PORTS;

/// For each app the sockets that it takes over: those that this process was handed, and for the rest new ones, on the
/// host where one of its ports leads to it, else in the pod.
///
/// # Errors
///
/// A port cannot be listened on, or has more numbers than there can be sockets.
pub(super) fn sockets(
    manifest: &PodManifest,
    activated: &BTreeSet<Forward>,
    handed: Vec<Handed>,
) -> Result<Vec<Vec<Passed>>, CommandError> {
    let mut sockets: Vec<Vec<Passed>> = manifest.apps.iter().map(|_| Vec::new()).collect();
    let (mut served, mut opened) = (BTreeSet::new(), BTreeSet::new());
    for Handed { name, address, socket } in handed {
        match taker(manifest, activated, &name, address.map(|address| address.port())) {
            Some((app, name)) => {
                served.insert(name.clone());
                opened.insert((app, name.clone()));
                sockets[app].push(Passed { name, socket: Listener::Open(socket) });
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
            sockets[*app].push(Passed { name: name.clone(), socket: Listener::Open(socket) });
        }
        opened.insert((*app, name.clone()));
    }
    for (app, port) in activated_ports(manifest).filter(|(_, port)| !port.protocol.eq_ignore_ascii_case("udp")) {
        if !opened.contains(&(app, port.name.to_string())) {
            sockets[app].extend(in_pod(port)?);
        }
    }
    Ok(sockets)
}

/// Refuses more sockets of a port than there can be, of an app that is added to a pod: pid 1 opens them there.
///
/// # Errors
///
/// A port has more numbers than that.
pub(crate) fn check(manifest: &PodManifest) -> Result<(), CommandError> {
    sockets(manifest, &BTreeSet::new(), Vec::new()).map(drop)
}

/// The sockets of a port that nothing on the host leads to: the app expects to find them all the same.
fn in_pod(port: &Port) -> Result<impl Iterator<Item = Passed>, CommandError> {
    let count = port.count.max(1);
    if count > MOST_PORTS {
        let name = port.name.as_str();
        return Err(CommandError::failed(format!(
            "port {name:?}: {count} sockets to take over, at most {MOST_PORTS} can be had"
        ))
        .hint("correct the image's manifest and build it again"));
    }
    let passed = |number| Passed { name: port.name.to_string(), socket: Listener::InPod(number) };
    Ok((0..count).filter_map(|offset| port.port.checked_add(offset)).map(passed))
}

/// The ports that apps take over, each with its app's place in the manifest.
fn activated_ports(manifest: &PodManifest) -> impl Iterator<Item = (usize, &Port)> {
    let apps = manifest.apps.iter().enumerate().map(|(index, app)| (index, app.app.as_ref()));
    let ports = apps
        .flat_map(|(index, app)| app.into_iter().flat_map(move |app| app.ports.iter().map(move |port| (index, port))));
    ports.filter(|(_, port)| port.socket_activated)
}

/// Which app takes over a socket that this process was handed, and as which of its ports: the one that has the socket's
/// name, else the one that its port of the host leads to, else the one of that number.
fn taker(
    manifest: &PodManifest,
    activated: &BTreeSet<Forward>,
    name: &str,
    number: Option<u16>,
) -> Option<(usize, String)> {
    let ports = || activated_ports(manifest);
    let has = |first: u16, count: u16, number: u16| number >= first && number - first < count.max(1);
    let by_name = ports().find(|(_, port)| port.name.as_str() == name);
    let owned = |(app, port): (usize, &Port)| (app, port.name.to_string());
    by_name.map(owned).or_else(|| {
        let number = number?;
        let exposed = activated.iter().find(|forward| has(forward.host_port, forward.count, number));
        let by_number = || ports().find(|(_, port)| has(port.port, port.count, number)).map(owned);
        exposed.and_then(|forward| forward.activates.clone()).or_else(by_number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_was_handed_over_has_a_taker() {
        let json = r#"{"acKind":"PodManifest","acVersion":"0.8.11","apps":[{"name":"a","image":{"id":"sha512-00"},
            "app":{"exec":["/x"],"user":"0","group":"0","ports":[{"name":"plain","protocol":"tcp","port":90}]}},
            {"name":"b","image":{"id":"sha512-00"},"app":{"exec":["/x"],"user":"0","group":"0","ports":[
            {"name":"www","protocol":"tcp","port":80,"socketActivated":true},
            {"name":"api","protocol":"tcp","port":81,"count":2,"socketActivated":true}]}}],
            "ports":[{"name":"www","hostPort":8080}]}"#;
        let manifest = PodManifest::from_json(json.as_bytes()).unwrap();
        let (activated, _) =
            super::super::exposed::forwards(&manifest).unwrap().into_iter().partition(|it| it.activates.is_some());
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
}
