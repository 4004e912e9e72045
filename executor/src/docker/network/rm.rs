//! `docker network rm`.

use clap::Args;

use super::known::{Kind, Network};
use crate::config;
use crate::context::Context;
use crate::docker::complain_of;
use crate::docker::container::Container;
use crate::error::CommandError;
use crate::output;

/// Remove one or more networks
#[derive(Debug, Args)]
pub(super) struct RmArgs {
    /// Do not error if the network does not exist
    #[arg(long, short)]
    force: bool,

    /// The networks
    #[arg(value_name = "NETWORK", required = true)]
    names: Vec<String>,
}

pub(super) fn run(context: &Context, args: RmArgs) -> Result<u8, CommandError> {
    let mut status = 0;
    for name in &args.names {
        let all = Network::all(context)?;
        let found = Network::find(&all, name);
        if found.is_err() && args.force {
            continue;
        }
        match found.and_then(|network| remove(context, network)) {
            Ok(()) => output::write(&format!("{name}\n"))?,
            Err(error) => status = complain_of(&error),
        }
    }
    Ok(status)
}

fn remove(context: &Context, network: &Network) -> Result<(), CommandError> {
    let name = &network.name;
    if matches!(network.kind, Kind::Predefined(_)) {
        return Err(CommandError::failed(format!("{name} is a pre-defined network and cannot be removed")));
    }
    let (containers, _) = Container::all(&context.pods()?)?;
    let used: Vec<String> = network
        .running(&containers)
        .map(|container| format!("name:{:?} id:{:?}", container.name(), container.short_id()))
        .collect();
    if !used.is_empty() {
        let what = format!("error while removing network: network {name} has active endpoints ({})", used.join(", "));
        return Err(CommandError::failed(what).hint("stop the containers that are on it"));
    }
    config::undefine_network(context.config_dirs(), name)
}
