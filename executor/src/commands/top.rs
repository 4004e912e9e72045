//! `proa top`: the processes of a pod.

use clap::Args;
use stage1::protocol::{Call, Reply};

use crate::client::Client;
use crate::context::Context;
use crate::docker::columns;
use crate::error::CommandError;
use crate::escape::printable;
use crate::{moment, output, pod_argument, processes};

/// List the processes of a running pod
///
/// With their ids and users as the host sees them, in the columns of `ps -ef`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa top web")]
pub(crate) struct TopArgs {
    /// The pod: a UUID, the unambiguous beginning of one, or a name
    #[arg(value_name = "POD")]
    pod: String,
}

pub(crate) fn run(context: &Context, args: TopArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let entry = pod_argument::find(&pods, &args.pod)?;
    let mut client = Client::connect(&pods, &entry)?;
    let Reply::Status(report) = client.ask(Call::Status, &[])?.0 else { return Err(client.gone()) };
    let titles = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for process in processes::below(report.pid)? {
        let hours = |seconds: u64| format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        let started = moment::rfc3339(process.started.saturating_mul(1_000_000_000));
        rows.push(vec![
            process.uid.to_string(),
            process.pid.to_string(),
            process.parent.to_string(),
            "0".to_owned(),
            started.get(11..16).unwrap_or_default().to_owned(),
            process.terminal,
            hours(process.time),
            printable(&process.command).into_owned(),
        ]);
    }
    output::write(&columns::aligned(&rows))?;
    Ok(0)
}
