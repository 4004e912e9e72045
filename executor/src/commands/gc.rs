//! `proa gc`: removes what pods have left behind.

use std::time::Duration;

use clap::Args;
use pod::{GcOptions, GcReport};

use crate::context::Context;
use crate::duration;
use crate::error::{CommandError, Explain as _, FAILURE};
use crate::idmap::{self, Remover};
use crate::{guest_agent, images, output, pod_network};

/// Remove pods that ended some time ago
///
/// Works in two steps: marks every pod that has ended as garbage, then removes those that were marked longer than the
/// grace period ago. What a killed proa left behind is removed as well. Pods that run are never touched.
#[derive(Debug, Args)]
#[command(after_help = "\
Durations are numbers with a unit: 90s, 30m, 24h, 1h30m; 0 is now.

Examples:
  proa gc
  proa gc --grace-period=0
  proa gc --mark-only")]
pub(crate) struct GcArgs {
    /// Keep pods for so long after they were marked
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = duration::parse)]
    grace_period: Duration,

    /// Remove prepared pods that were not run within so long
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration::parse)]
    expire_prepared: Duration,

    /// Mark pods as garbage and remove nothing
    #[arg(long)]
    mark_only: bool,
}

pub(crate) fn run(context: &Context, args: GcArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let mapping = idmap::detect(context.data_dir()?)?;
    let options =
        GcOptions { grace: args.grace_period, expire_prepared: args.expire_prepared, mark_only: args.mark_only };
    let report = pods.gc(&options, &Remover::new(&mapping))?;
    output::complain(&told(&report));
    pod_network::sweep(context.data_dir()?)?;
    let mut status = 0;
    for (uuid, error) in report.failures {
        output::complain(&CommandError::from(error).during(format!("pod {uuid}")).report(Some("gc")));
        status = FAILURE;
    }
    let data_dir = context.data_dir()?;
    guest_agent::sweep(data_dir).during(|| format!("sweep {}/{}", data_dir.display(), guest_agent::DIR))?;
    let (_, collected) = images::collect(context, &context.stored()?, "gc")?;
    Ok(status.max(collected))
}

/// What was done, one line per pod, in rkt's words.
fn told(report: &GcReport) -> String {
    let mut text = String::new();
    let mut tell = |line: std::fmt::Arguments<'_>| {
        text.push_str(&format!("{line}\n"));
    };
    report.marked.iter().for_each(|uuid| tell(format_args!("moving pod \"{uuid}\" to garbage")));
    report.aborted.iter().for_each(|uuid| tell(format_args!("moving failed prepare \"{uuid}\" to garbage")));
    report.expired.iter().for_each(|uuid| tell(format_args!("moving expired prepared pod \"{uuid}\" to garbage")));
    for (uuid, left) in &report.within_grace {
        tell(format_args!("pod \"{uuid}\" not removed: still within grace period ({} s left)", left.as_secs()));
    }
    report.removed.iter().for_each(|uuid| tell(format_args!("Garbage collecting pod \"{uuid}\"")));
    text
}
