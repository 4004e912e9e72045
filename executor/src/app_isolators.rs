//! Isolators that the command line gives to an app, in place of its image's.

use std::path::PathBuf;

use appc::isolator::capabilities::CapabilitySet;
use appc::isolator::limit::Limit;
use appc::isolator::scheduling::{CpuShares, OomScoreAdj};
use appc::isolator::seccomp::SeccompSet;
use appc::isolator::{IsolatorError, names, set};
use appc::resource::{Quantity, QuantityError};
use appc::{AcIdentifier, Annotations, Isolator, IsolatorValue};
use clap::Args;
use stage1::isolators::choices::{OPERATOR_ISOLATORS, approved};

use crate::error::CommandError;
use crate::seccomp_profile::SeccompProfile;

// What may stand after an image. (A doc comment would become help text.)
#[derive(Debug, Default, Args)]
pub(crate) struct IsolatorArgs {
    /// Let the app have these capabilities alone, over its own user namespace, instead of the image's
    #[arg(long, value_name = "CAP_NAME,...", alias = "cap-retain")]
    caps_retain: Option<String>,

    /// Take these of the default capabilities from the app, instead of the image's
    #[arg(long, value_name = "CAP_NAME,...", alias = "cap-remove")]
    caps_remove: Option<String>,

    /// Let the app make these system calls alone (mode=retain), or not these (mode=remove): without an errno, a refused
    /// call kills
    #[arg(long, value_name = "mode=retain|remove[,errno=NAME],CALL|@SET,...")]
    seccomp: Option<String>,

    /// Filter the app's system calls by a profile in the form of docker, podman and the OCI runtime specification
    #[arg(long, value_name = "FILE", conflicts_with = "seccomp")]
    seccomp_profile: Option<PathBuf>,

    #[command(flatten)]
    resources: ResourceArgs,

    /// Let the kernel kill the app sooner than others when memory is short, from 0 to 1000
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    oom_score_adj: Option<i64>,
}

// What can be changed while the app runs. (A doc comment would become help text.)
#[derive(Debug, Default, Args)]
pub(crate) struct ResourceArgs {
    /// Let the app have so much memory at most: bytes, or with a suffix such as Mi or G
    #[arg(long, value_name = "BYTES")]
    memory: Option<String>,

    /// Let the app have so much processor time at most: processors, or thousandths with the suffix m
    #[arg(long, value_name = "CPUS")]
    cpu: Option<String>,

    /// Let the app read and write so many bytes a second of each disk at most
    #[arg(long, value_name = "BYTES")]
    block_bandwidth: Option<String>,

    /// Let the app make so many reads and writes a second of each disk at most
    #[arg(long, value_name = "NUMBER")]
    block_iops: Option<String>,

    /// Weigh the app's processor time against that of others, from 2 to 262144; 1024 is usual
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    cpu_shares: Option<i64>,
}

/// An isolator of the command line, and which of the image's it replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    isolator: Isolator,
    replaces: &'static [&'static str],
}

/// A page: less cannot be had.
const MIN_MEMORY: i64 = 4096;

const CAPABILITIES: &[&str] = &[names::CAPABILITIES_RETAIN, names::CAPABILITIES_REMOVE];
const SECCOMP: &[&str] = &[names::SECCOMP_RETAIN, names::SECCOMP_REMOVE];

impl Given {
    /// An isolator that replaces the image's of the same kind; none of an unknown kind, which has no name.
    pub(crate) fn new(value: IsolatorValue) -> Option<Self> {
        let replaces: &[_] = match &value {
            IsolatorValue::CapabilitiesRetain(_) | IsolatorValue::CapabilitiesRemove(_) => CAPABILITIES,
            IsolatorValue::SeccompRetain(_) | IsolatorValue::SeccompRemove(_) => SECCOMP,
            IsolatorValue::NoNewPrivileges(_) => &[names::NO_NEW_PRIVILEGES],
            IsolatorValue::Memory(_) => &[names::MEMORY],
            IsolatorValue::Cpu(_) => &[names::CPU],
            IsolatorValue::BlockBandwidth(_) => &[names::BLOCK_BANDWIDTH],
            IsolatorValue::BlockIops(_) => &[names::BLOCK_IOPS],
            IsolatorValue::CpuShares(_) => &[names::CPU_SHARES],
            IsolatorValue::OomScoreAdj(_) => &[names::OOM_SCORE_ADJ],
            IsolatorValue::ApparmorProfile(_) => &[names::APPARMOR_PROFILE],
            _ => &[],
        };
        Isolator::new(value).map(|isolator| Self { isolator, replaces })
    }

