//! `proa export`: writes the root file system of a pod's app to an image file.

use std::path::PathBuf;

use clap::Args;
use pod::State;
use store::flatten::Wrapping;

use crate::context::Context;
use crate::diagnostics::warn;
use crate::error::CommandError;
use crate::export_format::{Export, Format};
use crate::oci_form::OciForm;
use crate::snapshot::Snapshot;
use crate::{exporting, pod_argument};

/// Write the root file system of an app to an image file, with what the app has changed
///
/// The pod must have ended. What is in volumes is not part of it. The image is an ACI of its own, whatever the app's image
/// was: its manifest is that of the app's image, with the app as the pod has run it. The file appears when it is complete.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa export web web.aci
  proa export --app db --format=oci-archive shop db.tar")]
pub(crate) struct ExportArgs {
    /// Take this app [default: the only one]
    #[arg(long, value_name = "NAME")]
    app: Option<String>,

    /// Replace OUTPUT if it exists
    #[arg(long)]
    overwrite: bool,

    /// Write this format
    #[arg(long, value_name = "FORMAT", default_value = "aci")]
    format: Format,

    /// Call the image so in the OCI and docker formats
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// The pod: a UUID, the unambiguous beginning of one, or a name
    #[arg(value_name = "POD")]
    pod: String,

    /// The file to be, with --format=oci the directory, or - for standard output
    #[arg(value_name = "OUTPUT")]
    output: PathBuf,
}

pub(crate) fn run(context: &Context, args: ExportArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let entry = pod_argument::find(&pods, &args.pod)?;
    if !matches!(entry.state, State::Exited | State::ExitedGarbage) {
        // The text is rkt's.
        return Err(CommandError::failed("pod is not exited. Only exited pods can be exported.")
            .hint("`proa commit` makes an image of a pod that runs")
            .during(format!("pod {}", entry.uuid)));
    }
    let Snapshot { images, stack, manifest, .. } = &Snapshot::of(context, &pods, &entry, args.app.as_deref())?;
    let out =
        Export { format: args.format, name: args.name.as_deref(), output: &args.output, overwrite: args.overwrite };
    let aci = |file: &_| exporting::archive(images, stack, Wrapping::Aci(&manifest.to_json()?), file);
    let oci = |packing| {
        let form = OciForm::of_stack(images, stack, manifest, packing)?;
        if !form.lost.is_empty() {
            warn(&format!("an OCI image cannot say this of the app: {}", form.lost.join(", ")));
        }
        Ok(form)
    };
    out.write(aci, oci)?;
    Ok(0)
}
