//! `proa identity jwks`: prints the public keys.

use clap::Args;

use crate::context::Context;
use crate::error::CommandError;
use crate::{identity, output};

/// Print the public keys that verify the identities of this user's apps, as a JWK set
///
/// It holds the key that signs now, the next one, and those that signed what may still be valid. Give it to verifiers at
/// least once a week, or whenever they meet a key that they do not know.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  proa identity jwks")]
pub(crate) struct JwksArgs {}

pub(crate) fn run(context: &Context, _args: JwksArgs) -> Result<u8, CommandError> {
    output::write(&format!("{}\n", identity::identities(context)?.jwks()?))?;
    Ok(0)
}
