//! What becomes of an app's isolators: those that this runner enforces, and a word about each of the others.
//!
//! An image's isolators may only narrow what an app gets without any (security defaults, docs/stage1-contract.md); the
//! operator's may widen it. Which of an app's isolators are the operator's stands in its annotations, see [`choices`].

mod capabilities;
pub mod choices;
mod filter;
pub mod net_admin;
pub mod sysctl;
pub mod ulimits;

use std::ops::RangeInclusive;

use appc::isolator::report::{Outcome, ReportEntry};
use appc::isolator::{IsolatorError, IsolatorValue, set};
use appc::{Annotations, App, Isolator, RuntimeApp};
use rustix::thread::CapabilitySet;

use crate::seccomp::isolator::IsolatorError as SeccompError;

use choices::{BadChoice, Choices};
use net_admin::{Grant, NetAdmin};
use ulimits::Ulimit;

use crate::landlock::Strict;

pub use filter::Filter;

/// The rights of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// The bounding set, which is also what root of the app has. Those that the kernel does not know are not there.
    pub capabilities: CapabilitySet,
    /// Whether no program can gain rights by being executed.
    pub no_new_privs: bool,
    /// Which system calls it can make.
    pub filter: Filter,
    /// How gladly the kernel kills it when memory is short, if that is given (proc_pid_oom_score_adj(5)).
    pub oom_score_adj: Option<OomScore>,
    /// What else Landlock takes from it, if that is wanted.
    pub landlock: Option<Strict>,
    /// The label its program is to have, if one is given.
    pub label: Option<Label>,
    /// Resource limits in place of those that every app gets, and others.
    pub ulimits: Vec<Ulimit>,
}

/// How gladly the kernel kills an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OomScore {
    /// From 0 to 1000.
    pub value: i32,
    /// Whether it counts where it is less than what apps have that do not say: an image does not put itself behind
    /// its siblings.
    pub may_be_low: bool,
}

/// Shares of processor time of an app that does not say (appc ace.md, "os/linux/cpu-shares").
const USUAL_SHARES: i64 = 1024;

/// What a security module is to do with an app's program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Label {
    /// An AppArmor profile.
    ApparmorProfile(String),
    /// An AppArmor profile beside the one that proa has, which may only take rights away: an image's.
    StackedApparmorProfile(String),
    /// An SELinux context, `USER:ROLE:TYPE:LEVEL`.
    SelinuxContext(String),
}

/// The security modules of a host (/sys/module, /sys/fs/selinux).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Modules {
    /// Whether AppArmor is on.
    pub apparmor: bool,
    /// Whether SELinux is on.
    pub selinux: bool,
}

impl Modules {
    /// Looks at this host.
    #[must_use]
    pub fn detect() -> Self {
        let enabled = std::fs::read("/sys/module/apparmor/parameters/enabled");
        Self {
            apparmor: enabled.is_ok_and(|text| text.first() == Some(&b'Y')),
            selinux: std::path::Path::new("/sys/fs/selinux/enforce").exists(),
        }
    }
}

/// What of the host decides about isolators.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    /// Its security modules; asked only where an isolator is about them.
    pub modules: fn() -> Modules,
    /// The controllers of the pod's control groups; none where it has no groups.
    pub controllers: &'a [String],
    /// What becomes of a bound of the pod's network.
    pub network: &'a Outcome,
    /// Whether the app is the only one of its pod.
    pub is_alone: bool,
}

impl Host<'_> {
    /// One of which nothing is known yet but its security modules: enough for a plan, which does not report.
    #[must_use]
    pub fn unknown() -> Self {
        Self { modules: Modules::detect, controllers: &[], network: &Outcome::Enforced, is_alone: true }
    }
}

