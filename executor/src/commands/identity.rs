//! `proa identity`: the group of commands about the keys that apps' identities are signed with.

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::error::CommandError;

mod jwks;
mod rotate;

/// Show and change the keys that identities of apps are signed with
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa identity jwks\n  proa identity rotate")]
pub(crate) struct IdentityArgs {
    #[command(subcommand)]
    command: IdentityCommand,
}

#[derive(Debug, Subcommand)]
enum IdentityCommand {
    Jwks(jwks::JwksArgs),
    Rotate(rotate::RotateArgs),
}

pub(crate) fn run(context: &Context, args: IdentityArgs) -> Result<u8, CommandError> {
    match args.command {
        IdentityCommand::Jwks(args) => jwks::run(context, args),
        IdentityCommand::Rotate(args) => rotate::run(context, args),
    }
}
