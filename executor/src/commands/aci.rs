//! `proa aci`: the group of commands about App Container Images as files.

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::error::CommandError;

pub(crate) mod build;
pub(crate) mod cat_manifest;
pub(crate) mod discover;
pub(crate) mod extract;
pub(crate) mod patch_manifest;
pub(crate) mod render;
pub(crate) mod validate;

/// Build, check, change and unpack App Container Image files
///
/// These commands work on files and directories, not on the store. Under the name `actool` (ln -s proa actool) proa has
/// actool's own commands and flags.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa aci build ./layout worker.aci
  proa aci validate worker.aci manifest.json")]
pub(crate) struct AciArgs {
    #[command(subcommand)]
    command: AciCommand,
}

#[derive(Debug, Subcommand)]
enum AciCommand {
    Build(build::BuildArgs),
    Validate(validate::ValidateArgs),
    CatManifest(cat_manifest::CatManifestArgs),
    PatchManifest(Box<patch_manifest::PatchManifestArgs>),
    Extract(extract::ExtractArgs),
    Render(render::RenderArgs),
    Discover(discover::DiscoverArgs),
}

pub(crate) fn run(context: &Context, args: AciArgs) -> Result<u8, CommandError> {
    match args.command {
        AciCommand::Build(args) => build::run(context, args),
        AciCommand::Validate(args) => validate::run(context, args),
        AciCommand::CatManifest(args) => cat_manifest::run(context, args),
        AciCommand::PatchManifest(args) => patch_manifest::run(context, *args),
        AciCommand::Extract(args) => extract::run(context, args),
        AciCommand::Render(args) => render::run(context, args),
        AciCommand::Discover(args) => discover::run(context, args),
    }
}

/// How to compress an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Compression {
    /// Read by everything
    Gzip,
    /// Smaller, and slower to write
    Bzip2,
    /// Smallest, and slowest to write
    Xz,
    /// Fastest to read; not in the App Container specification
    Zstd,
    /// A plain tar archive
    None,
}

impl From<Compression> for store::archive::Compression {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::Gzip => Self::Gzip,
            Compression::Bzip2 => Self::Bzip2,
            Compression::Xz => Self::Xz,
            Compression::Zstd => Self::Zstd,
            Compression::None => Self::None,
        }
    }
}
