//! `docker logs`: what a container has written.

use clap::Args;
use pod::State;

use super::container;
use super::run::said;
use crate::commands::logs;
use crate::context::Context;
use crate::error::CommandError;

/// Fetch the logs of a container
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Follow log output
    #[arg(long, short)]
    follow: bool,

    /// Number of lines to show from the end of the logs
    #[arg(long, short = 'n', value_name = "NUMBER", default_value = "all", allow_hyphen_values = true)]
    tail: String,

    /// Show logs since timestamp (e.g. 2026-01-02T13:23:37Z) or relative (e.g. 42m for 42 minutes)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Show logs before a timestamp or relative, as --since
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// Show extra details, of which there are none
    #[arg(long)]
    details: bool,

    /// Show timestamps
    #[arg(long, short)]
    timestamps: bool,

    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,
}

pub(crate) fn run(context: &Context, args: LogsArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let entry = container::find(&pods, &args.container)?;
    if entry.state == State::Prepared {
        // It was never started.
        return Ok(0);
    }
    // As docker: what is no number, or a negative one, means all.
    let tail = args.tail.parse().ok();
    let LogsArgs { follow, since, until, timestamps, .. } = args;
    let (since, until) = (since.and_then(said), until.and_then(said));
    for (option, text) in [("since", &since), ("until", &until)] {
        if let Some(text) = text {
            logs::moment(&format!("--{option}"), text).map_err(|error| {
                let why = format!("invalid value for {option:?}: failed to parse value as time or duration: {text:?}");
                error.hints.into_iter().fold(CommandError::failed(why), |error, hint| error.with(hint))
            })?;
        }
    }
    let wanted = logs::Wanted { follow, tail, since, until, app: None, timestamps };
    logs::print(&pods, &entry, &wanted)
}
