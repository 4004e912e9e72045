//! `proa image untag`: takes names from images.

use clap::Args;

use crate::context::Context;
use crate::error::{CommandError, FAILURE};
use crate::output;

/// Take names from images
///
/// The image stays, under its other names and its ID. `proa image rm` removes an image with all its names.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa image untag redis:stable
  proa image untag redis:6 redis:5")]
pub(crate) struct UntagArgs {
    /// The names
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

pub(crate) fn run(context: &Context, args: UntagArgs) -> Result<u8, CommandError> {
    let store = context.stored()?;
    let mut status = 0;
    for name in &args.names {
        if store.list()?.images.iter().any(|image| image.names().any(|known| known == name)) {
            store.untag(name)?;
        } else {
            let error = CommandError::failed(format!("no image named {name:?}"));
            let error = error.hint("`proa image inspect IMAGE` shows the names an image has");
            output::complain(&error.report(Some("image untag")));
            status = FAILURE;
        }
    }
    Ok(status)
}
