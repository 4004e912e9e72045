//! `proa kill`: sends a signal to the apps of pods.

use std::path::PathBuf;

use clap::Args;
use pod::{PodEntry, Pods};
use stage1::protocol::Call;

use crate::cgroup;
use crate::client::Client;
use crate::context::Context;
use crate::error::{CommandError, FAILURE};
use crate::{output, pod_argument, signal_argument};

/// Send a signal to the apps of running pods
///
/// The signal goes to the first process of each app, or of one app. Use `proa stop` to end a pod in order.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa kill --signal HUP web\n  proa kill --app nginx --signal USR1 web")]
pub(crate) struct KillArgs {
    /// Send this signal
    #[arg(long, short, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,

    /// Send it to this app alone
    #[arg(long, value_name = "NAME")]
    app: Option<String>,

    /// Signal the pod whose UUID is in FILE
    #[arg(long, value_name = "FILE")]
    uuid_file: Option<PathBuf>,

    /// The pods: UUIDs, unambiguous beginnings of UUIDs, or names
    #[arg(value_name = "POD")]
    pods: Vec<String>,
}

pub(crate) fn run(context: &Context, args: KillArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let signal = signal_argument::parse(&args.signal)?;
    let mut status = 0;
    for needle in &pod_argument::needles(&args.pods, args.uuid_file.as_ref())? {
        match kill(&pods, needle, args.app.clone(), signal) {
            Ok(uuid) => output::write(&format!("\"{uuid}\"\n"))?,
            Err(error) => {
                output::complain(&error.during(needle.as_str()).report(Some("kill")));
                status = FAILURE;
            }
        }
    }
    Ok(status)
}

fn kill(pods: &Pods, needle: &str, app: Option<String>, signal: i32) -> Result<appc::PodUuid, CommandError> {
    let entry = pod_argument::find(pods, needle)?;
    signal_to(pods, &entry, app, signal)?;
    Ok(entry.uuid)
}

/// Sends a signal to an app of a running pod, or to all of them. A pod that stands still goes on with it.
///
/// # Errors
///
/// There is no such app, or its supervisor cannot be reached.
pub(crate) fn signal_to(pods: &Pods, entry: &PodEntry, app: Option<String>, signal: i32) -> Result<(), CommandError> {
    let mut client = Client::connect(pods, entry)?;
    cgroup::thaw(pods, entry);
    client.ask(Call::Signal { app, signal }, &[]).map(drop)
}
