//! `proa volume`: the group of commands about volumes that have a name and outlive pods.

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::error::CommandError;

mod create;
mod inspect;
mod ls;
mod prune;
mod rm;

pub(crate) use inspect::inspected;
pub(crate) use prune::{Which, unused as prune_unused};

/// Make, show and remove named volumes
///
/// A named volume is a directory that outlives the pods it is mounted in. `proa docker run -v NAME:PATH` mounts it and
/// makes it if there is none; `proa run` takes the path that `proa volume inspect` shows.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa volume create data\n  proa volume ls\n  proa volume rm data")]
pub(crate) struct VolumeArgs {
    #[command(subcommand)]
    command: VolumeCommand,
}

#[derive(Debug, Subcommand)]
enum VolumeCommand {
    Create(create::CreateArgs),
    #[command(alias = "list")]
    Ls(ls::LsArgs),
    Rm(rm::RmArgs),
    Inspect(inspect::InspectArgs),
    Prune(prune::PruneArgs),
}

pub(crate) fn run(context: &Context, args: VolumeArgs) -> Result<u8, CommandError> {
    match args.command {
        VolumeCommand::Create(args) => create::run(context, args),
        VolumeCommand::Ls(args) => ls::run(context, args),
        VolumeCommand::Rm(args) => rm::run(context, args),
        VolumeCommand::Inspect(args) => inspect::run(context, args),
        VolumeCommand::Prune(args) => prune::run(context, args),
    }
}

/// There is no such volume, in docker's words.
fn not_found(name: &str) -> CommandError {
    CommandError::failed(format!("get {name}: no such volume")).hint("`proa volume ls` shows the volumes there are")
}