    /// The isolator.
    pub(crate) fn into_isolator(self) -> Isolator {
        self.isolator
    }

    /// The option that gives it, and its value; none where only a manifest or `proa docker` can.
    pub(crate) fn option(&self) -> Option<(&'static str, String)> {
        let limit = |limit: &Limit| limit.limit.as_ref().map(ToString::to_string);
        let set = |mode: &str, set: &SeccompSet| {
            let errno = set.errno().map(|errno| format!("errno={errno}"));
            [Some(format!("mode={mode}")), errno].into_iter().flatten().chain(set.entries().iter().cloned()).collect()
        };
        let list = |words: Vec<String>| words.join(",");
        Some(match self.isolator.value() {
            IsolatorValue::CapabilitiesRetain(names) => ("caps-retain", names.names().join(",")),
            IsolatorValue::CapabilitiesRemove(names) => ("caps-remove", names.names().join(",")),
            IsolatorValue::SeccompRetain(calls) => ("seccomp", list(set("retain", calls))),
            IsolatorValue::SeccompRemove(calls) => ("seccomp", list(set("remove", calls))),
            IsolatorValue::Memory(bytes) => ("memory", limit(bytes)?),
            IsolatorValue::Cpu(time) => ("cpu", limit(time)?),
            IsolatorValue::BlockBandwidth(bytes) => ("block-bandwidth", limit(bytes)?),
            IsolatorValue::BlockIops(operations) => ("block-iops", limit(operations)?),
            IsolatorValue::CpuShares(shares) => ("cpu-shares", shares.get().to_string()),
            IsolatorValue::OomScoreAdj(score) => ("oom-score-adj", score.get().to_string()),
            _ => return None,
        })
    }
}

impl IsolatorArgs {
    /// The profile of system calls.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is none.
    pub(crate) fn seccomp_profile(&self) -> Result<Option<SeccompProfile>, CommandError> {
        let read = |file: &PathBuf| SeccompProfile::read("--seccomp-profile", file);
        self.seccomp_profile.as_ref().map(read).transpose()
    }

    /// What they mean.
    ///
    /// # Errors
    ///
    /// One makes no sense.
    pub(crate) fn isolators(self) -> Result<Vec<Given>, CommandError> {
        let mut given = Vec::new();
        let mut give = |value| given.extend(Given::new(value));
        if self.caps_retain.is_some() && self.caps_remove.is_some() {
            return Err(CommandError::usage("--caps-retain and --caps-remove exclude each other"));
        }
        if let Some(text) = &self.caps_retain {
            give(IsolatorValue::CapabilitiesRetain(capabilities("--caps-retain", text)?));
        }
        if let Some(text) = &self.caps_remove {
            give(IsolatorValue::CapabilitiesRemove(capabilities("--caps-remove", text)?));
        }
        if let Some(text) = &self.seccomp {
            give(seccomp(text)?);
        }
        given.extend(self.resources.isolators()?);
        let mut give = |value| given.extend(Given::new(value));
        if let Some(value) = self.oom_score_adj {
            let value =
                OomScoreAdj::new(value).map_err(|error| wrong("--oom-score-adj", &value.to_string(), &error))?;
            give(IsolatorValue::OomScoreAdj(value));
        }
        Ok(given)
    }
}

