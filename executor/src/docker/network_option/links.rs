//! `--link`: further names of containers that run, as lines of /etc/hosts.

use std::net::IpAddr;

use pod::State;

use super::is_host_name;
use crate::client;
use crate::context::Context;
use crate::docker::container::{self, Container};
use crate::error::CommandError;
use crate::net::Named;

/// The lines for `links`, of a container that is on these networks.
///
/// # Errors
///
/// One leads to nothing that could be reached.
pub(super) fn of(
    context: &Context,
    links: &[String],
    networks: &[Named],
) -> Result<Vec<(IpAddr, String)>, CommandError> {
    let mut lines = Vec::new();
    for text in links {
        let (needle, alias) = text.split_once(':').map_or((text.as_str(), None), |(it, alias)| (it, Some(alias)));
        if networks.is_empty() {
            return Err(CommandError::failed(format!("--link {text}: containers on bridge do not reach each other"))
                .hint("`docker network create NAME`, and --network=NAME for both of them"));
        }
        let pods = context.pods()?;
        let found = Container::read(&pods, container::find(&pods, needle)?)?;
        let name = found.name();
        let alias = alias.unwrap_or(&name);
        if !is_host_name(alias) {
            return Err(CommandError::usage(format!("--link {text}: {alias:?} is no host name")));
        }
        if found.entry.state != State::Running {
            return Err(CommandError::failed(format!("Cannot link to a non running container: /{name} AS {alias}")));
        }
        let joined = client::report(&pods, &found.entry).map(|report| report.network.joined).unwrap_or_default();
        let common = joined.iter().find(|joined| networks.iter().any(|named| named.network == joined.name));
        let Some(address) = common.and_then(|joined| joined.address) else {
            let of: Vec<&str> = networks.iter().map(|named| named.network.as_str()).collect();
            return Err(CommandError::failed(format!("Cannot link to /{name}: it is not on {}", of.join(", "))));
        };
        // Under its own name it is found anyway, wherever it moves to.
        if alias != name {
            lines.push((address.into(), alias.to_owned()));
        }
    }
    Ok(lines)
}
