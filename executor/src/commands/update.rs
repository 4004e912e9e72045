//! `proa update`: changes the limits of a pod that runs.

use appc::{Annotations, Isolator};
use clap::Args;
use stage1::cgroup::limits::Limits;

use crate::app_argument;
use crate::app_isolators::{self, Given, ResourceArgs};
use crate::cgroup;
use crate::context::Context;
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
    let isolators: Vec<Isolator> = args.resources.isolators()?.into_iter().map(Given::into_isolator).collect();
    let mut annotations = Annotations::default();
    app_isolators::approve_all(&isolators, &mut annotations);
    let limits = Limits::of(&isolators, &annotations);
    if limits.is_empty() {
        return Err(CommandError::usage("no limit is given").hint("give --memory, --cpu or --cpu-shares"));
    }
    let pods = context.pods()?;
    let entry = pod_argument::find(&pods, &args.pod)?;
    let (group, report) = cgroup::of_pod(&pods, &entry)?;
    if let Some(name) = args.app.as_ref().filter(|name| !report.apps.iter().any(|app| app.name == **name)) {
        return Err(app_argument::unknown(name));
    }
    for app in report.apps.iter().filter(|app| args.app.as_ref().is_none_or(|name| *name == app.name)) {
        let name = app.name.parse().during(|| format!("app {:?}", app.name))?;
        group.limit_app(&name, &limits).during(|| format!("app {:?}", app.name))?;
    }
    Ok(0)
}
