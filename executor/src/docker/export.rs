//! `docker export`: a container's file system as a tar archive.

use std::path::PathBuf;

use clap::Args;
use store::flatten::Wrapping;

use super::archive::Output;
use super::container;
use crate::context::Context;
use crate::error::CommandError;
use crate::exporting;
use crate::snapshot::Snapshot;

/// Export a container's filesystem as a tar archive
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Write to a file, instead of STDOUT, which is - as well
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,
}

pub(crate) fn run(context: &Context, args: ExportArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let entry = container::find(&pods, &args.container)?;
    let output = Output::of(args.output)?;
    let snapshot = Snapshot::of(context, &pods, &entry, None)?;
    output.write(|file| exporting::archive(&snapshot.images, &snapshot.stack, Wrapping::Plain, &file))?;
    Ok(0)
}
