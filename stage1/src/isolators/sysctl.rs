//! The isolators of a pod as a whole: its kernel parameters (appc pods.md, "os/unix/sysctl").
//!
//! Only those that belong to a namespace of the pod may be set. Any other would be the host's, and
//! refusing the pod is clearer than ignoring what it was told to need.

use std::collections::BTreeMap;

use appc::isolator::IsolatorValue;
use appc::isolator::report::{Outcome, ReportEntry};
use appc::{Isolator, PodManifest};

use super::Host;

/// A kernel parameter and its value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sysctl {
    /// Path below /proc/sys.
    pub path: String,
    /// What is written there.
    pub value: String,
}

/// A kernel parameter that a pod cannot set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("isolator os/unix/sysctl: {key:?}: {why}")]
pub struct BadSysctl {
    /// As it was written.
    pub key: String,
    /// Why not.
    pub why: &'static str,
}

/// Longest value in bytes.
const MAX_VALUE: usize = 4096;
/// Most parameters of a pod.
const MAX_COUNT: usize = 256;

/// Parameters of the pod's ipc namespace (ipc_namespaces(7)).
const IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// The parameters of a pod in the order of their names, and a report with one row for each of its isolators.
///
/// # Errors
/// [`BadSysctl`].
pub fn of(manifest: &PodManifest, host: &Host<'_>) -> Result<(Vec<Sysctl>, Vec<ReportEntry>), BadSysctl> {
    let mut sysctls = BTreeMap::new();
    let mut report = Vec::new();
    for isolator in &manifest.isolators {
        if let IsolatorValue::Sysctl(values) = isolator.value() {
            for (key, value) in values {
                let bad = |why| BadSysctl { key: key.clone(), why };
                let path = path(key).map_err(bad)?;
                check_value(value).map_err(bad)?;
                if sysctls.len() == MAX_COUNT {
                    return Err(bad("a pod sets at most 256"));
                }
                if sysctls.insert(path, value.clone()).is_some() {
                    return Err(bad("it is set twice, in two ways of writing it"));
                }
            }
        }
        report.push(ReportEntry { isolator: isolator.name().clone(), outcome: outcome(isolator, host) });
    }
    Ok((sysctls.into_iter().map(|(path, value)| Sysctl { path, value }).collect(), report))
}

fn outcome(isolator: &Isolator, host: &Host<'_>) -> Outcome {
    match isolator.value() {
        IsolatorValue::Sysctl(_) => Outcome::Enforced,
        IsolatorValue::Unknown => Outcome::Ignored("not known".to_owned()),
        IsolatorValue::Memory(_) | IsolatorValue::Cpu(_) | IsolatorValue::CpuShares(_) => {
            super::resource(isolator.value(), host.controllers)
        }
        IsolatorValue::NetworkBandwidth(_) => host.network.clone(),
        _ => Outcome::Ignored("not supported for a pod as a whole".to_owned()),
    }
}

/// The path below /proc/sys. Names are written with dots or with slashes; whichever comes first separates, and the other
/// stands for a separator in a name (sysctl.d(5)).
///
/// # Errors
/// Why a pod cannot set this one.
pub fn path(key: &str) -> Result<String, &'static str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-');
    if key.is_empty() || key.len() > 255 || !key.chars().all(is_plain) {
        return Err("not a name of letters, digits and _ . / -");
    }
    let dotted = key.find(['.', '/']).is_some_and(|first| key.as_bytes()[first] == b'.');
    let swapped = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let path: String = if dotted { key.chars().map(swapped).collect() } else { key.to_owned() };
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("it has an empty part");
    }
    match path.split_once('/') {
        Some(("net", _)) => Ok(path),
        Some(("fs", rest)) if rest.starts_with("mqueue/") => Ok(path),
        _ if IPC.contains(&path.as_str()) || path == "kernel/domainname" => Ok(path),
        _ if path == "kernel/hostname" => Err("the host name has an option of its own"),
        _ => Err("it belongs to the host, not to a namespace of the pod"),
    }
}

fn check_value(value: &str) -> Result<(), &'static str> {
    if value.len() > MAX_VALUE {
        return Err("its value is longer than 4096 bytes");
    }
    if !value.chars().all(|c| c.is_ascii_graphic() || matches!(c, ' ' | '\t')) {
        return Err("its value is not one line of plain text");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaced_names_in_both_forms() {
        assert_eq!(path("net.ipv4.tcp_fin_timeout").unwrap(), "net/ipv4/tcp_fin_timeout");
        assert_eq!(path("net/ipv4/conf/eno2.100/rp_filter").unwrap(), "net/ipv4/conf/eno2.100/rp_filter");
        assert_eq!(path("net.ipv4.conf.eno2/100.rp_filter").unwrap(), "net/ipv4/conf/eno2.100/rp_filter");
        assert_eq!(path("kernel.shmmax").unwrap(), "kernel/shmmax");
        assert_eq!(path("fs.mqueue.msg_max").unwrap(), "fs/mqueue/msg_max");
        assert_eq!(path("kernel.domainname").unwrap(), "kernel/domainname");
    }

    #[test]
    fn the_hosts_and_odd_ones_are_refused() {
        for key in [
            "kernel.core_pattern",
            "kernel/core_pattern",
            "user.max_user_namespaces",
            "kernel.hostname",
            "vm.overcommit_memory",
            "fs.file-max",
            "dev.tty.ldisc_autoload",
            "net",
            "net.",
            "net..ipv4",
            "net/../kernel/core_pattern",
            "/net/ipv4",
            "net.ipv4.x=y",
            "net ipv4",
            "net\nipv4",
            "",
            "kernelXshmmax",
            "kernel.shmmax.x",
        ] {
            path(key).expect_err(key);
        }
    }

    #[test]
    fn values_are_one_plain_line() {
        check_value("32768\t60999").unwrap();
        for value in ["1\n2", "1\0", "\u{e9}", &"1".repeat(MAX_VALUE + 1)] {
            check_value(value).unwrap_err();
        }
    }
}
