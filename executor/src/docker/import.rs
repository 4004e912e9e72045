//! `docker import`: an image of one layer, of the files of a tar archive.

use std::fs::File;
use std::io;
use std::path::Path;

use clap::Args;
use store::archive;
use store::extract::ExtractLimits;

use super::image;
use super::load::spool;
use super::noted_option::check_platform;
use crate::commit::{self, Changes};
use crate::config::Registries;
use crate::context::Context;
use crate::error::{CommandError, Explain as _};
use crate::import::Images;
use crate::import::inflated::Failure;
use crate::layer_writer::{LayerWriter, Packing};
use crate::output;
use crate::pull_policy::PullPolicy;

/// Import the contents from a tarball to create a filesystem image
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Apply Dockerfile instruction to the created image: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR
    #[arg(long, short, value_name = "INSTRUCTION")]
    change: Vec<String>,

    /// Set commit message for imported image
    #[arg(long, short, value_name = "TEXT", default_value = "", hide_default_value = true)]
    message: String,

    /// Set platform, which is that of this machine
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,

    /// The archive, which may be packed with gzip, bzip2, xz or zstd; - is standard input
    #[arg(value_name = "FILE|-")]
    file: String,

    /// The image's name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

pub(crate) fn run(context: &Context, args: ImportArgs) -> Result<u8, CommandError> {
    check_platform(args.platform.as_deref())?;
    if args.file.starts_with("http://") || args.file.starts_with("https://") {
        let url = &args.file;
        return Err(CommandError::failed(format!("{url}: a file or - is imported"))
            .hint(format!("curl -fsSL '{url}' | docker import -")));
    }
    let registries = Registries::read(context.config_dirs())?;
    let name = args.name.as_deref().map(|name| registries.reference(name)).transpose()?;
    let archive = match args.file.as_str() {
        "-" => spool(context.create_data_dir()?, "import")?,
        file => File::open(file).during(|| format!("open {file}"))?,
    };
    let images = Images::open(context, PullPolicy::Never)?;
    let scratch = images.store.scratch()?;
    let failed = |error: io::Error| CommandError::from(error).during("write the layer");
    let mut layer = LayerWriter::new(scratch.try_clone()?, Packing::Plain).map_err(failed)?;
    let read = archive::inflate(archive, &ExtractLimits::default(), &mut layer, Failure::Write);
    read.map_err(CommandError::from).during(|| format!("import {}", args.file))?;
    let written = layer.finish().map_err(failed)?;
    let from = Path::new(&args.file).file_name().map_or("-".into(), |name| name.to_string_lossy());
    let message = if args.message.is_empty() { format!("Imported from {from}") } else { args.message };
    let changes = Changes { message, instructions: args.change, ..Changes::default() };
    let config = commit::bare_configuration(written.diff_id, &changes)?;
    let record = commit::store_layer(&images, scratch, written, config, name.as_ref())?;
    output::write(&format!("sha256:{}\n", image::digits(&record)))?;
    Ok(0)
}
