//! `proa fetch`: puts images into the store.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use crate::context::Context;
use crate::error::CommandError;
use crate::import::Images;
use crate::pull_policy::{PullArgs, PullPolicy};
use crate::{output, request};

/// Put images into the store, unpacked and ready to run
///
/// Prints the ID of each image on a line of its own. What is stored already is neither downloaded nor unpacked again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa fetch docker://docker.io/library/debian:12
  proa fetch --pull-policy=new quay.io/podman/hello
  proa fetch appc://example.com/app:1.0.0
  proa fetch oci:layout:v1
  proa fetch ./busybox.aci --signature=/media/busybox.sig
  proa --insecure-options=image fetch ./busybox.aci")]
pub(crate) struct FetchArgs {
    #[command(flatten)]
    pull: PullArgs,

    /// Keep the packed layers of OCI images, too, for passing them on just as they came
    #[arg(long)]
    keep_layers: bool,

    // rkt's scripts ask for what is printed in any case.
    #[arg(long, hide = true)]
    full: bool,

    /// Check the ACI with this signature [default: the one beside it, FILE.aci.asc or URL.asc]
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,

    /// The images: docker://NAME[:TAG][@DIGEST], appc://NAME[:VERSION][,LABEL=VALUE...], https://URL, FILE.aci, oci:DIR[:REF], oci-archive:FILE[:REF], docker-archive:FILE[:REF], `hello`, or a name of a registry or the store
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<OsString>,
}

pub(crate) fn run(context: &Context, args: FetchArgs) -> Result<u8, CommandError> {
    let references = args.images.iter().map(|word| request::image(word)).collect::<Result<Vec<_>, _>>()?;
    if args.signature.is_some() && references.len() > 1 {
        return Err(CommandError::usage("--signature is of one image: fetch it alone"));
    }
    let images = Images::open(context, args.pull.pulling(PullPolicy::Update)?)?;
    let images = if args.keep_layers { images.keeping_layers() } else { images };
    for reference in references {
        let image = images.resolve(&reference, args.signature.as_deref())?;
        images.trees(&image)?;
        output::write(&format!("{}\n", image.id))?;
    }
    Ok(0)
}
