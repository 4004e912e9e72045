//! `proa image export`: writes a stored image to a file that other programs read.

use std::path::PathBuf;

use clap::Args;
use store::{ImageKind, ImageRecord};

use super::list;
use crate::context::Context;
use crate::diagnostics::warn;
use crate::error::{CommandError, Explain};
use crate::export_format::{Export, Format};
use crate::import::Images;
use crate::layer_writer::Packing;
use crate::oci_form::OciForm;
use crate::{exporting, images, output};

/// Write an image to a file or a layout directory
///
/// An ACI is exported uncompressed and just as it was stored, an OCI image with the archives of its layers just as they
/// were. In another format an image is converted: an ACI becomes an OCI image of one layer, its dependencies in it, an OCI
/// image an ACI of all its layers; what the other format has no place for is told. The file appears when it is complete.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa image export example.com/redis:7 redis.aci
  proa image export --format=oci-archive example.com/redis:7 redis.tar
  proa image export --overwrite sha256:0c4f app.aci
  proa image export --format=docker-archive example.com/redis:7 -")]
pub(crate) struct ExportArgs {
    /// The image: its ID, the beginning of its ID, or a name
    #[arg(value_name = "IMAGE")]
    image: String,

    /// The file to be, with --format=oci the directory, or - for standard output
    #[arg(value_name = "OUTPUT")]
    output: PathBuf,

    /// Replace OUTPUT if it exists
    #[arg(long)]
    overwrite: bool,

    /// Write this format [default: aci if OUTPUT ends in .aci, else what the image came as: aci or oci-archive]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,

    /// Call the image so in the OCI and docker formats [default: the name it has]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

pub(crate) fn run(context: &Context, args: ExportArgs) -> Result<u8, CommandError> {
    let images = Images::existing(context)?;
    let image = images::find(context, &images.store, &args.image)?;
    let format = args.format.unwrap_or(match (image.kind, args.output.extension()) {
        (_, Some(extension)) if extension == "aci" => Format::Aci,
        (ImageKind::Aci, _) => Format::Aci,
        (ImageKind::Oci, _) => Format::OciArchive,
    });
    let name = args.name.clone().unwrap_or_else(|| list::name(&image));
    let out = Export {
        format,
        name: Some(name.as_str()).filter(|name| *name != "<none>"),
        output: &args.output,
        overwrite: args.overwrite,
    };
    let aci = if output::is_stdout(&args.output) { exporting::aci_stream } else { exporting::aci };
    out.write(|file| aci(&images, &image, file), |packing| oci_form(&images, &image, packing))?;
    Ok(0)
}

/// The image in OCI's form; tells what it has no place for.
fn oci_form(images: &Images, image: &ImageRecord, packing: Packing) -> Result<OciForm, CommandError> {
    let form = OciForm::of(images, image, packing).during(|| image.id.to_string())?;
    if !form.lost.is_empty() {
        warn(&format!("an OCI image cannot say this of the app: {}", form.lost.join(", ")));
    }
    Ok(form)
}
