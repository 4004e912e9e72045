//! `proa eci`: the group of commands about virtual machine images.

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::error::CommandError;
use crate::umask;
use crate::vm_images::{Remote, RemoteArgs};

pub(crate) mod inspect;
pub(crate) mod pull;
pub(crate) mod pullfiles;
pub(crate) mod push;

/// Push, pull and show virtual machine images (kernel, initrd and disks) in registries, OCI layouts and archives
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa eci push --kernel vmlinuz --root disk.qcow2:qcow2 localhost:5000/vm:1
  proa eci push --kernel vmlinuz --root disk.qcow2:qcow2 --remote /srv/images vm:1
  proa eci pull --dir vm --remote /srv/images vm:1
  proa eci inspect --remote /srv/images vm:1")]
pub(crate) struct EciArgs {
    #[command(flatten)]
    remote: RemoteArgs,

    #[command(subcommand)]
    command: EciCommand,
}

#[derive(Debug, Subcommand)]
enum EciCommand {
    Push(push::PushArgs),
    Pull(pull::PullArgs),
    Pullfiles(pullfiles::PullFilesArgs),
    Inspect(inspect::InspectArgs),
}

pub(crate) fn run(context: &Context, args: EciArgs) -> Result<u8, CommandError> {
    umask::give_back();
    let remote = args.remote.text();
    let place: Remote = remote.parse().map_err(|error| CommandError::usage(format!("{error}")))?;
    match args.command {
        EciCommand::Push(args) => push::run(context, &args, &place, remote),
        EciCommand::Pull(args) => pull::run(context, &args, &place),
        EciCommand::Pullfiles(args) => pullfiles::run(context, &args, &place),
        EciCommand::Inspect(args) => inspect::run(context, &args, &place),
    }
}

/// The one image that is given; `message` is the original's where there is none or more.
fn image<'a>(images: &'a [String], message: &str) -> Result<&'a str, CommandError> {
    match images {
        [image] => Ok(image),
        _ => Err(CommandError::usage(message)),
    }
}
