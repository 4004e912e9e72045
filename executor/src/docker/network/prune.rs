//! `docker network prune`: networks of one's own that no container is on.

use std::time::UNIX_EPOCH;

use clap::Args;

use super::known::{Kind, Network};
use crate::commands::logs;
use crate::config;
use crate::consent;
use crate::context::Context;
use crate::docker::complain_of;
use crate::docker::container::Container;
use crate::docker::filters::key_and_value;
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
    let filters = args.filter.iter().map(|text| filter(text)).collect::<Result<Vec<_>, _>>()?;
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
        let made_ns = made.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_nanos());
        if network.made_for(&containers).next().is_some() || !filters.iter().all(|filter| filter.admits(made_ns)) {
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

/// Which networks are meant. They have no labels.
enum Filter {
    /// Made before this time.
    Until(u64),
    Labelled,
    NotLabelled,
}

fn filter(text: &str) -> Result<Filter, CommandError> {
    let (key, value) = key_and_value(text)?;
    Ok(match key.as_str() {
        "until" => Filter::Until(logs::moment("--filter until", value)?),
        "label" => Filter::Labelled,
        "label!" => Filter::NotLabelled,
        _ => return Err(CommandError::failed(format!("invalid filter '{key}'")).hint("there are until= and label=")),
    })
}

impl Filter {
    fn admits(&self, made_ns: u128) -> bool {
        match *self {
            Self::Until(time) => made_ns < u128::from(time),
            Self::Labelled => false,
            Self::NotLabelled => true,
        }
    }
}
