//! The options of `docker run` about the network, as a pod's network and the ports that lead into it.

use std::net::Ipv4Addr;

use appc::{ExposedPort, Port};
use clap::Args;

use super::run::said;
use crate::context::Context;
use crate::diagnostics::warn;
use crate::error::CommandError;
use crate::net::{self, Mode, NetChoice, NetRequest};
use crate::prepare::PreparedPod;

mod attachment;
mod links;
mod published;

// The options are flattened into those of `docker run`; a doc comment here would become its help text.
#[derive(Debug, Args)]
pub(crate) struct NetworkArgs {
    /// Connect the container to a network: bridge (the world; default), none, host, or those of network.d
    #[arg(long, visible_alias = "net", value_name = "NETWORK")]
    network: Vec<String>,

    /// Give the container another name on its networks of network.d
    #[arg(long, visible_alias = "net-alias", value_name = "NAME")]
    network_alias: Vec<String>,

    /// Give the container this IPv4 address on its network of network.d
    #[arg(long, value_name = "IP")]
    ip: Option<String>,

    /// Add another name of a running container that is on the same network of network.d: CONTAINER[:NAME]
    #[arg(long, value_name = "CONTAINER")]
    link: Vec<String>,

    /// Publish a container's port to the host: [[IP:][HOST]:]CONTAINER[/udp]; one that is free if none is given
    #[arg(long, short, value_name = "PORT")]
    publish: Vec<String>,

    /// Publish all exposed ports to free ones
    #[arg(long, short = 'P')]
    publish_all: bool,

    /// Expose a port or a range of ports, for --publish-all
    #[arg(long, value_name = "PORT")]
    expose: Vec<String>,

    /// Add a custom host-to-IP mapping: NAME:IP
    #[arg(long, value_name = "HOST")]
    add_host: Vec<String>,

    /// Set custom DNS servers
    #[arg(long, value_name = "IP")]
    dns: Vec<String>,

    /// Set custom DNS search domains
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,

    /// Set DNS options
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    dns_option: Vec<String>,
}

/// What they mean.
#[derive(Debug)]
pub(super) struct Wiring {
    pub(super) net: NetChoice,
    pub(super) ports: Vec<ExposedPort>,
    pub(super) exposing: Exposing,
}

/// What is still to be done about ports when the image is known.
#[derive(Debug)]
pub(super) struct Exposing {
    /// Those that the container has besides its image's.
    more: Vec<Port>,
    /// Whether all of them are published.
    all: bool,
}

impl NetworkArgs {
    /// What they mean.
    ///
    /// # Errors
    ///
    /// They make no sense, or name what is not there.
    pub(super) fn wiring(&self, context: &Context) -> Result<Wiring, CommandError> {
        let networks: Vec<String> = self.network.iter().cloned().filter_map(said).collect();
        let ip = self.ip.as_deref().filter(|ip| !ip.is_empty());
        let (mode, named) = attachment::of(context, &networks, &self.network_alias, ip)?;
        let mut rest = NetRequest {
            search: net::checked("--dns-search", self.dns_search.clone())?,
            options: net::checked("--dns-option", self.dns_option.clone())?,
            own_hosts: true,
            ..NetRequest::default()
        };
        self.names(&mut rest)?;
        rest.hosts.extend(links::of(context, &self.link, &named)?);
        // With --network=none and host there is nothing to publish; as docker, which says so of the latter.
        let publishes = mode.is_none_or(|mode| mode == Mode::Default);
        let published = published::of(&self.publish)?;
        if mode == Some(Mode::Host) && !published.is_empty() {
            warn("-p does nothing with --network=host: what the container listens on are the host's ports");
        }
        let ports = published.into_iter().filter(|_| publishes).collect();
        let all = publishes && self.publish_all;
        // They are for the world to come in by.
        let mode = mode.or((all && named.is_empty()).then_some(Mode::Default));
        let more = published::exposed(&self.expose)?;
        Ok(Wiring { net: NetChoice { mode, named, rest }, ports, exposing: Exposing { more, all } })
    }

    /// How names are resolved.
    fn names(&self, rest: &mut NetRequest) -> Result<(), CommandError> {
        for text in &self.add_host {
            let refused = || CommandError::usage(format!("--add-host {text}: wanted NAME:IP"));
            let (name, ip) = text.split_once([':', '=']).ok_or_else(refused)?;
            if !is_host_name(name) {
                return Err(refused());
            }
            if ip == "host-gateway" {
                if self.network.iter().any(|network| network == "host") {
                    rest.hosts.push((Ipv4Addr::LOCALHOST.into(), name.to_owned()));
                    continue;
                }
                // Most who ask for it never use it: it is no reason to run nothing.
                warn(&format!(
                    "--add-host {text} is not held: a container reaches what listens on its host with --network=host alone"
                ));
                continue;
            }
            let ip = ip.trim_start_matches('[').trim_end_matches(']').parse().map_err(|_| refused())?;
            rest.hosts.push((ip, name.to_owned()));
        }
        let server =
            |text: &String| text.parse().map_err(|_| CommandError::usage(format!("--dns {text}: no IP address")));
        let servers = self.dns.iter().map(server).collect::<Result<Vec<_>, _>>()?;
        if !servers.is_empty() {
            rest.resolvers = net::Resolvers::These(servers);
        }
        Ok(())
    }
}

impl Exposing {
    /// Does it.
    ///
    /// # Errors
    ///
    /// No port of the host is free.
    pub(super) fn finish(&self, pod: &mut PreparedPod) -> Result<(), CommandError> {
        published::finish(&mut pod.manifest, &self.more, self.all)
    }
}

/// Whether it can stand in a line of /etc/hosts.
fn is_host_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
}
