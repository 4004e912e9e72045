//! `docker tag`: gives an image one more name.

use std::collections::BTreeSet;

use clap::Args;
use store::ImageRecord;

use super::image::{self, Name};
use crate::config::Registries;
use crate::context::Context;
use crate::error::CommandError;

/// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
#[derive(Debug, Args)]
pub(crate) struct TagArgs {
    /// The image: a name or the beginning of an ID
    #[arg(value_name = "SOURCE_IMAGE[:TAG]")]
    source: String,

    /// The name
    #[arg(value_name = "TARGET_IMAGE[:TAG]")]
    target: String,
}

pub(crate) fn run(context: &Context, args: TagArgs) -> Result<u8, CommandError> {
    let found = image::stored(context, &context.stored()?, &args.source)?;
    let record = found.ok_or_else(|| image::not_found(&args.source))?;
    let mut names = names(context, &args.target)?;
    // Other spellings of the name, which images from layouts have: it is one name to docker.
    let meant = names.last().map(|name| Name::parse(name));
    let images = context.stored()?.list()?.images;
    let is_meant = |name: &&str| Some(Name::parse(name)) == meant && !names.iter().any(|known| known == name);
    let others: BTreeSet<String> =
        images.iter().flat_map(ImageRecord::names).filter(is_meant).map(str::to_owned).collect();
    names.extend(others);
    context.store()?.tag(&record.id, &names)?;
    Ok(0)
}

/// What the store calls an image of this name: with registry and tag, so that the same words find and push it.
pub(crate) fn names(context: &Context, target: &str) -> Result<Vec<String>, CommandError> {
    let reference = Registries::read(context.config_dirs())?.reference(target).ok();
    let reference = reference.filter(|reference| reference.digest().is_none()).ok_or_else(|| {
        CommandError::failed(format!("{target:?} is not a valid repository/tag: invalid reference format"))
    })?;
    // Whoever types such a name means an ID.
    if let name @ ("sha256" | "sha512") = image::Name::parse(&reference.name()).repository.as_str() {
        let why = format!("{target:?}: refusing to create an ambiguous tag using digest algorithm {name} as name");
        return Err(CommandError::failed(why));
    }
    Ok(match reference.tag() {
        Some("latest") | None => vec![reference.name(), format!("{}:latest", reference.name())],
        Some(tag) => vec![format!("{}:{tag}", reference.name())],
    })
}
