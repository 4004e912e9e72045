//! The network of a pod as the command line says it.

use std::net::IpAddr;

use appc::ExposedPort;
use clap::Args;

use super::{Mode, Named, NetChoice, NetRequest, Resolvers, ports};
use crate::error::CommandError;

// Options about the network. (A doc comment would become the help text of the whole command.)
#[derive(Debug, Default, Args)]
pub(crate) struct NetArgs {
    /// Choose the pod's network: default (the world, by pasta), none (its own loopback interface alone), host (yours),
    /// or NAME[:IP=ADDRESS],… of network.d (the world, and the pods on those networks) [default: default, unless
    /// configured otherwise]
    #[arg(long, value_name = "NET", num_args = 0..=1, require_equals = true, default_missing_value = "default")]
    pub(super) net: Vec<String>,

    /// Forward a port of the host: NAME:[IP:]PORT for an app's port of that name, or NUMBER[-LAST][/udp]:[IP:]PORT[-LAST]
    ///
    /// Without an IP only this host can connect, by 127.0.0.1 and ::1; 0.0.0.0 and [::] are for everybody.
    #[arg(long, value_name = "PORT")]
    pub(super) port: Vec<String>,

    /// Let apps ask this name server; `host` gives them the host's /etc/resolv.conf, `none` the image's own
    #[arg(long, value_name = "IP")]
    pub(super) dns: Vec<String>,

    /// Let apps look for names in this domain
    #[arg(long, value_name = "DOMAIN")]
    pub(super) dns_search: Vec<String>,

    /// Give apps an option of /etc/resolv.conf
    #[arg(long, value_name = "OPTION")]
    pub(super) dns_opt: Vec<String>,

    /// Give apps the domain of /etc/resolv.conf
    #[arg(long, value_name = "DOMAIN")]
    pub(super) dns_domain: Option<String>,

    /// Add a line to the apps' /etc/hosts: IP=NAME[,IP=NAME]; `host` gives them the host's, `pod` the pod's
    #[arg(long, value_name = "IP=NAME")]
    pub(super) hosts_entry: Vec<String>,
}

impl NetArgs {
    /// Whether this word, which follows the options, was to be the value of a bare `--net`.
    pub(crate) fn misses(&self, word: &str) -> bool {
        self.net == ["default"] && ["none", "host", "default"].contains(&word)
    }

    /// What they mean: the network and the ports.
    ///
    /// # Errors
    ///
    /// They make no sense.
    pub(crate) fn request(self) -> Result<(NetChoice, Vec<ExposedPort>), CommandError> {
        let ports = self.port.iter().map(|text| ports(text)).collect::<Result<Vec<_>, _>>()?.concat();
        let (mode, named) = networks(&self.net)?;
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
            match entry {
                "host" => request.hosts_of_host = true,
                "pod" => request.own_hosts = true,
                entry => request.hosts.push(hosts_line(entry)?),
            }
        }
        if request.hosts_of_host && (request.own_hosts || !request.hosts.is_empty()) {
            return Err(CommandError::usage("--hosts-entry=host goes with no other --hosts-entry"));
        }
        Ok((NetChoice { mode, named, rest: request }, ports))
    }

    /// Whether ports are among them.
    pub(crate) fn has_ports(&self) -> bool {
        !self.port.is_empty()
    }

    /// Which of them are given: the network, those beginning with --dns, those for /etc/hosts.
    pub(crate) fn given(&self) -> [bool; 3] {
        let lists = [&self.dns, &self.dns_search, &self.dns_opt];
        let dns = self.dns_domain.is_some() || lists.iter().any(|texts| !texts.is_empty());
        [!self.net.is_empty(), dns, !self.hosts_entry.is_empty()]
    }

    /// Whether none is given.
    pub(crate) fn is_bare(&self) -> bool {
        let texts = [&self.port, &self.dns, &self.dns_search, &self.dns_opt, &self.hosts_entry];
        self.net.is_empty() && self.dns_domain.is_none() && texts.iter().all(|texts| texts.is_empty())
    }
}

/// What a pod is connected to, and the networks of pods that it joins. `default` goes with these, `none` and `host` go with
/// nothing.
fn networks(texts: &[String]) -> Result<(Option<Mode>, Vec<Named>), CommandError> {
    let (mut modes, mut named) = (Vec::new(), Vec::new());
    for text in texts.iter().flat_map(|text| text.split(',')) {
        match Mode::named(text) {
            Some(mode) => modes.push(mode),
            None => named.push(text.parse::<Named>()?),
        }
    }
    modes.dedup();
    match modes.as_slice() {
        [] => Ok((None, named)),
        [mode @ Mode::Default] => Ok((Some(*mode), named)),
        [mode] if named.is_empty() => Ok((Some(*mode), named)),
        [first, ..] => {
            let alone = modes.iter().find(|mode| **mode != Mode::Default).unwrap_or(first);
            Err(CommandError::usage(format!(
                "--net={}: {} goes with no other network",
                texts.join(","),
                alone.as_str()
            )))
        }
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

/// A line of /etc/hosts.
fn hosts_line(entry: &str) -> Result<(IpAddr, String), CommandError> {
    let refused = |why: &str| {
        CommandError::usage(format!("--hosts-entry={entry:?}: {why}"))
            .hint("write it as 10.1.2.3=db.example.com, or host for those of this machine")
    };
    let (ip, name) = entry.split_once('=').ok_or_else(|| refused("not of the form IP=NAME"))?;
    let ip = ip.parse().map_err(|_| refused("that is no IP address"))?;
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)) {
        return Err(refused("that is no host name"));
    }
    Ok((ip, name.to_owned()))
}

/// Words of a line of /etc/resolv.conf.
pub(crate) fn checked(option: &str, texts: Vec<String>) -> Result<Vec<String>, CommandError> {
    let is_word = |text: &String| !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
    match texts.iter().find(|text| !is_word(text)) {
        Some(text) => Err(CommandError::usage(format!("{option}={text:?}: that is no word"))),
        None => Ok(texts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |args: NetArgs| args.request().is_err();
        for net in [
            "Back",
            "",
            "a b",
            "-a",
            "a,,b",
            "none,host",
            "none,a",
            "host,default",
            "none:IP=10.0.0.2",
            "a:IP=",
            "a:IP=fd00::1",
            "a:MAC=1",
            "../a",
        ] {
            assert!(refused(NetArgs { net: vec![net.into()], ..NetArgs::default() }), "{net}");
        }
        assert!(refused(NetArgs { hosts_entry: vec!["x".into()], ..NetArgs::default() }));
        assert!(refused(NetArgs { dns: vec!["host".into(), "1.1.1.1".into()], ..NetArgs::default() }));
    }
}
