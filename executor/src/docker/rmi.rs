//! `docker rmi`: takes a name from an image, or removes it with its last one.

use clap::Args;
use store::Store;

use super::{complain_of, image};
use crate::context::Context;
use crate::error::CommandError;
use crate::{images, output};

/// Remove one or more images
#[derive(Debug, Args)]
pub(crate) struct RmiArgs {
    /// Remove an image with all its names, and say nothing of one that is not there
    #[arg(long, short)]
    force: bool,

    /// The images: names, or beginnings of IDs
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

pub(crate) fn run(context: &Context, args: RmiArgs) -> Result<u8, CommandError> {
    let store = context.stored()?;
    let mut status = 0;
    for word in &args.images {
        match remove(context, &store, word, args.force) {
            Ok(told) => output::write(&told)?,
            Err(error) => {
                let failed = complain_of(&error);
                status = if args.force { status } else { failed };
            }
        }
    }
    // What no pod and no other image needs goes now.
    images::collect(context, &store, "rmi")?;
    Ok(status)
}

fn remove(context: &Context, store: &Store, word: &str, force: bool) -> Result<String, CommandError> {
    let record = image::stored(context, store, word)?.ok_or_else(|| image::not_found(word))?;
    let digits = image::digits(&record);
    let names = image::names(&record);
    let by_id = digits.starts_with(&word.strip_prefix("sha256:").unwrap_or(word).to_lowercase());
    if by_id && names.len() > 1 && !force {
        let short = image::short_id(&record);
        let why = "must be forced) - image is referenced in multiple repositories";
        return Err(CommandError::failed(format!("conflict: unable to delete {short} ({why}")));
    }
    if !by_id && names.len() > 1 && !force {
        let wanted = image::Name::parse(word);
        let of_name = |name: &&str| image::Name::parse(name) == wanted;
        for name in record.names().filter(of_name) {
            store.untag(name)?;
        }
        return Ok(format!("Untagged: {wanted}\n"));
    }
    store.remove(&record.id)?;
    let untagged: String = names.iter().map(|name| format!("Untagged: {name}\n")).collect();
    Ok(format!("{untagged}Deleted: sha256:{digits}\n"))
}
