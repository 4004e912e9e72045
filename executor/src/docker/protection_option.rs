//! `--cap-add`, `--security-opt`, `--sysctl` and their like: docker's protections as isolators.

use std::path::Path;

use appc::isolator::capabilities::{self, CapabilitySet};
use appc::isolator::confinement::ApparmorProfile;
use appc::isolator::scheduling::OomScoreAdj;
use appc::isolator::seccomp::{self, SeccompSet};
use appc::{Isolator, IsolatorValue};
use clap::Args;

use crate::app_isolators::Given;
use crate::diagnostics::warn;
use crate::error::CommandError;
use crate::protection;
use crate::seccomp_profile::SeccompProfile;

// The options are flattened into those of `docker run`; a doc comment here would become its help text.
#[derive(Debug, Args)]
pub(crate) struct ProtectionArgs {
    /// Tune host's OOM preferences, from 0 to 1000
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    oom_score_adj: Option<i64>,

    /// Add Linux capabilities
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,

    /// Drop Linux capabilities
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,

    /// Security options: no-new-privileges, seccomp=unconfined, seccomp=FILE, apparmor=PROFILE, label=disable
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,

    /// Sysctl options
    #[arg(long, value_name = "NAME=VALUE")]
    sysctl: Vec<String>,
}

impl ProtectionArgs {
    /// The isolators of the pod.
    ///
    /// # Errors
    ///
    /// A kernel parameter that pods do not have.
    pub(super) fn of_pod(&self) -> Result<Vec<Isolator>, CommandError> {
        protection::sysctls(&self.sysctl)
    }

    /// Whether the container has rights over its network.
    pub(super) fn adds_net_admin(&self) -> bool {
        self.cap_add.iter().any(|name| full(name) == "CAP_NET_ADMIN")
    }

    /// The app's profile of system calls; the last one counts.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is none.
    pub(super) fn seccomp_profile(&self) -> Result<Option<SeccompProfile>, CommandError> {
        let value = |option: &'_ String| {
            let (name, value) = option.split_once(['=', ':'])?;
            (name == "seccomp").then(|| value.to_owned())
        };
        match self.security_opt.iter().rev().find_map(value) {
            Some(file) if file != "unconfined" && !file.is_empty() => {
                SeccompProfile::read("--security-opt seccomp", Path::new(&file)).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The isolators of the app, in place of the image's.
    ///
    /// # Errors
    ///
    /// One makes no sense.
    pub(super) fn of_app(&self) -> Result<Vec<Given>, CommandError> {
        let mut values = Vec::new();
        if let Some(score) = self.oom_score_adj {
            let score = OomScoreAdj::new(score);
            let score = score.map_err(|error| CommandError::usage(format!("--oom-score-adj: {error}")));
            values.push(IsolatorValue::OomScoreAdj(score?));
        }
        values.extend(capabilities_of(&self.cap_add, &self.cap_drop)?);
        for option in &self.security_opt {
            values.extend(security_option(option)?);
        }
        Ok(values.into_iter().filter_map(Given::new).collect())
    }
}

/// A capability's whole name, or `ALL`.
fn full(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    if upper == "ALL" || upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") }
}

/// The default set with some more and without others, if any is named. `ALL` is every one.
fn capabilities_of(add: &[String], drop: &[String]) -> Result<Option<IsolatorValue>, CommandError> {
    if add.is_empty() && drop.is_empty() {
        return Ok(None);
    }
    let (add, drop): (Vec<String>, Vec<String>) =
        (add.iter().map(|name| full(name)).collect(), drop.iter().map(|name| full(name)).collect());
    if add.iter().any(|name| name == "ALL") {
        return Err(CommandError::usage("--cap-add ALL: apps get capabilities by name")
            .hint("proa --insecure-options=capabilities gives all of them"));
    }
    let all = drop.iter().any(|name| name == "ALL");
    let default = capabilities::DEFAULT.into_iter().map(str::to_owned);
    let wrong = |error| CommandError::usage(format!("--cap-add, --cap-drop: {error}"));
    if add.is_empty() {
        let drop = if all { default.collect() } else { drop };
        return CapabilitySet::new(drop).map(|set| Some(IsolatorValue::CapabilitiesRemove(set))).map_err(wrong);
    }
    let mut names: Vec<String> = default.filter(|name| !all && !drop.contains(name)).collect();
    names.extend(add);
    names.sort_unstable();
    names.dedup();
    CapabilitySet::new(names).map(|set| Some(IsolatorValue::CapabilitiesRetain(set))).map_err(wrong)
}

fn security_option(option: &str) -> Result<Option<IsolatorValue>, CommandError> {
    let refused = |why: String| CommandError::usage(format!("--security-opt {option}: {why}"));
    // Before `=` was introduced docker separated with a colon.
    match option.split_once(['=', ':']).unwrap_or((option, "")) {
        ("no-new-privileges", "" | "true") => Ok(Some(IsolatorValue::NoNewPrivileges(true))),
        ("no-new-privileges", "false") => Ok(Some(IsolatorValue::NoNewPrivileges(false))),
        ("seccomp", "unconfined") => {
            let set =
                SeccompSet::new(vec![seccomp::ALL.to_owned()], None).map_err(|error| refused(error.to_string()))?;
            Ok(Some(IsolatorValue::SeccompRetain(set)))
        }
        // A file: a profile is no isolator.
        ("seccomp", file) if !file.is_empty() => Ok(None),
        ("apparmor", "unconfined") => Ok(None),
        // Nothing is labelled; docker heeds it on hosts with SELinux alone.
        ("label", "disable") => Ok(None),
        ("label", label) if !label.is_empty() => {
            warn(&format!("--security-opt {option} is not held"));
            Ok(None)
        }
        ("apparmor", profile) => {
            let profile = ApparmorProfile::new(profile.to_owned()).map_err(|error| refused(error.to_string()))?;
            Ok(Some(IsolatorValue::ApparmorProfile(profile)))
        }
        _ => Err(refused(
            "there are no-new-privileges, seccomp=unconfined, seccomp=FILE, apparmor=PROFILE and label=disable"
                .to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_added_and_dropped() {
        let of = |add: &[&str], drop: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            capabilities_of(&owned(add), &owned(drop)).unwrap()
        };
        assert_eq!(of(&[], &[]), None);
        let Some(IsolatorValue::CapabilitiesRemove(set)) = of(&[], &["ALL"]) else { panic!("a remove set") };
        assert_eq!(set.names().len(), 14);
        let Some(IsolatorValue::CapabilitiesRetain(set)) = of(&["net_bind_service"], &["all"]) else {
            panic!("a retain set")
        };
        assert_eq!(set.names(), ["CAP_NET_BIND_SERVICE"]);
        let Some(IsolatorValue::CapabilitiesRetain(set)) = of(&["SYS_PTRACE"], &["CAP_KILL"]) else {
            panic!("a retain set")
        };
        assert_eq!(set.names().len(), 14);
        assert!(!set.contains("CAP_KILL"));
    }
}
