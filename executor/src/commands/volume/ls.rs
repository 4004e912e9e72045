//! `proa volume ls`.

use clap::Args;

use crate::context::Context;
use crate::docker::columns;
use crate::error::CommandError;
use crate::named_volumes::NamedVolumes;
use crate::output;

/// List the named volumes
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa volume ls\n  proa volume ls --quiet")]
pub(crate) struct LsArgs {
    /// Print names only
    #[arg(long, short)]
    quiet: bool,
}

/// What docker calls a volume that is a directory of the host.
const DRIVER: &str = "local";

pub(crate) fn run(context: &Context, args: LsArgs) -> Result<u8, CommandError> {
    let volumes = NamedVolumes::open(context)?.all()?;
    output::write(&if args.quiet {
        volumes.iter().map(|volume| format!("{}\n", volume.name)).collect()
    } else {
        let mut rows = vec![vec!["DRIVER".to_owned(), "VOLUME NAME".to_owned()]];
        rows.extend(volumes.iter().map(|volume| vec![DRIVER.to_owned(), volume.name.clone()]));
        columns::aligned(&rows)
    })?;
    Ok(0)
}
