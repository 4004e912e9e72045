//! The network of a pod as the command line says it, and as the pod's manifest keeps it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use appc::{AcIdentifier, ExposedPort, PodManifest, Port};
use clap::Args;
use serde::{Deserialize, Serialize};
use stage1::node::Subnet;

use crate::config::{NamedNetwork, Networks};
use crate::error::CommandError;

/// Annotation of a pod: what of its network the manifest has no other place for, as JSON.
pub(crate) const ANNOTATION: &str = "proa.local/network";

/// Most ports of one range: each takes a descriptor while the pod runs.
pub(crate) const MOST_PORTS: u16 = 256;

// Options about the network. (A doc comment would become the help text of the whole command.)
#[derive(Debug, Default, Args)]
pub(crate) struct NetArgs {
    /// Choose the pod's network: default (the world, by pasta), none (its own loopback interface alone), host (yours),
    /// or NAME[:IP=ADDRESS] of network.d (the world, and the pods on that network) [default: default, unless configured
    /// otherwise]
    #[arg(long, value_name = "NET", num_args = 0..=1, require_equals = true, default_missing_value = "default")]
    net: Option<String>,

    /// Forward a port of the host: NAME:[IP:]PORT for an app's port of that name, or NUMBER[-LAST][/udp]:[IP:]PORT[-LAST]
    ///
    /// Without an IP only this host can connect, by 127.0.0.1 and ::1; 0.0.0.0 and [::] are for everybody.
    #[arg(long, value_name = "PORT")]
    port: Vec<String>,

    /// Let apps ask this name server; `host` gives them the host's /etc/resolv.conf, `none` the image's own
    #[arg(long, value_name = "IP")]
    dns: Vec<String>,

    /// Let apps look for names in this domain
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,

    /// Give apps an option of /etc/resolv.conf
    #[arg(long, value_name = "OPTION")]
    dns_opt: Vec<String>,

    /// Give apps the domain of /etc/resolv.conf
    #[arg(long, value_name = "DOMAIN")]
    dns_domain: Option<String>,

    /// Add a line to the apps' /etc/hosts: IP=NAME[,IP=NAME]; `host` gives them the host's
    #[arg(long, value_name = "IP=NAME")]
    hosts_entry: Vec<String>,
}

/// What a pod has for a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// Its own loopback.
    #[default]
    None,
    /// The world, by pasta.
    Default,
    /// The host's.
    Host,
}

impl Mode {
    /// The network of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::None, Self::Default, Self::Host].into_iter().find(|mode| mode.as_str() == name)
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Default => "default",
            Self::Host => "host",
        }
    }
}

/// A network of pods that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) network: String,
    /// The address that the pod is to have there.
    pub(crate) address: Option<Ipv4Addr>,
}

impl Named {
    /// The network that a pod joins, as it is configured, and what else the pod is connected to.
    ///
    /// # Errors
    ///
    /// There is no such network, or no such address in it.
    pub(crate) fn find(&self, networks: &Networks) -> Result<(Mode, Joins), CommandError> {
        let Self { network, address } = self;
        let Some(NamedNetwork { subnet, internal }) = networks.named.get(network) else {
            let file = format!("network.d/{network}.json");
            let form = format!(r#"{{"rktKind":"network","rktVersion":"v1","name":"{network}"}}"#);
            let error = CommandError::usage(format!("--net={network}: there is no such network"));
            let known: Vec<&str> = networks.named.keys().map(String::as_str).collect();
            return Err(error
                .hint(format!("there are: {}", [&["none", "default", "host"][..], &known].concat().join(", ")))
                .hint(format!("a network of pods is made by {file} in a configuration directory: {form}")));
        };
        if let Some(address) = address.filter(|address| !subnet.has(*address)) {
            return Err(CommandError::usage(format!("--net={network}: a pod cannot have {address} in {subnet}")));
        }
        let mode = if *internal { Mode::None } else { Mode::Default };
        Ok((mode, Joins { network: network.clone(), subnet: *subnet, address: *address }))
    }
}

impl FromStr for Named {
    type Err = CommandError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (network, arguments) = text.split_once(':').unwrap_or((text, ""));
        if !is_network_name(network) {
            let hint = match network.contains(',') {
                true => "a pod is on one network",
                false => "give none, default, host, or the name of a network of pods",
            };
            return Err(CommandError::usage(format!("--net={text}: there is no such network")).hint(hint));
        }
        let address = match arguments {
            "" => None,
            arguments => {
                let address = arguments.strip_prefix("IP=").and_then(|ip| ip.parse().ok());
                Some(address.ok_or_else(|| {
                    CommandError::usage(format!("--net={text}: {arguments:?} is not IP= and an IPv4 address"))
                        .hint("as in --net=backend:IP=10.1.2.3")
                })?)
            }
        };
        Ok(Self { network: network.to_owned(), address })
    }
}

