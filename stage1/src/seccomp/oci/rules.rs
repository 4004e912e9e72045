//! What a profile means for an app: which of its entries count, and what they answer.

use std::collections::{BTreeMap, BTreeSet};

use rustix::thread::CapabilitySet;

use super::{Argument, Entry, Only, Profile, ProfileError};
use crate::seccomp::groups::{ENOSYS, EPERM};
use crate::seccomp::isolator;
use crate::seccomp::policy::{Action, Arch, Compare, Condition, Decision, Op, Policy, Rule};

/// What entries can be bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Circumstances<'a> {
    /// The architecture.
    pub arch: Arch,
    /// Its calls by name.
    pub numbers: &'a [(&'a str, u32)],
    /// What the app has.
    pub capabilities: CapabilitySet,
    /// The running kernel's version and its part behind the point.
    pub kernel: (u32, u32),
}

/// A policy, and what the profile says that means nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The policy.
    pub policy: Policy,
    /// Names of calls that no architecture has.
    pub unknown: Vec<String>,
}

/// The policy of a profile.
///
/// As in libseccomp, an answer without conditions stands before those that have some, and of several the first. Calls
/// that are newer than all that the profile names are absent (ENOSYS) where others are refused with an error: whoever
/// wrote it could not know them, and programs then use the older call. runc does so too.
///
/// # Errors
/// [`ProfileError`], of entries that do not count as well.
pub fn policy(profile: &Profile, here: &Circumstances<'_>) -> Result<Made, ProfileError> {
    let default = action(&profile.default_action, profile.default_errno_ret)?;
    let numbers: BTreeMap<&str, u32> = here.numbers.iter().copied().collect();
    let mut decided: BTreeMap<u32, Answers> = BTreeMap::new();
    let mut unknown = BTreeSet::new();
    for entry in profile.entries() {
        let answer = action(&entry.action, entry.errno_ret)?;
        let rules = rules(entry, answer)?;
        // What says nothing new stands before nothing: runc and libseccomp take no rule with the default's action.
        if answer == default || !counts(entry, here)? {
            continue;
        }
        for name in entry.names() {
            match numbers.get(name) {
                Some(&number) => decided.entry(number).or_default().add(answer, &rules),
                None if isolator::is_elsewhere(here.arch, name) => {}
                None => drop(unknown.insert(name.to_owned())),
            }
        }
    }
    let newest = decided.keys().copied().max().unwrap_or(0);
    let unlisted = |number| match default {
        Action::Errno(_) if number > newest => Action::Errno(ENOSYS),
        other => other,
    };
    let calls = here.numbers.iter().map(|&(_, number)| {
        let decision = match decided.remove(&number) {
            Some(answers) => answers.decision(default),
            None => Decision::Always(unlisted(number)),
        };
        (number, decision)
    });
    let calls = calls.collect();
    let policy = Policy { arch: here.arch, calls, unknown: unlisted(u32::MAX) };
    Ok(Made { policy, unknown: unknown.into_iter().collect() })
}

/// The answers to one call so far.
#[derive(Debug, Default)]
struct Answers {
    always: Option<Action>,
    rules: Vec<Rule>,
}

impl Answers {
    fn add(&mut self, answer: Action, rules: &[Rule]) {
        if rules.is_empty() {
            self.always.get_or_insert(answer);
        } else {
            self.rules.extend_from_slice(rules);
        }
    }

    fn decision(self, default: Action) -> Decision {
        match self.always {
            Some(action) => Decision::Always(action),
            None => Decision::ByArguments { rules: self.rules, otherwise: default },
        }
    }
}

/// The rules of an entry; none if it is without conditions.
///
/// Conditions hold together. Where two are about the same argument, which could hardly hold together, each counts alone:
/// that is how runc reads them, and docker's profile of `personality` was once written.
fn rules(entry: &Entry, answer: Action) -> Result<Vec<Rule>, ProfileError> {
    let conditions: Vec<Condition> = entry.args.iter().flatten().map(condition).collect::<Result<_, ProfileError>>()?;
    let arguments: BTreeSet<u8> = conditions.iter().map(|condition| condition.arg).collect();
    let rule = |all_of| Rule { all_of, action: answer };
    Ok(if conditions.is_empty() {
        Vec::new()
    } else if arguments.len() < conditions.len() {
        conditions.into_iter().map(|condition| rule(vec![condition])).collect()
    } else {
        vec![rule(conditions)]
    })
}

