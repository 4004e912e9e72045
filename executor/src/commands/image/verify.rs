//! `proa image verify`: looks whether images are still what was stored.

use clap::Args;
use store::{ImageRecord, StoreError};

use crate::context::Context;
use crate::error::{CommandError, FAILURE};
use crate::escape::printable;
use crate::fsck::{self, Part};
use crate::import::Images;
use crate::{images, output};

const COMMAND: &str = "image verify";

/// Check whether images are still what was stored
///
/// Reads everything that is stored of them and compares it with the digests that name it: archives and documents, and
/// each unpacked file with its contents, owner, mode, time and attributes. A damaged tree is unpacked again where the
/// store has its archive, as that of every ACI; `--repair` also fetches again what it has not.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa image verify example.com/redis:7
  proa image verify --all
  proa image verify --all --repair")]
pub(crate) struct VerifyArgs {
    /// The images: IDs, beginnings of IDs, or names
    #[arg(value_name = "IMAGE", required_unless_present = "all")]
    images: Vec<String>,

    /// Check all images, and change nothing without --repair
    #[arg(long, conflicts_with = "images")]
    all: bool,

    /// Mend what is damaged, and nothing else: unpack it again, or fetch it again from where it came
    #[arg(long)]
    repair: bool,
}

/// What is done about damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mending {
    /// It is told.
    None,
    /// What the store's own archives give is unpacked again.
    Unpack,
    /// What they do not give is fetched again.
    Fetch,
}

pub(crate) fn run(context: &Context, args: VerifyArgs) -> Result<u8, CommandError> {
    let images = Images::existing(context)?;
    let mending = match (args.repair, args.all) {
        (true, _) => Mending::Fetch,
        (false, true) => Mending::None,
        (false, false) => Mending::Unpack,
    };
    let mut status = 0;
    let mut failed = |result: Result<bool, CommandError>| match result {
        Ok(true) => {}
        Ok(false) => status = FAILURE,
        Err(error) => {
            output::complain(&error.report(Some(COMMAND)));
            status = FAILURE;
        }
    };
    if args.all {
        let listing = images.store.list()?;
        for error in listing.bad {
            failed(damaged_record(&images, error, mending));
        }
        for record in listing.images {
            let id = record.id.to_string();
            failed(verify(&images, &id, &record, mending).map_err(|error| error.during(id)));
        }
    } else {
        for needle in &args.images {
            let found = images::find(context, &images.store, needle);
            failed(found.and_then(|record| {
                verify(&images, needle, &record, mending).map_err(|error| error.during(needle.as_str()))
            }));
        }
    }
    Ok(status)
}

/// Checks an image, and mends it as far as that was asked for. The lines are rkt's. Returns whether it is whole now.
fn verify(images: &Images, shown: &str, record: &ImageRecord, mending: Mending) -> Result<bool, CommandError> {
    let state = fsck::examine(images, record)?;
    let shown = printable(shown);
    if state.damaged.is_empty() {
        return output::write(&match state.not_rendered {
            true => format!("image \"{shown}\" not rendered; no verification needed\n"),
            false => format!("successfully verified checksum for image: \"{shown}\" (\"{}\")\n", record.id),
        })
        .map(|()| true);
    }
    for it in &state.damaged {
        let what = match &it.part {
            Part::Tree(layer) if record.layers.len() > 1 => {
                format!("tree cache verification failed for image {shown}: layer {}", layer.digest())
            }
            Part::Tree(_) => format!("tree cache verification failed for image {shown}"),
            Part::Blob(..) => format!("verification failed for image {shown}"),
        };
        let tail = if mending == Mending::None { "" } else { ";  rebuilding..." };
        output::write(&format!("{what}: {}{tail}\n", printable(&it.why.chain())))?;
    }
    if mending == Mending::None {
        return Err(CommandError::failed("the image is damaged").hint("`proa image verify --all --repair` mends it"));
    }
    let mended = fsck::mend(images, record, &state.damaged, mending == Mending::Fetch);
    mended.map(|()| true).map_err(|error| error.during("unable to repair cache"))
}

/// Tells of a record that cannot be read, and sets it aside where that was asked for: then gc may work again.
fn damaged_record(images: &Images, error: StoreError, mending: Mending) -> Result<bool, CommandError> {
    let (Mending::Fetch, Some(id)) = (mending, error.damaged_image()) else {
        return Err(CommandError::from(error).hint("`--repair` sets it aside; then fetch the image again"));
    };
    images.store.set_record_aside(&id)?;
    output::write(&format!("{error}; set aside as {}.json.damaged, fetch the image again\n", id.file_name()))?;
    Ok(false)
}
