//! `proa stats`: what the apps of pods use.

use std::time::{Duration, Instant};

use clap::Args;
use pod::{PodEntry, Pods, State};
use serde::Serialize;
use stage1::cgroup::PodCgroup;
use stage1::cgroup::usage::Usage;

use crate::context::Context;
use crate::error::CommandError;
use crate::{cgroup, output, pod_argument, size, table};

/// Show what the apps of running pods use
///
/// For pods that have control groups: those that were started with a limit. On a terminal the table is shown anew every
/// second, until Ctrl-C.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa stats\n  proa stats --no-stream web\n  proa stats --format=json web")]
pub(crate) struct StatsArgs {
    /// Show it once
    #[arg(long)]
    no_stream: bool,

    /// Print one JSON object for each app, once
    #[arg(long, value_name = "FORMAT", default_value = "text", hide_default_value = true)]
    format: Format,

    /// The pods: UUIDs, unambiguous beginnings of UUIDs, or names [default: all that have control groups]
    #[arg(value_name = "POD")]
    pods: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

/// How long processor time is watched to tell how much is used.
const SPAN: Duration = Duration::from_secs(1);

/// What one app uses.
#[derive(Debug, Serialize)]
struct Row {
    pod: String,
    name: Option<String>,
    app: String,
    /// Processors in use, times 100.
    cpu_percent: f64,
    #[serde(flatten)]
    usage: Usage,
}

/// A pod that is watched.
struct Watched {
    uuid: String,
    name: Option<String>,
    group: PodCgroup,
    apps: Vec<String>,
}

pub(crate) fn run(context: &Context, args: StatsArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let once = args.no_stream || args.format == Format::Json || !rustix::termios::isatty(rustix::stdio::stdout());
    loop {
        let rows = rows(&watched(&pods, &args.pods)?);
        match args.format {
            Format::Json => {
                rows.iter().try_for_each(|row| output::write(&output::json(row)?))?;
            }
            // From the corner of an empty screen, as `watch` does.
            Format::Text if !once => output::write_screen(&text(&rows))?,
            Format::Text => output::write(&text(&rows))?,
        }
        if once {
            return Ok(0);
        }
    }
}

/// The pods that were named, or all that have control groups.
fn watched(pods: &Pods, needles: &[String]) -> Result<Vec<Watched>, CommandError> {
    let watch = |entry: &PodEntry| -> Result<Watched, CommandError> {
        let (group, report) = cgroup::of_pod(pods, entry)?;
        let apps = report.apps.into_iter().map(|app| app.name).collect();
        Ok(Watched { uuid: entry.uuid.to_string(), name: entry.name.as_ref().map(ToString::to_string), group, apps })
    };
    if needles.is_empty() {
        let running = pods.list()?.into_iter().filter(|entry| entry.state == State::Running);
        return Ok(running.filter_map(|entry| watch(&entry).ok()).collect());
    }
    needles.iter().map(|needle| watch(&pod_argument::find(pods, needle)?)).collect()
}

/// Two looks at each app. One that ends in between is left out.
fn rows(pods: &[Watched]) -> Vec<Row> {
    let apps = || pods.iter().flat_map(|pod| pod.apps.iter().map(move |app| (pod, app)));
    let look = || -> Vec<Option<Usage>> {
        apps().map(|(pod, app)| app.parse().ok().and_then(|name| pod.group.app_usage(&name).ok())).collect()
    };
    let (begun, first) = (Instant::now(), look());
    if !first.is_empty() {
        std::thread::sleep(SPAN);
    }
    let (span, second) = (begun.elapsed().as_micros().max(1), look());
    let mut rows = Vec::new();
    for ((pod, app), looks) in apps().zip(first.into_iter().zip(second)) {
        let (Some(first), Some(usage)) = looks else { continue };
        let used = usage.cpu_usec.saturating_sub(first.cpu_usec);
        let cpu_percent = (used as f64 / span as f64 * 10_000.0).round() / 100.0;
        rows.push(Row { pod: pod.uuid.clone(), name: pod.name.clone(), app: app.clone(), cpu_percent, usage });
    }
    rows
}

fn text(rows: &[Row]) -> String {
    let head = ["POD", "NAME", "APP", "CPU %", "MEM USAGE / LIMIT", "PIDS", "THROTTLED"];
    let mut cells = vec![head.map(str::to_owned).to_vec()];
    for row in rows {
        let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), size::binary);
        cells.push(vec![
            row.pod.chars().take(8).collect(),
            row.name.clone().unwrap_or_else(|| "-".to_owned()),
            row.app.clone(),
            format!("{:.2}%", row.cpu_percent),
            format!("{} / {}", bytes(row.usage.memory_bytes), bytes(row.usage.memory_limit_bytes)),
            row.usage.pids.map_or_else(|| "-".to_owned(), |pids| pids.to_string()),
            row.usage.throttled.to_string(),
        ]);
    }
    table::aligned(&cells)
}
