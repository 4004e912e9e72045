//! `-p`, `-P` and `--expose`: ports of the host that lead to a container's.

use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use appc::{ExposedPort, PodManifest, Port};

use crate::error::{CommandError, Explain as _};
use crate::net;

/// What `-p` says. Without an address docker publishes ports for everybody.
///
/// # Errors
///
/// It makes no sense, or no port is free.
pub(super) fn of(texts: &[String]) -> Result<Vec<ExposedPort>, CommandError> {
    let mut free = Free::default();
    let ports = texts.iter().map(|text| publish(text, &mut free)).collect::<Result<Vec<_>, _>>()?;
    Ok(ports.concat())
}

/// `[[IP:][HOST[-LAST]]:]CONTAINER[-LAST][/PROTOCOL]`.
fn publish(text: &str, free: &mut Free) -> Result<Vec<ExposedPort>, CommandError> {
    let refused = |why: String| {
        CommandError::usage(format!("-p {text}: {why}")).hint("[[IP:][HOST]:]CONTAINER[/udp], as in 8080:80")
    };
    let (rest, container) = text.rsplit_once(':').unwrap_or(("", text));
    let (ip, host) = rest.rsplit_once(':').map_or((None, rest), |(ip, host)| (Some(ip), host));
    let bare = ip.map(|ip| ip.trim_start_matches('[').trim_end_matches(']')).filter(|ip| !ip.is_empty());
    let address: Option<IpAddr> =
        bare.map(|ip| ip.parse().map_err(|_| refused(format!("Invalid ip address: {ip}")))).transpose()?;
    let Numbers { protocol, first, count } = numbers(container).map_err(refused)?;
    let port = |number: u16, count: u16, host_port: u16| ExposedPort {
        name: name(number, protocol),
        host_port: host_port.into(),
        host_ip: address,
        pod_port: Some(Port { count, ..port(number, protocol) }),
    };
    if host.is_empty() {
        let each = (first..=first + (count - 1)).map(|number| Ok(port(number, 1, free.one(address, protocol)?)));
        return each.collect();
    }
    let (host_first, host_count) = net::range(host).map_err(refused)?;
    if count == 1 && host_count > 1 {
        let chosen = (host_first..=host_first + (host_count - 1)).find(|number| free.hold(address, protocol, *number));
        let chosen = chosen.ok_or_else(|| refused("all of these ports of the host are taken".to_owned()))?;
        return Ok(vec![port(first, 1, chosen)]);
    }
    if count != host_count {
        return Err(refused(format!("{count} ports cannot be {host_count}")));
    }
    Ok(vec![port(first, count, host_first)])
}

/// What `--expose` says: each port by itself.
///
/// # Errors
///
/// It makes no sense.
pub(super) fn exposed(texts: &[String]) -> Result<Vec<Port>, CommandError> {
    let mut ports = Vec::new();
    for text in texts {
        let refused = |why: String| CommandError::usage(format!("invalid range format for --expose: {text}: {why}"));
        let Numbers { protocol, first, count } = numbers(text).map_err(refused)?;
        ports.extend((first..=first + (count - 1)).map(|number| port(number, protocol)));
    }
    Ok(ports)
}

/// Adds ports to those of a pod's only app, and publishes those that are not yet, if all are to be.
///
/// # Errors
///
/// No port of the host is free.
pub(super) fn finish(manifest: &mut PodManifest, more: &[Port], all: bool) -> Result<(), CommandError> {
    let Some(app) = manifest.apps.first_mut().and_then(|app| app.app.as_mut()) else { return Ok(()) };
    for port in more {
        if !app.ports.iter().any(|known| known.protocol == port.protocol && covers(known, port.port)) {
            app.ports.push(port.clone());
        }
    }
    if !all {
        return Ok(());
    }
    let mut free = Free::default();
    for known in &app.ports {
        for number in known.port..=known.port.saturating_add(known.count.max(1) - 1) {
            let is_it = |port: &Port| port.protocol == known.protocol && covers(port, number);
            if manifest.ports.iter().filter_map(|exposed| exposed.pod_port.as_ref()).any(is_it) {
                continue;
            }
            let host_port = free.one(None, &known.protocol)?.into();
            let name = name(number, &known.protocol);
            let pod_port = Some(port(number, &known.protocol));
            manifest.ports.push(ExposedPort { name, host_port, host_ip: None, pod_port });
        }
    }
    Ok(())
}

fn covers(port: &Port, number: u16) -> bool {
    number >= port.port && number - port.port < port.count.max(1)
}

fn port(number: u16, protocol: &str) -> Port {
    Port {
        name: name(number, protocol),
        protocol: protocol.to_owned(),
        port: number,
        count: 1,
        socket_activated: false,
    }
}

/// As ports of OCI images are called.
fn name(number: u16, protocol: &str) -> appc::AcName {
    format!("{number}-{protocol}").parse().expect("it is digits, a dash and letters")
}

/// `NUMBER[-LAST][/PROTOCOL]`.
struct Numbers<'a> {
    protocol: &'a str,
    first: u16,
    count: u16,
}

