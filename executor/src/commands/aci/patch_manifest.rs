//! `proa aci patch-manifest`: copies an image file and changes its manifest.

use std::path::PathBuf;

use appc::ImageManifest;
use clap::Args;
use executor::aci::{self, ManifestPatch, OpenedImage, RewriteError, Target};

use super::Compression;
use super::build::{check_extension, explain_target, read_manifest};
use super::validate::explain;
use crate::context::Context;
use crate::error::{CommandError, Explain};
use crate::{output, umask};

/// Copy an image file and change its manifest
///
/// Everything else in it stays as it is, byte for byte. Prints the ID of the copy. Options change the app, which --exec makes
/// where there is none; mount points, ports and isolators are added, all else is replaced.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa aci patch-manifest --user=1000 --group=1000 worker.aci patched.aci
  proa aci patch-manifest --replace --capability=CAP_NET_BIND_SERVICE worker.aci
  proa aci patch-manifest --isolators=resource/memory,limit=1G worker.aci patched.aci
  proa aci patch-manifest --manifest=worker.yaml worker.aci patched.aci")]
pub(crate) struct PatchManifestArgs {
    /// The image file
    #[arg(value_name = "INPUT")]
    input: PathBuf,

    /// The copy to be, FILE.aci
    #[arg(value_name = "OUTPUT", required_unless_present = "replace", conflicts_with = "replace")]
    output: Option<PathBuf>,

    /// Replace OUTPUT if it exists
    #[arg(long, conflicts_with = "replace")]
    overwrite: bool,

    /// Replace INPUT
    #[arg(long)]
    replace: bool,

    /// Compress the copy like this
    #[arg(long, value_name = "FORMAT", default_value = "gzip")]
    compression: Compression,

    /// Leave the copy a plain tar archive: --compression=none
    #[arg(long, conflicts_with = "compression")]
    no_compression: bool,

    /// Take the whole manifest from FILE, which may be YAML (.yaml, .yml)
    #[arg(long, value_name = "FILE", conflicts_with = "changes")]
    manifest: Option<PathBuf>,

    #[command(flatten)]
    changes: Changes,
}

/// What to change.
#[derive(Debug, Args)]
#[group(id = "changes", multiple = true)]
struct Changes {
    /// Set the name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Set the command line, words separated by single spaces
    #[arg(long, value_name = "LINE")]
    exec: Option<String>,

    /// Set the user
    #[arg(long, value_name = "USER")]
    user: Option<String>,

    /// Set the group
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,

    /// Set the supplementary groups
    #[arg(long, value_name = "GID,...")]
    supplementary_groups: Option<String>,

    /// Set the capabilities to retain, in place of either set
    #[arg(long, value_name = "CAP,...")]
    capability: Option<String>,

    /// Set the capabilities to remove, in place of either set
    #[arg(long, value_name = "CAP,...")]
    revoke_capability: Option<String>,

    /// Add mount points
    #[arg(long, value_name = "NAME,path=PATH[,readOnly=BOOL][:...]")]
    mounts: Option<String>,

    /// Add ports
    #[arg(long, value_name = "NAME,protocol=tcp,port=N[,count=N][,socketActivated=BOOL][:...]")]
    ports: Option<String>,

    /// Add isolators: resource/*, os/linux/no-new-privileges, os/linux/oom-score-adj
    #[arg(long, value_name = "NAME,KEY=VALUE,...[:...]")]
    isolators: Option<String>,

    /// Say what seccomp does with --seccomp-set, in place of either isolator
    #[arg(long, value_name = "remove|retain[,errno=NAME]")]
    seccomp_mode: Option<String>,

    /// Set the system calls that --seccomp-mode is about
    #[arg(long, value_name = "CALL,...")]
    seccomp_set: Option<String>,
}

pub(crate) fn run(_: &Context, args: PatchManifestArgs) -> Result<u8, CommandError> {
    let output = args.output.as_deref().unwrap_or(&args.input);
    if !args.replace {
        check_extension(output)?;
    }
    let patch = args.changes.patch();
    let shown = || args.input.display().to_string();
    let new = match &args.manifest {
        None => None,
        Some(path) => {
            let text = read_manifest(path)?.json;
            let manifest = ImageManifest::from_json(&text).map_err(explain);
            Some(manifest.during(|| path.display().to_string())?)
        }
    };
    let opened = OpenedImage::open(&args.input).during(shown)?;
    let target = Target::create(output, args.replace || args.overwrite, umask::file_mode()).map_err(explain_target)?;
    let compression = if args.no_compression { Compression::None } else { args.compression };
    let change = |old: &[u8]| -> Result<Vec<u8>, Unpatched> {
        let manifest = match new {
            Some(new) => new,
            None => {
                let mut manifest = ImageManifest::from_json(old)?;
                patch.apply(&mut manifest)?;
                manifest
            }
        };
        Ok(manifest.to_json()?)
    };
    let built = aci::rewrite(opened.file, target.file()?, compression.into(), &aci::limits(), change);
    let built = built.map_err(explain_rewriting).during(shown)?;
    target.publish().map_err(explain_target)?;
    output::write(&format!("{}\n", built.id))?;
    Ok(0)
}

/// What is wrong, a manifest's mistake with its place.
fn explain_rewriting(error: RewriteError<Unpatched>) -> CommandError {
    match error {
        RewriteError::Manifest(Unpatched::Manifest(error)) => explain(error),
        RewriteError::Archive(error) => error.into(),
        error => error.into(),
    }
}

/// Why there is no changed manifest.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
enum Unpatched {
    Manifest(#[from] appc::ManifestError),
    Patch(#[from] aci::PatchError),
}

impl Changes {
    fn patch(self) -> ManifestPatch {
        let text = Option::unwrap_or_default;
        ManifestPatch {
            name: text(self.name),
            exec: text(self.exec),
            user: text(self.user),
            group: text(self.group),
            supplementary_groups: text(self.supplementary_groups),
            capability: text(self.capability),
            revoke_capability: text(self.revoke_capability),
            mounts: text(self.mounts),
            ports: text(self.ports),
            isolators: text(self.isolators),
            seccomp_mode: text(self.seccomp_mode),
            seccomp_set: text(self.seccomp_set),
        }
    }
}
