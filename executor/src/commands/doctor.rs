//! `proa doctor`: says what this machine lacks.

use clap::Args;

use crate::context::Context;
use crate::doctor;
use crate::error::CommandError;
use crate::output;

/// Check whether this machine can run pods, and say how to mend what is missing
///
/// One line per check: `ok`, `warn` where something works less well, `FAIL` where pods cannot run. The exit status is 1
/// if a check fails.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  proa doctor")]
pub(crate) struct DoctorArgs {}

pub(crate) fn run(context: &Context, _args: DoctorArgs) -> Result<u8, CommandError> {
    let checks = doctor::examine(context);
    let text: String = checks.iter().map(ToString::to_string).collect();
    output::write(&text)?;
    Ok(u8::from(doctor::failed(&checks)))
}
