//! `proa system`: the group of commands about all that proa keeps.

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::error::CommandError;

mod df;
pub(crate) mod info;
pub(crate) mod prune;

/// Show what proa keeps and where, and remove what is not used
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa system df\n  proa system info\n  proa system prune --force")]
pub(crate) struct SystemArgs {
    #[command(subcommand)]
    command: SystemCommand,
}

#[derive(Debug, Subcommand)]
enum SystemCommand {
    Df(df::DfArgs),
    Info(info::InfoArgs),
    Prune(prune::PruneArgs),
}

pub(crate) fn run(context: &Context, args: SystemArgs) -> Result<u8, CommandError> {
    match args.command {
        SystemCommand::Df(args) => df::run(context, args),
        SystemCommand::Info(args) => info::run(context, args),
        SystemCommand::Prune(args) => prune::run(context, args),
    }
}
