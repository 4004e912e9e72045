//! What the operator decided about the protection of a pod's apps, and what becomes of their isolators.

use std::collections::BTreeMap;

use appc::isolator::report::{Outcome, ReportEntry};
use appc::{AcIdentifier, AcName, Event, Isolator, IsolatorValue, PodManifest, RuntimeApp};
use stage1::bandwidth::Bandwidth;
use stage1::idmap::{IdMapping, Tier};
use stage1::isolators::net_admin::{Grant, NET_ADMIN, NetAdmin};
use stage1::isolators::{self, Modules, choices, sysctl};
use stage1::landlock::strict_outcome;
use stage1::network::NetworkReport;
use stage1::plan::{DOCKERS_RULES, GROUPS};

use crate::cgroup;
use crate::context::Context;
use crate::diagnostics::warn;
use crate::error::{CommandError, Explain as _};
use crate::net::{Mode, NetRequest};

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

/// Which apps have rights over the pod's network, as the command line says.
///
/// # Errors
///
/// It makes no sense.
pub(crate) fn net_admin(texts: &[String]) -> Result<NetAdmin, CommandError> {
    if texts.is_empty() {
        return Ok(NetAdmin::default());
    }
    let text = texts.join(",");
    NetAdmin::parse(&text).ok_or_else(|| {
        CommandError::usage(format!("--net-admin={text:?}: it is no list of names of apps"))
            .hint("write it as --net-admin=APP, or --net-admin=APP:pre-start for its pre-start handler alone")
    })
}

/// Writes into the manifest which apps have rights over the pod's network. Only the operator says that: whatever stands there
/// already came with the manifest, and goes.
///
/// # Errors
///
/// There is no such app or handler, or nothing to have rights over.
pub(crate) fn grant_net_admin(
    manifest: &mut PodManifest,
    wanted: &NetAdmin,
    apps_may_come: bool,
) -> Result<(), CommandError> {
    if let Some(found) = manifest.annotations.remove(NET_ADMIN)
        && found != wanted.to_string()
    {
        warn(&format!("annotation {NET_ADMIN}={found:?} of the pod manifest is left out: only --net-admin gives that"));
    }
    if wanted.is_empty() {
        return Ok(());
    }
    if NetRequest::of(manifest)?.mode == Mode::Host {
        return Err(CommandError::usage("--net-admin: with --net=host the pod has no network of its own")
            .hint("leave --net=host out"));
    }
    for (name, grant) in wanted.apps() {
        let refused = |why: &str| CommandError::usage(format!("--net-admin={name}: {why}"));
        let Some(app) = manifest.apps.iter().find(|app| app.name.as_str() == name) else {
            if apps_may_come {
                continue;
            }
            let names: Vec<&str> = manifest.apps.iter().map(|app| app.name.as_str()).collect();
            return Err(refused("the pod has no such app").hint(format!("its apps are {}", names.join(", "))));
        };
        let handler = app.app.as_ref().and_then(|app| app.event_handler(Event::PreStart));
        if grant == Grant::PreStart && handler.is_none() {
            return Err(refused("the app has no pre-start handler"));
        }
    }
    manifest.annotations.set(ours(NET_ADMIN), wanted.to_string());
    Ok(())
}

