//! `proa port list`.

use clap::Args;

use crate::context::Context;
use crate::error::CommandError;
use crate::{output, pod_argument, ports};

/// Show the ports of the host that lead into a pod
///
/// One line each, as docker shows them: the port in the pod, and where on the host it begins.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa port list web\n  proa port list --format=json web")]
pub(crate) struct ListArgs {
    /// Print lines for people or JSON for programs: text, json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,

    /// The pod: a UUID, the unambiguous beginning of one, or a name
    #[arg(value_name = "POD")]
    pod: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

pub(crate) fn run(context: &Context, args: ListArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let entry = pod_argument::find(&pods, &args.pod)?;
    let ports = ports::now(&pods, &entry, &pods.open(&entry)?.manifest()?);
    output::write(&match args.format {
        Format::Text => ports.iter().map(|port| format!("{} -> {}\n", port.inside(), port.outside())).collect(),
        Format::Json => output::json(&ports)?,
    })?;
    Ok(0)
}