/// An isolator that cannot be obeyed: not to start the app is the only safe answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadIsolator {
    /// A capability that does not exist.
    #[error("isolator {isolator}: no capability {name:?}")]
    UnknownCapability {
        /// Name of the isolator.
        isolator: String,
        /// The name that is none.
        name: String,
    },
    /// A set of system calls that cannot be.
    #[error("isolator {isolator}: {error}")]
    Seccomp {
        /// Name of the isolator.
        isolator: String,
        /// What is wrong.
        error: SeccompError,
    },
    /// A profile of system calls that cannot be obeyed.
    #[error("profile of system calls: {error}")]
    Profile {
        /// What is wrong.
        error: String,
    },
    /// Two that exclude each other.
    #[error("isolators: {0}")]
    Set(#[from] IsolatorError),
    /// The host cannot confine the app as is asked for (appc ace.md, "os/linux/apparmor-profile": must refuse).
    #[error("isolator os/linux/apparmor-profile: profile {profile:?} is not loaded: this host runs without AppArmor")]
    NoApparmor {
        /// The profile.
        profile: String,
    },
    /// An annotation of ours that says nothing known.
    #[error(transparent)]
    Choice(#[from] BadChoice),
}

/// The rights of an app, and a report with one row for each of its isolators, in their order. `pod` is the pod's
/// annotations.
///
/// # Errors
/// [`BadIsolator`]: a name that is misspelt would silently mean nothing.
pub fn rights(
    pod: &Annotations,
    runtime: &RuntimeApp,
    app: &App,
    host: &Host<'_>,
) -> Result<(Rights, Vec<ReportEntry>), BadIsolator> {
    let choices = Choices::of(pod)?;
    let approved = choices::approved(&runtime.annotations)?;
    set::check_runnable(&app.isolators)?;
    let mut rights = Rights {
        capabilities: capabilities::base(&choices),
        no_new_privs: choices.strict,
        filter: if choices.insecure.seccomp { Filter::None } else { Filter::Default },
        oom_score_adj: None,
        landlock: choices.strict_landlock.then(|| Strict { ports: tcp_ports(app) }),
        label: None,
        ulimits: ulimits::of(pod)?,
    };
    let profile = runtime.annotations.get(choices::SECCOMP_PROFILE);
    let mut report = Vec::new();
    let is_net_admin = NetAdmin::of(pod)?.of_app(runtime.name.as_str()) == Some(Grant::App);
    for isolator in &app.isolators {
        let by_operator = approved.iter().any(|name| *isolator.name() == **name);
        let is_last =
            set::last(&app.isolators, isolator.name().as_str()).is_some_and(|last| std::ptr::eq(last, isolator));
        let outcome = if is_last {
            let asked =
                Asked { isolator, by_operator, choices: &choices, has_profile: profile.is_some(), is_net_admin };
            apply(&mut rights, asked, host)?
        } else {
            Outcome::Ignored("it is given again".to_owned())
        };
        report.push(ReportEntry { isolator: isolator.name().clone(), outcome });
    }
    if is_net_admin {
        rights.capabilities |= CapabilitySet::NET_ADMIN;
    }
    if let Some(text) = profile {
        let isolator = choices::SECCOMP_PROFILE.parse().expect("names of annotations of ours are identifiers");
        report.push(ReportEntry { isolator, outcome: filter::profile(&mut rights, text, &choices)? });
    } else {
        filter::fit(&mut rights)?;
    }
    Ok((rights, report))
}

/// As many as a program could mean: each is a rule, at every start.
const MAX_STRICT_PORTS: u16 = 64;

fn tcp_ports(app: &App) -> Vec<RangeInclusive<u16>> {
    let tcp = app.ports.iter().filter(|port| port.protocol.eq_ignore_ascii_case("tcp"));
    let range = |port: &appc::Port| {
        let more = port.count.saturating_sub(1).min(MAX_STRICT_PORTS - 1);
        port.port..=port.port.saturating_add(more)
    };
    tcp.take(usize::from(MAX_STRICT_PORTS)).map(range).collect()
}

/// An isolator, and whose it is.
#[derive(Clone, Copy)]
struct Asked<'a> {
    isolator: &'a Isolator,
    by_operator: bool,
    choices: &'a Choices,
    /// Whether a profile stands in place of its isolators about system calls.
    has_profile: bool,
    /// Whether the app has rights over the pod's network.
    is_net_admin: bool,
}

