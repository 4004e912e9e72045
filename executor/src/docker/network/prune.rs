//! `docker network prune`: networks of one's own that no container is on.

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use clap::Args;

use super::known::{Kind, Network};
use crate::config;
use crate::consent;
use crate::context::Context;
use crate::docker::container::Container;
use crate::docker::{PruneFilters, complain_of};
use crate::error::CommandError;
use crate::output;

/// Remove all unused networks: those of your own that no container is on, whether it runs or has ended
#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    /// Provide filter values: until=TIME, label=, label!=
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,

    /// Do not prompt for confirmation
    #[arg(long, short)]
    force: bool,
}

pub(super) fn run(context: &Context, args: PruneArgs) -> Result<u8, CommandError> {
    let filters = PruneFilters::parse(&args.filter)?;
    if !args.force
        && !consent::given("WARNING! This will remove all custom networks not used by at least one container.")?
    {
        return Ok(0);
    }
    let (containers, sick) = Container::all(&context.pods()?)?;
    if let Some(error) = sick.into_iter().next() {
        // Perhaps it is on one of them.
        return Err(error);
    }
    let (mut removed, mut status) = (String::new(), 0);
    for network in Network::all(context)?.iter().filter(|network| matches!(network.kind, Kind::OfPods { .. })) {
        // Those of the machine's configuration are not ours to remove.
        let Some(made) = config::network_made(context.config_dirs(), &network.name) else { continue };
        let made_ns =
            made.duration_since(UNIX_EPOCH).map_or(0, |age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
        if network.made_for(&containers).next().is_some() || !filters.admit(made_ns, &BTreeMap::new()) {
            continue;
        }
        match config::undefine_network(context.config_dirs(), &network.name) {
            Ok(()) => removed.push_str(&format!("{}\n", network.name)),
            Err(error) => status = complain_of(&error),
        }
    }
    if !removed.is_empty() {
        output::write(&format!("Deleted Networks:\n{removed}\n"))?;
    }
    Ok(status)
}