/// Whether a network of pods can be called so: by what a host can be called, but for what means something else.
pub(crate) fn is_network_name(name: &str) -> bool {
    let is_sign = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let in_form = (1..=63).contains(&name.len()) && !name.starts_with('-') && name.chars().all(is_sign);
    in_form && Mode::named(name).is_none()
}

/// The network of pods that a pod joins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Joins {
    pub(crate) network: String,
    /// Its range, if the pod is the first on it.
    pub(crate) subnet: Subnet,
    /// The address that the pod is to have; else one that is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<Ipv4Addr>,
}

impl Joins {
    /// As `--net` says it.
    pub(crate) fn shown(&self) -> String {
        let address = self.address.map(|address| format!(":IP={address}"));
        format!("{}{}", self.network, address.unwrap_or_default())
    }
}

/// Who resolves names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Resolvers {
    /// Whoever does for the host, if the pod can reach the world.
    #[default]
    Automatic,
    /// As the image says.
    None,
    /// As the host's file says.
    Host,
    /// These; none at all with other settings given.
    These(Vec<IpAddr>),
}

impl Resolvers {
    fn are_automatic(&self) -> bool {
        *self == Self::Automatic
    }
}

/// A pod's network as it was asked for, which may leave open what it is connected to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NetChoice {
    /// What it is connected to, if that was said.
    pub(crate) mode: Option<Mode>,
    /// The network of pods that it joins instead, if it does.
    pub(crate) named: Option<Named>,
    /// The rest.
    pub(crate) rest: NetRequest,
}

impl NetChoice {
    /// The network of a pod with or without ports, on a machine with this default.
    ///
    /// # Errors
    ///
    /// That of finding out about the default, which is asked for only if it counts.
    pub(crate) fn settle<E>(
        &self,
        has_ports: bool,
        default: impl FnOnce() -> Result<Mode, E>,
    ) -> Result<NetRequest, E> {
        let mode = match self.mode {
            Some(mode) => mode,
            // They are for the world to come in by.
            None if has_ports => Mode::Default,
            None => default()?,
        };
        let mut request = NetRequest { mode, ..self.rest.clone() };
        let further = !request.search.is_empty() || !request.options.is_empty() || request.domain.is_some();
        if further && request.resolvers == Resolvers::Automatic && mode == Mode::None {
            request.resolvers = Resolvers::These(Vec::new());
        }
        Ok(request)
    }
}

/// A pod's network, besides its ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NetRequest {
    pub(crate) mode: Mode,
    /// The network of pods that it joins as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) joins: Option<Joins>,
    #[serde(skip_serializing_if = "Resolvers::are_automatic")]
    pub(crate) resolvers: Resolvers,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) search: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) options: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) domain: Option<String>,
    /// Lines of /etc/hosts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) hosts: Vec<(IpAddr, String)>,
    /// Whether /etc/hosts is the host's.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) hosts_of_host: bool,
}

