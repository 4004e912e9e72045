//! `proa image gc`: removes images that were not used for some time, and what nothing needs.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use pod::State;
use tracing::debug;

use crate::context::Context;
use crate::error::{CommandError, FAILURE};
use crate::images::Gone;
use crate::{duration, images, moment, output};

/// Remove images that were not used for some time
///
/// Images of running pods are never removed. Whatever else nothing in the store needs any more, or a killed proa left
/// behind, is removed as well.
#[derive(Debug, Args)]
#[command(after_help = "\
Durations are numbers with a unit: 90s, 30m, 24h, 1h30m; 0 is now.

Examples:
  proa image gc
  proa image gc --grace-period=0")]
pub(crate) struct GcArgs {
    /// Keep images for so long after they were used
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration::parse)]
    grace_period: Duration,
}

pub(crate) fn run(context: &Context, args: GcArgs) -> Result<u8, CommandError> {
    const COMMAND: &str = "image gc";
    let store = context.stored()?;
    let pods = context.pods()?;
    let listing = store.own_records()?;
    let pods = images::of_pods(&pods)?.into_iter().filter(|(pod, _)| pod.state == State::Running);
    let running: BTreeSet<_> = pods.flat_map(|(_, images)| images).collect();
    let now = moment::now();
    let mut old = Vec::new();
    for image in &listing.images {
        let used = store.last_used(&image.id)?.unwrap_or(now);
        // A time in the future, because the clock was set back, is no reason to keep or to remove anything for ever.
        if running.contains(&image.id) || u128::from(now.saturating_sub(used)) < args.grace_period.as_nanos() {
            continue;
        }
        debug!(image = %image.id, "not used within the grace period");
        old.push(image.id);
    }
    let failed = images::remove(&store, &old, Gone::IsFine, COMMAND)?;
    let (report, status) = images::collect(context, &store, COMMAND)?;
    for tree in report.trees {
        output::complain(&format!("removed treestore \"{tree}\"\n"));
    }
    Ok(if failed > 0 { FAILURE } else { status })
}
