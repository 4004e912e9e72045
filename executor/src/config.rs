//! What the configuration directories say, merged: the later directory counts, key by key.
//!
//! The files are rkt's (docs/configuration.md): JSON objects with a `rktKind` and a `rktVersion`, each kind in a
//! folder of its own. Folders are read when they are needed, so that a mistake in one of them stops only what it is for.

use std::collections::BTreeMap;

use serde::Serialize;

mod auth;
mod dirs;
mod file;
mod network;
mod network_file;
mod paths;
mod policy;
mod registries;
mod stage1;

pub(crate) use auth::{of_hosts, of_registry};
pub(crate) use dirs::{ConfigDirs, GivenDirs};
pub(crate) use file::ConfigError;
pub(crate) use network::{NamedNetwork, Networks};
pub(crate) use network_file::{define as define_network, made as network_made, undefine as undefine_network};
pub(crate) use paths::Paths;
pub(crate) use policy::{Policies, Policy};
pub(crate) use registries::Registries;

use auth::Credentials;
use file::Document;
use network::NetworkEntry;
use registries::{AllRegistries, Registry};
use stage1::Stage1;

/// One entry of the merged configuration, as `proa config` prints it. It is a valid configuration file again.
#[derive(Debug, Serialize)]
pub(crate) struct Entry<'a> {
    #[serde(rename = "rktVersion")]
    version: &'static str,
    #[serde(rename = "rktKind")]
    kind: &'static str,
    #[serde(flatten)]
    content: Content<'a>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Auth {
        domains: [&'a str; 1],
        r#type: &'static str,
        credentials: &'a Credentials,
    },
    DockerAuth {
        registries: [&'a str; 1],
        credentials: &'a Credentials,
    },
    Policy {
        prefixes: [&'a str; 1],
        #[serde(flatten)]
        policy: &'a Policy,
    },
    Network(NetworkEntry<'a>),
    Paths(&'a Paths),
    Registry(Registry<'a>),
    AllRegistries(AllRegistries<'a>),
    Stage1(&'a Stage1),
}

/// Everything that is configured.
#[derive(Debug)]
pub(crate) struct Config {
    auth: BTreeMap<String, Credentials>,
    docker_auth: BTreeMap<String, Credentials>,
    registries: Registries,
    policies: Policies,
    networks: Networks,
    paths: Paths,
    stage1: Stage1,
}

impl Config {
    /// Reads all folders.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for the first file that cannot be understood.
    pub(crate) fn read(dirs: &ConfigDirs) -> Result<Self, ConfigError> {
        Ok(Self {
            auth: auth::of_domains(dirs)?,
            docker_auth: auth::of_registries(dirs)?,
            registries: Registries::read(dirs)?,
            policies: Policies::read(dirs)?,
            networks: Networks::read(dirs)?,
            paths: Paths::read(dirs)?,
            stage1: Stage1::read(dirs)?,
        })
    }

    /// Its entries: one for each domain and registry, then registries, policies, networks, paths and stage1 where something is said about them.
    pub(crate) fn entries(&self) -> Vec<Entry<'_>> {
        let entry = |kind, content| Entry { version: VERSION, kind, content };
        let auth = self.auth.iter().map(|(domain, credentials)| {
            let content = Content::Auth { domains: [domain], r#type: credentials.type_name(), credentials };
            entry(auth::KIND, content)
        });
        let docker = self.docker_auth.iter().map(|(registry, credentials)| {
            entry(auth::DOCKER_KIND, Content::DockerAuth { registries: [registry], credentials })
        });
        let single = self.registries.entries().map(|it| entry(registries::KIND, Content::Registry(it)));
        let all = self.registries.all().map(|it| entry(registries::ALL_KIND, Content::AllRegistries(it)));
        let policies = self
            .policies
            .iter()
            .map(|(prefix, policy)| entry(policy::KIND, Content::Policy { prefixes: [prefix], policy }));
        let networks = self.networks.entries().map(|it| entry(network::KIND, Content::Network(it)));
        let paths = (self.paths != Paths::default()).then(|| entry(paths::KIND, Content::Paths(&self.paths)));
        let stage1 = (self.stage1 != Stage1::default()).then(|| entry(stage1::KIND, Content::Stage1(&self.stage1)));
        auth.chain(docker).chain(single).chain(all).chain(policies).chain(networks).chain(paths).chain(stage1).collect()
    }
}

/// The version of the format, and of every kind.
const VERSION: &str = "v1";

/// Merges what the directories say about the keys of one kind: a key stands once in a directory, and a later directory
/// replaces what an earlier one says about it.
fn merge<V>(
    folders: Vec<Vec<Document>>,
    mut read: impl FnMut(&Document) -> Result<Vec<(String, V)>, Invalid>,
) -> Result<BTreeMap<String, V>, ConfigError> {
    let mut merged = BTreeMap::new();
    for folder in folders {
        let mut of_folder = BTreeMap::new();
        for document in &folder {
            for (key, value) in read(document).map_err(|invalid| document.invalid(invalid))? {
                if of_folder.contains_key(&key) {
                    return Err(document.invalid(Invalid::Twice(key)));
                }
                of_folder.insert(key, value);
            }
        }
        merged.extend(of_folder);
    }
    Ok(merged)
}

/// What is wrong with the content of a file. Values that may be secret are never repeated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Invalid {
    /// Something required is not there.
    #[error("no {0} specified")]
    Missing(&'static str),
    /// A credential that is not there or empty.
    #[error("{0} not specified")]
    Empty(&'static str),
    /// A type of authentication that proa does not know.
    #[error("unknown auth type: {0:?}")]
    AuthType(String),
    /// A key that another file of the directory, or another line of this one, speaks of as well.
    #[error("{0:?} is already specified in this directory")]
    Twice(String),
    /// A domain or registry that can never be one of a URL.
    #[error("{0:?} is not HOST or HOST:PORT")]
    Host(String),
    /// A path that would depend on the working directory.
    #[error("{0:?} is not an absolute path")]
    Relative(String),
    /// A network that there is not.
    #[error("network {0:?} is not one of none, default, host")]
    Network(String),
    /// A name that no network of pods has.
    #[error(
        "{0:?} is no name of a network: 1 to 63 of a-z, 0-9, - and _, beginning with a letter or digit, and none of none, default, host"
    )]
    NetworkName(String),
    /// A type of network that proa does not know.
    #[error("unknown network type: {0:?}: there is bridge")]
    NetworkType(String),
    /// A range of addresses that no network of pods can have.
    #[error(transparent)]
    Subnet(#[from] ::stage1::node::NotASubnet),
    /// A prefix that no image's name begins with.
    #[error("{0:?} is not HOST[:PORT][/REPOSITORY] or *")]
    Prefix(String),
    /// It is not JSON, or not of this form.
    #[error(transparent)]
    Json(#[from] fetch::json::JsonError),
}
