//! `docker attach`: connects with the streams of a running container.

use std::time::{Duration, Instant};

use clap::Args;
use pod::State;

use super::container::{self, Container};
use crate::attach::{self, Attached, Wanted};
use crate::client::Client;
use crate::context::Context;
use crate::detach_keys;
use crate::ending::Waiting;
use crate::error::CommandError;

/// Attach local standard input, output, and error streams to a running container
#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    /// Do not attach STDIN
    #[arg(long)]
    no_stdin: bool,

    /// Override the key sequence for detaching a container: ctrl-p,ctrl-q
    #[arg(long, value_name = "KEYS", default_value = "", hide_default_value = true)]
    detach_keys: String,

    /// Proxy all received signals to the process, which is what happens
    #[arg(long, hide = true)]
    sig_proxy: bool,

    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// How long a container whose streams are at their end is waited for: it may go on without them.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is looked at.
const PAUSE: Duration = Duration::from_millis(10);

impl AttachArgs {
    /// As if this had been typed.
    pub(super) fn of(container: String, no_stdin: bool) -> Self {
        Self { no_stdin, detach_keys: String::new(), sig_proxy: false, container }
    }
}

pub(crate) fn run(context: &Context, args: AttachArgs) -> Result<u8, CommandError> {
    detach_keys::choose(&args.detach_keys)?;
    let pods = context.pods()?;
    let container = Container::read(&pods, container::find(&pods, &args.container)?)?;
    let Some((app, _)) = container.first().filter(|_| container.entry.state == State::Running) else {
        let why = "You cannot attach to a stopped container, start it first";
        return Err(CommandError::failed(format!("Error: {why}")));
    };
    if container.paused {
        return Err(CommandError::failed("Error: You cannot attach to a paused container, unpause it first"));
    }
    let client = Client::connect(&pods, &container.entry)?;
    // With --rm, who listens is the only one to know how it ends.
    let waiting = Waiting::begin(&pods, container.entry.clone());
    let wanted = Wanted { stdin: !args.no_stdin, stdout: true, stderr: true };
    let attached = attach::attach(client, app.name.as_str(), wanted, false)?;
    // The status is written down a moment after the streams' end, if that was the container's.
    let patience = if attached == Attached::Closed { PATIENCE } else { Duration::ZERO };
    let deadline = Instant::now() + patience;
    while !matches!(attached, Attached::Over(_)) && super::targets::is_running(&pods, &container.entry) {
        if Instant::now() >= deadline {
            return Ok(0);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(u8::try_from(container::ended(&pods, waiting)?).unwrap_or(u8::MAX))
}
