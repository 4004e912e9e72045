//! `proa app start`.

use clap::Args;
use stage1::protocol::Call;

use super::list::Target;
use crate::context::Context;
use crate::error::CommandError;

/// Start an app that is created or has exited
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa app start box --app redis\n  proa app start 5c8f2f6e --app redis")]
pub(crate) struct StartArgs {
    #[command(flatten)]
    target: Target,
}

pub(crate) fn run(context: &Context, args: StartArgs) -> Result<u8, CommandError> {
    let (mut client, app) = args.target.reach(context)?;
    client.ask(Call::Start { app }, &[])?;
    Ok(0)
}
