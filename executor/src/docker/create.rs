//! `docker create`: a container that is started later.

use clap::Args;

use super::container;
use super::run::{self, RunArgs};
use crate::context::Context;
use crate::error::CommandError;
use crate::{dry_run, launch, output};

/// Create a new container from an image, which `docker start` starts
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    container: RunArgs,
}

pub(crate) fn run(context: &Context, args: CreateArgs) -> Result<u8, CommandError> {
    let dry_run = args.container.dry_run;
    let mut wanted = run::request(context, args.container)?;
    if dry_run {
        return dry_run::print(context, wanted.pod);
    }
    let file = wanted.pod.lifecycle.uuid_file.take();
    wanted.pod.lifecycle.keep = true;
    let uuid = launch::prepare(context, wanted.prepared(context)?)?;
    if let Some(file) = file {
        file.write(uuid)?;
    }
    output::write(&format!("{}\n", container::id(uuid)))?;
    Ok(0)
}
