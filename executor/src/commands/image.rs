//! `proa image`: the group of commands about images in the store.

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::error::CommandError;

pub(crate) mod cat_manifest;
pub(crate) mod export;
pub(crate) mod extract;
pub(crate) mod gc;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod push;
pub(crate) mod render;
pub(crate) mod rm;
pub(crate) mod tag;
pub(crate) mod untag;
pub(crate) mod verify;

/// Show, name, check, export, push and remove the images in the store
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa image list\n  proa image rm example.com/redis:7\n  proa image gc")]
pub(crate) struct ImageArgs {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    List(list::ListArgs),
    /// The same as `proa fetch`, as in rkt
    #[command(hide = true)]
    Fetch(super::fetch::FetchArgs),
    Rm(rm::RmArgs),
    CatManifest(cat_manifest::CatManifestArgs),
    Inspect(inspect::InspectArgs),
    Tag(tag::TagArgs),
    Untag(untag::UntagArgs),
    Export(export::ExportArgs),
    Extract(extract::ExtractArgs),
    Render(render::RenderArgs),
    Push(push::PushArgs),
    Verify(verify::VerifyArgs),
    Gc(gc::GcArgs),
}

pub(crate) fn run(context: &Context, args: ImageArgs) -> Result<u8, CommandError> {
    match args.command {
        ImageCommand::List(args) => list::run(context, args),
        ImageCommand::Fetch(args) => super::fetch::run(context, args),
        ImageCommand::Rm(args) => rm::run(context, args),
        ImageCommand::CatManifest(args) => cat_manifest::run(context, args),
        ImageCommand::Inspect(args) => inspect::run(context, args),
        ImageCommand::Tag(args) => tag::run(context, args),
        ImageCommand::Untag(args) => untag::run(context, args),
        ImageCommand::Export(args) => export::run(context, args),
        ImageCommand::Extract(args) => extract::run(context, args),
        ImageCommand::Render(args) => render::run(context, args),
        ImageCommand::Push(args) => push::run(context, args),
        ImageCommand::Verify(args) => verify::run(context, args),
        ImageCommand::Gc(args) => gc::run(context, args),
    }
}
