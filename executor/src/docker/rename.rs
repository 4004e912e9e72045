//! `docker rename`: another name for a container.

use clap::Args;
use pod::{PodError, PodName};

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
    let pods = context.pods()?;
    let entry = container::find(&pods, &args.container)?;
    if entry.name.as_ref().is_some_and(|name| name.to_string() == args.name) {
        return Err(CommandError::failed("Renaming a container with the same name as its current name"));
    }
    let name: PodName = args.name.parse().map_err(|error| CommandError::failed(format!("{error}")))?;
    pods.rename(entry.uuid, &name).map_err(|error| match error {
        PodError::NameInUse { holder, .. } => container::conflict(&name, holder),
        error => error.into(),
    })?;
    Ok(0)
}
