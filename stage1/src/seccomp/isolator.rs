//! The policy that a seccomp isolator of an app asks for (appc ace.md, os/linux/seccomp-{retain,remove}-set).
//!
//! Where the default profile and an isolator differ, three rules decide:
//!
//! - An image can only narrow the default. What it asks for beyond is named in [`Outcome::narrowed`].
//! - Calls that depend on arguments keep doing so; to free those there is `@appc.io/all` of an operator.
//! - What the default answers with ENOSYS stays absent: newer forms of calls, which C libraries try before the older
//!   one. Killing a program for that, as a set without an errno asks, would kill all programs.

use super::compiler::CompileError;
use super::groups::ENOSYS;
use super::policy::{Action, Arch, Decision, Policy};
use super::profile::{self, ProfileError};
use super::wildcards::{self, FOREIGN, Wildcard};
use std::collections::{BTreeMap, BTreeSet};

/// The kernel's errors by name, sorted.
static ERRNOS: &[(&str, u16)] = &include!(concat!(env!("OUT_DIR"), "/errnos.rs"));
/// The system calls of this architecture by name, sorted.
pub(crate) static NUMBERS: &[(&str, u32)] = &include!(concat!(env!("OUT_DIR"), "/numbers.rs"));

/// Other names of errors: C99's and POSIX's second names for a number, and the misspelling in the appc specification's
/// own example.
const ERRNO_ALIASES: [(&str, &str); 4] =
    [("EWOULDBLOCK", "EAGAIN"), ("ENOTSUP", "EOPNOTSUPP"), ("EDEADLOCK", "EDEADLK"), ("EACCESS", "EACCES")];

/// What an app cannot start or end without, in every retain set ("the minimum set of syscalls required for app
/// life-cycle").
const LIFE_CYCLE: &str = "execve exit exit_group restart_syscall rt_sigreturn sigreturn";

/// Which of the two isolators it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `os/linux/seccomp-retain-set`: only the set is allowed.
    Retain,
    /// `os/linux/seccomp-remove-set`: the set is refused, beside what the default refuses.
    Remove,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The image's manifest, which is not trusted.
    Image,
    /// The pod manifest or the command line.
    Operator,
}

/// A seccomp isolator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isolator<'a> {
    /// Which one.
    pub mode: Mode,
    /// Who asks.
    pub origin: Origin,
    /// Names of calls and wildcards.
    pub entries: &'a [&'a str],
    /// The error refused calls return, by name; without one they kill the process with SIGSYS.
    pub errno: Option<&'a str>,
}

/// What becomes of an isolator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The policy; none if the operator asked for no filter at all.
    pub policy: Option<Policy>,
    /// Entries an image asked for and does not get.
    pub narrowed: Vec<String>,
}

