//! `proa app sandbox`: runs a pod without apps.

use clap::Args;
use stage1::supervise::ExitPolicy;

use crate::context::Context;
use crate::error::CommandError;
use crate::pod_line::{PodOptions, StartArgs};
use crate::prepare::Begin;
use crate::request::Lifecycle;
use crate::{launch, prepare, sealed};

/// Run a pod without apps, for `proa app add`
///
/// It lasts until it is stopped, whatever becomes of its apps, and is kept then. What apps write goes to logs.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  proa app sandbox --detach --name box\n  proa app sandbox --volume data,kind=empty"
)]
pub(crate) struct SandboxArgs {
    #[command(flatten)]
    start: StartArgs,

    #[command(flatten)]
    options: PodOptions,
}

pub(crate) fn run(context: &Context, args: SandboxArgs) -> Result<u8, CommandError> {
    let lifecycle = Lifecycle { keep: true, exit_policy: ExitPolicy::Never, ..args.start.lifecycle()? };
    let request = args.options.request(lifecycle)?;
    sealed::ensure()?;
    launch::run(context, prepare::pod(context, request, Begin::AtOnce)?)?.tell()
}
