//! Networks of pods, as `--net` asks for them.

use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use stage1::node::Subnet;

use super::Mode;
use crate::config::{NamedNetwork, Networks};
use crate::error::CommandError;

/// A network of pods that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) network: String,
    /// The address that the pod is to have there.
    pub(crate) address: Option<Ipv4Addr>,
    /// Names that the pod is to have there besides its own.
    pub(crate) aliases: Vec<String>,
}

impl Named {
    /// The network that a pod joins, as it is configured.
    ///
    /// # Errors
    ///
    /// There is no such network, or no such address in it.
    pub(crate) fn find(&self, networks: &Networks) -> Result<Joins, CommandError> {
        let Self { network, address, aliases } = self;
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
        Ok(Joins {
            network: network.clone(),
            subnet: *subnet,
            address: *address,
            internal: *internal,
            aliases: aliases.clone(),
        })
    }
}

impl FromStr for Named {
    type Err = CommandError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (network, arguments) = text.split_once(':').unwrap_or((text, ""));
        if !is_network_name(network) {
            return Err(CommandError::usage(format!("--net={text}: there is no such network"))
                .hint("give none, default, host, or names of networks of pods"));
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
        Ok(Self { network: network.to_owned(), address, aliases: Vec::new() })
    }
}

/// Whether a network of pods can be called so: by what a host can be called, but for what means something else.
pub(crate) fn is_network_name(name: &str) -> bool {
    let is_sign = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let in_form = (1..=63).contains(&name.len()) && !name.starts_with(['-', '_']) && name.chars().all(is_sign);
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
    /// Whether its pods reach nobody but one another by it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) internal: bool,
    /// Names that the pod has there besides its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) aliases: Vec<String>,
}

/// Whether a pod can be on all of these.
///
/// # Errors
///
/// Two are one, or have addresses in common.
pub(crate) fn agree(all: &[Joins]) -> Result<(), CommandError> {
    for (index, one) in all.iter().enumerate() {
        let Some(other) = all[..index].iter().find(|other| other.subnet.overlaps(one.subnet)) else { continue };
        let (name, other_name) = (&one.network, &other.network);
        return Err(match name == other_name {
            true => CommandError::usage(format!("--net: {name} is given twice")),
            false => CommandError::usage(format!(
                "--net: a pod cannot be on {other_name} ({}) and {name} ({}): their addresses would be the same",
                other.subnet, one.subnet
            ))
            .hint("give one of them another \"subnet\" in network.d"),
        });
    }
    Ok(())
}

impl Joins {
    /// As `--net` says it.
    pub(crate) fn shown(&self) -> String {
        let address = self.address.map(|address| format!(":IP={address}"));
        format!("{}{}", self.network, address.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::super::NetArgs;
    use super::*;

    #[test]
    fn a_network_of_pods_is_found() {
        let network = NamedNetwork { subnet: "10.1.2.0/24".parse().unwrap(), internal: true };
        let networks = Networks { default: None, named: [("back".to_owned(), network)].into() };
        let find = |net: &str| {
            let args = NetArgs { net: vec![net.into()], ..NetArgs::default() };
            args.request().unwrap().0.named[0].find(&networks)
        };
        let joins = find("back:IP=10.1.2.9").unwrap();
        assert_eq!((joins.internal, joins.shown().as_str()), (true, "back:IP=10.1.2.9"));
        assert_eq!(find("back").unwrap().shown(), "back");
        let of = |name: &str, subnet: &str| Joins {
            network: name.to_owned(),
            subnet: subnet.parse().unwrap(),
            address: None,
            internal: true,
            aliases: Vec::new(),
        };
        assert!(agree(&[of("a", "10.1.2.0/24"), of("b", "10.1.3.0/24")]).is_ok());
        let refused = |all: &[Joins]| agree(all).unwrap_err().chain();
        assert!(refused(&[of("a", "10.1.2.0/24"), of("a", "10.1.2.0/24")]).contains("a is given twice"));
        assert!(refused(&[of("a", "10.1.2.0/24"), of("b", "10.1.0.0/16")]).contains("10.1.0.0/16"));
        assert!(find("back:IP=10.1.3.9").is_err() && find("back:IP=10.1.2.1").is_err());
        let error = find("front").unwrap_err();
        assert!(
            error.chain().contains("--net=front")
                && error.all_hints(None).join(" ").contains("none, default, host, back")
        );
    }
}
