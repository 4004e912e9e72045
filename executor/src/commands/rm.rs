//! `proa rm`: removes pods that have ended.

use std::path::PathBuf;

use clap::Args;
use pod::Pods;

use crate::context::Context;
use crate::error::{CommandError, FAILURE};
use crate::idmap::{self, Remover};
use crate::{output, pod_argument};

/// Remove pods that are not running
///
/// Prints the UUID of each pod it has removed, in quotes as rkt. A pod that cannot be removed is reported; the others are
/// removed all the same, and the exit status is 254.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa rm 5c8f2f6e\n  proa rm web logs")]
pub(crate) struct RmArgs {
    /// Remove the pod whose UUID is in FILE
    #[arg(long, value_name = "FILE")]
    uuid_file: Option<PathBuf>,

    /// The pods: UUIDs, unambiguous beginnings of UUIDs, or names
    #[arg(value_name = "POD")]
    pods: Vec<String>,
}

/// rkt's last word.
const SUMMARY: &str = "failed to remove one or more pods";

pub(crate) fn run(context: &Context, args: RmArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let needles = pod_argument::needles(&args.pods, args.uuid_file.as_ref())?;
    let mapping = idmap::detect(context.data_dir()?)?;
    let mut status = 0;
    for needle in &needles {
        match remove(&pods, needle, &Remover::new(&mapping)) {
            Ok(uuid) => output::write(&format!("\"{uuid}\"\n"))?,
            Err(error) if needles.len() == 1 => return Err(error.during(needle.as_str()).during(SUMMARY)),
            Err(error) => {
                output::complain(&error.during(needle.as_str()).report(Some("rm")));
                status = FAILURE;
            }
        }
    }
    if status != 0 {
        output::complain(&format!("proa: rm: {SUMMARY}\n"));
    }
    Ok(status)
}

fn remove(pods: &Pods, needle: &str, remover: &Remover<'_>) -> Result<appc::PodUuid, CommandError> {
    let uuid = pods.find(needle)?.uuid;
    pods.remove(uuid, remover)?;
    Ok(uuid)
}
