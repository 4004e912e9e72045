//! `proa run-prepared`: runs a pod that was made before.

use std::path::PathBuf;

use clap::Args;
use pod::State;

use crate::context::Context;
use crate::error::CommandError;
use crate::pod_line::{LifeArgs, unknown_option};
use crate::{habits, launch, pod_argument, prepare, sealed};

/// Run a prepared pod and wait for it to end
///
/// The exit status is that of `proa run`. The pod is kept when it has ended: `proa rm` removes it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa run-prepared 5c8f2f6e\n  proa run-prepared --detach web")]
pub(crate) struct RunPreparedArgs {
    #[command(flatten)]
    life: LifeArgs,

    /// Run the pod whose UUID is in FILE
    #[arg(long, value_name = "FILE")]
    uuid_file: Option<PathBuf>,

    /// The pod: a UUID, the unambiguous beginning of one, or a name
    #[arg(value_name = "POD")]
    pod: Option<String>,
}

/// A better error for what is in the manifest, which was made when the pod was prepared, and for rkt's options.
pub(crate) fn mend(error: &clap::Error) -> Option<CommandError> {
    let option = unknown_option(error)?;
    let prepared =
        ["--net", "--dns", "--dns-search", "--dns-opt", "--dns-domain", "--hosts-entry", "--port", "--volume"];
    if prepared.contains(&option.as_str()) {
        return Some(
            CommandError::usage(format!("{option} is in the manifest of a prepared pod"))
                .hint(format!("give it when the pod is prepared: proa prepare {option} ... IMAGE")),
        );
    }
    habits::of_rkt(&option)
}

pub(crate) fn run(context: &Context, args: RunPreparedArgs) -> Result<u8, CommandError> {
    let mut lifecycle = args.life.lifecycle()?;
    lifecycle.keep = true;
    sealed::ensure()?;
    let pods = context.pods()?;
    let entry = pod_argument::one(&pods, args.pod.as_ref(), args.uuid_file.as_ref())?;
    if entry.state != State::Prepared {
        return Err(CommandError::failed(format!("pod \"{}\" is not prepared", entry.uuid)));
    }
    let (prepared, setup) = prepare::again(context, &pods, &entry, lifecycle)?;
    launch::resume(context, &pods, &entry, prepared, setup)?.tell()
}
