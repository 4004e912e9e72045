//! `docker start` and `docker restart`: containers that were created, or have ended, run again with what they have written.

use clap::Args;
use pod::{PodEntry, PodError, Pods, State};

use super::targets::{StoppingArgs, each};
use super::{container, run as run_command};
use crate::commands;
use crate::context::Context;
use crate::error::CommandError;
use crate::launch::{self, Launched, TERM};
use crate::prepare::Begin;
use crate::request::Lifecycle;
use crate::setup::Setup;
use crate::{detach_keys, prepare, relay, sealed, signal_argument};

/// Start one or more stopped containers
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// Attach STDOUT/STDERR and forward signals
    #[arg(long, short)]
    attach: bool,

    /// Attach container's STDIN
    #[arg(long, short)]
    interactive: bool,

    /// Override the key sequence for detaching a container: ctrl-p,ctrl-q
    #[arg(long, value_name = "KEYS", default_value = "", hide_default_value = true)]
    detach_keys: String,

    /// The containers
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// Restart one or more containers
#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    stopping: StoppingArgs,
}

pub(crate) fn run(context: &Context, args: StartArgs) -> Result<u8, CommandError> {
    detach_keys::choose(&args.detach_keys)?;
    sealed::ensure()?;
    let attached = args.attach || args.interactive;
    if !attached {
        return each(context, &args.containers, |pods, needle| {
            let entry = container::find(pods, needle)?;
            if entry.state != State::Running {
                start(context, pods, &entry, None).map(drop).or_else(|error| is_started(pods, &entry, error))?;
            }
            Ok(Some(needle.to_owned()))
        });
    }
    let [needle] = args.containers.as_slice() else {
        return Err(CommandError::failed("Error: you cannot start and attach multiple containers at once"));
    };
    let pods = context.pods()?;
    let entry = container::find(&pods, needle)?;
    if entry.state == State::Running {
        let attach = super::attach::AttachArgs::of(needle.clone(), !args.interactive);
        return super::attach::run(context, attach);
    }
    match start(context, &pods, &entry, Some(args.interactive))? {
        Launched::Ended(status) => Ok(status),
        Launched::Detached(_) => Ok(0),
    }
}

/// `docker restart`.
pub(crate) mod restart {
    pub(crate) use super::RestartArgs;
    use super::*;

    pub(crate) fn run(context: &Context, RestartArgs { stopping: args }: RestartArgs) -> Result<u8, CommandError> {
        sealed::ensure()?;
        let signal = args.signal.as_deref().map(signal_argument::parse).transpose()?;
        each(context, &args.containers, |pods, needle| {
            let mut entry = container::find(pods, needle)?;
            if entry.state == State::Running {
                if is_removed_at_its_end(pods, &entry)? {
                    return Err(CommandError::failed(format!("container {needle} is removed when it stops (--rm)"))
                        .hint("docker run it again, without --rm if it is to be restarted"));
                }
                commands::stop::stop(pods, &entry, signal, args.grace(pods, &entry))?;
                entry = container::find(pods, &entry.uuid.to_string())?;
            }
            start(context, pods, &entry, None)?;
            Ok(Some(needle.to_owned()))
        })
    }
}

fn is_removed_at_its_end(pods: &Pods, entry: &PodEntry) -> Result<bool, CommandError> {
    // What it takes to run it again is only written down if it is kept.
    let Some(json) = pods.open(entry)?.setup()? else { return Ok(true) };
    Ok(Setup::from_json(&json)?.life.is_some_and(|life| life.remove))
}

/// Whether somebody else has started a container in the moment that it could not be started here.
fn is_started(pods: &Pods, entry: &PodEntry, error: CommandError) -> Result<(), CommandError> {
    let lost = matches!(error.cause(), Some(PodError::NotFound { .. } | PodError::WrongState { .. }));
    match container::find_any(pods, &entry.uuid.to_string())? {
        Some(now) if lost && now.state == State::Running => Ok(()),
        None if lost => Err(container::not_found(&container::id(entry.uuid))),
        _ => Err(error),
    }
}

/// Runs a container as was said when it was created: with a supervisor of its own, or attached, with input or without. Who
/// gives it other limits meanwhile is heeded.
fn start(context: &Context, pods: &Pods, entry: &PodEntry, attached: Option<bool>) -> Result<Launched, CommandError> {
    const TRIES: usize = 5;
    let mut started = try_start(context, pods, entry, attached);
    for _ in 1..TRIES {
        match &started {
            Err(error) if matches!(error.cause(), Some(PodError::Changed { .. })) => {
                started = try_start(context, pods, entry, attached);
            }
            _ => break,
        }
    }
    started
}

fn try_start(
    context: &Context,
    pods: &Pods,
    entry: &PodEntry,
    attached: Option<bool>,
) -> Result<Launched, CommandError> {
    if !matches!(entry.state, State::Prepared | State::Exited) {
        let id = container::id(entry.uuid);
        return Err(CommandError::failed(format!("container {id} is {} and cannot be started", entry.state)));
    }
    let (mut prepared, known) = prepare::again(context, pods, entry, Lifecycle::default(), Begin::Later)?;
    let life = known.setup.life.clone().unwrap_or_default();
    prepared.lifecycle = Lifecycle {
        detach: attached.is_none(),
        interactive: life.stdin && attached.unwrap_or(true),
        attached: attached.is_some(),
        terminal: life.tty.then(relay::size),
        term: Some(TERM),
        keep: !life.remove,
        restart: run_command::restart(if life.restart.is_empty() { "no" } else { &life.restart })?,
        ..Lifecycle::default()
    };
    launch::resume(context, pods, entry, prepared, known, false)
}
