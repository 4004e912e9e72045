//! The default profile as a policy for one architecture, checked to decide about every call there is.

use super::arguments;
use super::groups::{ABSENT_EVERYWHERE, ABSENT_ON_AARCH64, ENOSYS, GROUPS};
use super::policy::{Action, Arch, Decision, Policy};
use std::collections::{BTreeMap, BTreeSet};

/// A profile and a table of system calls that do not fit.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProfileError {
    /// A misspelt call would otherwise be allowed nowhere or, worse, refused nowhere.
    #[error("{arch:?} has no system call {name}, and it is not listed as absent there")]
    Unknown {
        /// The architecture.
        arch: Arch,
        /// The name.
        name: String,
    },
    /// A call is said to be absent and is not.
    #[error("system call {name} is listed as absent on {arch:?}, and the table has it")]
    NotAbsent {
        /// The architecture.
        arch: Arch,
        /// The name.
        name: String,
    },
    /// Two decisions about one call.
    #[error("system call {0} is decided twice")]
    Twice(String),
    /// A call of the table that nobody decided about, for example after an update of the table.
    #[error("system call {0} is in no group")]
    Undecided(String),
}

/// The default profile for an architecture, whose calls are given by name.
///
/// # Errors
/// [`ProfileError`] when the groups and the table do not fit: for the caller, the build script, a reason to stop.
pub fn default_policy(arch: Arch, table: &BTreeMap<&str, u32>) -> Result<Policy, ProfileError> {
    let absent = absent(arch);
    let mut calls = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (name, decision) in decisions() {
        if !seen.insert(name) {
            return Err(ProfileError::Twice(name.to_owned()));
        }
        match (table.get(name), absent.contains(name)) {
            (Some(&number), false) => {
                calls.insert(number, decision);
            }
            (None, true) => {}
            (Some(_), true) => return Err(ProfileError::NotAbsent { arch, name: name.to_owned() }),
            (None, false) => return Err(ProfileError::Unknown { arch, name: name.to_owned() }),
        }
    }
    if let Some(name) = table.keys().find(|name| !seen.contains(*name)) {
        return Err(ProfileError::Undecided((*name).to_owned()));
    }
    Ok(Policy { arch, calls, unknown: Action::Errno(ENOSYS) })
}

fn decisions() -> impl Iterator<Item = (&'static str, Decision)> {
    GROUPS
        .iter()
        .flat_map(|group| group.names.split_whitespace().map(|name| (name, Decision::Always(group.action))))
        .chain(arguments::decisions())
}

pub(super) fn absent(arch: Arch) -> BTreeSet<&'static str> {
    let here = match arch {
        Arch::X86_64 => "",
        Arch::Aarch64 => ABSENT_ON_AARCH64,
    };
    ABSENT_EVERYWHERE.split_whitespace().chain(here.split_whitespace()).collect()
}
