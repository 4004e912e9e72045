//! `proa app`: pods whose apps come and go.

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::error::CommandError;
use crate::habits;
use crate::pod_line::unknown_option;

pub(crate) mod add;
mod exec;
mod list;
mod rm;
pub(crate) mod sandbox;
mod seen;
mod start;
mod status;
mod stop;

/// Make pods without apps, and add, start, stop and remove apps while they run
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  proa app sandbox --detach --name box\n  proa app add box example.com/redis\n  proa app start box --app redis"
)]
pub(crate) struct AppArgs {
    #[command(subcommand)]
    command: AppCommand,
}

#[derive(Debug, Subcommand)]
enum AppCommand {
    Sandbox(Box<sandbox::SandboxArgs>),
    Add(add::AddArgs),
    Start(start::StartArgs),
    Stop(stop::StopArgs),
    Rm(rm::RmArgs),
    List(list::ListArgs),
    Status(status::StatusArgs),
    Exec(exec::ExecArgs),
}

/// A better error for rkt's options.
pub(crate) fn mend(error: &clap::Error) -> Option<CommandError> {
    habits::of_rkt(&unknown_option(error)?)
}

pub(crate) fn run(context: &Context, args: AppArgs) -> Result<u8, CommandError> {
    match args.command {
        AppCommand::Sandbox(args) => sandbox::run(context, *args),
        AppCommand::Add(args) => add::run(context, args),
        AppCommand::Start(args) => start::run(context, args),
        AppCommand::Stop(args) => stop::run(context, args),
        AppCommand::Rm(args) => rm::run(context, args),
        AppCommand::List(args) => list::run(context, args),
        AppCommand::Status(args) => status::run(context, args),
        AppCommand::Exec(args) => exec::run(context, args),
    }
}
