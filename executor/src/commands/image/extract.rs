//! `proa image extract`: unpacks a stored image into a directory.

use std::path::PathBuf;

use clap::Args;
use store::ImageKind;

use crate::context::Context;
use crate::error::{CommandError, Explain};
use crate::import::Images;
use crate::rendering::{self, Place};
use crate::{images, packed};

/// Unpack an image into a directory, without its dependencies
///
/// DIR gets the image's `manifest` and `rootfs`. As root files get the owners they have in the image, else they are yours,
/// so that `rm -rf` removes them. DIR appears when it is complete. The layers of an OCI image are applied to one another.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa image extract example.com/redis:7 ./redis
  proa image extract --rootfs-only --overwrite sha512-1b2f8e ./rootfs")]
pub(crate) struct ExtractArgs {
    #[command(flatten)]
    pub(super) into: IntoDirectory,
}

/// An image and the directory it is to be written to.
#[derive(Debug, Args)]
pub(crate) struct IntoDirectory {
    /// The image: its ID, the beginning of its ID, or a name
    #[arg(value_name = "IMAGE")]
    pub(super) image: String,

    /// The directory to be
    #[arg(value_name = "DIR")]
    output: PathBuf,

    /// Make DIR the root file system itself, and leave the manifest out
    #[arg(long)]
    rootfs_only: bool,

    /// Replace DIR if it exists
    #[arg(long)]
    overwrite: bool,
}

impl IntoDirectory {
    pub(super) fn place(&self) -> Place<'_> {
        Place { dir: &self.output, overwrite: self.overwrite, rootfs_only: self.rootfs_only }
    }
}

pub(crate) fn run(context: &Context, args: ExtractArgs) -> Result<u8, CommandError> {
    let images = Images::existing(context)?;
    let image = images::find(context, &images.store, &args.into.image)?;
    let place = args.into.place();
    match (image.kind, image.layers.as_slice()) {
        (ImageKind::Aci, [layer]) => {
            place.check()?;
            // As it came, if that is there; the extractor checks it no less than when it was stored.
            let archive = match image.blobs.first().map(|blob| images.store.blob(&blob.digest)).transpose()?.flatten() {
                Some(archive) => archive,
                None => packed::archive(&images.store, &images.mapping, layer)?,
            };
            place.fill(archive, Some(&image.id)).during(|| args.into.image.clone())?;
        }
        _ => rendering::render(&images, &image, place)?,
    }
    Ok(0)
}
