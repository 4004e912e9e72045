//! `docker rename`: another name for a container.

use clap::Args;
use pod::{PodError, PodName, Pods};

use super::container;
use crate::context::Context;
use crate::error::CommandError;

/// Rename a container
#[derive(Debug, Args)]
pub(crate) struct RenameArgs {
    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,

    /// Its new name
    #[arg(value_name = "NEW_NAME")]
    name: String,
}

pub(crate) fn run(context: &Context, args: RenameArgs) -> Result<u8, CommandError> {
    let pods = Pods::ensure(context.create_data_dir()?)?;
    let entry = container::find(&pods, &args.container)?;
    let name: PodName = args.name.parse().map_err(|error| CommandError::failed(format!("{error}")))?;
    pods.rename(entry.uuid, &name).map_err(|error| match error {
        PodError::NameInUse { holder, .. } => {
            let holder = container::id(holder);
            let used = format!("The container name \"/{name}\" is already in use by container \"{holder}\"");
            CommandError::failed(format!("Conflict. {used}"))
        }
        error => error.into(),
    })?;
    Ok(0)
}
