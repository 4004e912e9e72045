//! What the operator decided about the protection of a pod's apps, and what becomes of their isolators.

use std::collections::BTreeMap;

use appc::isolator::report::{Outcome, ReportEntry};
use appc::{AcIdentifier, AcName, Isolator, IsolatorValue, PodManifest};
use stage1::isolators::{self, Modules, choices, sysctl};

use crate::cgroup;
use crate::context::Context;
use crate::diagnostics::warn;
use crate::error::{CommandError, Explain as _};

/// How well apps are protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// As images expect it
    #[default]
    Default,
    /// With fewer capabilities, and no way to gain any
    Strict,
}

/// What Landlock guards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Landlock {
    /// Files
    #[default]
    Default,
    /// Also TCP ports, signals and abstract Unix sockets, where the kernel can
    Strict,
}

/// The isolator that sets kernel parameters, given as `NAME=VALUE`; none if there are none.
///
/// # Errors
///
/// One is malformed or given twice. Whether a pod can set it is found out with the pod's other isolators.
pub(crate) fn sysctls(texts: &[String]) -> Result<Vec<Isolator>, CommandError> {
    let mut values = BTreeMap::new();
    for text in texts {
        let refused = |why: &str| CommandError::usage(format!("--sysctl={text:?}: {why}"));
        let (name, value) = text.split_once('=').ok_or_else(|| refused("not NAME=VALUE"))?;
        sysctl::path(name).map_err(refused)?;
        if values.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(refused("it is given twice"));
        }
    }
    let isolator = (!values.is_empty()).then(|| Isolator::new(IsolatorValue::Sysctl(values)));
    Ok(isolator.flatten().into_iter().collect())
}

/// Writes the choices of the command line into the manifest, beside those that stand there already.
///
/// # Errors
///
/// An annotation of the manifest says nothing known.
pub(crate) fn decide(
    context: &Context,
    (profile, landlock): (Profile, Landlock),
    manifest: &mut PodManifest,
) -> Result<(), CommandError> {
    let choices = choices::Choices::of(&manifest.annotations)?;
    let ours = |name: &str| -> AcIdentifier { name.parse().expect("names of annotations of ours are identifiers") };
    if profile == Profile::Strict {
        manifest.annotations.set(ours(choices::PROFILE), "strict");
    }
    if landlock == Landlock::Strict {
        manifest.annotations.set(ours(choices::LANDLOCK), "strict");
    }
    let off = context.insecure.protections_of_apps();
    if !off.is_empty() {
        let mut names = choices.insecure.names();
        names.extend(off);
        names.sort_unstable();
        names.dedup();
        manifest.annotations.set(ours(choices::INSECURE_OPTIONS), names.join(","));
    }
    Ok(())
}

/// The controllers that a pod of this manifest would have on this host.
pub(crate) fn prospects(manifest: &PodManifest) -> Vec<String> {
    let prospects = if cgroup::is_wanted(manifest) { cgroup::prospects() } else { Err("no limit is wanted") };
    prospects.map_or_else(|_| Vec::new(), |(_, controllers)| controllers)
}

/// What became of the isolators of the pod, which has no name here, and of each app.
///
/// # Errors
///
/// One of them cannot be obeyed.
pub(crate) fn report<'a>(
    manifest: &'a PodManifest,
    controllers: &[String],
) -> Result<Vec<(Option<&'a AcName>, ReportEntry)>, CommandError> {
    let host = isolators::Host { modules: Modules::detect, controllers };
    let (_, of_pod) = sysctl::of(manifest, controllers)?;
    let mut report: Vec<_> = of_pod.into_iter().map(|entry| (None, entry)).collect();
    for app in &manifest.apps {
        let Some(inner) = &app.app else { continue };
        let (_, of_app) = isolators::rights(&manifest.annotations, app, inner, &host)
            .during(|| format!("app {:?}", app.name.as_str()))?;
        report.extend(of_app.into_iter().map(|entry| (Some(&app.name), entry)));
    }
    Ok(report)
}

/// Says which isolators are not in force as written.
///
/// # Errors
///
/// As [`report`].
pub(crate) fn tell(manifest: &PodManifest, controllers: &[String]) -> Result<(), CommandError> {
    less_than_asked(manifest, controllers)?.iter().for_each(|less| warn(less));
    Ok(())
}

/// Refuses a pod of which an isolator would not be in force as written.
///
/// # Errors
///
/// That; as [`report`].
pub(crate) fn refuse_less_than_asked(manifest: &PodManifest) -> Result<(), CommandError> {
    match less_than_asked(manifest, &prospects(manifest))?.first() {
        Some(less) => {
            Err(CommandError::failed(format!("--strict: {less}")).hint("without --strict the pod runs all the same"))
        }
        None => Ok(()),
    }
}

fn less_than_asked(manifest: &PodManifest, controllers: &[String]) -> Result<Vec<String>, CommandError> {
    let whose = |app: Option<&AcName>| app.map_or_else(|| "pod".to_owned(), |app| format!("app {:?}", app.as_str()));
    let report = report(manifest, controllers)?;
    let less = report.into_iter().filter(|(_, entry)| entry.outcome != Outcome::Enforced);
    Ok(less.map(|(app, entry)| format!("{}: isolator {entry}", whose(app))).collect())
}