fn numbers(text: &str) -> Result<Numbers<'_>, String> {
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    if !["tcp", "udp"].contains(&protocol) {
        return Err(format!("{protocol:?} is neither tcp nor udp"));
    }
    let (first, count) = net::range(numbers)?;
    Ok(Numbers { protocol, first, count })
}

/// Ports of the host that nobody listens on. They are held until all are chosen: none is chosen twice.
#[derive(Default)]
struct Free(Vec<OwnedFd>);

impl Free {
    /// One that the kernel chooses.
    fn one(&mut self, ip: Option<IpAddr>, protocol: &str) -> Result<u16, CommandError> {
        let ip = ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        let during = || format!("find a free port of {ip}");
        let (socket, address) = match protocol {
            "udp" => UdpSocket::bind((ip, 0)).and_then(|it| it.local_addr().map(|address| (it.into(), address))),
            _ => TcpListener::bind((ip, 0)).and_then(|it| it.local_addr().map(|address| (it.into(), address))),
        }
        .during(during)?;
        self.0.push(socket);
        Ok(address.port())
    }

    /// This one, if it is free.
    fn hold(&mut self, ip: Option<IpAddr>, protocol: &str, number: u16) -> bool {
        let ip = ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        let socket: Option<OwnedFd> = match protocol {
            "udp" => UdpSocket::bind((ip, number)).ok().map(Into::into),
            _ => TcpListener::bind((ip, number)).ok().map(Into::into),
        };
        let is_free = socket.is_some();
        self.0.extend(socket);
        is_free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let show = |port: ExposedPort| {
            let inside = port.pod_port.unwrap();
            let ip = port.host_ip.map_or("*".to_owned(), |ip| ip.to_string());
            let host = if port.host_port > 32767 { "free".to_owned() } else { port.host_port.to_string() };
            format!("{ip} {host} {}+{}/{}", inside.port, inside.count, inside.protocol)
        };
        of(&[text.to_owned()]).unwrap().into_iter().map(show).collect()
    }

    #[test]
    fn ports_are_published() {
        assert_eq!(shown("8080:80"), ["* 8080 80+1/tcp"]);
        assert_eq!(shown("127.0.0.1:8080:80/udp"), ["127.0.0.1 8080 80+1/udp"]);
        assert_eq!(shown("[::1]:8080:80"), ["::1 8080 80+1/tcp"]);
        assert_eq!(shown("8080-8081:80-81"), ["* 8080 80+2/tcp"]);
        assert_eq!(shown("80-81"), ["* free 80+1/tcp", "* free 81+1/tcp"]);
        assert_eq!(shown("127.0.0.1::80"), ["127.0.0.1 free 80+1/tcp"]);
        for wrong in ["", ":", "x:80", "80:x", "127.0.0.1:80", "x:8080:80", "80:80/icmp", "1-2:80-83", "0:80"] {
            assert!(of(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn of_a_range_the_first_that_is_free_is_taken_and_none_twice() {
        let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let number = taken.local_addr().unwrap().port();
        let text = format!("{number}-{number}:80");
        // A range of one is that one, free or not: who listens says so.
        assert_eq!(of(&[text]).unwrap()[0].host_port, u64::from(number));
        let mut free = Free::default();
        assert!(!free.hold(None, "tcp", number));
        let (one, other) = (free.one(None, "tcp").unwrap(), free.one(None, "tcp").unwrap());
        assert!(one != other && !free.hold(None, "tcp", one));
    }

    #[test]
    fn what_is_exposed_is_published_once() {
        let json = br#"{"acKind":"PodManifest","acVersion":"0.8.11","apps":[{"name":"web","image":{"id":"sha512-00"},
            "app":{"exec":["/x"],"user":"0","group":"0","ports":[{"name":"80-tcp","protocol":"tcp","port":80}]}}],
            "ports":[{"name":"81-tcp","hostPort":8081,"podPort":{"name":"81-tcp","protocol":"tcp","port":81}}]}"#;
        let published = |more: &[&str], all| {
            let mut manifest = PodManifest::from_json(json).unwrap();
            let more: Vec<String> = more.iter().map(|text| (*text).to_owned()).collect();
            finish(&mut manifest, &exposed(&more).unwrap(), all).unwrap();
            let inside = |port: &ExposedPort| port.pod_port.as_ref().map(|port| (port.port, port.protocol.clone()));
            (
                manifest.apps[0].app.as_ref().unwrap().ports.len(),
                manifest.ports.iter().filter_map(inside).collect::<Vec<_>>(),
            )
        };
        let tcp = |port: u16| (port, "tcp".to_owned());
        assert_eq!(published(&["80", "81-82"], false), (3, vec![tcp(81)]));
        let all = vec![tcp(81), tcp(80), tcp(82), (80, "udp".to_owned())];
        assert_eq!(published(&["80", "81-82", "80/udp"], true), (4, all));
        assert!(exposed(&["x".to_owned()]).is_err());
    }
}
