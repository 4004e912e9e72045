//! `proa app sandbox`: runs a pod without apps.

use clap::Args;
use stage1::supervise::ExitPolicy;

use crate::commands::run::{self, PodOptions};
use crate::context::Context;
use crate::error::CommandError;
use crate::pull_policy::PullPolicy;
use crate::request::{Lifecycle, PodRequest};
use crate::{launch, prepare, sealed};

/// Run a pod without apps, for `proa app add`
///
/// It lasts until it is stopped, whatever becomes of its apps, and is kept then. What apps write goes to logs.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  proa app sandbox --detach --name box\n  proa app sandbox --volume data,kind=empty"
)]
pub(crate) struct SandboxArgs {
    /// Print the pod's UUID when it is there, and leave it to a supervisor of its own
    #[arg(long)]
    detach: bool,

    #[command(flatten)]
    options: PodOptions,
}

pub(crate) fn run(context: &Context, args: SandboxArgs) -> Result<u8, CommandError> {
    run::tell_what_has_no_effect(context);
    let lifecycle =
        Lifecycle { detach: args.detach, keep: true, exit_policy: ExitPolicy::Never, ..Lifecycle::default() };
    let (name, volumes, follow_symlinks, mounts) = args.options.parse()?;
    if let Some(mount) = mounts.first() {
        return Err(CommandError::usage(format!("--mount: there is no app to mount {} in", mount.volume))
            .hint("give it to `proa app add`"));
    }
    sealed::ensure()?;
    let request = PodRequest { name, policy: PullPolicy::New, lifecycle, volumes, follow_symlinks, apps: Vec::new() };
    launch::run(context, prepare::pod(context, request)?)
}
