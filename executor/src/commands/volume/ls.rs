//! `proa volume ls`.

use clap::Args;
use serde_json::{Value, json};

use crate::context::Context;
use crate::docker::key_and_value;
use crate::docker::listing::{self, Listing};
use crate::error::CommandError;
use crate::named_volumes::{Labels, NamedVolume, NamedVolumes};
use crate::output;

/// List the named volumes
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa volume ls\n  proa volume ls --quiet --filter dangling=true")]
pub(crate) struct LsArgs {
    /// Print names only
    #[arg(long, short)]
    quiet: bool,

    /// Print those alone that are so: name=PART, dangling=true|false, driver=local, label=NAME[=VALUE]
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
        let labels = volumes.labels(&volume)?;
        let mut wanted = true;
        for filter in &filters {
            wanted = wanted && filter.admits(context, &volumes, (&volume, &labels))?;
        }
        shown.extend(wanted.then(|| row(&volume, &labels)));
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
    /// A label, with a value or whatever value it has.
    Label(&'a str, Option<&'a str>),
}

fn filter(text: &str) -> Result<Filter<'_>, CommandError> {
    let (key, value) = key_and_value(text)?;
    Ok(match (key.as_str(), value) {
        ("name", value) => Filter::Name(value),
        ("driver", value) => Filter::Driver(value),
        ("label", label) => match label.split_once('=') {
            Some((name, value)) => Filter::Label(name, Some(value)),
            None => Filter::Label(label, None),
        },
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
    fn admits(
        &self,
        context: &Context,
        volumes: &NamedVolumes,
        (volume, labels): (&NamedVolume, &Labels),
    ) -> Result<bool, CommandError> {
        Ok(match *self {
            Self::Name(part) => volume.name.contains(part),
            Self::Driver(driver) => driver == DRIVER,
            Self::Dangling(wanted) => volumes.users(volume, &context.pods()?)?.is_empty() == wanted,
            Self::Label(name, value) => labels.get(name).is_some_and(|known| value.is_none_or(|value| known == value)),
        })
    }
}

fn row(volume: &NamedVolume, labels: &Labels) -> Value {
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    json!({
        "Availability": "N/A",
        "Driver": DRIVER,
        "Group": "N/A",
        "Labels": labels.join(","),
        "Links": "N/A",
        "Mountpoint": volume.path.to_string_lossy(),
        "Name": volume.name,
        "Scope": "local",
        "Size": "N/A",
        "Status": "N/A",
    })
}
