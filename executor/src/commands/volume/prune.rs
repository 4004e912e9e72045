//! `proa volume prune`.

use clap::Args;

use crate::context::Context;
use crate::docker::{PruneFilters, size};
use crate::error::CommandError;
use crate::named_volumes::{NamedVolumes, Removal};
use crate::{consent, output};

/// Remove the volumes without a name of yours that no pod has, or all of them
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa volume prune --force\n  proa volume prune --all --force")]
pub(crate) struct PruneArgs {
    /// Do not ask first
    #[arg(long, short)]
    force: bool,

    /// Remove those alone that are so: label=NAME[=VALUE], label!=NAME[=VALUE]
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,

    /// Remove volumes that were given a name as well
    #[arg(long, short)]
    all: bool,
}

pub(crate) fn run(context: &Context, args: PruneArgs) -> Result<u8, CommandError> {
    // `all` is docker's word for --all.
    let (alls, filters): (Vec<_>, Vec<_>) = args.filter.into_iter().partition(|text| text.starts_with("all="));
    let which = if args.all || alls.iter().any(|text| matches!(text.as_str(), "all=true" | "all=1")) {
        Which::All
    } else {
        Which::Nameless
    };
    let filters = PruneFilters::parse(&filters)?;
    let warning = match which {
        Which::All => "WARNING! This will remove all volumes not used by at least one container.",
        Which::Nameless => "WARNING! This will remove anonymous local volumes not used by at least one container.",
    };
    if !args.force && !consent::given(warning)? {
        return Ok(0);
    }
    let (removed, bytes) = unused(context, which, &filters)?;
    output::write(&told(&removed, bytes))?;
    Ok(0)
}

/// Which volumes are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those whose names nobody chose: what somebody named outlives its containers on purpose.
    Nameless,
    /// All.
    All,
}

/// How many digits the name has that a volume gets when nobody chooses one.
const DIGITS: usize = 64;

fn is_nameless(name: &str) -> bool {
    name.len() == DIGITS && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Removes every volume of these that no pod has; returns their names and how many bytes they had.
///
/// # Errors
///
/// One cannot be removed.
pub(crate) fn unused(
    context: &Context,
    which: Which,
    filters: &PruneFilters,
) -> Result<(Vec<String>, u64), CommandError> {
    let volumes = NamedVolumes::open(context)?;
    let pods = context.pods()?;
    let (mut removed, mut bytes) = (Vec::new(), 0);
    let all = volumes.all()?.into_iter();
    for volume in all.filter(|volume| which == Which::All || is_nameless(&volume.name)) {
        if filters.admit(volume.changed_ns, &volumes.labels(&volume)?) && volumes.users(&volume, &pods)?.is_empty() {
            let size = volumes.size(&volume);
            if matches!(volumes.remove(&volume, &pods)?, Removal::Done) {
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
