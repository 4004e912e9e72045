//! `proa aci build`: makes an image of a layout.

use std::path::{Path, PathBuf};

use appc::Dialect;
use clap::Args;
use executor::aci::{self, BuildOptions, Layout, LayoutError, ManifestFile, ManifestFileError, Target, TargetError};

use super::Compression;
use super::validate::{explain, explain_file, explain_layout};
use crate::context::Context;
use crate::diagnostics::warn;
use crate::error::{CommandError, Explain};
use crate::{moment, output, umask};

/// Build an image from a directory with a manifest and a rootfs
///
/// DIR holds `manifest` (or `manifest.yaml`, `manifest.yml`), `rootfs`, and nothing else. It is checked first. Prints the
/// image's ID. OUTPUT appears under its name when it is complete.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa aci build ./layout worker.aci
  proa aci build --reproducible --owner-root --compression=xz ./layout worker.aci
  proa aci build --manifest worker.yaml ./layout worker.aci")]
pub(crate) struct BuildArgs {
    /// The layout
    #[arg(value_name = "DIR")]
    layout: PathBuf,

    /// The image to be, FILE.aci
    #[arg(value_name = "OUTPUT")]
    output: PathBuf,

    /// Take the manifest from FILE instead, which may be YAML (.yaml, .yml)
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,

    /// Replace OUTPUT if it exists
    #[arg(long)]
    overwrite: bool,

    /// Compress the image like this
    #[arg(long, value_name = "FORMAT", default_value = "gzip")]
    compression: Compression,

    /// Leave the image a plain tar archive: --compression=none
    #[arg(long, conflicts_with = "compression")]
    no_compression: bool,

    /// Let everything in the image belong to root:root
    #[arg(long)]
    owner_root: bool,

    /// Make the same bytes of the same files each time: no time is later than SOURCE_DATE_EPOCH, or than 1970 if that
    /// variable is not set
    #[arg(long)]
    reproducible: bool,
}

pub(crate) fn run(_: &Context, args: BuildArgs) -> Result<u8, CommandError> {
    check_extension(&args.output)?;
    let newest = if args.reproducible { Some(moment::source_date_epoch()?.unwrap_or(0)) } else { None };
    let manifest = args.manifest.as_deref().map(read_manifest).transpose()?;
    let layout =
        Layout::open(&args.layout, manifest, Dialect::Proa).map_err(|error| match (&args.manifest, error) {
            (Some(file), LayoutError::Manifest(error)) => explain(error).during(file.display().to_string()),
            (_, error) => explain_layout(error).during(format!("layout {}", args.layout.display())),
        })?;
    let target = Target::create(&args.output, args.overwrite, umask::file_mode()).map_err(explain_target)?;
    let options = BuildOptions {
        compression: if args.no_compression { Compression::None.into() } else { args.compression.into() },
        owner_root: args.owner_root,
        newest,
    };
    let built = aci::build(&layout, &options, target.file()?).during(|| args.output.display().to_string())?;
    target.publish().map_err(explain_target)?;
    built.warnings.lines().for_each(|line| warn(&line));
    output::write(&format!("{}\n", built.id))?;
    Ok(0)
}

/// Reads the manifest that takes the place of another.
pub(super) fn read_manifest(file: &Path) -> Result<ManifestFile, CommandError> {
    ManifestFile::read(file).map_err(|error| match error {
        error @ ManifestFileError::Yaml(_) => explain_file(error).during(file.display().to_string()),
        error => error.into(),
    })
}

/// Refuses an output that is not called FILE.aci.
pub(super) fn check_extension(output: &Path) -> Result<(), CommandError> {
    aci::check_extension(output).map_err(|given| {
        CommandError::usage(format!("{}: Extension must be .aci (given {given})", output.display()))
            .hint("other tools, and proa itself, know an image by its name: give it one that ends in .aci")
    })
}

pub(super) fn explain_target(error: TargetError) -> CommandError {
    let exists = matches!(error, TargetError::Exists(_));
    let error = CommandError::from(error);
    if exists { error.hint("--overwrite replaces it") } else { error.hint("the directory must be writable for you") }
}
