//! `proa port`: the group of commands about the ports of pods that run.

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::error::CommandError;
use crate::net::{Mode, NetRequest};

mod add;
mod list;
mod rm;

/// Add, remove and show ports of the host that lead into a running pod
///
/// Ports that are added lead into the pod until it ends; its manifest stays as it was. A pod with --net=none or --net=host
/// has none.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa port add web 80:8080\n  proa port list web\n  proa port rm web 8080")]
pub(crate) struct PortArgs {
    #[command(subcommand)]
    command: PortCommand,
}

#[derive(Debug, Subcommand)]
enum PortCommand {
    Add(add::AddArgs),
    Rm(rm::RmArgs),
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
}

pub(crate) fn run(context: &Context, args: PortArgs) -> Result<u8, CommandError> {
    match args.command {
        PortCommand::Add(args) => add::run(context, args),
        PortCommand::Rm(args) => rm::run(context, args),
        PortCommand::List(args) => list::run(context, args),
    }
}

/// Whether ports of the host can lead into a pod with this network.
///
/// # Errors
///
/// Why not.
fn leads_in(net: &NetRequest) -> Result<(), CommandError> {
    let (why, hint) = match (net.mode, net.joins.is_empty()) {
        (Mode::Default, _) => return Ok(()),
        (Mode::Host, _) => ("the pod has the host's network", "its apps listen on the host's own ports"),
        (Mode::None, true) => ("nothing leads into a pod with --net=none", "run it with --net=default, or with --port"),
        (Mode::None, false) => (
            "nothing leads into a network that is configured as internal",
            "leave \"internal\" out of its configuration",
        ),
    };
    Err(CommandError::failed(why).hint(hint))
}
