//! `docker create`: a container that is started later.

use clap::Args;

use super::container;
use super::run::{RunArgs, request};
use crate::context::Context;
use crate::error::CommandError;
use crate::request::Lifecycle;
use crate::{dry_run, launch, output, prepare};

/// Create a new container from an image, which `docker start` starts
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    container: RunArgs,
}

pub(crate) fn run(context: &Context, args: CreateArgs) -> Result<u8, CommandError> {
    let dry_run = args.container.dry_run;
    let mut request = request(context, args.container)?;
    if dry_run {
        return dry_run::print(context, request);
    }
    let file = request.lifecycle.uuid_file.take();
    request.lifecycle = Lifecycle { keep: true, ..request.lifecycle };
    let uuid = launch::prepare(context, prepare::pod(context, request)?)?;
    if let Some(file) = file {
        file.write(uuid)?;
    }
    output::write(&format!("{}\n", container::id(uuid)))?;
    Ok(0)
}
