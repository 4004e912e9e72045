//! Rules and look-ups for a list of isolators as a whole.

use super::{Isolator, IsolatorError, IsolatorValue, names};

/// Checks the rules for the isolators of an app, in order, as the Go code does.
///
/// Isolators of unknown name pass; see [`unrecognized`]. Those of a pod have no rules as a set.
///
/// # Errors
/// [`IsolatorError::TooMany`], [`IsolatorError::Incompatible`].
pub fn validate(isolators: &[Isolator]) -> Result<(), IsolatorError> {
    let mut seen: Vec<&'static str> = Vec::new();
    for isolator in isolators {
        let Some(name) = isolator.value().name() else { continue };
        isolator.value().validate()?;
        let repeated = seen.contains(&name);
        if repeated && !may_repeat(isolator.value()) {
            return Err(IsolatorError::TooMany { name });
        }
        if excluded_by(isolator.value()).is_some_and(|other| seen.contains(&other)) {
            return Err(IsolatorError::Incompatible { name });
        }
        if !repeated {
            seen.push(name);
        }
    }
    Ok(())
}

/// Checks what the specification forbids but the Go code lets pass: retaining and removing capabilities at once.
/// To be asked before running an app.
///
/// # Errors
/// [`IsolatorError::Incompatible`].
pub fn check_runnable(isolators: &[Isolator]) -> Result<(), IsolatorError> {
    let both = last(isolators, names::CAPABILITIES_RETAIN).and(last(isolators, names::CAPABILITIES_REMOVE));
    match both {
        Some(_) => Err(IsolatorError::Incompatible { name: names::CAPABILITIES_REMOVE }),
        None => Ok(()),
    }
}

fn may_repeat(value: &IsolatorValue) -> bool {
    !matches!(
        value,
        IsolatorValue::SeccompRetain(_)
            | IsolatorValue::SeccompRemove(_)
            | IsolatorValue::OomScoreAdj(_)
            | IsolatorValue::CpuShares(_)
            | IsolatorValue::SelinuxContext(_)
            | IsolatorValue::ApparmorProfile(_)
            | IsolatorValue::Sysctl(_)
    )
}

fn excluded_by(value: &IsolatorValue) -> Option<&'static str> {
    match value {
        IsolatorValue::SeccompRetain(_) => Some(names::SECCOMP_REMOVE),
        IsolatorValue::SeccompRemove(_) => Some(names::SECCOMP_RETAIN),
        _ => None,
    }
}

/// The isolator called `name`; of several, the last one counts.
pub fn last<'a>(isolators: &'a [Isolator], name: &str) -> Option<&'a Isolator> {
    isolators.iter().rfind(|isolator| *isolator.name() == *name)
}

/// The isolators of unknown name, which an executor may ignore but must report.
pub fn unrecognized(isolators: &[Isolator]) -> impl Iterator<Item = &Isolator> {
    isolators.iter().filter(|isolator| !isolator.is_recognized())
}

/// Takes away the isolators called one of `names` and puts `isolator` at the end.
pub fn replace(isolators: &mut Vec<Isolator>, isolator: Isolator, names: &[&str]) {
    isolators.retain(|old| !names.contains(&old.name().as_str()));
    isolators.push(isolator);
}
