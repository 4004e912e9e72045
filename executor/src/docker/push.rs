//! `docker push`: puts a stored image into its registry.

use clap::Args;

use super::image;
use crate::config::Registries;
use crate::context::Context;
use crate::error::CommandError;
use crate::import::Images;
use crate::output;
use crate::progress::ProgressForm;

/// Upload an image to a registry
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// Suppress verbose output
    #[arg(long, short)]
    quiet: bool,

    /// The image
    #[arg(value_name = "NAME[:TAG]")]
    name: String,
}

pub(crate) fn run(context: &Context, args: PushArgs) -> Result<u8, CommandError> {
    let reference = Registries::read(context.config_dirs())?.reference(&args.name)?;
    let missing = || {
        CommandError::failed(format!(
            "An image does not exist locally with the tag: {}",
            image::Name::parse(&args.name).repository
        ))
    };
    let record = image::stored(context, &context.stored()?, &args.name)?.ok_or_else(missing)?;
    let tag = reference.tag().unwrap_or("latest");
    let destination = format!("{}:{tag}", reference.name());
    if !args.quiet {
        output::write(&format!("The push refers to repository [{}]\n", reference.name()))?;
    }
    let progress = if args.quiet { ProgressForm::None } else { ProgressForm::Auto };
    let images = Images::existing(context)?.telling(progress);
    let pushed = images.push(&record.id.to_string(), Some(&destination), None)?;
    output::write(&match (args.quiet, pushed.split_once('@')) {
        (false, Some((_, digest))) => format!("{tag}: digest: {digest}\n"),
        _ => format!("{destination}\n"),
    })?;
    Ok(0)
}
