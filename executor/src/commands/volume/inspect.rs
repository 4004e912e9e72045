//! `proa volume inspect`.

use clap::Args;
use serde_json::{Value, json};

use super::not_found;
use crate::context::Context;
use crate::docker::Template;
use crate::error::CommandError;
use crate::named_volumes::{NamedVolume, NamedVolumes};
use crate::{moment, output};

/// Print what is known of named volumes, as JSON
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa volume inspect data\n  proa volume inspect --format={{.Mountpoint}} data")]
pub(crate) struct InspectArgs {
    /// Print a template of fields instead, such as '{{.Mountpoint}}'
    #[arg(long, short, value_name = "FORMAT")]
    format: Option<String>,

    /// The volumes
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

pub(crate) fn run(context: &Context, args: InspectArgs) -> Result<u8, CommandError> {
    let volumes = NamedVolumes::open(context)?;
    let mut shown = Vec::with_capacity(args.names.len());
    let mut missing = None;
    for name in &args.names {
        match volumes.find(name)? {
            Some(volume) => shown.push(inspected(&volumes, &volume)?),
            None => missing = missing.or_else(|| Some(not_found(name))),
        }
    }
    // As docker: what there is, and then what there is not.
    output::write(&match &args.format {
        Some(format) => Template::parse(format)?.table(&shown, &[])?,
        None => output::pretty_json(&shown)?,
    })?;
    missing.map_or(Ok(0), Err)
}

/// What is known of a volume.
///
/// # Errors
///
/// Its labels cannot be read.
pub(crate) fn inspected(volumes: &NamedVolumes, volume: &NamedVolume) -> Result<Value, CommandError> {
    Ok(json!({
        "CreatedAt": moment::rfc3339(volume.changed_ns),
        "Driver": "local",
        "Labels": volumes.labels(volume)?,
        "Mountpoint": volume.path.to_string_lossy(),
        "Name": volume.name,
        "Options": {},
        "Scope": "local",
    }))
}
