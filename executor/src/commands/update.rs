//! `proa update`: changes the limits of a pod that runs.

use std::collections::BTreeSet;

use appc::{Annotations, Isolator};
use clap::Args;
use pod::{PodEntry, Pods};
use stage1::cgroup::limits::Limits;

use crate::app_argument;
use crate::app_isolators::{self, Given, ResourceArgs};
use crate::cgroup;
use crate::context::Context;
use crate::diagnostics::warn;
use crate::error::{CommandError, Explain as _};
use crate::pod_argument;
use crate::pod_line::unknown_option;

/// Change the limits of a pod's apps while they run
///
/// For pods that have control groups: those that were started with a limit. The limits hold until the pod ends.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa update --memory=128Mi web\n  proa update --app=worker --cpu=1500m web")]
pub(crate) struct UpdateArgs {
    /// Change this app only [default: every app]
    #[arg(long, value_name = "NAME")]
    app: Option<String>,

    #[command(flatten)]
    resources: ResourceArgs,

    /// The pod: a UUID, the unambiguous beginning of one, or a name
    #[arg(value_name = "POD")]
    pod: String,
}

/// Refuses isolators that are what they are from an app's start to its end (capabilities cannot be given back, a filter of
/// system calls cannot be taken away).
pub(crate) fn mend(error: &clap::Error) -> Option<CommandError> {
    let option = unknown_option(error)?;
    let immutable = [
        "--caps-retain",
        "--caps-remove",
        "--cap-retain",
        "--cap-remove",
        "--seccomp",
        "--seccomp-profile",
        "--no-new-privs",
        "--oom-score-adj",
        "--sysctl",
    ];
    let known = immutable.contains(&option.as_str());
    known.then(|| {
        CommandError::usage(format!("{option} cannot be changed while an app runs"))
            .hint("limits can: --memory, --cpu and those of `proa update --help`; for the rest run the pod again")
    })
}

pub(crate) fn run(context: &Context, args: UpdateArgs) -> Result<u8, CommandError> {
    let limits = limits(args.resources.isolators()?.into_iter().map(Given::into_isolator).collect());
    if limits.is_empty() {
        return Err(CommandError::usage("no limit is given").hint("give --memory, --cpu or --cpu-shares"));
    }
    let pods = context.pods()?;
    let entry = pod_argument::find(&pods, &args.pod)?;
    apply(&pods, &entry, args.app.as_ref(), &limits)?;
    Ok(0)
}

/// The limits that these isolators are, which the operator has given.
pub(crate) fn limits(isolators: Vec<Isolator>) -> Limits {
    let mut annotations = Annotations::default();
    app_isolators::approve_all(&isolators, &mut annotations);
    Limits::of(&isolators, &annotations)
}

/// A disk, where it does not matter which.
const ANY_DISK: &str = "0:0";

/// Sets limits of an app of a running pod, or of all.
///
/// # Errors
///
/// The pod has no control groups, or no such app; the kernel refuses.
pub(crate) fn apply(pods: &Pods, entry: &PodEntry, app: Option<&String>, limits: &Limits) -> Result<(), CommandError> {
    let (group, report) = cgroup::of_pod(pods, entry)?;
    if let Some(name) = app.filter(|name| !report.apps.iter().any(|app| app.name == **name)) {
        return Err(app_argument::unknown(name));
    }
    let controllers: BTreeSet<&str> =
        limits.files(|| vec![ANY_DISK.to_owned()]).iter().map(|file| file.controller).collect();
    for missing in controllers.iter().filter(|wanted| !group.controllers().iter().any(|known| known == *wanted)) {
        warn(&format!("limits of {missing} are not held: the pod's control group has no such controller"));
    }
    for it in report.apps.iter().filter(|it| app.is_none_or(|name| *name == it.name)) {
        let name = it.name.parse().during(|| format!("app {:?}", it.name))?;
        group.limit_app(&name, limits).during(|| format!("app {:?}", it.name))?;
    }
    Ok(())
}
