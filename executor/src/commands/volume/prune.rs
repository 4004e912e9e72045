//! `proa volume prune`.

use std::collections::BTreeMap;

use clap::Args;

use crate::context::Context;
use crate::docker::{PruneFilters, size};
use crate::error::CommandError;
use crate::named_volumes::NamedVolumes;
use crate::{consent, output};

/// Remove the named volumes that no pod has
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa volume prune --force")]
pub(crate) struct PruneArgs {
    /// Do not ask first
    #[arg(long, short)]
    force: bool,

    /// Remove those alone that have this label, which none has (label!=NAME: all)
    #[arg(long, value_name = "FILTER", hide = true)]
    filter: Vec<String>,

    /// Remove volumes that were named by a person as well, which is always done
    #[arg(long, short)]
    all: bool,
}

pub(crate) fn run(context: &Context, args: PruneArgs) -> Result<u8, CommandError> {
    // `all` is docker's word for --all.
    let filters: Vec<String> = args.filter.into_iter().filter(|text| !text.starts_with("all=")).collect();
    let filters = PruneFilters::parse(&filters)?;
    let warning = "WARNING! This will remove all volumes not used by at least one container.";
    if !args.force && !consent::given(warning)? {
        return Ok(0);
    }
    let (removed, bytes) = unused(context, &filters)?;
    output::write(&told(&removed, bytes))?;
    Ok(0)
}

/// Removes every volume that no pod has; returns their names and how many bytes they had.
///
/// # Errors
///
/// One cannot be removed.
pub(crate) fn unused(context: &Context, filters: &PruneFilters) -> Result<(Vec<String>, u64), CommandError> {
    let volumes = NamedVolumes::open(context)?;
    let pods = context.pods()?;
    let (mut removed, mut bytes) = (Vec::new(), 0);
    for volume in volumes.all()? {
        if filters.admit(volume.changed_ns, &BTreeMap::new()) && volumes.users(&volume, &pods)?.is_empty() {
            let size = volumes.size(&volume);
            if volumes.remove(&volume)? {
                bytes += size;
                removed.push(volume.name);
            }
        }
    }
    Ok((removed, bytes))
}

fn told(removed: &[String], bytes: u64) -> String {
    let names: String = removed.iter().map(|name| format!("{name}\n")).collect();
    let head = if removed.is_empty() { String::new() } else { format!("Deleted Volumes:\n{names}\n") };
    format!("{head}Total reclaimed space: {}\n", size(bytes))
}
