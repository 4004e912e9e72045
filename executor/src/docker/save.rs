//! `docker save`: images in an archive that `docker load` reads.

use std::path::PathBuf;

use clap::Args;

use super::archive::Output;
use super::image::{self, Name};
use crate::context::Context;
use crate::error::{CommandError, Explain as _};
use crate::exporting::{Saved, docker_archive};
use crate::import::Images;
use crate::layer_writer::Packing;
use crate::oci_form::OciForm;

/// Save one or more images to a tar archive (streamed to STDOUT by default)
#[derive(Debug, Args)]
pub(crate) struct SaveArgs {
    /// Write to a file, instead of STDOUT, which is - as well
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    /// The images
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

pub(crate) fn run(context: &Context, args: SaveArgs) -> Result<u8, CommandError> {
    let output = Output::of(args.output)?;
    let images = Images::existing(context)?;
    let mut records = Vec::new();
    for word in &args.images {
        let missing = || CommandError::failed(format!("reference does not exist: {word}"));
        records.push((word, image::stored(context, &images.store, word)?.ok_or_else(missing)?));
    }
    let (mut saved, mut ids): (Vec<Saved>, Vec<_>) = Default::default();
    for (word, record) in records {
        let digest = image::digits(&record);
        // The beginning of an ID is no name, and a repository without a tag is the one that is called latest.
        let named = !digest.starts_with(word.strip_prefix("sha256:").unwrap_or(word));
        let name = named.then(|| Name::parse(word).to_string());
        match ids.iter().position(|known| *known == record.id) {
            Some(known) => saved[known].names.extend(name),
            None => {
                let form = OciForm::of(&images, &record, Packing::Plain).during(|| word.clone())?;
                saved.push(Saved { form, names: name.into_iter().collect() });
                ids.push(record.id);
            }
        }
    }
    output.write(|file| docker_archive(&saved, file))?;
    Ok(0)
}
