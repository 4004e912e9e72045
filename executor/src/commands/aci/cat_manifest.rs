//! `proa aci cat-manifest`: prints the manifest of an image file.

use std::path::PathBuf;

use appc::ImageManifest;
use clap::Args;
use executor::aci::{self, OpenedImage};

use crate::context::Context;
use crate::error::{CommandError, Explain};
use crate::output;

/// Print the manifest of an image file
///
/// It is printed as it stands there, then checked.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa aci cat-manifest worker.aci
  proa aci cat-manifest --pretty-print worker.aci")]
pub(crate) struct CatManifestArgs {
    /// The image file
    #[arg(value_name = "ACI")]
    image: PathBuf,

    /// Check it first, and indent it by four spaces
    #[arg(long)]
    pretty_print: bool,
}

pub(crate) fn run(_: &Context, args: CatManifestArgs) -> Result<u8, CommandError> {
    let shown = || args.image.display().to_string();
    let opened = OpenedImage::open(&args.image).during(shown)?;
    let manifest = aci::manifest_of(opened.file, &aci::limits()).during(shown)?;
    if !args.pretty_print {
        output::write_bytes(&manifest)?;
        output::write("\n")?;
    }
    let read = ImageManifest::from_json(&manifest).map_err(super::validate::explain).during(shown)?;
    if args.pretty_print {
        output::write_bytes(&read.to_json_pretty()?)?;
        output::write("\n")?;
    }
    Ok(0)
}
