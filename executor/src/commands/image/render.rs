//! `proa image render`: writes what an app of an image sees to a directory.

use clap::Args;

use super::extract::IntoDirectory;
use crate::context::Context;
use crate::error::CommandError;
use crate::import::Images;
use crate::{images, rendering};

/// Unpack an image into a directory, with all its dependencies
///
/// DIR gets the image's `manifest` and a `rootfs` that is what the app would see. As root files get the owners they have in
/// the image, else they are yours, so that `rm -rf` removes them. DIR appears when it is complete.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa image render example.com/redis:7 ./redis
  proa image render --rootfs-only --overwrite sha256:0c4f ./rootfs")]
pub(crate) struct RenderArgs {
    #[command(flatten)]
    into: IntoDirectory,
}

pub(crate) fn run(context: &Context, args: RenderArgs) -> Result<u8, CommandError> {
    let images = Images::existing(context)?;
    let image = images::find(context, &images.store, &args.into.image)?;
    rendering::render(&images, &image, args.into.place())?;
    Ok(0)
}
