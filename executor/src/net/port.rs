//! Ports of the host that lead into a pod, as `--port` says them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use appc::{ExposedPort, Port};

use crate::error::CommandError;

/// Most ports of one range: each takes a descriptor while the pod runs.
pub(crate) const MOST_PORTS: u16 = 256;

/// What `--port` says. Without an address that is the host's loopback, in both families.
pub(crate) fn ports(text: &str) -> Result<Vec<ExposedPort>, CommandError> {
    parse(&format!("--port={text:?}"), text)
}

/// As [`ports`], and errors begin with what is `shown`.
pub(crate) fn parse(shown: &str, text: &str) -> Result<Vec<ExposedPort>, CommandError> {
    let refused = |why: String| {
        CommandError::usage(format!("{shown}: {why}")).hint(
            "NAME:[IP:]PORT or NUMBER[-LAST][/udp]:[IP:]PORT[-LAST], as in http:8080, 80:8080, 53/udp:127.0.0.1:5353",
        )
    };
    let (target, host) = text.split_once(':').ok_or_else(|| refused("the port of the host is missing".into()))?;
    let (ip, host) = match host.rsplit_once(':') {
        None => (None, host),
        Some((ip, host)) => {
            let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
            let ip: IpAddr = bare.parse().map_err(|_| refused(format!("{ip:?} is no IP address")))?;
            (Some(ip), host)
        }
    };
    let (host_port, host_count) = range(host).map_err(&refused)?;
    let (name, pod_port) = if target.starts_with(|c: char| c.is_ascii_digit()) {
        let (numbers, protocol) = target.split_once('/').unwrap_or((target, "tcp"));
        if !["tcp", "udp"].contains(&protocol) {
            return Err(refused(format!("{protocol:?} is neither tcp nor udp")));
        }
        let (port, count) = range(numbers).map_err(&refused)?;
        if host_count != count {
            return Err(refused(format!("{count} ports cannot be {host_count}")));
        }
        let name = format!("{port}-{protocol}").parse().map_err(|error| refused(format!("{error}")))?;
        let port = Port { name, protocol: protocol.to_owned(), port, count, socket_activated: false };
        (port.name.clone(), Some(port))
    } else {
        if host_count != 1 {
            return Err(refused("a port with a name has as many numbers as the image says: give the first".into()));
        }
        (target.parse().map_err(|error| refused(format!("{error}")))?, None)
    };
    let is_udp = pod_port.as_ref().is_some_and(|port| port.protocol == "udp");
    let addresses = match ip {
        Some(ip) => vec![ip],
        // pasta takes a port for one address.
        None if is_udp => vec![Ipv4Addr::LOCALHOST.into()],
        None => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
    };
    let exposed = |ip| ExposedPort {
        name: name.clone(),
        host_port: host_port.into(),
        host_ip: Some(ip),
        pod_port: pod_port.clone(),
    };
    Ok(addresses.into_iter().map(exposed).collect())
}

/// The first port of a range and how many there are.
///
/// # Errors
///
/// Why it is none, in words.
pub(crate) fn range(text: &str) -> Result<(u16, u16), String> {
    let number = |text: &str| match text.parse::<u16>() {
        Ok(port @ 1..) => Ok(port),
        _ => Err(format!("{text:?} is no port, which are 1 to 65535")),
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    match last.checked_sub(first) {
        None => Err(format!("{text:?} ends before it begins")),
        Some(more) if more >= MOST_PORTS => Err(format!("{text:?} is more than {MOST_PORTS} ports")),
        Some(more) => Ok((first, more + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(text: &str) -> Vec<String> {
        let show = |port: &ExposedPort| {
            let pod = port.pod_port.as_ref().map_or("?".into(), |p| format!("{}+{}/{}", p.port, p.count, p.protocol));
            format!("{} {}:{} {pod}", port.name, port.host_ip.unwrap(), port.host_port)
        };
        ports(text).unwrap().iter().map(show).collect()
    }

    #[test]
    fn ports_are_read() {
        assert_eq!(port("http:8080"), ["http 127.0.0.1:8080 ?", "http ::1:8080 ?"]);
        assert_eq!(port("http:0.0.0.0:8080"), ["http 0.0.0.0:8080 ?"]);
        assert_eq!(port("80:[::]:8080"), ["80-tcp :::8080 80+1/tcp"]);
        assert_eq!(port("53/udp:5353"), ["53-udp 127.0.0.1:5353 53+1/udp"]);
        assert_eq!(port("90-99:127.0.0.1:8090-8099"), ["90-tcp 127.0.0.1:8090 90+10/tcp"]);
        for wrong in [
            "",
            "http",
            "http:",
            "http:0",
            "http:65536",
            "80:x:80",
            "80/sctp:80",
            "80-90:80",
            "90-80:90-80",
            "Http:1",
            "a:1-2",
            "1-9999:1-9999",
        ] {
            assert!(ports(wrong).is_err(), "{wrong}");
        }
    }
}