/// An isolator that cannot be obeyed: not starting the app is the only safe answer.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum IsolatorError {
    /// Neither a call of this architecture nor of another.
    #[error("no system call is named {0:?}")]
    UnknownCall(String),
    /// A wildcard nobody defined.
    #[error("unknown wildcard {0:?} in a set of system calls")]
    UnknownWildcard(String),
    /// Not one of the kernel's errors.
    #[error("no error is named {0:?}")]
    UnknownErrno(String),
    /// A set that refuses all calls, also the one that would start the app.
    #[error("removing @appc.io/all would leave no system call")]
    NothingLeft,
    /// There is no profile for the architecture of this program.
    #[error("no system call profile for the architecture {0}")]
    Architecture(&'static str),
    /// The tables of this program contradict each other.
    #[error("default profile")]
    Profile(#[from] ProfileError),
    /// The policy is too large for the kernel.
    #[error(transparent)]
    Compile(#[from] CompileError),
}

/// The policy for an isolator on this program's architecture.
///
/// # Errors
/// [`IsolatorError`], which names the entry or errno that is not known.
pub fn policy(isolator: &Isolator<'_>) -> Result<Outcome, IsolatorError> {
    policy_with(arch()?, &NUMBERS.iter().copied().collect(), isolator)
}

/// The default profile of this program's architecture.
pub(super) fn default_policy() -> Result<Policy, IsolatorError> {
    Ok(profile::default_policy(arch()?, &NUMBERS.iter().copied().collect())?)
}

fn arch() -> Result<Arch, IsolatorError> {
    let name = std::env::consts::ARCH;
    Arch::from_rust_name(name).ok_or(IsolatorError::Architecture(name))
}

/// As [`policy`], for any architecture.
pub(super) fn policy_with(
    arch: Arch,
    numbers: &BTreeMap<&str, u32>,
    isolator: &Isolator<'_>,
) -> Result<Outcome, IsolatorError> {
    let default = profile::default_policy(arch, numbers)?;
    let blocked = isolator.errno.map_or(Ok(Action::KillProcess), errno)?;
    let set = Set::parse(arch, numbers, &default, isolator.entries)?;
    match (isolator.mode, set.special) {
        (Mode::Retain, Some(Wildcard::All)) => Ok(match isolator.origin {
            Origin::Operator => Outcome { policy: None, narrowed: vec![] },
            Origin::Image => Outcome { policy: Some(default), narrowed: vec!["@appc.io/all".to_owned()] },
        }),
        (Mode::Remove, Some(Wildcard::All)) => Err(IsolatorError::NothingLeft),
        (Mode::Retain, _) => Ok(retain(default, numbers, &set, blocked, isolator.origin)),
        // In a remove set it masks all others: the default filter, and nothing more.
        (Mode::Remove, Some(_)) => Ok(Outcome { policy: Some(default), narrowed: vec![] }),
        (Mode::Remove, None) => Ok(remove(default, &set, blocked)),
    }
}

/// The entries of an isolator as numbers of this architecture.
#[derive(Debug, Default)]
struct Set {
    /// Named one by one.
    named: BTreeSet<u32>,
    /// Named by a wildcard.
    covered: BTreeSet<u32>,
    /// One of the wildcards that stand for everything or nothing; everything wins.
    special: Option<Wildcard>,
}

impl Set {
    fn parse(
        arch: Arch,
        numbers: &BTreeMap<&str, u32>,
        default: &Policy,
        entries: &[&str],
    ) -> Result<Self, IsolatorError> {
        let mut set = Self::default();
        for &entry in entries {
            if !entry.starts_with('@') {
                match numbers.get(entry) {
                    Some(&number) => drop(set.named.insert(number)),
                    None if is_elsewhere(arch, entry) => {}
                    None => return Err(IsolatorError::UnknownCall(entry.to_owned())),
                }
                continue;
            }
            match wildcards::resolve(entry).ok_or_else(|| IsolatorError::UnknownWildcard(entry.to_owned()))? {
                Wildcard::All => set.special = Some(Wildcard::All),
                Wildcard::Empty => set.special = set.special.or(Some(Wildcard::Empty)),
                Wildcard::DefaultAllowed => {
                    set.covered.extend(default.calls.iter().filter(|(_, d)| is_allowed(d)).map(|(&number, _)| number));
                }
                Wildcard::Names(names) => {
                    set.covered.extend(names.split_whitespace().filter_map(|name| numbers.get(name)));
                }
            }
        }
        Ok(set)
    }

    fn contains(&self, number: u32) -> bool {
        self.named.contains(&number) || self.covered.contains(&number)
    }
}

fn retain(default: Policy, numbers: &BTreeMap<&str, u32>, set: &Set, blocked: Action, origin: Origin) -> Outcome {
    let life_cycle: BTreeSet<u32> =
        LIFE_CYCLE.split_whitespace().filter_map(|name| numbers.get(name)).copied().collect();
    let mut narrowed = Vec::new();
    let mut calls = BTreeMap::new();
    for (&name, &number) in numbers {
        let usual = default.calls[&number].clone();
        let absent = usual == Decision::Always(Action::Errno(ENOSYS));
        let wanted = set.contains(number) || life_cycle.contains(&number);
        let named = set.named.contains(&number);
        let decision = match origin {
            _ if wanted && is_allowed(&usual) => usual,
            Origin::Operator if wanted && (named || !absent) => Decision::Always(Action::Allow),
            Origin::Image if wanted => {
                if named {
                    narrowed.push(name.to_owned());
                }
                usual
            }
            _ if absent => usual,
            _ => Decision::Always(blocked),
        };
        calls.insert(number, decision);
    }
    Outcome { policy: Some(Policy { calls, ..default }), narrowed }
}

fn remove(mut default: Policy, set: &Set, blocked: Action) -> Outcome {
    for &number in set.named.iter().chain(&set.covered) {
        default.calls.insert(number, Decision::Always(blocked));
    }
    Outcome { policy: Some(default), narrowed: vec![] }
}

fn is_allowed(decision: &Decision) -> bool {
    matches!(decision, Decision::Always(Action::Allow) | Decision::ByArguments { .. })
}

/// Whether a call exists on some architecture, if not on this one: no mistake, and nothing to do.
pub(super) fn is_elsewhere(arch: Arch, name: &str) -> bool {
    profile::absent(arch).contains(name) || FOREIGN.split_whitespace().any(|foreign| foreign == name)
}

fn errno(name: &str) -> Result<Action, IsolatorError> {
    let real = ERRNO_ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, real)| real);
    match ERRNOS.binary_search_by_key(&real, |(name, _)| name) {
        Ok(index) => Ok(Action::Errno(ERRNOS[index].1)),
        Err(_) => Err(IsolatorError::UnknownErrno(name.to_owned())),
    }
}
