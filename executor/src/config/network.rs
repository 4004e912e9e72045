//! `network.d`: which network a pod has for which none was chosen, and networks of pods.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stage1::node::Subnet;

use crate::config::file::{self, ConfigError};
use crate::config::{ConfigDirs, Invalid, merge};
use crate::net::{Mode, is_network_name};

/// Networks of pods.
pub(crate) const KIND: &str = "network";

/// What is configured about networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Networks {
    /// The network of a pod without `--net`.
    pub(crate) default: Option<Mode>,
    /// Networks of pods, by name.
    pub(crate) named: BTreeMap<String, NamedNetwork>,
}

/// A network of pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct NamedNetwork {
    /// Its range of addresses.
    pub(crate) subnet: Subnet,
    /// Whether its pods reach nobody but one another.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) internal: bool,
}

impl NamedNetwork {
    /// A network of this name; without a range one that the name decides.
    pub(crate) fn new(name: &str, subnet: Option<Subnet>, internal: bool) -> Self {
        Self { subnet: subnet.unwrap_or_else(|| Subnet::of_name(name)), internal }
    }
}

/// An entry of its own, as `proa config` prints it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum NetworkEntry<'a> {
    Default {
        default: Mode,
    },
    Named {
        name: &'a str,
        #[serde(flatten)]
        network: &'a NamedNetwork,
    },
}

#[derive(Deserialize)]
#[serde(default)]
struct NetworkFile {
    default: String,
    name: Option<String>,
    subnet: Option<String>,
    internal: bool,
    r#type: String,
}

impl Default for NetworkFile {
    fn default() -> Self {
        Self { default: String::new(), name: None, subnet: None, internal: false, r#type: BRIDGE.to_owned() }
    }
}

/// The only type of network. Nothing is executed for it: a type is no program (CVE-2021-20206).
const BRIDGE: &str = "bridge";

/// What a file says of one key.
enum Said {
    Default(Mode),
    Named(NamedNetwork),
}

impl Networks {
    /// Reads what is configured.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]; a default that there is not, a name or a range that cannot be one.
    pub(crate) fn read(dirs: &ConfigDirs) -> Result<Self, ConfigError> {
        let merged = merge(file::documents(dirs, "network.d", &[KIND])?, |document| {
            let NetworkFile { default, name, subnet, internal, r#type } = document.content()?;
            if r#type != BRIDGE {
                return Err(Invalid::NetworkType(r#type));
            }
            let mut said = Vec::new();
            if !default.is_empty() {
                let mode = Mode::named(&default).ok_or(Invalid::Network(default))?;
                said.push((String::new(), Said::Default(mode)));
            }
            match name {
                Some(name) if is_network_name(&name) => {
                    let subnet = subnet.map(|text| text.parse::<Subnet>()).transpose()?;
                    let network = NamedNetwork::new(&name, subnet, internal);
                    said.push((name, Said::Named(network)));
                }
                Some(name) => return Err(Invalid::NetworkName(name)),
                None if subnet.is_some() || internal => return Err(Invalid::Missing("name")),
                None => {}
            }
            Ok(said)
        })?;
        let mut networks = Self::default();
        for (name, said) in merged {
            match said {
                Said::Default(mode) => networks.default = Some(mode),
                Said::Named(network) => drop(networks.named.insert(name, network)),
            }
        }
        Ok(networks)
    }

    /// Its entries.
    pub(super) fn entries(&self) -> impl Iterator<Item = NetworkEntry<'_>> {
        let default = self.default.map(|default| NetworkEntry::Default { default });
        let named = self.named.iter().map(|(name, network)| NetworkEntry::Named { name, network });
        default.into_iter().chain(named)
    }
}
