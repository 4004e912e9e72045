//! `docker network create`.

use clap::Args;

use super::known::Network;
use crate::config::{self, NamedNetwork};
use crate::context::Context;
use crate::diagnostics::warn;
use crate::error::CommandError;
use crate::net::is_network_name;
use crate::output;

/// Create a network: a file in network.d
#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// Driver to manage the network: bridge
    #[arg(long, short, value_name = "DRIVER", default_value = "bridge")]
    driver: String,

    /// Restrict external access to the network
    #[arg(long)]
    internal: bool,

    /// Subnet in CIDR format that represents a network segment [default: one that follows from the name]
    #[arg(long, value_name = "SUBNET")]
    subnet: Option<String>,

    /// IPv6 networking, which every network has
    #[arg(long, hide = true)]
    ipv6: bool,

    /// Enable manual container attachment
    #[arg(long, hide = true)]
    attachable: bool,

    /// Control the network's scope: local
    #[arg(long, value_name = "SCOPE", hide = true)]
    scope: Option<String>,

    /// IP address management driver
    #[arg(long, value_name = "DRIVER", hide = true)]
    ipam_driver: Option<String>,

    /// IPv4 or IPv6 gateway for the master subnet
    #[arg(long, value_name = "IP", hide = true)]
    gateway: Vec<String>,

    /// Allocate container ip from a sub-range
    #[arg(long, value_name = "RANGE", hide = true)]
    ip_range: Vec<String>,

    /// Auxiliary addresses
    #[arg(long, value_name = "ADDRESS", hide = true)]
    aux_address: Vec<String>,

    /// Driver specific options
    #[arg(long, short, value_name = "OPTION", hide = true)]
    opt: Vec<String>,

    /// Metadata of the network
    #[arg(long, value_name = "LABEL", hide = true)]
    label: Vec<String>,

    /// The name: a-z, 0-9, - and _
    #[arg(value_name = "NETWORK")]
    name: String,
}

pub(super) fn run(context: &Context, args: CreateArgs) -> Result<u8, CommandError> {
    let name = &args.name;
    let refused = |what: String| {
        CommandError::failed(what).hint("1 to 63 of a-z, 0-9, - and _, beginning with a letter or digit")
    };
    if args.driver != "bridge" {
        return Err(CommandError::failed(format!("--driver={}: there is bridge", args.driver)));
    }
    let exists = || CommandError::failed(format!("network with name {name} already exists"));
    let all = Network::all(context)?;
    if all.iter().any(|network| network.name == *name) {
        return Err(exists());
    }
    if !is_network_name(name) {
        return Err(refused(format!("{name:?} is no name of a network")));
    }
    let subnet = args
        .subnet
        .as_deref()
        .map(|text| text.parse().map_err(|error| CommandError::usage(format!("--subnet={text}: {error}"))));
    let network = NamedNetwork::new(name, subnet.transpose()?, args.internal);
    let noted = [("--gateway", &args.gateway), ("--ip-range", &args.ip_range), ("--aux-address", &args.aux_address)];
    let noted = noted.into_iter().chain([("--opt", &args.opt), ("--label", &args.label)]);
    for (option, value) in noted.filter_map(|(option, values)| Some((option, values.first()?))) {
        warn(&format!("{option} {value} is not held"));
    }
    if !config::define_network(context.config_dirs(), name, &network)? {
        return Err(exists());
    }
    let all = Network::all(context)?;
    output::write(&format!("{}\n", Network::find(&all, name)?.id()))?;
    Ok(0)
}
