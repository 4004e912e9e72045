//! The networks that there are, in docker's terms.

use appc::PodManifest;
use pod::State;
use stage1::node::Subnet;
use store::{Algorithm, Digest};

use crate::config::Networks;
use crate::context::Context;
use crate::docker::container::Container;
use crate::error::CommandError;
use crate::net::{Mode, NetRequest};

/// A network.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// What a network is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One that every user has.
    Predefined(Mode),
    /// A network of pods.
    OfPods { subnet: Subnet, internal: bool },
}

impl Network {
    /// All of them, by name.
    pub(super) fn all(context: &Context) -> Result<Vec<Self>, CommandError> {
        let predefined = [("bridge", Mode::Default), ("host", Mode::Host), ("none", Mode::None)];
        let predefined = predefined.map(|(name, mode)| Self { name: name.to_owned(), kind: Kind::Predefined(mode) });
        let named = Networks::read(context.config_dirs())?.named;
        let of_pods = named.into_iter().map(|(name, network)| Self {
            name,
            kind: Kind::OfPods { subnet: network.subnet, internal: network.internal },
        });
        let mut all: Vec<Self> = predefined.into_iter().chain(of_pods).collect();
        all.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// The one of this name or beginning of an id.
    ///
    /// # Errors
    ///
    /// There is none, or there are several; the texts are docker's.
    pub(super) fn find<'a>(all: &'a [Self], needle: &str) -> Result<&'a Self, CommandError> {
        let by_name = all.iter().find(|network| network.name == needle);
        let mut by_id = all.iter().filter(|network| !needle.is_empty() && network.id().starts_with(needle));
        match (by_name, by_id.next(), by_id.next()) {
            (Some(network), ..) | (None, Some(network), None) => Ok(network),
            (None, Some(_), Some(_)) => {
                let several = format!("multiple networks found with the prefix {needle}");
                Err(CommandError::failed(several).hint("give more of the id, or the name"))
            }
            (None, None, _) => Err(CommandError::failed(format!("network {needle} not found"))
                .hint("`docker network ls` shows the networks there are")),
        }
    }

    /// Its id, which follows from its name.
    pub(super) fn id(&self) -> String {
        Digest::of(Algorithm::Sha256, format!("proa network {}", self.name).as_bytes()).hex().to_string()
    }

    /// What drives it, as docker calls that.
    pub(super) fn driver(&self) -> &'static str {
        match self.kind {
            Kind::Predefined(Mode::Host) => "host",
            Kind::Predefined(Mode::None) => "null",
            _ => "bridge",
        }
    }

    /// How far it reaches.
    pub(super) fn scope(&self) -> &'static str {
        "local"
    }

    /// Whether its containers reach nobody but one another.
    pub(super) fn is_internal(&self) -> bool {
        matches!(self.kind, Kind::OfPods { internal: true, .. })
    }

    /// Whether containers have IPv6 addresses on it that are the network's own.
    pub(super) fn has_ipv6(&self) -> bool {
        matches!(self.kind, Kind::OfPods { .. })
    }

    /// Whether a pod is on it.
    pub(super) fn has(&self, manifest: &PodManifest) -> bool {
        let Ok(net) = NetRequest::of(manifest) else { return false };
        match self.kind {
            Kind::Predefined(mode) => net.mode == mode && net.joins.is_empty(),
            Kind::OfPods { .. } => net.joins.iter().any(|joins| joins.network == self.name),
        }
    }

    /// The containers that are made to be on it, whether they run or not.
    pub(super) fn made_for<'a>(&self, containers: &'a [Container]) -> impl Iterator<Item = &'a Container> {
        let is_on = |container: &&Container| container.manifest.as_ref().is_some_and(|manifest| self.has(manifest));
        containers.iter().filter(is_on)
    }

    /// The containers on it that run.
    pub(super) fn running<'a>(&self, containers: &'a [Container]) -> impl Iterator<Item = &'a Container> {
        let runs = |container: &&Container| container.entry.state == State::Running;
        self.made_for(containers).filter(runs)
    }
}

/// The name of the network that `docker run --network` means, which may be an id.
///
/// # Errors
///
/// There is none, or what is configured cannot be read.
pub(crate) fn named_by(context: &Context, word: &str) -> Result<String, CommandError> {
    if ["bridge", "default", "none", "host"].contains(&word) {
        return Ok(word.to_owned());
    }
    let all = Network::all(context)?;
    let found = Network::find(&all, word).map(|network| network.name.clone());
    found.map_err(|error| error.hint(format!("`docker network create {word}` makes it")))
}
