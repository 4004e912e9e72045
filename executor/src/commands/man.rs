//! `proa man`: the manual pages.

use std::path::PathBuf;

use clap::Args;

use crate::cli;
use crate::context::Context;
use crate::error::{CommandError, Explain as _};

/// Write the manual pages into a directory
///
/// A page for proa and one for each command: proa.1, proa-run.1, proa-image-list.1 and so on. They are made of the same
/// definitions as the help texts.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa man ~/.local/share/man/man1\n  proa man .")]
pub(crate) struct ManArgs {
    /// The directory; it must exist
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub(crate) fn run(_: &Context, args: ManArgs) -> Result<u8, CommandError> {
    clap_mangen::generate_to(cli::plain_tree(), &args.dir).during(|| format!("write to {}", args.dir.display()))?;
    Ok(0)
}
