//! `proa volume rm`.

use clap::Args;

use super::not_found;
use crate::context::Context;
use crate::docker;
use crate::error::CommandError;
use crate::named_volumes::NamedVolumes;
use crate::output;

/// Remove named volumes with all that is in them
///
/// One that a pod has, whether it runs or has ended, is not removed. Prints the names of those that were.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa volume rm data\n  proa volume rm --force data")]
pub(crate) struct RmArgs {
    /// Say nothing of a volume that is not there
    #[arg(long, short)]
    force: bool,

    /// The volumes
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

pub(crate) fn run(context: &Context, args: RmArgs) -> Result<u8, CommandError> {
    let volumes = NamedVolumes::open(context)?;
    let pods = context.pods()?;
    let mut first_error = None;
    for name in &args.names {
        let removed = volumes.find(name).and_then(|volume| match volume {
            None if args.force => Ok(()),
            None => Err(not_found(name)),
            Some(volume) => {
                let users = volumes.users(&volume, &pods)?;
                if !users.is_empty() {
                    let ids: Vec<String> = users.iter().map(|pod| docker::id(pod.uuid)).collect();
                    let why = format!("remove {name}: volume is in use - [{}]", ids.join(", "));
                    return Err(CommandError::failed(why).hint("remove the pods that have it"));
                }
                match volumes.remove(&volume)? {
                    false if !args.force => Err(not_found(name)),
                    _ => Ok(()),
                }
            }
        });
        match removed {
            Ok(()) => output::write(&format!("{name}\n"))?,
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    first_error.map_or(Ok(0), Err)
}
