//! What a pod would be: the command with nothing left open, and its reified manifest.

use std::fmt;

use appc::{ExposedPort, IsolatorValue};
use clap::ValueEnum as _;
use clap::builder::PossibleValue;
use stage1::isolators::net_admin::NetAdmin;
use stage1::supervise::{ExitPolicy, Restart};

use crate::annotations::{Remarks, TYPED_IMAGE};
use crate::app_isolators::Given;
use crate::context::Context;
use crate::error::CommandError;
use crate::net::{Joins, Mode, NetRequest, Resolvers};
use crate::prepare::Begin;
use crate::protection::{Landlock, Profile};
use crate::request::{AppRequest, PodRequest};
use crate::userns::Userns;
use crate::{output, prepare};

/// Prints what the request comes to: the command on the first line, quoted for a shell, then the manifest. Images are
/// fetched for it; nothing else is made.
///
/// # Errors
///
/// Those of preparing the pod.
pub(crate) fn print(context: &Context, request: PodRequest) -> Result<u8, CommandError> {
    let mut words = Words::of_pod(&request, &prepare::network(context, &request)?);
    let apps: Vec<Words> = request.apps.iter().map(Words::of_app).collect();
    let all_net_admins = request.all_net_admins;
    let prepared = prepare::pod(context, request, Begin::Later)?;
    if all_net_admins {
        // Their names are known only now.
        words.option("net-admin", Some(NetAdmin::of(&prepared.manifest.annotations)?));
    }
    let ids = prepared.manifest.apps.iter().map(|app| app.image.id.as_ref().map(ToString::to_string));
    for (index, (app, id)) in apps.into_iter().zip(ids).enumerate() {
        words.0.extend((index > 0).then(|| "---".to_owned()));
        words.0.extend(id.into_iter().chain(app.0));
    }
    let manifest = prepared.manifest.to_json_pretty()?;
    output::write(&format!("{words}\n{}\n", String::from_utf8_lossy(&manifest)))?;
    Ok(0)
}

/// A command line.
#[derive(Debug, PartialEq, Eq)]
struct Words(Vec<String>);

impl Words {
    /// The options of its network and the ports that lead into it.
    fn network(&mut self, net: &NetRequest, ports: &[ExposedPort]) {
        // A network that leads out brings the world along.
        let says_mode = net.joins.is_empty() || (net.mode == Mode::Default && net.joins.iter().all(|it| it.internal));
        let mode = says_mode.then(|| net.mode.as_str().to_owned());
        let networks: Vec<String> = mode.into_iter().chain(net.joins.iter().map(Joins::shown)).collect();
        self.option("net", Some(networks.join(",")));
        for port in ports {
            let number = port.pod_port.as_ref().map(|port| match port.count {
                0 | 1 => format!("{}/{}", port.port, port.protocol),
                count => format!("{}-{}/{}", port.port, port.port + (count - 1), port.protocol),
            });
            let count = port.pod_port.as_ref().map_or(1, |port| u64::from(port.count.max(1)));
            let host = match count {
                1 => port.host_port.to_string(),
                count => format!("{}-{}", port.host_port, port.host_port + count - 1),
            };
            let ip = port.host_ip.map(|ip| if ip.is_ipv6() { format!("[{ip}]:") } else { format!("{ip}:") });
            let target = number.unwrap_or_else(|| port.name.to_string());
            self.option("port", Some(format!("{target}:{}{host}", ip.unwrap_or_default())));
        }
        match &net.resolvers {
            Resolvers::Automatic => {}
            Resolvers::None => self.option("dns", Some("none")),
            Resolvers::Host => self.option("dns", Some("host")),
            Resolvers::These(servers) => servers.iter().for_each(|server| self.option("dns", Some(server))),
        }
        net.search.iter().for_each(|domain| self.option("dns-search", Some(domain)));
        net.options.iter().for_each(|option| self.option("dns-opt", Some(option)));
        self.option("dns-domain", net.domain.as_ref());
        net.hosts.iter().for_each(|(ip, name)| self.option("hosts-entry", Some(format!("{ip}={name}"))));
        self.option("hosts-entry", Some("host").filter(|_| net.hosts_of_host));
        self.option("hosts-entry", Some("pod").filter(|_| net.own_hosts));
    }

