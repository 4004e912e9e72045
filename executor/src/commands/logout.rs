//! `proa logout`: forgets what is kept for a registry.

use std::env;

use clap::Args;
use fetch::credentials::Places;

use super::login::host;
use crate::context::Context;
use crate::error::CommandError;
use crate::output;

/// Forget the user and the password that are kept for a registry
///
/// In all files that credentials are read from; what helper programs and auth.d hold stays.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa logout\n  proa logout quay.io")]
pub(crate) struct LogoutArgs {
    /// The registry [default: Docker's]
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

pub(crate) fn run(_: &Context, args: LogoutArgs) -> Result<u8, CommandError> {
    let host = host(args.server.as_deref())?;
    let found = Places::of_environment(|name| env::var_os(name)).log_out(&host)?;
    output::write(&match found {
        true => format!("Removing login credentials for {host}\n"),
        false => format!("Not logged in to {host}\n"),
    })?;
    Ok(0)
}
