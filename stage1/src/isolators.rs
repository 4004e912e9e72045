//! What becomes of an app's isolators: those that this runner enforces, and a word about each of the others.
//!
//! An image's isolators may only narrow (security defaults, docs/stage1-contract.md): a capability outside the default
//! set is not granted, and that is said.

use appc::isolator::IsolatorValue;
use appc::isolator::capabilities::CapabilitySet as Names;
use appc::isolator::report::{Outcome, ReportEntry};
use appc::{App, Isolator};
use rustix::thread::CapabilitySet;

use crate::capabilities;

/// The rights of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// The bounding set, which is also what root of the app has.
    pub capabilities: CapabilitySet,
    /// Whether no program can gain rights by being executed.
    pub no_new_privs: bool,
}

/// A capability that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("isolator {isolator}: no capability {name:?}")]
pub struct UnknownCapability {
    /// Name of the isolator.
    pub isolator: String,
    /// The name that is none.
    pub name: String,
}

/// The rights of `app`, and a report with one row for each of its isolators, in their order.
///
/// # Errors
/// [`UnknownCapability`]: a name that is misspelt would silently mean nothing.
pub fn rights(app: &App) -> Result<(Rights, Vec<ReportEntry>), UnknownCapability> {
    let mut rights = Rights { capabilities: capabilities::DEFAULT, no_new_privs: false };
    let mut report = Vec::new();
    for isolator in &app.isolators {
        let outcome = apply(&mut rights, isolator)?;
        report.push(ReportEntry { isolator: isolator.name().clone(), outcome });
    }
    Ok((rights, report))
}

fn apply(rights: &mut Rights, isolator: &Isolator) -> Result<Outcome, UnknownCapability> {
    Ok(match isolator.value() {
        IsolatorValue::NoNewPrivileges(wanted) => {
            rights.no_new_privs |= wanted;
            Outcome::Enforced
        }
        IsolatorValue::CapabilitiesRemove(names) => {
            rights.capabilities = rights.capabilities.difference(set(isolator, names)?);
            Outcome::Enforced
        }
        IsolatorValue::CapabilitiesRetain(names) => {
            let wanted = set(isolator, names)?;
            let refused = wanted.difference(capabilities::DEFAULT);
            rights.capabilities = rights.capabilities.intersection(wanted);
            if refused.is_empty() {
                Outcome::Enforced
            } else {
                let names: Vec<String> = refused.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
                Outcome::Modified(format!("an image is not granted {}", names.join(", ")))
            }
        }
        IsolatorValue::Unknown => Outcome::Ignored("not known".to_owned()),
        _ => Outcome::Ignored("not supported yet".to_owned()),
    })
}

fn set(isolator: &Isolator, names: &Names) -> Result<CapabilitySet, UnknownCapability> {
    names.names().iter().try_fold(CapabilitySet::empty(), |set, name| {
        let known = name.strip_prefix("CAP_").and_then(CapabilitySet::from_name);
        let unknown = || UnknownCapability { isolator: isolator.name().to_string(), name: name.clone() };
        Ok(set.union(known.ok_or_else(unknown)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use appc::PodManifest;

    fn rights_of(isolators: &str) -> Result<(Rights, Vec<String>), UnknownCapability> {
        let json = format!(
            r#"{{"acKind": "PodManifest", "acVersion": "0.8.11", "apps": [{{"name": "a", "image": {{"id": "sha512-aa"}},
                "app": {{"exec": ["x"], "user": "0", "group": "0", "isolators": [{isolators}]}}}}]}}"#
        );
        let manifest = PodManifest::from_json(json.as_bytes()).expect("a valid manifest");
        let app = manifest.apps[0].app.as_ref().expect("an app");
        rights(app).map(|(rights, report)| (rights, report.iter().map(ToString::to_string).collect()))
    }

    #[test]
    fn without_isolators_the_defaults() {
        let (rights, report) = rights_of("").unwrap();
        assert_eq!(rights, Rights { capabilities: capabilities::DEFAULT, no_new_privs: false });
        assert!(report.is_empty());
    }

    #[test]
    fn sets_narrow_and_never_widen() {
        let remove = r#"{"name": "os/linux/capabilities-remove-set", "value": {"set": ["CAP_KILL", "CAP_SYS_ADMIN"]}}"#;
        let (rights, report) = rights_of(remove).unwrap();
        assert_eq!(rights.capabilities, capabilities::DEFAULT.difference(CapabilitySet::KILL));
        assert_eq!(report, ["os/linux/capabilities-remove-set: enforced"]);

        let retain = r#"{"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_KILL", "CAP_SYS_ADMIN"]}}"#;
        let (rights, report) = rights_of(retain).unwrap();
        assert_eq!(rights.capabilities, CapabilitySet::KILL);
        assert_eq!(report, ["os/linux/capabilities-retain-set: modified: an image is not granted CAP_SYS_ADMIN"]);
    }

    #[test]
    fn a_misspelt_capability_is_an_error() {
        for name in ["CAP_PONIES", "KILL", "cap_kill", "CAP_"] {
            let retain = format!(r#"{{"name": "os/linux/capabilities-retain-set", "value": {{"set": ["{name}"]}}}}"#);
            assert_eq!(rights_of(&retain).unwrap_err().name, name);
        }
    }

    #[test]
    fn the_rest_is_reported() {
        let (rights, report) = rights_of(
            r#"{"name": "os/linux/no-new-privileges", "value": true},
               {"name": "resource/memory", "value": {"limit": "1G"}}, {"name": "example.com/x", "value": 1}"#,
        )
        .unwrap();
        assert!(rights.no_new_privs);
        assert_eq!(report[0], "os/linux/no-new-privileges: enforced");
        assert_eq!(report[1], "resource/memory: ignored: not supported yet");
        assert_eq!(report[2], "example.com/x: ignored: not known");
    }
}