impl ResourceArgs {
    /// What they mean.
    ///
    /// # Errors
    ///
    /// One makes no sense.
    pub(crate) fn isolators(self) -> Result<Vec<Given>, CommandError> {
        let mut given = Vec::new();
        let mut give = |value| given.extend(Given::new(value));
        if let Some(text) = &self.memory {
            let limit = limit("--memory", text, |limit| limit.value() >= MIN_MEMORY, "at least 4096 bytes")?;
            give(IsolatorValue::Memory(limit));
        }
        if let Some(text) = &self.cpu {
            let limit = limit("--cpu", text, |limit| limit.milli_value() > 0, "more than none")?;
            give(IsolatorValue::Cpu(limit));
        }
        // These are limits of apps that say nothing themselves, and nothing else (appc ace.md, resource/block-iops).
        let of_blocks = |option, text: &str| {
            let limit = limit(option, text, |limit| limit.value() > 0, "more than none")?;
            Ok::<_, CommandError>(Limit { default: true, ..limit })
        };
        if let Some(text) = &self.block_bandwidth {
            give(IsolatorValue::BlockBandwidth(of_blocks("--block-bandwidth", text)?));
        }
        if let Some(text) = &self.block_iops {
            give(IsolatorValue::BlockIops(of_blocks("--block-iops", text)?));
        }
        if let Some(value) = self.cpu_shares {
            let value = CpuShares::new(value).map_err(|error| wrong("--cpu-shares", &value.to_string(), &error))?;
            give(IsolatorValue::CpuShares(value));
        }
        Ok(given)
    }
}

/// The bound of a pod's network.
///
/// # Errors
///
/// It makes no sense.
pub(crate) fn network_bandwidth(text: &str) -> Result<Option<Isolator>, CommandError> {
    let limit = limit("--network-bandwidth", text, |limit| limit.value() > 0, "more than none")?;
    // As those of disks: of whatever says nothing itself.
    Ok(Isolator::new(IsolatorValue::NetworkBandwidth(Limit { default: true, ..limit })))
}

fn capabilities(option: &str, text: &str) -> Result<CapabilitySet, CommandError> {
    let names = text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    CapabilitySet::new(names).map_err(|error| wrong(option, text, &error))
}

/// A limit without a request.
fn limit(option: &str, text: &str, is_enough: impl Fn(&Quantity) -> bool, enough: &str) -> Result<Limit, CommandError> {
    let refused = |why: &str| CommandError::usage(format!("{option}={text:?}: {why}"));
    let quantity: Quantity = text.parse().map_err(|error| match error {
        // A regular expression and a suffix tell nobody who typed 64MB what is wrong.
        QuantityError::Format { .. } | QuantityError::Suffix { .. } => {
            refused("it is no quantity").hint("such as 500m, 2, 64Mi, 1.5Gi or 500M")
        }
        error => refused(&format!("{error}")),
    })?;
    if !is_enough(&quantity) {
        return Err(refused(&format!("it must be {enough}")));
    }
    Ok(Limit { limit: Some(quantity), ..Limit::default() })
}

/// rkt's form: `mode=retain|remove`, perhaps `errno=NAME`, and the calls and sets, in any order.
fn seccomp(text: &str) -> Result<IsolatorValue, CommandError> {
    let refused = |why: &str| {
        CommandError::usage(format!("--seccomp={text:?}: {why}"))
            .hint("write it as mode=remove,errno=EPERM,reboot,@systemd/clock or mode=retain,@rkt/default-whitelist")
    };
    let (mut mode, mut errno, mut entries) = (None, None, Vec::new());
    for part in text.split(',').filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some(("mode", value)) if mode.is_none() => mode = Some(value),
            Some(("errno", value)) if errno.is_none() => errno = Some(value.to_owned()),
            Some(("mode" | "errno", _)) => return Err(refused("mode and errno are given once")),
            Some((name, _)) => return Err(refused(&format!("{name:?} is neither mode nor errno"))),
            None => entries.push(part.to_owned()),
        }
    }
    let set = || SeccompSet::new(entries, errno).map_err(|error| refused(&error.to_string()));
    match mode {
        Some("retain") => Ok(IsolatorValue::SeccompRetain(set()?)),
        Some("remove") => Ok(IsolatorValue::SeccompRemove(set()?)),
        Some(other) => Err(refused(&format!("mode {other:?} is neither retain nor remove"))),
        None => Err(refused("mode is missing")),
    }
}

