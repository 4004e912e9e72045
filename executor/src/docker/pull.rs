//! `docker pull`: fetches an image from its registry.

use clap::Args;
use fetch::ImageRef;

use super::image::{self, Name};
use super::noted_option::check_platform;
use crate::config::Registries;
use crate::context::Context;
use crate::error::CommandError;
use crate::import::Images;
use crate::output;
use crate::progress::ProgressForm;
use crate::pull_policy::PullPolicy;

/// Download an image from a registry
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Suppress verbose output
    #[arg(long, short)]
    quiet: bool,

    /// Set platform, which is that of this machine
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,

    /// The image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    name: String,
}

pub(crate) fn run(context: &Context, args: PullArgs) -> Result<u8, CommandError> {
    check_platform(args.platform.as_deref())?;
    let reference = Registries::read(context.config_dirs())?.reference(&args.name);
    let reference =
        reference.map_err(|_| CommandError::failed(format!("invalid reference format: {:?}", args.name)))?;
    let typed_tag = args.name.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
    let tell = |line: String| if args.quiet { Ok(()) } else { output::write(&line) };
    if !typed_tag {
        tell("Using default tag: latest\n".to_owned())?;
    }
    let version =
        reference.digest().map_or_else(|| reference.tag().unwrap_or("latest").to_owned(), ToString::to_string);
    tell(format!("{version}: Pulling from {}\n", reference.repository()))?;
    let before = image::stored(context, &context.stored()?, &args.name)?;
    let progress = if args.quiet { ProgressForm::None } else { ProgressForm::Auto };
    let images = Images::open(context, PullPolicy::Update)?.telling(progress);
    let record = images.resolve(&ImageRef::Registry(args.name.clone()), None)?;
    images.trees(&record)?;
    let name = match reference.tag() {
        Some(tag) => format!("{}:{tag}", reference.name()),
        None => reference.name(),
    };
    if let Some(digest) = record.source.as_deref().and_then(|source| source.split_once('@')).map(|(_, digest)| digest) {
        tell(format!("Digest: {digest}\n"))?;
    }
    let familiar = Name::parse(&name);
    tell(match before {
        Some(before) if before.id == record.id => format!("Status: Image is up to date for {familiar}\n"),
        _ => format!("Status: Downloaded newer image for {familiar}\n"),
    })?;
    output::write(&format!("{name}\n"))?;
    Ok(0)
}
