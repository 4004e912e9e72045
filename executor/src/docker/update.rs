//! `docker update`: changes the limits of containers that run and have control groups.

use clap::Args;
use pod::State;

use super::container;
use super::limit_option::LimitArgs;
use super::targets::each;
use crate::app_isolators::Given;
use crate::commands::update;
use crate::context::Context;
use crate::diagnostics::warn;
use crate::error::CommandError;

/// Update the limits of one or more running containers: those that were made with a limit
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    limits: LimitArgs,

    /// Limit of processes, which is chosen when a container is made
    #[arg(long, value_name = "NUMBER", hide = true, allow_hyphen_values = true)]
    pids_limit: Option<String>,

    /// Restart policy, which is chosen when a container is made
    #[arg(long, value_name = "POLICY", hide = true)]
    restart: Option<String>,

    /// The containers
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

pub(crate) fn run(context: &Context, args: UpdateArgs) -> Result<u8, CommandError> {
    if let Some(policy) = &args.restart {
        return Err(CommandError::failed(format!("--restart {policy}: the policy is chosen when a container is made"))
            .hint("make it anew with `docker run --restart`"));
    }
    let mut unheld = args.limits.tell_unheld();
    if let Some(number) = &args.pids_limit {
        warn(&format!("--pids-limit {number} is not held: it is chosen when a container is made"));
        unheld += 1;
    }
    let limits = update::limits(args.limits.of_app()?.into_iter().map(Given::into_isolator).collect());
    if limits.is_empty() && unheld == 0 {
        return Err(CommandError::failed("You must provide one or more flags when using this command.")
            .hint("there are --memory, --cpus and --cpu-shares"));
    }
    each(context, &args.containers, |pods, needle| {
        let entry = container::find(pods, needle)?;
        let id = container::id(entry.uuid);
        if entry.state != State::Running {
            let why = "its limits are chosen when it is made, and changed while it runs";
            return Err(CommandError::failed(format!("Cannot update container {id}: {why}")));
        }
        let updated = if limits.is_empty() { Ok(()) } else { update::apply(pods, &entry, None, &limits) };
        updated.map_err(|error| error.during(format!("Cannot update container {id}")))?;
        Ok(Some(needle.to_owned()))
    })
}
