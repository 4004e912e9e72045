//! `proa image tag`: gives an image more names.

use clap::Args;
use fetch::ImageRef;

use crate::context::Context;
use crate::error::CommandError;
use crate::{images, request};

/// Give an image more names
///
/// A name that another image has is taken from it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa image tag example.com/redis:7 redis:stable
  proa image tag sha256:0c4f registry.example.com/team/app:1.2 app")]
pub(crate) struct TagArgs {
    /// The image: its ID, the beginning of its ID, or a name
    #[arg(value_name = "IMAGE")]
    image: String,

    /// The names
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

pub(crate) fn run(context: &Context, args: TagArgs) -> Result<u8, CommandError> {
    let names = args.names.iter().map(|name| checked(name)).collect::<Result<Vec<_>, _>>()?;
    let image = images::find(context, &context.stored()?, &args.image)?;
    context.store()?.tag(&image.id, &names)?;
    Ok(0)
}

/// A name by which the image will be found: nothing that means a file, a transport or an ID.
fn checked(name: &str) -> Result<String, CommandError> {
    match request::image(name.as_ref())? {
        ImageRef::Name(name) if !name.contains(['@', ',']) => Ok(name),
        _ => Err(CommandError::usage(format!("{name:?} is no name of an image"))
            .hint("names are NAME or NAME:TAG, not files, IDs or digests")),
    }
}
