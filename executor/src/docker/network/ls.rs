//! `docker network ls`.

use clap::Args;
use serde_json::{Value, json};

use super::known::{Kind, Network};
use crate::context::Context;
use crate::docker::container::Container;
use crate::docker::filters::key_and_value;
use crate::docker::listing::{self, Listing};
use crate::error::CommandError;
use crate::output;

/// List networks
#[derive(Debug, Args)]
pub(super) struct LsArgs {
    /// Only display network IDs
    #[arg(long, short)]
    quiet: bool,

    /// Do not truncate the output
    #[arg(long)]
    no_trunc: bool,

    /// Filter output: name=, id=, driver=, scope=, type=custom|builtin, dangling=
    #[arg(long, short, value_name = "FILTER")]
    filter: Vec<String>,

    /// Format output: table, json, or a template of fields such as '{{.Name}} {{.Driver}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// How much of an id is shown.
const SHORT: usize = 12;

pub(super) fn run(context: &Context, args: LsArgs) -> Result<u8, CommandError> {
    let filters = args.filter.iter().map(|text| filter(text)).collect::<Result<Vec<_>, _>>()?;
    let containers = match filters.iter().any(|filter| matches!(filter, Filter::Dangling(_))) {
        true => Container::all(&context.pods()?)?.0,
        false => Vec::new(),
    };
    let all = Network::all(context)?;
    // Of several filters of one key one has to be satisfied.
    let is_wanted = |network: &&Network| {
        filters.iter().all(|filter| {
            let of_key =
                filters.iter().filter(|other| std::mem::discriminant(*other) == std::mem::discriminant(filter));
            of_key.into_iter().any(|filter| filter.admits(network, &containers))
        })
    };
    let rows: Vec<Value> = all.iter().filter(is_wanted).map(|network| row(network, args.no_trunc)).collect();
    output::write(&shown(&args, &rows)?)?;
    Ok(0)
}

enum Filter<'a> {
    Name(&'a str),
    Id(&'a str),
    Driver(&'a str),
    Scope(&'a str),
    /// Nothing here has labels.
    Label,
    Custom(bool),
    Dangling(bool),
}

fn filter(text: &str) -> Result<Filter<'_>, CommandError> {
    let (key, value) = key_and_value(text)?;
    let invalid = || CommandError::failed(format!("invalid filter '{key}={value}'"));
    Ok(match key.as_str() {
        "name" => Filter::Name(value),
        "id" => Filter::Id(value),
        "driver" => Filter::Driver(value),
        "scope" => Filter::Scope(value),
        "label" => Filter::Label,
        "type" => match value {
            "custom" => Filter::Custom(true),
            "builtin" => Filter::Custom(false),
            _ => return Err(invalid()),
        },
        "dangling" => match value {
            "true" | "1" => Filter::Dangling(true),
            "false" | "0" => Filter::Dangling(false),
            _ => return Err(invalid()),
        },
        _ => return Err(CommandError::failed(format!("invalid filter '{key}'"))),
    })
}

impl Filter<'_> {
    fn admits(&self, network: &Network, containers: &[Container]) -> bool {
        let is_custom = matches!(network.kind, Kind::OfPods { .. });
        match *self {
            Self::Name(part) => {
                let (first, last) = (part.starts_with('^'), part.ends_with('$'));
                let part = part.trim_start_matches('^').trim_end_matches('$');
                let ends = (!first || network.name.starts_with(part)) && (!last || network.name.ends_with(part));
                ends && (!(first && last) || network.name == part) && network.name.contains(part)
            }
            Self::Id(part) => network.id().contains(part),
            Self::Driver(driver) => network.driver() == driver,
            Self::Scope(scope) => network.scope() == scope,
            Self::Label => false,
            Self::Custom(wanted) => is_custom == wanted,
            Self::Dangling(wanted) => is_custom && network.running(containers).next().is_none() == wanted,
        }
    }
}

fn row(network: &Network, whole: bool) -> Value {
    let id = network.id();
    json!({
        "CreatedAt": super::inspect::NO_TIME,
        "Driver": network.driver(),
        "ID": if whole { &id } else { &id[..SHORT] },
        "IPv4": "true",
        "IPv6": network.has_ipv6().to_string(),
        "Internal": network.is_internal().to_string(),
        "Labels": "",
        "Name": network.name,
        "Scope": network.scope(),
    })
}

fn shown(args: &LsArgs, networks: &[Value]) -> Result<String, CommandError> {
    if args.quiet && args.format.is_none() {
        return Ok(listing::lines(networks, "ID"));
    }
    let columns = ["ID", "Name", "Driver", "Scope"];
    Listing::parse(args.format.as_deref())?.show(networks, &columns, &[("ID", "NETWORK ID")])
}
