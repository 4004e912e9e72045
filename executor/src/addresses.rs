//! The addresses that a running pod has in its own network, read from what the kernel tells of it.
//!
//! pasta gives a pod the host's addresses; nobody writes them down, because the kernel can be asked at any time.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use stage1::network::is_own_loopback;
use stage1::protocol::PodReport;

use crate::net::{Mode, NetRequest};

/// Most bytes that are read of a table of the kernel's.
const LARGEST: u64 = 1 << 20;

/// The networks of a pod as they are shown, with the addresses that it has there while it runs. With the host's network
/// those are the host's.
pub(crate) fn networks(net: &NetRequest, report: Option<&PodReport>) -> Vec<String> {
    let mut networks = Vec::new();
    let mut known = Vec::new();
    for joins in &net.joins {
        let joined = report.and_then(|report| report.network.joined.iter().find(|it| it.name == joins.network));
        let older = joined.and_then(|joined| joined.address).map(IpAddr::from);
        let newer = joined.and_then(|joined| joined.newer_address).map(IpAddr::from);
        networks.push(older.map_or_else(|| joins.network.clone(), |ip| shown(&joins.network, ip)));
        networks.extend(newer.map(|ip| shown(&joins.network, ip)));
        known.extend(older.into_iter().chain(newer));
    }
    if net.mode == Mode::None {
        return networks;
    }
    let mode = net.mode.as_str();
    let found: Vec<String> =
        of_world(net.mode, report).filter(|ip| !known.contains(ip)).map(|ip| shown(mode, ip)).collect();
    if found.is_empty() {
        networks.push(mode.to_owned());
    }
    networks.extend(found);
    networks
}

/// The addresses of a pod in a network of its own that runs.
pub(crate) fn of_pod(net: &NetRequest, report: &PodReport) -> Vec<IpAddr> {
    if net.mode == Mode::Default || !net.joins.is_empty() { of(report.pid) } else { Vec::new() }
}

fn of_world(mode: Mode, report: Option<&PodReport>) -> impl Iterator<Item = IpAddr> {
    report.filter(|_| mode == Mode::Default).map(|report| of(report.pid)).into_iter().flatten()
}

/// The addresses of the pod whose pid 1 this is, those of its loopback interface left out. None where it has ended.
fn of(pid: i32) -> Vec<IpAddr> {
    let read = |table: &str| {
        let mut text = String::new();
        let file = File::open(format!("/proc/{pid}/net/{table}"));
        let _ = file.and_then(|file| file.take(LARGEST).read_to_string(&mut text));
        text
    };
    let older = ip4(&read("fib_trie")).into_iter().map(IpAddr::from);
    let newer = ip6(&read("if_inet6")).into_iter().map(IpAddr::from);
    older.chain(newer).filter(|ip| !is_own_loopback(*ip)).collect()
}

/// As rkt shows them: `default:ip4=192.0.2.2`.
fn shown(network: &str, ip: IpAddr) -> String {
    let family = if ip.is_ipv4() { "ip4" } else { "ip6" };
    format!("{network}:{family}={ip}")
}

/// The local addresses of /proc/net/fib_trie: a leaf, and below it that it is the host itself.
fn ip4(text: &str) -> BTreeSet<Ipv4Addr> {
    let mut leaf: Option<Ipv4Addr> = None;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let line = line.trim();
        match line.strip_prefix("|-- ") {
            Some(address) => leaf = address.parse().ok(),
            None if line == "/32 host LOCAL" => found.extend(leaf),
            None => {}
        }
    }
    found
}

/// The addresses of /proc/net/if_inet6 that are good beyond their link: 32 digits, index, length, scope, flags, name.
fn ip6(text: &str) -> BTreeSet<Ipv6Addr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        let (digits, scope) = (words.next()?, words.nth(2)?);
        (digits.len() == 32 && scope == "00").then(|| u128::from_str_radix(digits, 16).ok())?.map(Ipv6Addr::from)
    };
    text.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_understood() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\nLocal:\n\
                    +-- 0.0.0.0/0 2 0 2\n        |-- 127.0.0.1\n           /32 host LOCAL\n\
                    |-- 192.0.2.2\n           /32 host LOCAL\n        |-- 192.0.2.255\n           /32 link BROADCAST\n";
        assert!(ip4(trie).iter().eq(&[Ipv4Addr::LOCALHOST, Ipv4Addr::new(192, 0, 2, 2)]));
        let inet6 = "fe8000000000000000fc00fffe000001 02 40 20 80     eth0\n\
                     fd000000000000000000000000000002 02 40 00 82     eth0\n\
                     00000000000000000000000000000001 01 80 10 80       lo\n";
        assert!(ip6(inet6).iter().eq(&["fd00::2".parse::<Ipv6Addr>().unwrap()]));
        assert_eq!(shown("default", "fd00::2".parse().unwrap()), "default:ip6=fd00::2");
        assert!(of(i32::MAX).is_empty());
    }
}
