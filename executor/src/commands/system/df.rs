//! `proa system df`.

mod verbose;

use clap::Args;
use pod::{Place, Pods, State};
use serde_json::{Value, json};

use crate::context::Context;
use crate::disk_usage;
use crate::docker::{Listing, size};
use crate::error::CommandError;
use crate::named_volumes::NamedVolumes;
use crate::{idmap, images, output};

/// Show how much disk images, pods and volumes take
///
/// Reclaimable is what `proa system prune --all` and `proa volume prune --all` would remove.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa system df\n  proa system df --verbose")]
pub(crate) struct DfArgs {
    /// Show each image, pod and volume
    #[arg(long, short)]
    verbose: bool,

    /// Print in another form: json, or a template of fields such as '{{.Type}} {{.Size}}'
    #[arg(long, value_name = "FORMAT", conflicts_with = "verbose")]
    format: Option<String>,
}

/// A line: how many there are, how many are in use, and the bytes of all and of the others.
struct Line {
    name: &'static str,
    total: usize,
    active: usize,
    bytes: u64,
    idle: u64,
}

pub(crate) fn run(context: &Context, args: DfArgs) -> Result<u8, CommandError> {
    if args.verbose {
        return output::write(&verbose::shown(context)?).map(|()| 0);
    }
    let pods = context.pods()?;
    let store = context.stored()?;
    let lines = [of_images(&pods, &store)?, of_pods(context, &pods)?, of_volumes(context, &pods)?];
    let cache = Line { name: "Build Cache", total: 0, active: 0, bytes: 0, idle: 0 };
    let rows: Vec<Value> = lines.iter().map(Line::row).chain([cache.row()]).collect();
    let columns = ["Type", "TotalCount", "Active", "Size", "Reclaimable"];
    output::write(&Listing::parse(args.format.as_deref())?.show(&rows, &columns, &[("TotalCount", "TOTAL")])?)?;
    Ok(0)
}

impl Line {
    fn row(&self) -> Value {
        let Self { name, total, active, bytes, idle } = *self;
        let percent = if bytes == 0 { 0 } else { u128::from(idle) * 100 / u128::from(bytes) };
        // Docker has no share of what there cannot be.
        let idle = if name == "Build Cache" { size(idle) } else { format!("{} ({percent}%)", size(idle)) };
        json!({
            "Type": name,
            "TotalCount": total.to_string(),
            "Active": active.to_string(),
            "Size": size(bytes),
            "Reclaimable": idle,
        })
    }
}

fn of_images(pods: &Pods, store: &store::Store) -> Result<Line, CommandError> {
    let used: std::collections::BTreeSet<_> =
        images::of_pods(pods)?.into_iter().flat_map(|(_, images)| images).collect();
    let images = store.list()?.images;
    let idle = images.iter().filter(|image| !used.contains(&image.id));
    Ok(Line {
        name: "Images",
        total: images.len(),
        active: images.iter().filter(|image| used.contains(&image.id)).count(),
        bytes: images.iter().map(|image| image.size).sum(),
        idle: idle.map(|image| image.size).sum(),
    })
}

fn of_pods(context: &Context, pods: &Pods) -> Result<Line, CommandError> {
    let mapping = idmap::detect(context.data_dir()?)?;
    let mut line = Line { name: "Containers", total: 0, active: 0, bytes: 0, idle: 0 };
    for entry in pods.list()?.into_iter().filter(|entry| Place::VISIBLE.contains(&entry.place)) {
        let Ok(pod) = pods.open(&entry) else { continue };
        let bytes = disk_usage::below(pod.dir(), &mapping);
        line.total += 1;
        line.bytes += bytes;
        match entry.state {
            State::Running => line.active += 1,
            _ => line.idle += bytes,
        }
    }
    Ok(line)
}

fn of_volumes(context: &Context, pods: &Pods) -> Result<Line, CommandError> {
    let volumes = NamedVolumes::open(context)?;
    let mut line = Line { name: "Local Volumes", total: 0, active: 0, bytes: 0, idle: 0 };
    for volume in volumes.all()? {
        let bytes = volumes.size(&volume);
        line.total += 1;
        line.bytes += bytes;
        if volumes.users(&volume, pods)?.is_empty() {
            line.idle += bytes;
        } else {
            line.active += 1;
        }
    }
    Ok(line)
}
