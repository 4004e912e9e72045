//! `proa prepare`: makes a pod that can be run later.

use clap::{Args, Command};

use crate::context::Context;
use crate::error::CommandError;
use crate::pod_line::{self, PodArgs};
use crate::prepare::Begin;
use crate::request::Lifecycle;
use crate::{launch, output, prepare};

/// Make a pod of one or more images without running it
///
/// Images are fetched and unpacked, and the pod's manifest is written. Prints the pod's UUID, for `proa run-prepared`.
/// A prepared pod survives a restart of the machine; `proa gc` removes it after 24 hours.
#[derive(Debug, Args)]
#[command(override_usage = "proa [GLOBAL OPTIONS] prepare [OPTIONS] IMAGE [APP OPTIONS] [-- ARGS...] [--- IMAGE...]")]
pub(crate) struct PrepareArgs {
    /// Print nothing but the UUID, which is always so
    #[arg(long, hide = true)]
    quiet: bool,

    #[command(flatten)]
    pod: PodArgs,
}

const EXAMPLES: &str = "\
Examples:
  proa prepare hello
  proa --insecure-options=image prepare --name web ./busybox.aci --exec /bin/busybox -- uname -a";

/// Adds the options that stand after an image to the help text.
pub(crate) fn explain(command: Command) -> Command {
    pod_line::explain(command, EXAMPLES)
}

pub(crate) fn run(context: &Context, args: PrepareArgs) -> Result<u8, CommandError> {
    let lifecycle = Lifecycle { keep: true, ..Lifecycle::default() };
    let request = pod_line::request("prepare", args.pod, lifecycle)?;
    let uuid = launch::prepare(context, prepare::pod(context, request, Begin::Later)?)?;
    output::write(&format!("{uuid}\n"))?;
    Ok(0)
}