fn condition(argument: &Argument) -> Result<Condition, ProfileError> {
    let value = argument.value;
    let op = match argument.op.as_str() {
        "SCMP_CMP_EQ" => Op::Eq(value),
        "SCMP_CMP_NE" => Op::Ne(value),
        "SCMP_CMP_LT" => Op::Lt(value),
        "SCMP_CMP_LE" => Op::Le(value),
        "SCMP_CMP_GT" => Op::Gt(value),
        "SCMP_CMP_GE" => Op::Ge(value),
        "SCMP_CMP_MASKED_EQ" => Op::Masked { mask: value, value: argument.value_two },
        other => return Err(ProfileError::Comparison(other.to_owned())),
    };
    Ok(Condition { arg: argument.index, compare: Compare::Full(op) })
}

/// Whether an entry is one here (docker's profile format).
fn counts(entry: &Entry, here: &Circumstances<'_>) -> Result<bool, ProfileError> {
    let nothing = Only::default();
    let (includes, excludes) =
        (entry.includes.as_ref().unwrap_or(&nothing), entry.excludes.as_ref().unwrap_or(&nothing));
    let has = |name: &String| {
        let name = name.strip_prefix("CAP_").unwrap_or(name);
        CapabilitySet::from_name(name).is_some_and(|capability| here.capabilities.contains(capability))
    };
    let is_here = |arch: &String| arch == go_name(here.arch);
    let (arches, caps) =
        (|only: &Only| only.arches.clone().unwrap_or_default(), |only: &Only| only.caps.clone().unwrap_or_default());
    let wanted = arches(includes);
    let is_new = |only: &Only| only.min_kernel.as_deref().map(|text| kernel(text).map(|least| here.kernel >= least));
    let (new_enough, too_new) = (is_new(includes).transpose()?, is_new(excludes).transpose()?);
    Ok((wanted.is_empty() || wanted.iter().any(is_here))
        && caps(includes).iter().all(has)
        && new_enough.unwrap_or(true)
        && !arches(excludes).iter().any(is_here)
        && !caps(excludes).iter().any(has)
        && !too_new.unwrap_or(false))
}

/// The architecture as Go calls it.
fn go_name(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "amd64",
        Arch::Aarch64 => "arm64",
    }
}

/// The first two numbers of a kernel's version.
pub(super) fn kernel(text: &str) -> Result<(u32, u32), ProfileError> {
    let number = |text: &str| {
        let digits = text.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    };
    let mut parts = text.split('.');
    let version = parts.next().and_then(number).zip(parts.next().and_then(number));
    version.ok_or_else(|| ProfileError::Kernel(text.to_owned()))
}

fn action(name: &str, errno: Option<u32>) -> Result<Action, ProfileError> {
    // The kernel takes 16 bits, and the compiler refuses what it would change.
    let errno = || errno.map_or(EPERM, |errno| u16::try_from(errno).unwrap_or(u16::MAX));
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_ERRNO" => Action::Errno(errno()),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_TRAP" => Action::Trap,
        other => return Err(ProfileError::Action(other.to_owned())),
    })
}

impl Circumstances<'static> {
    /// Those of this program, this kernel and an app with `capabilities`; none where there are no filters.
    #[must_use]
    pub fn here(capabilities: CapabilitySet) -> Option<Self> {
        let release = rustix::system::uname();
        // A kernel that does not tell its version has all that it is asked for.
        let kernel = release.release().to_str().ok().and_then(|text| kernel(text).ok());
        let kernel = kernel.unwrap_or((u32::MAX, u32::MAX));
        let arch = Arch::from_rust_name(std::env::consts::ARCH)?;
        Some(Self { arch, numbers: isolator::NUMBERS, capabilities, kernel })
    }
}
