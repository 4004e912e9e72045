//! The ports of the host that lead into a pod, as they are shown.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use appc::{PodManifest, Port};
use pod::{PodEntry, Pods, State};
use serde::Serialize;
use stage1::network::{CarriedPort, NetworkReport};

use crate::client;
use crate::net::{Mode, NetRequest};

/// A port, or a range of ports, of the host that leads into a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LeadingPort {
    /// What the port is called.
    name: String,
    /// `tcp` or `udp`.
    protocol: String,
    /// The address of the host; 0.0.0.0 stands for all.
    host_ip: IpAddr,
    /// The first port of the host.
    host_port: u32,
    /// The first port in the pod.
    pod_port: u16,
    /// How many ports there are.
    count: u16,
    /// Whether an app takes the socket over, instead of listening in the pod.
    socket_activated: bool,
}

/// What an image exposes, as docker writes it: `80/tcp`, `5000-5009/udp`.
pub(crate) fn exposed(port: &Port) -> String {
    match port.count {
        0 | 1 => format!("{}/{}", port.port, port.protocol),
        count => format!("{}-{}/{}", port.port, u32::from(port.port) + u32::from(count) - 1, port.protocol),
    }
}

/// The ports of a pod; those whose name no app has lead nowhere and are left out.
pub(crate) fn of(manifest: &PodManifest) -> Vec<LeadingPort> {
    let of_apps = || manifest.apps.iter().filter_map(|app| app.app.as_ref()).flat_map(|app| &app.ports);
    let shown = manifest.ports.iter().filter_map(|exposed| {
        let of_app = || of_apps().find(|port| port.name == exposed.name);
        let port = exposed.pod_port.as_ref().or_else(of_app)?;
        Some(LeadingPort {
            name: exposed.name.to_string(),
            protocol: port.protocol.to_ascii_lowercase(),
            host_ip: exposed.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
            host_port: u32::try_from(exposed.host_port).ok()?,
            pod_port: port.port,
            count: port.count.max(1),
            // A port by number is forwarded, whatever an image calls its own.
            socket_activated: exposed.pod_port.is_none() && port.socket_activated,
        })
    });
    shown.collect()
}

/// The ports of a pod, with what has been added and taken away since it runs.
pub(crate) fn with_changes(manifest: &PodManifest, report: Option<&NetworkReport>) -> Vec<LeadingPort> {
    let mut ports = of(manifest);
    if let Some(report) = report {
        ports.retain(|port| !report.closed.iter().any(|closed| port.is(closed)));
        ports.extend(report.added.iter().map(LeadingPort::from));
    }
    ports
}

/// As [`with_changes`], of a pod that may run: then its supervisor is asked.
pub(crate) fn now(pods: &Pods, entry: &PodEntry, manifest: &PodManifest) -> Vec<LeadingPort> {
    let can_change = NetRequest::of(manifest).is_ok_and(|net| net.mode == Mode::Default);
    let report = (can_change && entry.state == State::Running).then(|| client::report(pods, entry)).flatten();
    with_changes(manifest, report.as_ref().map(|report| &report.network))
}

impl From<&CarriedPort> for LeadingPort {
    fn from(port: &CarriedPort) -> Self {
        Self {
            name: port.name.clone(),
            protocol: if port.datagrams { "udp" } else { "tcp" }.to_owned(),
            host_ip: port.host_ip,
            host_port: port.host_port.into(),
            pod_port: port.pod_port,
            count: port.count,
            socket_activated: false,
        }
    }
}

impl LeadingPort {
    /// It as its supervisor knows it; `None` for one that an app has taken over.
    pub(crate) fn carried(&self) -> Option<CarriedPort> {
        let host_port = u16::try_from(self.host_port).ok().filter(|_| !self.socket_activated)?;
        Some(CarriedPort {
            name: self.name.clone(),
            datagrams: self.protocol == "udp",
            host_ip: self.host_ip,
            host_port,
            pod_port: self.pod_port,
            count: self.count,
        })
    }

    /// Whether it begins at these ports of the host, at this address if one is given.
    pub(crate) fn begins_at(&self, ip: Option<IpAddr>, first: u16, count: u16, protocol: &str) -> bool {
        ip.is_none_or(|ip| ip == self.host_ip)
            && (self.host_port, self.count, self.protocol.as_str()) == (first.into(), count, protocol)
    }

    /// As `proa port rm` takes it: `127.0.0.1:5353/udp`.
    pub(crate) fn as_argument(&self) -> String {
        let protocol = if self.protocol == "tcp" { String::new() } else { format!("/{}", self.protocol) };
        format!("{}{protocol}", self.outside())
    }

    fn is(&self, other: &CarriedPort) -> bool {
        self.carried().as_ref() == Some(other)
    }

    /// The address of the host that it is of; none if it is of all.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        Some(self.host_ip).filter(|ip| !ip.is_unspecified())
    }

    /// Where it leads to: `80/tcp`.
    pub(crate) fn inside(&self) -> String {
        format!("{}/{}", self.range(self.pod_port.into()), self.protocol)
    }

    /// Where it begins: `0.0.0.0:8080`.
    pub(crate) fn outside(&self) -> String {
        let range = self.range(self.host_port);
        match self.host_ip {
            IpAddr::V6(ip) => format!("[{ip}]:{range}"),
            IpAddr::V4(ip) => format!("{ip}:{range}"),
        }
    }

    /// Every place where it begins, as docker shows them: pasta listens on all of IPv6 as well where no address is given.
    pub(crate) fn all_outside(&self) -> Vec<String> {
        let everywhere = self.host_ip == Ipv4Addr::UNSPECIFIED && self.protocol == "tcp" && !self.socket_activated;
        let of_six = everywhere.then(|| format!("[::]:{}", self.range(self.host_port)));
        std::iter::once(self.outside()).chain(of_six).collect()
    }

    fn range(&self, first: u32) -> String {
        match self.count {
            1 => first.to_string(),
            count => format!("{first}-{}", first + u32::from(count) - 1),
        }
    }
}

/// As docker has it: `0.0.0.0:8080->80/tcp`.
impl fmt::Display for LeadingPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}", self.outside(), self.inside())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_shown_with_both_ends() {
        let json = r#"{"acKind":"PodManifest","acVersion":"0.8.11","apps":[{"name":"web","image":{"id":"sha512-00"},
            "app":{"exec":["/x"],"user":"0","group":"0","ports":[{"name":"http","protocol":"tcp","port":80}]}}],
            "ports":[{"name":"http","hostPort":8080},{"name":"nobody","hostPort":1},
            {"name":"x","hostPort":90,"hostIP":"::1","podPort":{"name":"x","protocol":"udp","port":9,"count":3}}]}"#;
        let ports = of(&PodManifest::from_json(json.as_bytes()).unwrap());
        let shown: Vec<String> = ports.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["0.0.0.0:8080->80/tcp", "[::1]:90-92->9-11/udp"]);
        let all: Vec<Vec<String>> = ports.iter().map(LeadingPort::all_outside).collect();
        assert_eq!(all, [vec!["0.0.0.0:8080", "[::]:8080"], vec!["[::1]:90-92"]]);
    }
}