fn apply(rights: &mut Rights, asked: Asked<'_>, host: &Host<'_>) -> Result<Outcome, BadIsolator> {
    Ok(match asked.isolator.value() {
        IsolatorValue::NoNewPrivileges(wanted) => {
            if rights.no_new_privs && !wanted {
                return Ok(Outcome::Modified("the profile is strict".to_owned()));
            }
            rights.no_new_privs |= wanted;
            Outcome::Enforced
        }
        IsolatorValue::CapabilitiesRemove(names) => capabilities::remove(rights, asked, names)?,
        IsolatorValue::CapabilitiesRetain(names) => capabilities::retain(rights, asked, names)?,
        IsolatorValue::SeccompRetain(_) | IsolatorValue::SeccompRemove(_) if asked.has_profile => {
            Outcome::Ignored("a profile of system calls takes its place".to_owned())
        }
        IsolatorValue::SeccompRetain(set) => filter::retain(rights, asked, set)?,
        IsolatorValue::SeccompRemove(set) => filter::remove(rights, asked, set)?,
        IsolatorValue::OomScoreAdj(value) => oom_score_adj(rights, value.get(), asked.by_operator),
        IsolatorValue::CpuShares(shares) if !asked.by_operator && shares.get() > USUAL_SHARES => {
            match resource(asked.isolator.value(), host.controllers) {
                Outcome::Enforced => Outcome::Modified("an image has no more weight than others".to_owned()),
                other => other,
            }
        }
        IsolatorValue::ApparmorProfile(profile) if (host.modules)().apparmor => {
            let profile = profile.as_str().to_owned();
            rights.label = Some(match asked.by_operator {
                true => Label::ApparmorProfile(profile),
                false => Label::StackedApparmorProfile(profile),
            });
            Outcome::Enforced
        }
        IsolatorValue::ApparmorProfile(profile) => {
            return Err(BadIsolator::NoApparmor { profile: profile.as_str().to_owned() });
        }
        IsolatorValue::SelinuxContext(context) if asked.by_operator && (host.modules)().selinux => {
            let parts = [context.user(), context.role(), context.type_(), context.level()];
            rights.label = Some(Label::SelinuxContext(parts.join(":")));
            Outcome::Enforced
        }
        IsolatorValue::SelinuxContext(_) if (host.modules)().selinux => {
            Outcome::Ignored("an image does not choose its context".to_owned())
        }
        IsolatorValue::SelinuxContext(_) => Outcome::Ignored("this host runs without SELinux".to_owned()),
        IsolatorValue::Sysctl(_) => Outcome::Ignored("it is one of pods, not of apps".to_owned()),
        IsolatorValue::Unknown => Outcome::Ignored("not known".to_owned()),
        IsolatorValue::NetworkBandwidth(_) if !host.is_alone => {
            Outcome::Ignored("the apps of a pod share its network: give it to the pod".to_owned())
        }
        IsolatorValue::NetworkBandwidth(_) => host.network.clone(),
        value => resource(value, host.controllers),
    })
}

/// What becomes of a bound of resources, of an app or of a pod.
pub(crate) fn resource(value: &IsolatorValue, controllers: &[String]) -> Outcome {
    let controller = match value {
        IsolatorValue::Memory(_) => "memory",
        IsolatorValue::Cpu(_) | IsolatorValue::CpuShares(_) => "cpu",
        IsolatorValue::BlockBandwidth(_) | IsolatorValue::BlockIops(_) => "io",
        _ => return Outcome::Ignored("not supported yet".to_owned()),
    };
    if controllers.iter().any(|known| known == controller) {
        Outcome::Enforced
    } else if controllers.is_empty() {
        Outcome::Ignored("the pod has no control group of its own (`proa doctor` says why)".to_owned())
    } else {
        Outcome::Ignored(format!("the pod's control group has no {controller} controller"))
    }
}

/// Only the host's root makes a process less likely to be killed than it was (proc_pid_oom_score_adj(5)).
fn oom_score_adj(rights: &mut Rights, value: i64, by_operator: bool) -> Outcome {
    match i32::try_from(value) {
        Ok(value @ 0..=1000) => {
            rights.oom_score_adj = Some(OomScore { value, may_be_low: by_operator });
            Outcome::Enforced
        }
        _ => Outcome::Ignored("only the host's root can lower it".to_owned()),
    }
}

#[cfg(test)]
mod tests;
