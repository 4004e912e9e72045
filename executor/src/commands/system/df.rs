//! `proa system df`.

use clap::Args;
use pod::{Place, Pods, State};

use crate::context::Context;
use crate::disk_usage;
use crate::docker::{columns, size};
use crate::error::CommandError;
use crate::named_volumes::NamedVolumes;
use crate::{idmap, images, output};

/// Show how much disk images, pods and volumes take
///
/// Reclaimable is what `proa system prune --all --volumes` would remove.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa system df")]
pub(crate) struct DfArgs {}

/// A line: how many there are, how many are in use, and the bytes of all and of the others.
struct Line {
    name: &'static str,
    total: usize,
    active: usize,
    bytes: u64,
    idle: u64,
}

pub(crate) fn run(context: &Context, _: DfArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let store = context.stored()?;
    let lines = [of_images(&pods, &store)?, of_pods(context, &pods)?, of_volumes(context, &pods)?];
    let titles = ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    rows.extend(lines.iter().map(|line| {
        let percent = if line.bytes == 0 { 0 } else { u128::from(line.idle) * 100 / u128::from(line.bytes) };
        let idle = format!("{} ({percent}%)", size(line.idle));
        vec![line.name.to_owned(), line.total.to_string(), line.active.to_string(), size(line.bytes), idle]
    }));
    let none = ["Build Cache", "0", "0", "0B", "0B"];
    rows.push(none.map(str::to_owned).to_vec());
    output::write(&columns::aligned(&rows))?;
    Ok(0)
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
