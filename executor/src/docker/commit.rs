//! `docker commit`: as proa's own, of a container that is told of in docker's words, whose image runs as it does.

use clap::Args;

use super::container;
use crate::commands::commit;
use crate::context::Context;
use crate::error::CommandError;

/// Create a new image from a container's changes
#[derive(Debug, Args)]
pub(crate) struct ContainerArgs {
    #[command(flatten)]
    of_proa: commit::CommitArgs,

    /// Pause container during commit, which is not done
    #[arg(long, short, hide = true)]
    pause: bool,
}

pub(crate) fn run(context: &Context, args: ContainerArgs) -> Result<u8, CommandError> {
    let entry = container::find(&context.pods()?, &args.of_proa.pod)?;
    commit::commit(context, commit::CommitArgs { pod: entry.uuid.to_string(), ..args.of_proa }, true)
}
