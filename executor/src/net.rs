//! The network of a pod: what it is connected to, as the command line chooses it and the pod's manifest keeps it.

mod args;
mod named;
mod port;

use std::net::IpAddr;

use appc::PodManifest;
use serde::{Deserialize, Serialize};

use crate::error::CommandError;

pub(crate) use args::{NetArgs, checked};
pub(crate) use named::{Joins, Named, agree, is_network_name};
pub(crate) use port::{MOST_PORTS, parse as port, ports, range};

/// User annotation of a pod: what of its network the manifest has no other place for, as JSON. Its annotations are left as
/// they were given: the metadata service serves them, `null` where there are none.
pub(crate) const ANNOTATION: &str = "proa.local/network";

/// What a pod has for a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// The networks of pods that it joins as well.
    pub(crate) named: Vec<Named>,
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
    /// The networks of pods that it joins as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) joins: Vec<Joins>,
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
    /// Whether /etc/hosts of an image gives way to the pod's.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) own_hosts: bool,
}

impl NetRequest {
    /// What a manifest says, if it says anything.
    ///
    /// # Errors
    ///
    /// It says something that this program does not write.
    pub(crate) fn noted_in(manifest: &PodManifest) -> Result<Option<Self>, CommandError> {
        let noted = manifest.user_annotations.get(ANNOTATION).map(String::as_str);
        // Earlier programs noted it there.
        let noted = noted.or_else(|| manifest.annotations.get(ANNOTATION));
        let noted = noted.map(serde_json::from_str).transpose();
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
        manifest.annotations.remove(ANNOTATION);
        let noted = serde_json::to_string(self).expect("texts and addresses");
        manifest.user_annotations.insert(ANNOTATION.to_owned(), noted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_read_back() {
        let mut manifest = PodManifest::blank();
        assert_eq!(NetRequest::noted_in(&manifest).unwrap(), None);
        NetRequest::default().note_in(&mut manifest);
        assert_eq!(manifest.user_annotations[ANNOTATION], r#"{"mode":"none"}"#);
        assert!(manifest.annotations.is_empty());
        // As it was noted before; it is noted once.
        let mut earlier = PodManifest::blank();
        earlier.annotations.set(ANNOTATION.parse().unwrap(), r#"{"mode":"host"}"#);
        let noted = NetRequest::noted_in(&earlier).unwrap().unwrap();
        assert_eq!(noted.mode, Mode::Host);
        noted.note_in(&mut earlier);
        assert!(earlier.annotations.is_empty() && NetRequest::of(&earlier).unwrap() == noted);
        let args = NetArgs {
            net: vec!["host".into()],
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
        let of = |net: &str| NetArgs { net: vec![net.into()], ..NetArgs::default() };
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
}
