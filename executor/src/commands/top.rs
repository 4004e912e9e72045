//! `proa top`: the processes of a pod.

use clap::Args;
use stage1::protocol::{Call, Reply};

use crate::client::Client;
use crate::context::Context;
use crate::error::CommandError;
use crate::process_columns::{self, Column};
use crate::{output, pod_argument, processes};

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
    output::write(&process_columns::table(&Column::full(), &processes::below(report.pid)?))?;
    Ok(0)
}
