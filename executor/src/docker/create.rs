//! `docker create`: a container that is started later.

use std::fs::File;
use std::io::Write as _;

use clap::Args;

use super::container;
use super::run::{RunArgs, request};
use crate::context::Context;
use crate::error::{CommandError, Explain as _};
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
    let mut file = None;
    if let Some(path) = request.lifecycle.uuid_file.take() {
        // As with docker, one that is there stays, and there is no container then.
        file = Some(File::create_new(&path).during(|| format!("--cidfile={}", path.display()))?);
    }
    request.lifecycle = Lifecycle { keep: true, ..request.lifecycle };
    let uuid = launch::prepare(context, prepare::pod(context, request)?)?;
    if let Some(mut file) = file {
        file.write_all(uuid.to_string().as_bytes()).during(|| "--cidfile".into())?;
    }
    output::write(&format!("{}\n", container::id(uuid)))?;
    Ok(0)
}
