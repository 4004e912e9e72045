//! `proa wait`: waits for pods, and says how they ended.

use clap::Args;
use pod::{Pods, State};
use stage1::limits;

use crate::context::Context;
use crate::ending::{Ending, Waiting};
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

pub(crate) fn run(context: &Context, args: WaitArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let mut status = 0;
    limits::expect_files(args.pods.len());
    // All are listened to before the first is waited for: those that are removed at their end would not be there later.
    let begin = |needle: &String| Ok(Waiting::begin(&pods, pod_argument::find(&pods, needle)?));
    let begun: Vec<Result<_, CommandError>> = args.pods.iter().map(begin).collect();
    for (needle, begun) in args.pods.iter().zip(begun) {
        match begun.and_then(|waiting| end(&pods, waiting)) {
            Ok(exit) => output::write(&format!("{exit}\n"))?,
            Err(error) => {
                output::complain(&error.during(needle.as_str()).report(Some("wait")));
                status = FAILURE;
            }
        }
    }
    Ok(status)
}

fn end(pods: &Pods, waiting: Waiting) -> Result<i32, CommandError> {
    let (status, missing) = match waiting.end(pods, None)? {
        Ending::Kept(entry) if entry.state == State::Prepared => {
            return Err(CommandError::failed("it was prepared and not run"));
        }
        Ending::Kept(entry) => {
            let status = pods.open(&entry)?.pod_status()?.map(|status| status.status);
            (status, "nobody has written down how it ended: its supervisor was killed")
        }
        Ending::Removed(heard) => (heard.status, "it was removed when it ended, and only its supervisor knew how"),
    };
    status.ok_or_else(|| CommandError::failed(missing))
}