impl NetArgs {
    /// What they mean: the network and the ports.
    ///
    /// # Errors
    ///
    /// They make no sense.
    pub(crate) fn request(self) -> Result<(NetChoice, Vec<ExposedPort>), CommandError> {
        let ports = self.port.iter().map(|text| ports(text)).collect::<Result<Vec<_>, _>>()?.concat();
        let mode = self.net.as_deref().and_then(Mode::named);
        let named = self.net.as_deref().filter(|_| mode.is_none()).map(str::parse).transpose()?;
        let mut request = NetRequest {
            search: checked("--dns-search", self.dns_search)?,
            options: checked("--dns-opt", self.dns_opt)?,
            domain: checked("--dns-domain", self.dns_domain.into_iter().collect())?.pop(),
            ..NetRequest::default()
        };
        request.resolvers = resolvers(&self.dns)?;
        let further = !request.search.is_empty() || !request.options.is_empty() || request.domain.is_some();
        if further && matches!(request.resolvers, Resolvers::None | Resolvers::Host) {
            return Err(CommandError::usage("--dns=none and --dns=host go with no other option beginning --dns"));
        }
        for entry in self.hosts_entry.iter().flat_map(|text| text.split(',')) {
            if entry == "host" {
                request.hosts_of_host = true;
                continue;
            }
            let refused = |why: &str| CommandError::usage(format!("--hosts-entry={entry:?}: {why}")).hint("IP=NAME");
            let (ip, name) = entry.split_once('=').ok_or_else(|| refused("wanted: IP=NAME"))?;
            let ip = ip.parse().map_err(|_| refused("that is no IP address"))?;
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)) {
                return Err(refused("that is no host name"));
            }
            request.hosts.push((ip, name.to_owned()));
        }
        if request.hosts_of_host && !request.hosts.is_empty() {
            return Err(CommandError::usage("--hosts-entry=host goes with no other --hosts-entry"));
        }
        Ok((NetChoice { mode, named, rest: request }, ports))
    }

    /// Whether none is given.
    pub(crate) fn is_bare(&self) -> bool {
        let texts = [&self.port, &self.dns, &self.dns_search, &self.dns_opt, &self.hosts_entry];
        self.net.is_none() && self.dns_domain.is_none() && texts.iter().all(|texts| texts.is_empty())
    }
}

impl NetRequest {
    /// What a manifest says, if it says anything.
    ///
    /// # Errors
    ///
    /// It says something that this program does not write.
    pub(crate) fn noted_in(manifest: &PodManifest) -> Result<Option<Self>, CommandError> {
        let noted = manifest.annotations.get(ANNOTATION).map(serde_json::from_str).transpose();
        noted.map_err(|error| CommandError::failed(format!("annotation {ANNOTATION}: {error}")))
    }

    /// The network of a pod that there is.
    ///
    /// # Errors
    ///
    /// As [`NetRequest::noted_in`].
    pub(crate) fn of(manifest: &PodManifest) -> Result<Self, CommandError> {
        Ok(Self::noted_in(manifest)?.unwrap_or_default())
    }

    /// Says so in a manifest: what is run again is the same pod, whatever is configured then.
    pub(crate) fn note_in(&self, manifest: &mut PodManifest) {
        let name: AcIdentifier = ANNOTATION.parse().expect("it is an identifier");
        manifest.annotations.set(name, serde_json::to_string(self).expect("texts and addresses"));
    }
}

fn resolvers(texts: &[String]) -> Result<Resolvers, CommandError> {
    match texts {
        [] => Ok(Resolvers::Automatic),
        [one] if one == "none" => Ok(Resolvers::None),
        [one] if one == "host" => Ok(Resolvers::Host),
        texts => {
            let address = |text: &String| {
                text.parse().map_err(|_| {
                    CommandError::usage(format!("--dns={text:?}: that is no IP address"))
                        .hint("give IP addresses, or `host` or `none` alone")
                })
            };
            texts
                .iter()
                .flat_map(|text| text.split(','))
                .map(|text| address(&text.to_owned()))
                .collect::<Result<_, _>>()
                .map(Resolvers::These)
        }
    }
}

/// Words of a line of /etc/resolv.conf.
pub(crate) fn checked(option: &str, texts: Vec<String>) -> Result<Vec<String>, CommandError> {
    let is_word = |text: &String| !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
    match texts.iter().find(|text| !is_word(text)) {
        Some(text) => Err(CommandError::usage(format!("{option}={text:?}: that is no word"))),
        None => Ok(texts),
    }
}

