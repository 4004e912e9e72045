//! `proa docker`: docker's command line.

use std::ffi::OsString;

use clap::Args;

use crate::context::Context;
use crate::docker;
use crate::error::CommandError;

/// Understand docker's command line
///
/// What follows is what would follow `docker`; `proa docker help` lists its commands. A link named docker that leads to
/// proa does the same.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa docker ps
  proa docker run --rm -it -v $PWD:/work -w /work oci:layout:v1 sh
  proa docker help run")]
pub(crate) struct DockerArgs {
    /// Docker's words
    #[arg(value_name = "WORDS", trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

pub(crate) fn run(context: &Context, args: DockerArgs) -> Result<u8, CommandError> {
    Ok(docker::execute(context, &args.words))
}
