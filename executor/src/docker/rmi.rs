//! `docker rmi`: takes a name from an image, or removes it with its last one.

use clap::Args;
use store::{ImageRecord, Store};

use super::complain_of;
use super::image::{self, Name};
use crate::config::Registries;
use crate::context::Context;
use crate::error::CommandError;
use crate::{images, output};

/// Remove one or more images
#[derive(Debug, Args)]
pub(crate) struct RmiArgs {
    /// Remove an image that is given by ID with all its names, and an ACI by the name that its manifest says; one that is
    /// not there is no failure
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
    if !by_id && names.len() > 1 {
        let wanted = meant(context, word)?;
        let claims: Vec<&str> = record.names().filter(|name| wanted.contains(&Name::parse(name))).collect();
        let name = wanted.into_iter().find(|name| names.contains(name));
        let own = image::own_name(&record);
        let Some(name) = name.filter(|name| own.as_ref() != Some(name)) else {
            if force {
                return remove_whole(store, &record);
            }
            let own = own.map_or_else(|| word.to_owned(), |own| own.to_string());
            let others = names.iter().map(ToString::to_string).filter(|name| *name != own).collect::<Vec<_>>();
            let why = format!("its manifest says it, and it is known as {}, too", others.join(", "));
            let refused = CommandError::failed(format!("conflict: unable to take the name {own} from an ACI ({why})"));
            return Err(refused.hint("`docker rmi -f` removes the image with all its names"));
        };
        for claim in claims {
            store.untag(claim)?;
        }
        return Ok(format!("Untagged: {name}\n"));
    }
    remove_whole(store, &record)
}

fn remove_whole(store: &Store, record: &ImageRecord) -> Result<String, CommandError> {
    store.remove(&record.id)?;
    let untagged: String = image::names(record).iter().map(|name| format!("Untagged: {name}\n")).collect();
    Ok(format!("{untagged}Deleted: sha256:{}\n", image::digits(record)))
}

/// What a word may mean as a name: as it stands, and with the registry that is meant where none is typed.
fn meant(context: &Context, word: &str) -> Result<Vec<Name>, CommandError> {
    let reference = Registries::read(context.config_dirs())?.reference(word).ok();
    let whole = reference.map(|of| Name::parse(&format!("{}:{}", of.name(), of.tag().unwrap_or("latest"))));
    Ok(std::iter::once(Name::parse(word)).chain(whole).collect())
}
