//! `docker diff`: what a container has changed of its image's files.

use std::fs::File;
use std::io::{BufWriter, Write as _};

use clap::Args;
use rustix::io::Errno;
use store::flatten::FlattenError;
use store::stack::{Change, Stack};

use super::container;
use crate::context::Context;
use crate::error::CommandError;
use crate::escape::printable;
use crate::snapshot::Snapshot;
use crate::{idmap, skeleton};

/// Inspect changes to files or directories on a container's filesystem: A added, C changed, D deleted
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,
}

pub(crate) fn run(context: &Context, args: DiffArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let entry = container::find(&pods, &args.container)?;
    let snapshot = Snapshot::of(context, &pods, &entry, None)?;
    let out = File::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?);
    idmap::run_in(&snapshot.images.mapping, || print(&snapshot.stack, out))??;
    Ok(0)
}

/// Prints a line for each change. Whoever reads no further has all that was wanted.
fn print(stack: &Stack, out: File) -> Result<(), FlattenError> {
    // What tells of names is made where the image has nothing, too, if the container has a network.
    let usual: Vec<&str> = skeleton::paths().chain(["etc/resolv.conf"]).collect();
    let mut out = BufWriter::new(out);
    let written = stack.changes(&usual, |change, path| {
        let letter = match change {
            Change::Added => 'A',
            Change::Changed => 'C',
            Change::Deleted => 'D',
        };
        let line = format!("{letter} /{}", printable(&String::from_utf8_lossy(path)));
        writeln!(out, "{line}").map_err(|error| FlattenError::Write(error.into()))
    });
    match written.and_then(|()| out.flush().map_err(|error| FlattenError::Write(error.into()))) {
        Err(FlattenError::Write(error)) if error.is(Errno::PIPE) => Ok(()),
        ended => ended,
    }
}
