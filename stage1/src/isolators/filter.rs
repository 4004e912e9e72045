//! The isolators that name system calls.

use std::rc::Rc;

use appc::isolator::report::Outcome;
use appc::isolator::seccomp::SeccompSet;

use super::choices::Choices;
use super::{Asked, BadIsolator, Rights};
use crate::capabilities;
use crate::seccomp::isolator::{self, Isolator, IsolatorError, Mode, Origin};
use crate::seccomp::{Policy, SockFilter, capable, compile, oci};

/// Which system calls an app can make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Those of the default profile.
    Default,
    /// Whatever a program of this filter lets through.
    Own(Rc<[SockFilter]>),
    /// All of them.
    None,
}

/// `os/linux/seccomp-retain-set`.
pub(super) fn retain(rights: &mut Rights, asked: Asked<'_>, set: &SeccompSet) -> Result<Outcome, BadIsolator> {
    apply(rights, asked, set, Mode::Retain)
}

/// `os/linux/seccomp-remove-set`.
pub(super) fn remove(rights: &mut Rights, asked: Asked<'_>, set: &SeccompSet) -> Result<Outcome, BadIsolator> {
    apply(rights, asked, set, Mode::Remove)
}

fn apply(rights: &mut Rights, asked: Asked<'_>, set: &SeccompSet, mode: Mode) -> Result<Outcome, BadIsolator> {
    let entries: Vec<&str> = set.entries().iter().map(String::as_str).collect();
    let origin = if asked.by_operator { Origin::Operator } else { Origin::Image };
    let wanted = Isolator { mode, origin, entries: &entries, errno: set.errno() };
    let bad = |error| BadIsolator::Seccomp { isolator: asked.isolator.name().to_string(), error };
    // Also where it will have no effect: a misspelt name is one in any case.
    let got = isolator::policy(&wanted).map_err(bad)?;
    if asked.choices.insecure.seccomp {
        return Ok(Outcome::Ignored("--insecure-options=seccomp".to_owned()));
    }
    rights.filter = got.policy.map_or(Ok(Filter::None), |policy| program(&policy)).map_err(bad)?;
    Ok(if got.narrowed.is_empty() {
        Outcome::Enforced
    } else {
        Outcome::Modified(format!("an image is not granted {}: that takes --seccomp", got.narrowed.join(", ")))
    })
}

/// The filter of a profile that the operator gave, in place of any isolator's. To be asked once the capabilities are
/// known: parts of profiles are for apps that have some.
pub(super) fn profile(rights: &mut Rights, text: &str, choices: &Choices) -> Result<Outcome, BadIsolator> {
    let bad = |error| BadIsolator::Profile { error };
    let profile = oci::Profile::parse(text).map_err(|error| bad(error.to_string()))?;
    let here = oci::Circumstances::here(rights.capabilities)
        .ok_or_else(|| bad(format!("no filter is made for {}", std::env::consts::ARCH)))?;
    let made = oci::policy(&profile, &here).map_err(|error| bad(error.to_string()))?;
    let program = compile(&made.policy).map_err(|error| bad(error.to_string()))?;
    if choices.insecure.seccomp {
        return Ok(Outcome::Ignored("--insecure-options=seccomp".to_owned()));
    }
    rights.filter = Filter::Own(program.into());
    Ok(match made.unknown.as_slice() {
        [] => Outcome::Enforced,
        unknown => Outcome::Modified(format!("no system call here is named {}", unknown.join(", "))),
    })
}

/// Lets an app that got more capabilities than usual make the calls which those are for.
pub(super) fn fit(rights: &mut Rights) -> Result<(), BadIsolator> {
    let more = rights.capabilities.difference(capabilities::DEFAULT);
    if rights.filter == Filter::Default && !more.is_empty() {
        let bad = |error| BadIsolator::Seccomp { isolator: "os/linux/capabilities-retain-set".to_owned(), error };
        if let Some(policy) = capable::policy(more).map_err(bad)? {
            rights.filter = program(&policy).map_err(bad)?;
        }
    }
    Ok(())
}

fn program(policy: &Policy) -> Result<Filter, IsolatorError> {
    Ok(Filter::Own(compile(policy)?.into()))
}
