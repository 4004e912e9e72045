//! `proa events`: what happens in a pod.

use std::path::PathBuf;

use clap::Args;
use stage1::protocol::{Call, PodEvent, Reply};

use crate::client::Client;
use crate::context::Context;
use crate::error::CommandError;
use crate::escape::printable;
use crate::{moment, output, pod_argument};

/// Print what happens in a running pod, until it ends
///
/// First the last 256 events, then each as it comes: apps that are created, started, stopped, that exit or are removed,
/// handlers that run, commands that enter.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa events web\n  proa events --since 12 --format json web")]
pub(crate) struct EventsArgs {
    /// Leave out the events up to this number
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    since: u64,

    /// Print lines for people or JSON for programs, one object a line
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,

    /// Print those of the pod whose UUID is in FILE
    #[arg(long, value_name = "FILE")]
    uuid_file: Option<PathBuf>,

    /// The pod: a UUID, the unambiguous beginning of one, or a name
    #[arg(value_name = "POD")]
    pod: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

pub(crate) fn run(context: &Context, args: EventsArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let entry = pod_argument::one(&pods, args.pod.as_ref(), args.uuid_file.as_ref())?;
    let mut client = Client::connect(&pods, &entry)?;
    client.say(Call::Events { since: args.since }, &[])?;
    while let Some((reply, _)) = client.hear()? {
        if let Reply::Event(event) = reply {
            output::write(&match args.format {
                Format::Text => line(&event)?,
                Format::Json => output::json(&event)?,
            })?;
        }
    }
    Ok(0)
}

/// `NUMBER TIME EVENT APP STATUS`
fn line(event: &PodEvent) -> Result<String, CommandError> {
    let kind = serde_json::to_value(event.event)?;
    let mut words = vec![event.seq.to_string(), moment::rfc3339(event.time_ns)];
    words.push(kind.as_str().unwrap_or_default().to_owned());
    words.extend(event.app.as_deref().map(|app| printable(app).into_owned()));
    words.extend(event.exit.map(|exit| exit.status().to_string()));
    Ok(words.join(" ") + "\n")
}