/// Writes the choices of the command line into the manifest, beside those that stand there already.
///
/// # Errors
///
/// An annotation of the manifest says nothing known.
pub(crate) fn decide(
    context: &Context,
    profile: Profile,
    landlock: Landlock,
    manifest: &mut PodManifest,
) -> Result<(), CommandError> {
    let choices = choices::Choices::of(&manifest.annotations)?;
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

fn ours(name: &str) -> AcIdentifier {
    name.parse().expect("names of annotations of ours are identifiers")
}

/// What becomes of a bound of the pod's network on this host. Whether its kernel can do it is looked at where that is
/// wanted; while a pod runs, its monitor knows.
///
/// # Errors
///
/// An annotation of the manifest says nothing known.
pub(crate) fn network(manifest: &PodManifest, try_out: bool) -> Result<Outcome, CommandError> {
    let wanted = Bandwidth::of(manifest).is_some();
    let request = NetRequest::of(manifest)?;
    let outcome = match request.mode {
        Mode::Host if wanted => Outcome::Ignored("the pod has the host's network".to_owned()),
        Mode::Default if wanted && try_out => Bandwidth::prospect(),
        _ => Outcome::Enforced,
    };
    Ok(if wanted { beside_pods(&request, outcome) } else { outcome })
}

/// The same for a pod that is on a network of pods as well: the bound is that of the way to the world.
fn beside_pods(request: &NetRequest, outcome: Outcome) -> Outcome {
    let networks: Vec<&str> = request.joins.iter().map(|joins| joins.network.as_str()).collect();
    match networks.join(", ") {
        networks if outcome == Outcome::Enforced && !networks.is_empty() => {
            Outcome::Modified(format!("what goes over the network {networks} is not bounded"))
        }
        _ => outcome,
    }
}

/// What became of a bound of the network of a pod that runs.
///
/// # Errors
///
/// As [`network`].
pub(crate) fn network_of_running(manifest: &PodManifest, report: &NetworkReport) -> Result<Outcome, CommandError> {
    let request = NetRequest::of(manifest)?;
    match &report.bandwidth {
        Some(outcome) => Ok(beside_pods(&request, outcome.clone())),
        None if request.mode == Mode::Default => Ok(network_is_there()),
        None => network(manifest, false),
    }
}

/// What becomes of a bound that is given to an app of a pod whose network is there.
pub(crate) fn network_is_there() -> Outcome {
    Outcome::Ignored("it is set when a pod's network is made: give it to the pod".to_owned())
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
    network: &Outcome,
) -> Result<Vec<(Option<&'a AcName>, ReportEntry)>, CommandError> {
    let host = isolators::Host { modules: Modules::detect, controllers, network, is_alone: manifest.apps.len() == 1 };
    let (_, of_pod) = sysctl::of(manifest, &host)?;
    let mut report: Vec<_> = of_pod.into_iter().map(|entry| (None, entry)).collect();
    if choices::Choices::of(&manifest.annotations)?.strict_landlock {
        report.push((None, ReportEntry { isolator: ours(choices::LANDLOCK), outcome: strict_outcome() }));
    }
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
pub(crate) fn tell(manifest: &PodManifest, controllers: &[String], network: &Outcome) -> Result<(), CommandError> {
    less_than_asked(manifest, controllers, network)?.iter().for_each(|less| warn(less));
    let granted = NetAdmin::of(&manifest.annotations)?;
    // Whoever typed `--cap-add=NET_ADMIN` hears of less than that, not of that.
    let by_docker = |app: &RuntimeApp| app.annotations.get(DOCKERS_RULES).is_some();
    if !granted.is_empty() && !manifest.apps.iter().any(by_docker) {
        warn(&format!("--net-admin: {granted} can change the pod's network: its addresses, routes and interfaces"));
    }
    for app in &manifest.apps {
        for isolator in app.app.iter().flat_map(|app| &app.isolators) {
            let errno = match isolator.value() {
                IsolatorValue::SeccompRetain(set) | IsolatorValue::SeccompRemove(set) => set.errno(),
                _ => None,
            };
            // The specification's own example has it.
            if errno == Some("EACCESS") {
                let (app, isolator) = (app.name.as_str(), isolator.name());
                warn(&format!("app {app:?}: isolator {isolator}: the error EACCESS is taken for EACCES"));
            }
        }
    }
    Ok(())
}

/// The first app that cannot have its supplementary groups, in words: where there is one id, the kernel lets nobody set
/// groups (user_namespaces(7)).
pub(crate) fn lost_groups(manifest: &PodManifest, mapping: &IdMapping) -> Option<String> {
    let has_groups = |app: &&RuntimeApp| {
        let numbers = app.app.as_ref().is_some_and(|app| !app.supplementary_gids.is_empty());
        numbers || app.annotations.get(GROUPS).is_some()
    };
    let app = manifest.apps.iter().find(has_groups).filter(|_| mapping.tier() == Tier::Single)?;
    let name = app.name.as_str();
    Some(format!("app {name:?}: its supplementary groups cannot be had without a subordinate id range"))
}

/// Refuses a pod of which an isolator would not be in force as written, or an app not in its groups.
///
/// # Errors
///
/// That; as [`report`].
pub(crate) fn refuse_less_than_asked(manifest: &PodManifest, mapping: &IdMapping) -> Result<(), CommandError> {
    let less = less_than_asked(manifest, &prospects(manifest), &network(manifest, true)?)?;
    match less.first().or(lost_groups(manifest, mapping).as_ref()) {
        Some(less) => {
            Err(CommandError::failed(format!("--strict: {less}")).hint("without --strict the pod runs all the same"))
        }
        None => Ok(()),
    }
}

fn less_than_asked(
    manifest: &PodManifest,
    controllers: &[String],
    network: &Outcome,
) -> Result<Vec<String>, CommandError> {
    let whose = |app: Option<&AcName>| app.map_or_else(|| "pod".to_owned(), |app| format!("app {:?}", app.as_str()));
    let report = report(manifest, controllers, network)?;
    let less = report.into_iter().filter(|(_, entry)| entry.outcome != Outcome::Enforced);
    Ok(less.map(|(app, entry)| format!("{}: isolator {entry}", whose(app))).collect())
}
