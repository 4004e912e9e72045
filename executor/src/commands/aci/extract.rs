//! `proa aci extract`: turns an image file back into a layout.

use std::path::PathBuf;

use clap::Args;
use executor::aci::{self, OpenedImage, UnpackError};

use crate::context::Context;
use crate::diagnostics::warn;
use crate::error::{CommandError, Explain};
use crate::{output, umask};

/// Unpack an image file into a directory with its manifest and rootfs
///
/// DIR must not exist; it appears when it is complete. Nothing is ever written outside of it. As root files get the owners
/// they have in the image, else they are yours; device nodes are left out. `proa aci build` makes an image of it again.
/// Prints the image's ID.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  proa aci extract worker.aci ./layout\n  proa aci extract --no-same-owner worker.aci ./layout"
)]
pub(crate) struct ExtractArgs {
    /// The image file
    #[arg(value_name = "ACI")]
    image: PathBuf,

    /// The directory to be
    #[arg(value_name = "DIR")]
    layout: PathBuf,

    /// Let all files belong to you, also as root
    #[arg(long)]
    no_same_owner: bool,
}

pub(crate) fn run(_: &Context, args: ExtractArgs) -> Result<u8, CommandError> {
    let opened = OpenedImage::open(&args.image).during(|| args.image.display().to_string())?;
    let keep_owners = rustix::process::geteuid().is_root() && !args.no_same_owner;
    let unpacked = aci::unpack(opened.file, &args.layout, keep_owners, umask::directory_mode())
        .map_err(|error| match error {
            UnpackError::Exists(_) => CommandError::from(error).hint("give the name of a directory to be"),
            error => error.into(),
        })
        .during(|| args.image.display().to_string())?;
    unpacked.warnings.lines().for_each(|line| warn(&line));
    if unpacked.other_owners > 0 {
        warn(&format!("{} files belong to you, but to others in the image", unpacked.other_owners));
    }
    output::write(&format!("{}\n", unpacked.id))?;
    Ok(0)
}
