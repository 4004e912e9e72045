//! `proa volume ls`.

use clap::Args;
use serde_json::{Value, json};

use crate::context::Context;
use crate::docker::key_and_value;
use crate::docker::listing::{self, Listing};
use crate::error::CommandError;
use crate::named_volumes::{NamedVolume, NamedVolumes};
use crate::output;

/// List the named volumes
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa volume ls\n  proa volume ls --quiet --filter dangling=true")]
pub(crate) struct LsArgs {
    /// Print names only
    #[arg(long, short)]
    quiet: bool,

    /// Print those alone that are so: name=PART, dangling=true|false, driver=local, label=NAME (there are none)
    #[arg(long, short, value_name = "FILTER")]
    filter: Vec<String>,

    /// Print in another form: table, json, or a template of fields such as '{{.Name}} {{.Mountpoint}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// What docker calls a volume that is a directory of the host.
const DRIVER: &str = "local";

pub(crate) fn run(context: &Context, args: LsArgs) -> Result<u8, CommandError> {
    let filters = args.filter.iter().map(|text| filter(text)).collect::<Result<Vec<_>, _>>()?;
    let volumes = NamedVolumes::open(context)?;
    let mut shown = Vec::new();
    for volume in volumes.all()? {
        let mut wanted = true;
        for filter in &filters {
            wanted = wanted && filter.admits(context, &volumes, &volume)?;
        }
        shown.extend(wanted.then(|| row(&volume)));
    }
    output::write(&if args.quiet {
        listing::lines(&shown, "Name")
    } else {
        Listing::parse(args.format.as_deref())?.show(&shown, &["Driver", "Name"], &[("Name", "VOLUME NAME")])?
    })?;
    Ok(0)
}

enum Filter<'a> {
    Name(&'a str),
    Driver(&'a str),
    Dangling(bool),
    /// Volumes have no labels.
    Label,
}

fn filter(text: &str) -> Result<Filter<'_>, CommandError> {
    let (key, value) = key_and_value(text)?;
    Ok(match (key.as_str(), value) {
        ("name", value) => Filter::Name(value),
        ("driver", value) => Filter::Driver(value),
        ("label", _) => Filter::Label,
        ("dangling", "true" | "1") => Filter::Dangling(true),
        ("dangling", "false" | "0") => Filter::Dangling(false),
        ("dangling", value) => return Err(CommandError::failed(format!("invalid filter 'dangling={value}'"))),
        _ => {
            return Err(CommandError::failed(format!("invalid filter '{key}'"))
                .hint("there are name=, dangling=, driver= and label="));
        }
    })
}

impl Filter<'_> {
    fn admits(&self, context: &Context, volumes: &NamedVolumes, volume: &NamedVolume) -> Result<bool, CommandError> {
        Ok(match *self {
            Self::Name(part) => volume.name.contains(part),
            Self::Driver(driver) => driver == DRIVER,
            Self::Dangling(wanted) => volumes.users(volume, &context.pods()?)?.is_empty() == wanted,
            Self::Label => false,
        })
    }
}

fn row(volume: &NamedVolume) -> Value {
    json!({
        "Availability": "N/A",
        "Driver": DRIVER,
        "Group": "N/A",
        "Labels": "",
        "Links": "N/A",
        "Mountpoint": volume.path.to_string_lossy(),
        "Name": volume.name,
        "Scope": "local",
        "Size": "N/A",
        "Status": "N/A",
    })
}
