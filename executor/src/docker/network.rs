//! `docker network`: networks, as pods are on them and `network.d` defines them.

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::error::CommandError;

mod create;
mod inspect;
mod known;
mod ls;
mod prune;
mod rm;

pub(super) use inspect::Inspected;
pub(super) use known::named_by;

/// Manage networks
///
/// A network of pods is a file in network.d, which `create` writes and `rm` removes; it is there from its first container
/// to its last.
#[derive(Debug, Args)]
pub(crate) struct NetworkArgs {
    #[command(subcommand)]
    command: NetworkCommand,
}

#[derive(Debug, Subcommand)]
enum NetworkCommand {
    #[command(visible_alias = "list")]
    Ls(ls::LsArgs),
    Inspect(inspect::InspectArgs),
    Create(create::CreateArgs),
    #[command(visible_alias = "remove")]
    Rm(rm::RmArgs),
    Prune(prune::PruneArgs),
    /// Not possible: a container's networks are chosen when it is made
    Connect(ChangeArgs),
    /// Not possible: a container's networks are chosen when it is made
    Disconnect(ChangeArgs),
}

#[derive(Debug, Args)]
struct ChangeArgs {
    #[arg(value_name = "ARG", num_args = 0.., allow_hyphen_values = true)]
    words: Vec<String>,
}

pub(crate) fn run(context: &Context, args: NetworkArgs) -> Result<u8, CommandError> {
    match args.command {
        NetworkCommand::Ls(args) => ls::run(context, args),
        NetworkCommand::Inspect(args) => inspect::run(context, args),
        NetworkCommand::Create(args) => create::run(context, args),
        NetworkCommand::Rm(args) => rm::run(context, args),
        NetworkCommand::Prune(args) => prune::run(context, args),
        NetworkCommand::Connect(args) | NetworkCommand::Disconnect(args) => {
            let what = args.words.join(" ");
            Err(CommandError::failed(format!("{what}: a container's networks are chosen when it is made"))
                .hint("make it anew with `docker run --network=NAME`"))
        }
    }
}
