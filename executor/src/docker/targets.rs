//! What docker does to several containers, one after the other: `stop`, `kill`, `wait`, `rm`.

use clap::Args;
use pod::{PodEntry, Pods, State};
use stage1::limits;

use super::{complain_of, container, manual_stop};
use crate::commands;
use crate::context::Context;
use crate::ending::Waiting;
use crate::error::CommandError;
use crate::idmap::{self, Remover};
use crate::{output, signal_argument};

// How containers are stopped. (A doc comment would become help text of whoever flattens it.)
#[derive(Debug, Args)]
pub(super) struct StoppingArgs {
    /// Seconds to wait before killing the container; -1 is for ever [default: what --stop-timeout said, or 10]
    #[arg(long, short = 't', alias = "timeout", value_name = "SECONDS", allow_hyphen_values = true)]
    time: Option<i64>,

    /// Signal to send to the container
    #[arg(long, short, value_name = "SIGNAL")]
    pub(super) signal: Option<String>,

    /// The containers
    #[arg(value_name = "CONTAINER", required = true)]
    pub(super) containers: Vec<String>,
}

impl StoppingArgs {
    /// How many seconds a container has.
    pub(super) fn grace(&self, pods: &Pods, entry: &PodEntry) -> u32 {
        // A negative number is docker's for ever.
        self.time.map_or_else(|| commands::stop::grace(pods, entry), |time| u32::try_from(time).unwrap_or(u32::MAX))
    }
}

/// Stop one or more running containers
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    stopping: StoppingArgs,
}

/// Kill one or more running containers
#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// Signal to send to the container
    #[arg(long, short, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,

    /// The containers
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// Block until one or more containers stop, then print their exit codes
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// The containers
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// Remove one or more containers
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Force the removal of a running container
    #[arg(long, short)]
    force: bool,

    /// Remove anonymous volumes associated with the container, which is always done
    #[arg(long, short)]
    volumes: bool,

    /// The containers
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// Does something to each container, and prints what came of it. One that fails does not spare the others.
pub(super) fn each(
    context: &Context,
    containers: &[String],
    mut act: impl FnMut(&Pods, &str) -> Result<Option<String>, CommandError>,
) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let mut status = 0;
    for needle in containers {
        match act(&pods, needle) {
            Ok(told) => output::write(&told.map(|told| told + "\n").unwrap_or_default())?,
            Err(error) => status = complain_of(&error),
        }
    }
    Ok(status)
}

/// `docker stop`.
pub(crate) mod stop {
    pub(crate) use super::StopArgs;
    use super::*;

    pub(crate) fn run(context: &Context, StopArgs { stopping: args }: StopArgs) -> Result<u8, CommandError> {
        let signal = args.signal.as_deref().map(signal_argument::parse).transpose()?;
        each(context, &args.containers, |pods, needle| {
            let entry = container::find(pods, needle)?;
            if entry.state == State::Running {
                manual_stop::note(pods, &entry);
                commands::stop::stop(pods, &entry, signal, args.grace(pods, &entry))?;
            }
            Ok(Some(needle.to_owned()))
        })
    }
}

/// `docker kill`.
pub(crate) mod kill {
    pub(crate) use super::KillArgs;
    use super::*;

    pub(crate) fn run(context: &Context, args: KillArgs) -> Result<u8, CommandError> {
        const SIGKILL: i32 = 9;
        let signal = signal_argument::parse(&args.signal)
            .map_err(|_| CommandError::failed(format!("invalid signal: {}", args.signal)))?;
        each(context, &args.containers, |pods, needle| {
            let entry = container::find(pods, needle)?;
            if entry.state != State::Running {
                let id = container::id(entry.uuid);
                return Err(CommandError::failed(format!(
                    "cannot kill container: {needle}: container {id} is not running"
                )));
            }
            // As with docker a container that is killed, or told to stop, is not started again, whatever its restart policy.
            if signal == SIGKILL {
                manual_stop::note(pods, &entry);
                commands::stop::stop(pods, &entry, Some(signal), 0)?;
            } else {
                if manual_stop::is_stop_signal(pods, &entry, signal)? {
                    manual_stop::note(pods, &entry);
                    manual_stop::let_end(pods, &entry);
                }
                commands::kill::signal_to(pods, &entry, None, signal)?;
            }
            Ok(Some(needle.to_owned()))
        })
    }
}

/// `docker wait`.
pub(crate) mod wait {
    pub(crate) use super::WaitArgs;
    use super::*;

    pub(crate) fn run(context: &Context, args: WaitArgs) -> Result<u8, CommandError> {
        let pods = context.pods()?;
        limits::expect_files(args.containers.len());
        // All at once: --rm may be faster.
        let begin = |needle: &String| Ok(Waiting::begin(&pods, container::find(&pods, needle)?));
        let begun: Vec<Result<_, CommandError>> = args.containers.iter().map(begin).collect();
        let mut begun = begun.into_iter();
        each(context, &args.containers, |pods, _| {
            let waiting = begun.next().expect("there is one for each")?;
            Ok(Some(container::ended(pods, waiting)?.to_string()))
        })
    }
}

/// `docker rm`.
pub(crate) mod rm {
    pub(crate) use super::RmArgs;
    use super::*;

    pub(crate) fn run(context: &Context, args: RmArgs) -> Result<u8, CommandError> {
        let mapping = idmap::detect(context.data_dir()?)?;
        each(context, &args.containers, |pods, needle| {
            let entry = match container::find(pods, needle) {
                // Nothing to be forced: said, and no failure.
                Err(error) if args.force && pods.find(needle).is_err() => {
                    complain_of(&error);
                    return Ok(None);
                }
                found => found?,
            };
            if entry.state == State::Running {
                if !args.force {
                    let name = entry.name.as_ref().map_or_else(|| container::short(entry.uuid), ToString::to_string);
                    let why = match container::Container::read(pods, entry)?.paused {
                        true => "container is paused and must be unpaused first",
                        false => "container is running: stop the container before removing or force remove",
                    };
                    return Err(CommandError::failed(format!("cannot remove container \"/{name}\": {why}")));
                }
                commands::stop::stop(pods, &entry, Some(9), 0)?;
            }
            pods.remove(entry.uuid, &Remover::new(&mapping)).or_else(|error| match error {
                // --rm was faster.
                pod::PodError::NotFound { .. } if args.force => Ok(()),
                pod::PodError::NotFound { .. } => Err(container::not_found(needle)),
                error => Err(error.into()),
            })?;
            Ok(Some(needle.to_owned()))
        })
    }
}

/// Whether a container still runs.
pub(super) fn is_running(pods: &Pods, entry: &PodEntry) -> bool {
    pods.find(&entry.uuid.to_string()).is_ok_and(|entry| matches!(entry.state, State::Running | State::Preparing))
}
