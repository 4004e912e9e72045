//! The options of `docker run` about the network: `--network`, `-p`, `--add-host`, `--dns`, `--dns-search`.

use appc::ExposedPort;

use crate::error::CommandError;
use crate::net::{self, NetChoice};

/// The network and the ports that are published. Without an address docker publishes them for everybody.
pub(super) fn network(
    network: Option<&str>,
    publish: &[String],
) -> Result<(NetChoice, Vec<ExposedPort>), CommandError> {
    let (mode, named) = match network {
        None => (None, Vec::new()),
        Some("bridge" | "default") => (Some(net::Mode::Default), Vec::new()),
        Some("none") => (Some(net::Mode::None), Vec::new()),
        Some("host") => (Some(net::Mode::Host), Vec::new()),
        Some(network) if net::is_network_name(network) => {
            (None, vec![net::Named { network: network.to_owned(), address: None, aliases: Vec::new() }])
        }
        Some(network) => {
            return Err(CommandError::usage(format!("--network={network}: there is no such network"))
                .hint("there are none, bridge and host, and what network.d defines"));
        }
    };
    let mut ports = Vec::new();
    // As docker, which says nothing: with --network=none and host there is nothing to publish.
    for text in publish.iter().filter(|_| mode.is_none_or(|mode| mode == net::Mode::Default)) {
        let refused = |why: &str| CommandError::usage(format!("-p {text}: {why}")).hint("[IP:]HOST:CONTAINER[/udp]");
        let (host, container) = text.rsplit_once(':').ok_or_else(|| refused("the port of the host is missing"))?;
        let exposed = net::ports(&format!("{container}:{host}"))?;
        let everybody = !host.contains(':');
        let one = exposed.into_iter().next().map(|port| match everybody {
            true => ExposedPort { host_ip: None, ..port },
            false => port,
        });
        ports.extend(one);
    }
    Ok((NetChoice { mode, named, ..NetChoice::default() }, ports))
}

/// How names are resolved in the pod.
pub(super) fn names(
    net: &mut net::NetRequest,
    hosts: &[String],
    dns: &[String],
    search: Vec<String>,
) -> Result<(), CommandError> {
    for text in hosts {
        let refused = || CommandError::usage(format!("--add-host {text}: wanted NAME:IP"));
        let (name, ip) = text.split_once([':', '=']).ok_or_else(refused)?;
        let ip = ip.trim_start_matches('[').trim_end_matches(']').parse().map_err(|_| refused())?;
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)) {
            return Err(refused());
        }
        net.hosts.push((ip, name.to_owned()));
    }
    let server = |text: &String| text.parse().map_err(|_| CommandError::usage(format!("--dns {text}: no IP address")));
    let servers = dns.iter().map(server).collect::<Result<Vec<_>, _>>()?;
    if !servers.is_empty() {
        net.resolvers = net::Resolvers::These(servers);
    }
    net.search = net::checked("--dns-search", search)?;
    Ok(())
}