    /// The command with the options of the pod.
    fn of_pod(request: &PodRequest, net: &NetRequest) -> Self {
        let mut words = Self(vec!["proa".into(), "run".into()]);
        words.option("name", request.name.as_ref());
        words.option("hostname", request.lifecycle.hostname.as_ref());
        words.flag("detach", request.lifecycle.detach);
        words.flag("interactive", request.lifecycle.interactive);
        words.flag("keep", request.lifecycle.keep && !request.lifecycle.detach);
        words.option("restart", restart(request.lifecycle.restart));
        words.option("exit-policy", exit_policy(request.lifecycle.exit_policy));
        words.option("uuid-file-save", request.lifecycle.uuid_file.as_ref().map(|file| file.path().display()));
        words.network(net, &request.ports);
        for isolator in &request.isolators {
            match isolator.value() {
                IsolatorValue::Sysctl(values) => {
                    values.iter().for_each(|(name, value)| words.option("sysctl", Some(format!("{name}={value}"))));
                }
                IsolatorValue::NetworkBandwidth(limit) => words.option("network-bandwidth", limit.limit.as_ref()),
                _ => {}
            }
        }
        words.option("profile", (request.profile == Profile::Strict).then_some("strict"));
        words.option("landlock", (request.landlock == Landlock::Strict).then_some("strict"));
        words.option("net-admin", (!request.net_admin.is_empty()).then_some(&request.net_admin));
        words.flag("strict", request.strict);
        words.option("guest-agent", request.guest_agent);
        let userns = request.userns.to_possible_value().filter(|_| request.userns != Userns::Auto);
        words.option("userns", userns.as_ref().map(PossibleValue::get_name));
        words.flag("follow-symlinks", request.follow_symlinks);
        words.option("pod-manifest", request.template.as_ref().map(|template| template.file.display()));
        request.volumes.iter().for_each(|volume| words.option("volume", Some(volume)));
        // What was inherited is written out: the next caller has another environment.
        let environment = request.environment.inherited.iter().chain(&request.environment.given);
        let mut set: Vec<&(String, String)> = Vec::new();
        for variable in environment {
            set.retain(|(name, _)| *name != variable.0);
            set.push(variable);
        }
        set.iter().for_each(|(name, value)| words.option("set-env", Some(format!("{name}={value}"))));
        words.remarks(&request.remarks);
        words
    }

    /// What stands after an image.
    fn of_app(app: &AppRequest) -> Self {
        let mut words = Self(Vec::new());
        words.option("name", app.name.as_ref());
        words.option("exec", app.exec.as_ref());
        words.option("user", app.user.as_ref());
        words.option("group", app.group.as_ref());
        let gids = |gids: &Vec<i64>| gids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        words.option("supplementary-gids", app.supplementary_gids.as_ref().map(gids));
        words.option("working-dir", app.working_directory.as_ref());
        words.flag("readonly-rootfs", app.read_only_root);
        for mount in &app.mounts {
            words.option("mount", Some(format!("volume={},target={}", mount.volume, mount.path)));
        }
        app.environment.iter().for_each(|(name, value)| words.option("environment", Some(format!("{name}={value}"))));
        app.isolators.iter().filter_map(Given::option).for_each(|(name, value)| words.option(name, Some(value)));
        words.option("seccomp-profile", app.seccomp_profile.as_ref().map(|profile| profile.file.display()));
        words.remarks(&app.remarks);
        if let Some(args) = &app.args {
            words.0.push("--".to_owned());
            words.0.extend(args.iter().cloned());
        }
        words
    }

    fn flag(&mut self, name: &str, given: bool) {
        self.0.extend(given.then(|| format!("--{name}")));
    }

    fn option(&mut self, name: &str, value: Option<impl fmt::Display>) {
        self.0.extend(value.map(|value| format!("--{name}={value}")));
    }

    fn remarks(&mut self, remarks: &Remarks) {
        // What was typed to docker is not what is typed here.
        for annotation in remarks.annotations.iter().filter(|annotation| annotation.name != TYPED_IMAGE) {
            self.option("annotation", Some(format!("{}={}", annotation.name, annotation.value)));
        }
        for (option, pairs) in [("user-annotation", &remarks.user_annotations), ("user-label", &remarks.user_labels)] {
            pairs.iter().for_each(|(name, value)| self.option(option, Some(format!("{name}={value}"))));
        }
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.0.iter().map(|word| quoted(word)).collect();
        f.write_str(&words.join(" "))
    }
}

fn restart(restart: Restart) -> Option<String> {
    match restart {
        Restart::No => None,
        Restart::OnFailure(None) => Some("on-failure".to_owned()),
        Restart::OnFailure(Some(limit)) => Some(format!("on-failure:{limit}")),
        Restart::Always => Some("always".to_owned()),
    }
}

fn exit_policy(policy: ExitPolicy) -> Option<&'static str> {
    match policy {
        ExitPolicy::Failure => None,
        ExitPolicy::Any => Some("any"),
        ExitPolicy::All => Some("all"),
        ExitPolicy::Never => Some("never"),
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=.,:/@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_take_them_apart() {
        for (word, expected) in [
            ("--user=web", "--user=web"),
            ("volume=v,target=/a/b", "volume=v,target=/a/b"),
            ("", "''"),
            ("a b", "'a b'"),
            ("$HOME", "'$HOME'"),
            ("it's", r"'it'\''s'"),
            ("new\nline", "'new\nline'"),
            ("ü", "'ü'"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
