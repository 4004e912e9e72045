//! `proa system prune`.

use std::collections::BTreeSet;

use clap::Args;
use pod::{Place, State};

use crate::commands::volume;
use crate::context::Context;
use crate::disk_usage;
use crate::docker::{self, Container, PruneFilters, size};
use crate::error::{CommandError, FAILURE};
use crate::idmap::{self, Remover};
use crate::{consent, images, output};

/// Remove pods that have ended, images without a name, and what else is not used
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa system prune --force\n  proa system prune --all --volumes --force")]
pub(crate) struct PruneArgs {
    /// Remove all images that no pod was made of, not only those without a name
    #[arg(long, short)]
    all: bool,

    /// Remove volumes that no pod has and nobody gave a name
    #[arg(long)]
    volumes: bool,

    /// Remove those pods and images alone that are so: until=TIME (made before it), label=NAME[=VALUE], label!=NAME[=VALUE]
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,

    /// Do not ask first
    #[arg(long, short)]
    force: bool,
}

pub(crate) fn run(context: &Context, args: PruneArgs) -> Result<u8, CommandError> {
    let filters = PruneFilters::parse(&args.filter)?;
    if !args.force && !consent::given(&warning(&args))? {
        return Ok(0);
    }
    let (mut text, mut bytes, mut status) = (String::new(), 0, 0);
    let mut tell = |title: &str, lines: &[String]| {
        if !lines.is_empty() {
            text.push_str(&format!("Deleted {title}:\n{}\n\n", lines.join("\n")));
        }
    };
    let (pods, freed, failed) = remove_pods(context, &filters)?;
    (bytes, status) = (bytes + freed, status.max(failed));
    tell("Containers", &pods);
    if args.volumes {
        let (volumes, freed) = volume::prune_unused(context, volume::Which::Nameless, &filters)?;
        bytes += freed;
        tell("Volumes", &volumes);
    }
    let (removed, freed, failed) = remove_images(context, args.all, &filters)?;
    (bytes, status) = (bytes + freed, status.max(failed));
    tell("Images", &removed);
    output::write(&format!("{text}Total reclaimed space: {}\n", size(bytes)))?;
    Ok(status)
}

fn warning(args: &PruneArgs) -> String {
    let mut lines = vec!["WARNING! This will remove:", "  - all stopped containers"];
    lines.extend(args.volumes.then_some("  - all anonymous volumes not used by at least one container"));
    lines.push(if args.all {
        "  - all images without at least one container associated to them"
    } else {
        "  - all dangling images"
    });
    lines.push("");
    lines.join("\n")
}

/// Removes the pods that have ended; returns their ids, the bytes they had, and a status.
///
/// # Errors
///
/// The pods cannot be listed.
pub(crate) fn remove_pods(context: &Context, filters: &PruneFilters) -> Result<(Vec<String>, u64, u8), CommandError> {
    let pods = context.pods()?;
    let mapping = idmap::detect(context.data_dir()?)?;
    let (mut removed, mut bytes, mut status) = (Vec::new(), 0, 0);
    for entry in pods.list()?.into_iter().filter(|entry| Place::VISIBLE.contains(&entry.place)) {
        if !matches!(entry.state, State::Exited | State::ExitedGarbage | State::AbortedPrepare) {
            continue;
        }
        let made = entry.created_ns.unwrap_or_default();
        // One that cannot be read has no labels.
        let labels = Container::read(&pods, entry.clone()).map(|container| container.labels()).unwrap_or_default();
        if !filters.admit(made, &labels) {
            continue;
        }
        let size = pods.open(&entry).map_or(0, |pod| disk_usage::below(pod.dir(), &mapping));
        match pods.remove(entry.uuid, &Remover::new(&mapping)) {
            Ok(()) => {
                bytes += size;
                removed.push(docker::id(entry.uuid));
            }
            Err(error) => {
                output::complain(&CommandError::from(error).report(Some("system prune")));
                status = FAILURE;
            }
        }
    }
    Ok((removed, bytes, status))
}

/// Removes images that no pod was made of and that have no name, or all of the former; returns their ids, their bytes,
/// and a status.
///
/// # Errors
///
/// The store cannot be read, or an image not be removed.
pub(crate) fn remove_images(
    context: &Context,
    all: bool,
    filters: &PruneFilters,
) -> Result<(Vec<String>, u64, u8), CommandError> {
    let store = context.stored()?;
    let pods = context.pods()?;
    let used: BTreeSet<_> = images::of_pods(&pods)?.into_iter().flat_map(|(_, images)| images).collect();
    let (mut removed, mut bytes) = (Vec::new(), 0);
    for image in store.list()?.images {
        let nameless = image.names.is_empty() && image.kind == store::ImageKind::Oci;
        if used.contains(&image.id) || !(all || nameless) {
            continue;
        }
        let labels = image.manifest.app.as_ref().map(|app| app.user_labels.clone()).unwrap_or_default();
        if !filters.admit(docker::created_ns(&store, &image), &labels) {
            continue;
        }
        store.remove(&image.id)?;
        bytes += image.size;
        removed.extend(docker::names_of(&image).map(|name| format!("untagged: {name}")));
        removed.push(format!("deleted: {}", image.id));
    }
    let (_, status) = images::collect(context, &store, "system prune")?;
    Ok((removed, bytes, status))
}
