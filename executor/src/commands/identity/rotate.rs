//! `proa identity rotate`: lets the next key sign.

use clap::Args;

use crate::context::Context;
use crate::error::CommandError;
use crate::identity;

/// Sign identities with the next key from now on
///
/// It happens by itself every week. What was signed before stays valid for its five minutes, and verifiers that have the
/// keys of `proa identity jwks` know the next one already.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  proa identity rotate")]
pub(crate) struct RotateArgs {}

pub(crate) fn run(context: &Context, _args: RotateArgs) -> Result<u8, CommandError> {
    identity::identities(context)?.rotate()?;
    Ok(0)
}
