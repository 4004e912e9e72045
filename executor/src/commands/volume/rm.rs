//! `proa volume rm`.

use clap::Args;
use pod::PodEntry;

use super::not_found;
use crate::context::Context;
use crate::docker;
use crate::error::CommandError;
use crate::named_volumes::{NamedVolumes, Removal};
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
            Some(volume) => match volumes.remove(&volume, &pods)? {
                Removal::InUse(users) => Err(in_use(name, &users)),
                Removal::Gone if !args.force => Err(not_found(name)),
                Removal::Gone | Removal::Done => Ok(()),
            },
        });
        match removed {
            Ok(()) => output::write(&format!("{name}\n"))?,
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    first_error.map_or(Ok(0), Err)
}

fn in_use(name: &str, users: &[PodEntry]) -> CommandError {
    let ids: Vec<String> = users.iter().map(|pod| docker::id(pod.uuid)).collect();
    let (ids, hint) = match ids.join(", ") {
        none if none.is_empty() => {
            ("a container that is being made".to_owned(), "wait until it is there, and remove it")
        }
        ids => (ids, "remove the pods that have it"),
    };
    CommandError::failed(format!("remove {name}: volume is in use - [{ids}]")).hint(hint)
}
