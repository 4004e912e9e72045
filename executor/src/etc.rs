//! What apps read in /etc/hosts, /etc/hostname and /etc/resolv.conf.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;

use stage1::network::{EtcFile, own_names};

use crate::net::{Mode, NetRequest, Resolvers};

/// Where the host says who resolves names, and where systemd-resolved, which is on the host's loopback, says whom it asks.
const RESOLV_CONF: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// Most bytes of a file of the host that are read.
const MAX_FILE: usize = 64 << 10;

/// The files of an app's /etc. Reads the host's where that is wanted; what cannot be read is empty.
pub(crate) fn files(net: &NetRequest, hostname: &str) -> Vec<EtcFile> {
    let file = |name: &str, content, replaces| EtcFile { name: name.to_owned(), content, replaces };
    let hosts = if net.hosts_of_host { of_host("/etc/hosts") } else { hosts(net, hostname) };
    // Names of other pods come into it while the pod runs.
    let replaces = net.hosts_of_host || net.own_hosts || !net.hosts.is_empty() || !net.joins.is_empty();
    let mut files = vec![file("hosts", hosts, replaces), file("hostname", format!("{hostname}\n"), true)];
    files.extend(resolv_conf(net).map(|content| file("resolv.conf", content, true)));
    files
}

fn hosts(net: &NetRequest, hostname: &str) -> String {
    let mut text = "127.0.0.1 localhost localhost.localdomain localhost4 localhost4.localdomain4\n\
         ::1 localhost localhost.localdomain localhost6 localhost6.localdomain6\n"
        .to_owned();
    // On networks of pods the monitor adds the line, with the address that others find the pod by.
    if net.joins.is_empty() && hostname != "localhost" {
        // A line of its own: the first name of a line is the full one (`hostname -f`).
        let _ = writeln!(text, "127.0.0.1 {}", own_names(hostname));
    }
    for (ip, name) in &net.hosts {
        let _ = writeln!(text, "{ip} {name}");
    }
    text
}

fn resolv_conf(net: &NetRequest) -> Option<String> {
    let servers = match &net.resolvers {
        Resolvers::None => return None,
        Resolvers::Host => return Some(of_host(RESOLV_CONF[0])),
        Resolvers::Automatic => match net.mode {
            Mode::None => return None,
            Mode::Host => return Some(of_host(RESOLV_CONF[0])),
            Mode::Default => return Some(reachable(&net.search, &net.options, net.domain.as_deref())),
        },
        Resolvers::These(servers) => servers.iter().map(ToString::to_string).collect::<Vec<_>>(),
    };
    Some(print(&servers, &net.search, &net.options, net.domain.as_deref()))
}

/// The host's file without what only the host reaches, with what else is wanted.
fn reachable(search: &[String], options: &[String], domain: Option<&str>) -> String {
    let mut last = Settings::default();
    for path in RESOLV_CONF {
        last = Settings::parse(&of_host(path));
        if !last.servers.is_empty() {
            break;
        }
    }
    let search = if search.is_empty() { &last.search } else { search };
    let options = if options.is_empty() { &last.options } else { options };
    print(&last.servers, search, options, domain.or(last.domain.as_deref()))
}

/// What a resolv.conf(5) says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Settings {
    servers: Vec<String>,
    search: Vec<String>,
    options: Vec<String>,
    domain: Option<String>,
}

impl Settings {
    fn parse(text: &str) -> Self {
        let mut settings = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let keyword = words.next().unwrap_or_default();
            let words = words.map(str::to_owned);
            match keyword {
                // An address with a zone is of an interface that the pod does not have.
                "nameserver" => settings
                    .servers
                    .extend(words.take(1).filter(|ip| ip.parse::<IpAddr>().is_ok_and(|ip| !ip.is_loopback()))),
                "search" => settings.search = words.collect(),
                "options" => settings.options.extend(words),
                "domain" => settings.domain = words.take(1).next(),
                _ => {}
            }
        }
        settings
    }
}

fn print(servers: &[String], search: &[String], options: &[String], domain: Option<&str>) -> String {
    let mut text = String::new();
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if let Some(domain) = domain {
        let _ = writeln!(text, "domain {domain}");
    }
    for (keyword, words) in [("search", search), ("options", options)] {
        if !words.is_empty() {
            let _ = writeln!(text, "{keyword} {}", words.join(" "));
        }
    }
    text
}

fn of_host(path: &str) -> String {
    let mut text = fs::read_to_string(path).unwrap_or_default();
    if text.len() > MAX_FILE {
        text.clear();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_on_the_hosts_loopback_is_left_out() {
        let text = "# x\nnameserver 127.0.0.53\nnameserver 10.1.1.1\nnameserver fe80::1%eth0\nnameserver ::1\nsearch a b\n\
                    options edns0 trust-ad\noptions ndots:2\ndomain c\n";
        let settings = Settings::parse(text);
        assert_eq!(settings.servers, ["10.1.1.1"]);
        assert_eq!(
            print(&settings.servers, &settings.search, &settings.options, settings.domain.as_deref()),
            "nameserver 10.1.1.1\ndomain c\nsearch a b\noptions edns0 trust-ad ndots:2\n"
        );
    }

    #[test]
    fn without_a_network_nobody_resolves() {
        let names =
            |net: &NetRequest| files(net, "h").into_iter().map(|file| (file.name, file.replaces)).collect::<Vec<_>>();
        let alone = [("hosts".to_owned(), false), ("hostname".to_owned(), true)];
        assert_eq!(names(&NetRequest::default()), alone);
        let none = NetRequest { mode: Mode::Default, resolvers: Resolvers::None, ..NetRequest::default() };
        assert_eq!(names(&none), alone);
        let these =
            NetRequest { resolvers: Resolvers::These(vec!["10.0.0.1".parse().unwrap()]), ..NetRequest::default() };
        assert_eq!(files(&these, "h")[2].content, "nameserver 10.0.0.1\n");
        let entry = NetRequest { hosts: vec![("10.0.0.2".parse().unwrap(), "db".into())], ..NetRequest::default() };
        assert!(files(&entry, "h")[0].replaces && files(&entry, "h")[0].content.ends_with("\n10.0.0.2 db\n"));
    }
}
