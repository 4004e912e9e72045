//! `proa image rm`: removes images from the store.

use clap::Args;

use crate::context::Context;
use crate::error::{CommandError, FAILURE};
use crate::images::Gone;
use crate::{images, output};

/// Remove images from the store
///
/// Pods that were made of an image keep what they need of it until they are gone; the rest is removed at once. An image
/// that cannot be found is reported; the others are removed all the same, and the exit status is 254.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa image rm example.com/redis:7
  proa image rm sha512-1b2f8e sha256:0c4f")]
pub(crate) struct RmArgs {
    /// The images: IDs, beginnings of IDs, or names
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

pub(crate) fn run(context: &Context, args: RmArgs) -> Result<u8, CommandError> {
    const COMMAND: &str = "image rm";
    let store = context.stored()?;
    let mut status = 0;
    let mut ids = Vec::new();
    for needle in &args.images {
        match images::find(context, &store, needle) {
            Ok(image) if ids.contains(&image.id) => {}
            Ok(image) => ids.push(image.id),
            Err(error) => {
                output::complain(&error.report(Some(COMMAND)));
                status = FAILURE;
            }
        }
    }
    if images::remove(&store, &ids, Gone::Failed, COMMAND)? > 0 {
        status = FAILURE;
    }
    if !ids.is_empty() {
        status = status.max(images::collect(context, &store, COMMAND)?.1);
    }
    Ok(status)
}
