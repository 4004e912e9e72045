//! `--network`, `--network-alias` and `--ip`.

use std::net::Ipv4Addr;

use super::is_host_name;
use crate::context::Context;
use crate::diagnostics::warn;
use crate::docker::network::named_by;
use crate::error::CommandError;
use crate::net::{Mode, Named, is_network_name};

/// Bytes of all further names of a container on a network: they stand with its name and its host name where the kernel
/// has room for 255.
const MOST_ALIASES: usize = 120;

/// A network as it was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Attachment {
    network: String,
    aliases: Vec<String>,
    address: Option<String>,
}

/// What the container is connected with.
///
/// # Errors
///
/// There is no such network, or they do not go together.
pub(super) fn of(
    context: &Context,
    networks: &[String],
    aliases: &[String],
    ip: Option<&str>,
) -> Result<(Option<Mode>, Vec<Named>), CommandError> {
    let mut wanted = networks.iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>()?;
    if let Some(first) = wanted.first_mut() {
        first.aliases.extend_from_slice(aliases);
        first.address = first.address.take().or(ip.map(str::to_owned));
    } else if !aliases.is_empty() || ip.is_some() {
        wanted.push(Attachment {
            network: "bridge".to_owned(),
            aliases: aliases.to_vec(),
            address: ip.map(str::to_owned),
        });
    }
    let (mut modes, mut named) = (Vec::new(), Vec::new());
    for attachment in wanted {
        let network = named_by(context, &attachment.network)?;
        match mode(&network) {
            Some(mode) => modes.push(attachment.of_mode(mode)?),
            None => named.push(attachment.of_network(network)?),
        }
    }
    match (modes.as_slice(), named.is_empty()) {
        ([], _) => Ok((None, named)),
        ([mode], true) => Ok((Some(*mode), named)),
        _ => Err(CommandError::usage(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
        )),
    }
}

/// What every user has.
fn mode(network: &str) -> Option<Mode> {
    match network {
        "bridge" | "default" => Some(Mode::Default),
        "none" => Some(Mode::None),
        "host" => Some(Mode::Host),
        _ => None,
    }
}

/// `NAME`, or `name=NAME,alias=…,ip=…`.
fn parse(text: &str) -> Result<Attachment, CommandError> {
    if text.starts_with("container:") {
        return Err(CommandError::usage(format!("--network={text}: a container's network is its own"))
            .hint("have both on a network that `docker network create` makes: there they find each other by name"));
    }
    if !text.contains('=') {
        return Ok(Attachment { network: text.to_owned(), ..Attachment::default() });
    }
    let mut attachment = Attachment::default();
    for field in text.split(',') {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        match key {
            "name" => value.clone_into(&mut attachment.network),
            "alias" => attachment.aliases.push(value.to_owned()),
            "ip" => attachment.address = Some(value.to_owned()),
            "ip6" | "mac-address" | "link-local-ip" | "driver-opt" | "gw-priority" => {
                warn(&format!("--network {text}: {field} is not held"));
            }
            _ => {
                let why = format!("invalid argument {text:?} for \"--network\" flag: invalid field {field}");
                return Err(CommandError::usage(why).hint("there are name=, alias= and ip="));
            }
        }
    }
    Ok(attachment)
}

impl Attachment {
    fn of_mode(self, mode: Mode) -> Result<Mode, CommandError> {
        let refused = |what: &str| {
            CommandError::failed(what.to_owned())
                .hint("`docker network create NAME` makes a network, and --network=NAME takes it")
        };
        if !self.aliases.is_empty() {
            return Err(refused("network-scoped alias is supported only for containers in user defined networks"));
        }
        if self.address.is_some() {
            return Err(refused("user specified IP address is supported on user defined networks only"));
        }
        Ok(mode)
    }

    fn of_network(self, network: String) -> Result<Named, CommandError> {
        if !is_network_name(&network) {
            return Err(CommandError::usage(format!("--network={network}: there is no such network"))
                .hint("there are none, bridge and host, and what network.d defines"));
        }
        if let Some(alias) = self.aliases.iter().find(|alias| !is_host_name(alias)) {
            return Err(CommandError::usage(format!("--network-alias={alias:?}: that is no host name")));
        }
        if self.aliases.iter().map(|alias| alias.len() + 1).sum::<usize>() > MOST_ALIASES {
            let names = self.aliases.join(" ");
            return Err(CommandError::usage(format!("--network-alias: {names:?} is more than {MOST_ALIASES} bytes")));
        }
        let wrong = |ip: &String| CommandError::usage(format!("invalid IPv4 address: {ip}"));
        let address = self.address.map(|ip| ip.parse::<Ipv4Addr>().map_err(|_| wrong(&ip))).transpose()?;
        Ok(Named { network, address, aliases: self.aliases })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_two_spellings() {
        let whole = Attachment {
            network: "back".into(),
            aliases: vec!["db".into(), "sql".into()],
            address: Some("10.1.2.3".into()),
        };
        assert_eq!(parse("name=back,alias=db,alias=sql,ip=10.1.2.3").unwrap(), whole);
        assert_eq!(parse("back").unwrap(), Attachment { network: "back".into(), ..Attachment::default() });
        for wrong in ["container:web", "name=back,colour=red"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_of_hosts_and_few() {
        let of = |alias: &str| {
            let attachment = Attachment { aliases: vec![alias.to_owned()], ..Attachment::default() };
            attachment.of_network("back".into()).map(|named| named.aliases)
        };
        assert_eq!(of("db.local").unwrap(), ["db.local"]);
        for wrong in ["", "a b", "a\n10.0.0.1 evil", &"a".repeat(MOST_ALIASES)] {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
        let ip = Attachment { address: Some("10.1.2".into()), ..Attachment::default() };
        assert!(ip.of_network("back".into()).is_err());
    }
}