fn wrong(option: &str, text: &str, error: &IsolatorError) -> CommandError {
    CommandError::usage(format!("{option}={text:?}: {error}"))
}

/// Puts what was given in place of the image's, and notes in the app's annotations which are the operator's.
pub(crate) fn put(isolators: &mut Vec<Isolator>, given: Vec<Given>, annotations: &mut Annotations) {
    let names: Vec<String> = given.iter().map(|given| given.isolator.name().to_string()).collect();
    for Given { isolator, replaces } in given {
        set::replace(isolators, isolator, replaces);
    }
    note(isolators, &names, annotations);
}

/// As [`put`], for an app that was made before: what was the operator's stays so.
///
/// # Errors
///
/// The app's note of that cannot be read.
pub(crate) fn put_later(
    isolators: &mut Vec<Isolator>,
    given: Vec<Given>,
    annotations: &mut Annotations,
) -> Result<(), CommandError> {
    let mut names = approved(annotations)?;
    for Given { isolator, replaces } in given {
        names.push(isolator.name().to_string());
        set::replace(isolators, isolator, replaces);
    }
    names.sort_unstable();
    names.dedup();
    note(isolators, &names, annotations);
    Ok(())
}

/// Notes that all of them are the operator's, who wrote them into a pod manifest; one that proa wrote says so itself.
pub(crate) fn approve_all(isolators: &[Isolator], annotations: &mut Annotations) {
    if annotations.get(OPERATOR_ISOLATORS).is_none() {
        let names: Vec<String> = isolators.iter().map(|isolator| isolator.name().to_string()).collect();
        note(isolators, &names, annotations);
    }
}

/// An app without isolators needs no note. With any, an empty one tells that all are the image's.
fn note(isolators: &[Isolator], names: &[String], annotations: &mut Annotations) {
    if !isolators.is_empty() {
        let name: AcIdentifier = OPERATOR_ISOLATORS.parse().expect("names of annotations of ours are identifiers");
        annotations.set(name, serde_json::Value::from(names.to_vec()).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seccomp_is_written_as_with_rkt() {
        let value = seccomp("mode=remove,errno=EPERM,reboot,@systemd/clock").unwrap();
        let IsolatorValue::SeccompRemove(set) = value else { panic!("a remove set") };
        assert_eq!((set.errno(), set.entries()), (Some("EPERM"), &["reboot".to_owned(), "@systemd/clock".into()][..]));
        assert!(matches!(seccomp("reboot,mode=retain").unwrap(), IsolatorValue::SeccompRetain(_)));
    }

    #[test]
    fn seccomp_that_makes_no_sense() {
        for text in
            ["", "reboot", "mode=keep,reboot", "mode=retain", "mode=retain,mode=remove,x", "mode=retain,errno=5,x"]
        {
            seccomp(text).expect_err(text);
        }
    }

    #[test]
    fn what_is_given_replaces_the_images_and_is_noted() {
        let of_image = capabilities("", "CAP_KILL").map(IsolatorValue::CapabilitiesRemove).unwrap();
        let mut isolators: Vec<Isolator> = Isolator::new(of_image).into_iter().collect();
        let args = IsolatorArgs { caps_retain: Some("CAP_CHOWN".to_owned()), ..IsolatorArgs::default() };
        let mut annotations = Annotations::default();
        put(&mut isolators, args.isolators().unwrap(), &mut annotations);
        let names: Vec<&str> = isolators.iter().map(|isolator| isolator.name().as_str()).collect();
        assert_eq!(names, [names::CAPABILITIES_RETAIN]);
        assert_eq!(annotations.get(OPERATOR_ISOLATORS), Some(r#"["os/linux/capabilities-retain-set"]"#));
    }
}