/// What `--port` says. Without an address that is the host's loopback, in both families.
pub(crate) fn ports(text: &str) -> Result<Vec<ExposedPort>, CommandError> {
    let refused = |why: String| {
        CommandError::usage(format!("--port={text:?}: {why}")).hint(
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
fn range(text: &str) -> Result<(u16, u16), String> {
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

    #[test]
    fn what_is_noted_is_read_back() {
        let mut manifest = PodManifest::blank();
        assert_eq!(NetRequest::noted_in(&manifest).unwrap(), None);
        NetRequest::default().note_in(&mut manifest);
        assert_eq!(manifest.annotations.get(ANNOTATION), Some(r#"{"mode":"none"}"#));
        let args = NetArgs {
            net: Some("host".into()),
            dns: vec!["10.0.0.1".into(), "fd00::1".into()],
            dns_search: vec!["example.com".into()],
            hosts_entry: vec!["10.1.1.1=a,10.1.1.2=b".into()],
            ..NetArgs::default()
        };
        let (choice, _) = args.request().unwrap();
        let request = choice.settle(false, || unreachable!("it was chosen") as Result<Mode, ()>).unwrap();
        request.note_in(&mut manifest);
        assert_eq!(NetRequest::of(&manifest).unwrap(), request);
        assert_eq!(request.hosts.len(), 2);
    }

    #[test]
    fn what_was_not_chosen_is_the_machines_default() {
        let mode = |args: NetArgs, default: Mode| {
            let (choice, ports) = args.request().unwrap();
            choice.settle(!ports.is_empty(), || Ok::<_, ()>(default)).unwrap().mode
        };
        let of = |net: &str| NetArgs { net: Some(net.into()), ..NetArgs::default() };
        let with_port = || NetArgs { port: vec!["80:8080".into()], ..NetArgs::default() };
        for default in [Mode::None, Mode::Default, Mode::Host] {
            assert_eq!(mode(NetArgs::default(), default), default);
            assert_eq!(mode(with_port(), default), Mode::Default, "ports bring a network");
            assert_eq!(mode(of("none"), default), Mode::None);
            assert_eq!(mode(of("host"), default), Mode::Host);
        }
    }

    #[test]
    fn a_search_list_alone_leaves_the_servers_as_they_are_where_there_are_any() {
        let args = NetArgs { dns_search: vec!["example.com".into()], ..NetArgs::default() };
        let (choice, _) = args.request().unwrap();
        let resolvers = |mode| choice.settle(false, || Ok::<_, ()>(mode)).unwrap().resolvers;
        assert_eq!(resolvers(Mode::Default), Resolvers::Automatic);
        assert_eq!(resolvers(Mode::None), Resolvers::These(Vec::new()));
    }

    #[test]
    fn a_network_of_pods_is_found() {
        let network = NamedNetwork { subnet: "10.1.2.0/24".parse().unwrap(), internal: true };
        let networks = Networks { default: None, named: [("back".to_owned(), network)].into() };
        let find = |net: &str| {
            let args = NetArgs { net: Some(net.into()), ..NetArgs::default() };
            args.request().unwrap().0.named.unwrap().find(&networks)
        };
        let (mode, joins) = find("back:IP=10.1.2.9").unwrap();
        assert_eq!((mode, joins.shown().as_str()), (Mode::None, "back:IP=10.1.2.9"));
        assert_eq!(find("back").unwrap().1.shown(), "back");
        assert!(find("back:IP=10.1.3.9").is_err() && find("back:IP=10.1.2.1").is_err());
        let error = find("front").unwrap_err();
        assert!(
            error.chain().contains("--net=front")
                && error.all_hints(None).join(" ").contains("none, default, host, back")
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |args: NetArgs| args.request().is_err();
        for net in ["Back", "", "a b", "-a", "a,b", "none:IP=10.0.0.2", "a:IP=", "a:IP=fd00::1", "a:MAC=1", "../a"] {
            assert!(refused(NetArgs { net: Some(net.into()), ..NetArgs::default() }), "{net}");
        }
        assert!(refused(NetArgs { hosts_entry: vec!["x".into()], ..NetArgs::default() }));
        assert!(refused(NetArgs { dns: vec!["host".into(), "1.1.1.1".into()], ..NetArgs::default() }));
    }
}
