//! `proa image push`: puts a stored image into a registry.

use clap::Args;

use crate::context::Context;
use crate::error::CommandError;
use crate::import::Images;
use crate::output;
use crate::progress::ProgressForm;

/// Put a stored image into a registry
///
/// What the registry has already is not sent again. A layer whose packed archive was not kept (`proa fetch
/// --keep-layers` keeps it) is packed anew if the registry does not have it: then the digest of the manifest is another
/// than where the image came from; the image's ID is the same. An ACI becomes an OCI image of one layer, its dependencies
/// in it. Prints the name with the digest of the manifest.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa image push docker.io/library/debian:12 registry.example.com/debian:12
  proa --insecure-options=http image push sha256:4e67 docker://localhost:5000/team/app")]
pub(crate) struct PushArgs {
    /// Send layers in pieces of so many MiB, for registries and proxies that refuse large requests
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    chunk_size: Option<u64>,

    /// How to tell on stderr how far uploads are: `bar`, `plain` (a line for each layer), `json` (an object for each
    /// event) or `none` [default: bar on a terminal, else plain]
    #[arg(long, value_name = "FORM", default_value = "auto", hide_default_value = true, hide_possible_values = true)]
    progress: ProgressForm,

    /// The image: an ID, the unambiguous beginning of one, or a name
    #[arg(value_name = "IMAGE")]
    image: String,

    /// Where to: [docker://]HOST[:PORT]/NAME[:TAG] [default: the image's name, if that is one]
    #[arg(value_name = "DESTINATION")]
    destination: Option<String>,
}

pub(crate) fn run(context: &Context, args: PushArgs) -> Result<u8, CommandError> {
    let images = Images::existing(context)?.telling(args.progress);
    let chunk = args.chunk_size.map(|mib| mib << 20);
    let pushed = images.push(&args.image, args.destination.as_deref(), chunk)?;
    output::write(&format!("{pushed}\n"))?;
    Ok(0)
}
