//! `docker export`: a container's file system as a tar archive.

use std::fs::File;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Args;
use executor::aci::Target;
use store::flatten::Wrapping;

use super::container;
use crate::context::Context;
use crate::error::CommandError;
use crate::snapshot::Snapshot;
use crate::{exporting, umask};

/// Export a container's filesystem as a tar archive
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Write to a file, instead of STDOUT
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,
}

pub(crate) fn run(context: &Context, args: ExportArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let entry = container::find(&pods, &args.container)?;
    if args.output.is_none() && std::io::stdout().is_terminal() {
        let why = "cowardly refusing to save to a terminal. Use the -o flag or redirect";
        return Err(CommandError::failed(format!("Error: {why}")));
    }
    let snapshot = Snapshot::of(context, &pods, &entry, None)?;
    let write = |out: &File| exporting::archive(&snapshot.images, &snapshot.stack, Wrapping::Plain, out);
    match args.output {
        Some(output) => {
            let target = Target::create(&output, true, umask::file_mode())?;
            write(&target.file()?)?;
            target.publish()?;
        }
        None => write(&File::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?))?,
    }
    Ok(0)
}
