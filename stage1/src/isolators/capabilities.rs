//! The isolators that name capabilities.

use appc::isolator::capabilities::CapabilitySet as Names;
use appc::isolator::report::Outcome;
use rustix::thread::CapabilitySet;

use super::choices::Choices;
use super::{Asked, BadIsolator, Rights};
use crate::capabilities;

/// Those that work on the pod's network or host name, which belong to the pod's user namespace and not to the app's own.
const OVER_THE_POD: CapabilitySet = CapabilitySet::NET_ADMIN;

/// What an app has whose isolators name none.
pub(super) fn base(choices: &Choices) -> CapabilitySet {
    match choices {
        _ if choices.insecure.capabilities => CapabilitySet::all(),
        _ if choices.strict => capabilities::STRICT,
        _ => capabilities::DEFAULT,
    }
}

/// `os/linux/capabilities-remove-set`.
pub(super) fn remove(rights: &mut Rights, asked: Asked<'_>, names: &Names) -> Result<Outcome, BadIsolator> {
    let set = set(asked, names)?;
    if asked.choices.insecure.capabilities {
        return Ok(switched_off());
    }
    rights.capabilities = rights.capabilities.difference(set);
    Ok(Outcome::Enforced)
}

/// `os/linux/capabilities-retain-set`.
pub(super) fn retain(rights: &mut Rights, asked: Asked<'_>, names: &Names) -> Result<Outcome, BadIsolator> {
    let wanted = set(asked, names)?;
    if asked.choices.insecure.capabilities {
        return Ok(switched_off());
    }
    if asked.by_operator {
        rights.capabilities = wanted;
        let powerless = wanted.intersection(OVER_THE_POD);
        return Ok(if powerless.is_empty() || asked.is_net_admin {
            Outcome::Enforced
        } else {
            Outcome::Modified(format!("{} has no power outside the app's own user namespace", shown(powerless)))
        });
    }
    let refused = wanted.difference(rights.capabilities);
    rights.capabilities = rights.capabilities.intersection(wanted);
    Ok(if refused.is_empty() {
        Outcome::Enforced
    } else {
        Outcome::Modified(format!("an image is not granted {}: that takes --caps-retain", shown(refused)))
    })
}

fn switched_off() -> Outcome {
    Outcome::Ignored("--insecure-options=capabilities".to_owned())
}

fn shown(set: CapabilitySet) -> String {
    let names: Vec<String> = set.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
    names.join(", ")
}

fn set(asked: Asked<'_>, names: &Names) -> Result<CapabilitySet, BadIsolator> {
    names.names().iter().try_fold(CapabilitySet::empty(), |set, name| {
        let known = name.strip_prefix("CAP_").and_then(CapabilitySet::from_name);
        let isolator = || asked.isolator.name().to_string();
        let unknown = || BadIsolator::UnknownCapability { isolator: isolator(), name: name.clone() };
        Ok(set.union(known.ok_or_else(unknown)?))
    })
}
