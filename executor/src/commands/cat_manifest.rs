//! `proa cat-manifest`: shows what a pod consists of.

use std::path::PathBuf;

use clap::Args;

use crate::context::Context;
use crate::error::CommandError;
use crate::{output, pod_argument};

/// Print the manifest of a pod
///
/// It is the reified manifest: every image by its ID, every mount with its volume. Given to `proa run --pod-manifest`,
/// it makes the same pod again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa cat-manifest web\n  proa cat-manifest --pretty-print=false 5c8f2f6e")]
pub(crate) struct CatManifestArgs {
    /// Print it for people, with line breaks
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    pretty_print: bool,

    /// Print that of the pod whose UUID is in FILE
    #[arg(long, value_name = "FILE")]
    uuid_file: Option<PathBuf>,

    /// The pod: a UUID, the unambiguous beginning of one, or a name
    #[arg(value_name = "POD")]
    pod: Option<String>,
}

pub(crate) fn run(context: &Context, args: CatManifestArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let entry = pod_argument::one(&pods, args.pod.as_ref(), args.uuid_file.as_ref())?;
    let pod = pods.open(&entry)?;
    let json = if args.pretty_print { pod.manifest()?.to_json_pretty()? } else { pod.manifest_bytes()? };
    let text = String::from_utf8(json).map_err(|_| CommandError::failed("the pod's manifest is not UTF-8"))?;
    output::write(&format!("{}\n", text.trim_end()))?;
    Ok(0)
}
