//! `proa app status`: one app of a running pod.

use std::collections::BTreeMap;
use std::path::Path;

use appc::{PodManifest, RuntimeApp, VolumeKind};
use clap::Args;
use serde::Serialize;

use super::seen;
use crate::commands::status::{AppShown, Format};
use crate::context::Context;
use crate::error::CommandError;
use crate::escape::printable;
use crate::{app_argument, moment, output, pod_argument};

/// Show the state of an app of a pod
///
/// One `key=value` a line, in rkt's order. Times in JSON are nanoseconds since the epoch.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa app status box --app redis\n  proa app status --format=json box --app redis")]
pub(crate) struct StatusArgs {
    /// The app [default: the only one]
    #[arg(long, value_name = "NAME")]
    app: Option<String>,

    /// Print lines for people or JSON for programs: text, json, json-pretty
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,

    /// The pod: a UUID, the unambiguous beginning of one, or a name
    #[arg(value_name = "POD")]
    pod: String,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    name: &'a str,
    state: &'static str,
    image_id: String,
    created_at: Option<u64>,
    started_at: Option<u64>,
    finished_at: Option<u64>,
    exit_code: Option<i32>,
    mounts: Vec<MountShown>,
    user_annotations: BTreeMap<String, String>,
    user_labels: BTreeMap<String, String>,
}

/// A volume in the app, as rkt shows it.
#[derive(Debug, Serialize)]
struct MountShown {
    name: String,
    container_path: String,
    host_path: String,
    read_only: bool,
}

pub(crate) fn run(context: &Context, args: StatusArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let apps = seen::apps(&pods, &pod_argument::find(&pods, &args.pod)?)?;
    let app: &AppShown = app_argument::find(&apps, |app| &app.name, args.app.as_deref())?;
    let entry = pod_argument::find(&pods, &args.pod)?;
    let manifest = pods.open(&entry)?.manifest()?;
    let known = manifest.apps.iter().find(|known| known.name.as_str() == app.name);
    let own = std::path::absolute(context.data_dir()?)?.join(format!("pods/{}/{}", entry.place.dir_name(), entry.uuid));
    let image = known.and_then(|app| app.image.id.clone());
    let inner = known.and_then(|app| app.app.as_ref());
    let shown = Shown {
        name: &app.name,
        state: app.state,
        image_id: image.map_or_else(String::new, |id| id.to_string()),
        created_at: app.created_ns,
        started_at: app.started_ns,
        finished_at: app.finished_ns,
        exit_code: app.exit_status,
        mounts: known.map_or_else(Vec::new, |known| mounts(&manifest, known, &own)),
        user_annotations: inner.map(|app| app.user_annotations.clone()).unwrap_or_default(),
        user_labels: inner.map(|app| app.user_labels.clone()).unwrap_or_default(),
    };
    output::write(&args.format.show(&shown, lines)?)?;
    Ok(0)
}

/// The volumes that the manifest mounts in the app; those of the pod's own are in its directory, `pod`.
fn mounts(manifest: &PodManifest, app: &RuntimeApp, pod: &Path) -> Vec<MountShown> {
    let shown = |mount: &appc::Mount| {
        let volume = manifest.volume(&mount.volume)?;
        let point =
            |point: &appc::MountPoint| point.read_only && (point.name == volume.name || point.path == mount.path);
        let narrowed = || app.app.iter().flat_map(|app| &app.mount_points).any(point);
        let host_path = match &volume.kind {
            VolumeKind::Host { source, .. } => source.clone(),
            VolumeKind::Empty { .. } => pod.join("volumes").join(volume.name.as_str()).display().to_string(),
        };
        Some(MountShown {
            name: volume.name.to_string(),
            container_path: mount.path.clone(),
            host_path,
            read_only: volume.read_only.unwrap_or_else(narrowed),
        })
    };
    app.mounts.iter().filter_map(shown).collect()
}

fn lines(app: &Shown<'_>) -> String {
    let mut lines =
        vec![format!("name={}", app.name), format!("state={}", app.state), format!("image_id={}", app.image_id)];
    lines.extend(app.created_at.map(|time| format!("created_at={}", moment::full(time))));
    lines.extend(app.started_at.map(|time| format!("started_at={}", moment::full(time))));
    lines.extend(app.finished_at.map(|time| format!("finished_at={}", moment::full(time))));
    lines.extend(app.exit_code.map(|code| format!("exit_code={code}")));
    let mounts = app.mounts.iter().map(|m| format!("{}:{}:(read_only:{})", m.host_path, m.container_path, m.read_only));
    let pairs = |map: &BTreeMap<String, String>| map.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    let lists: [(&str, Vec<String>); 3] = [
        ("mounts", mounts.collect()),
        ("user_annotations", pairs(&app.user_annotations)),
        ("user_labels", pairs(&app.user_labels)),
    ];
    let there = lists.iter().filter(|(_, list)| !list.is_empty());
    lines.extend(there.map(|(key, list)| format!("{key}={}", printable(&list.join(",")))));
    lines.join("\n") + "\n"
}
