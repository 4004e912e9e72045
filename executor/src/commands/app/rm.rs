//! `proa app rm`.

use clap::Args;
use stage1::protocol::Call;

use super::list::Target;
use crate::context::Context;
use crate::error::CommandError;

/// Remove an app that does not run, with all that it has written
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa app rm box --app redis\n  proa app rm 5c8f2f6e --app redis")]
pub(crate) struct RmArgs {
    #[command(flatten)]
    target: Target,
}

pub(crate) fn run(context: &Context, args: RmArgs) -> Result<u8, CommandError> {
    let (mut client, app) = args.target.reach(context)?;
    client.ask(Call::Remove { app }, &[])?;
    Ok(0)
}
