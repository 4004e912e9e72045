//! `proa wait`: waits for pods, and says how they ended.

use std::time::Duration;

use clap::Args;
use pod::{Pods, State};

use crate::context::Context;
use crate::error::{CommandError, FAILURE};
use crate::{output, pod_argument};

/// Wait until pods have ended, and print the exit status of each
///
/// A pod whose supervisor was killed has no status: it is reported, and the exit status is 254.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa wait web\n  proa wait web logs")]
pub(crate) struct WaitArgs {
    /// The pods: UUIDs, unambiguous beginnings of UUIDs, or names
    #[arg(value_name = "POD", required = true)]
    pods: Vec<String>,
}

/// How often a pod is looked at.
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) fn run(context: &Context, args: WaitArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let mut status = 0;
    for needle in &args.pods {
        match wait(&pods, needle) {
            Ok(exit) => output::write(&format!("{exit}\n"))?,
            Err(error) => {
                output::complain(&error.during(needle.as_str()).report(Some("wait")));
                status = FAILURE;
            }
        }
    }
    Ok(status)
}

fn wait(pods: &Pods, needle: &str) -> Result<i32, CommandError> {
    let uuid = pod_argument::find(pods, needle)?.uuid.to_string();
    loop {
        let entry = pods.find(&uuid)?;
        match entry.state {
            State::Running | State::Preparing | State::Embryo => std::thread::sleep(PAUSE),
            State::Prepared => return Err(CommandError::failed("it was prepared and not run")),
            _ => {
                let missing =
                    || CommandError::failed("nobody has written down how it ended: its supervisor was killed");
                return pods.open(&entry)?.pod_status()?.map(|status| status.status).ok_or_else(missing);
            }
        }
    }
}
