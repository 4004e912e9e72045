//! `proa list`: shows the pods there are.

use std::collections::BTreeMap;

use appc::lastditch::{BrokenApp, BrokenPod};
use appc::{AcName, PodManifest, RuntimeApp};
use clap::{Args, ValueEnum};
use pod::{AppStatus, Place, PodEntry, PodRef, Pods, State};
use serde::Serialize;

use crate::annotations::is_reserved;
use crate::client;
use crate::context::Context;
use crate::error::{CommandError, FAILURE};
use crate::escape::printable;
use crate::net::{Mode, NetRequest};
use crate::ports::{self, LeadingPort};
use crate::{addresses, moment, output, parallel, table};

/// List pods, one line per app
///
/// A pod's UUID, state and times stand on the line of its first app only.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa list\n  proa list --full --no-legend\n  proa list --format=json")]
pub(crate) struct ListArgs {
    /// Print no column titles
    #[arg(long)]
    no_legend: bool,

    /// Print whole UUIDs, image IDs, and times instead of ages
    #[arg(long)]
    full: bool,

    /// Print a table for people or JSON for programs: table, json, json-pretty
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_possible_values = true)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    JsonPretty,
}

/// A pod as it is listed. Field names and units are those of the JSON form; times are nanoseconds since the epoch. Those
/// at the end are rkt's, whose `name` is the UUID.
#[derive(Debug, Serialize)]
struct ListedPod {
    uuid: String,
    name: Option<String>,
    state: &'static str,
    created_ns: Option<u64>,
    started_ns: Option<u64>,
    exit_status: Option<i32>,
    networks: Vec<String>,
    ports: Vec<LeadingPort>,
    apps: Vec<ListedApp>,
    app_names: Vec<String>,
    created_at: Option<u64>,
    started_at: Option<u64>,
    user_annotations: BTreeMap<String, String>,
    user_labels: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
struct ListedApp {
    name: String,
    image: ListedImage,
    exit_status: Option<i32>,
}

#[derive(Debug, Serialize)]
struct ListedImage {
    name: Option<String>,
    id: Option<String>,
}

pub(crate) fn run(context: &Context, args: ListArgs) -> Result<u8, CommandError> {
    let mut status = 0;
    let mut listed = Vec::new();
    let pods = context.pods()?;
    let mut entries = pods.list()?;
    entries.retain(|entry| Place::VISIBLE.contains(&entry.place));
    let examined = parallel::map(&entries, |entry| examine(&pods, entry));
    for (entry, (pod, sick)) in entries.iter().zip(examined) {
        listed.push(pod);
        if let Some(error) = sick {
            output::complain(&error.during(format!("pod {}", entry.uuid)).report(Some("list")));
            status = FAILURE;
        }
    }
    output::write(&match args.format {
        Format::Json => output::json(&listed)?,
        Format::JsonPretty => output::pretty_json(&listed)?,
        Format::Table => table::aligned(&rows(&listed, &args, moment::now())),
    })?;
    Ok(status)
}

/// A pod's line, and what is wrong with it: a pod that cannot be read is listed by what its directory tells.
fn examine(pods: &Pods, entry: &PodEntry) -> (ListedPod, Option<CommandError>) {
    let mut listed = ListedPod::of(entry);
    let sick = match listed.fill(pods, entry) {
        // It was removed between the listing and now.
        Err(error) if matches!(error.cause(), Some(pod::PodError::NotFound { .. })) => None,
        result => result.err(),
    };
    (listed, sick)
}

fn apps(manifest: PodManifest) -> Vec<ListedApp> {
    let listed = |app: RuntimeApp| ListedApp {
        name: app.name.to_string(),
        image: ListedImage {
            name: app.image.name.map(|name| name.to_string()),
            id: app.image.id.map(|id| id.to_string()),
        },
        exit_status: None,
    };
    manifest.apps.into_iter().map(listed).collect()
}

/// The apps as far as a manifest that breaks the rules tells them.
fn broken_apps(pod: &PodRef) -> Vec<ListedApp> {
    let told = |text: String| Some(text).filter(|text| !text.is_empty());
    let listed = |app: BrokenApp| ListedApp {
        name: app.name,
        image: ListedImage { name: told(app.image_name), id: told(app.image_id) },
        exit_status: None,
    };
    let broken = pod.manifest_bytes().ok().and_then(|bytes| BrokenPod::from_json(&bytes).ok());
    broken.map_or_else(Vec::new, |broken| broken.apps.into_iter().map(listed).collect())
}

impl ListedPod {
    /// A pod of which nothing is known but its directory.
    fn of(entry: &PodEntry) -> Self {
        Self {
            uuid: entry.uuid.to_string(),
            name: entry.name.as_ref().map(ToString::to_string),
            state: entry.state.as_str(),
            created_ns: entry.created_ns,
            started_ns: entry.started_ns,
            exit_status: None,
            networks: Vec::new(),
            ports: Vec::new(),
            apps: Vec::new(),
            app_names: Vec::new(),
            created_at: entry.created_ns,
            started_at: entry.started_ns,
            user_annotations: BTreeMap::new(),
            user_labels: BTreeMap::new(),
        }
    }

    /// Takes in what its manifest, its records and its supervisor say, as far as they can be understood.
    fn fill(&mut self, pods: &Pods, entry: &PodEntry) -> Result<(), CommandError> {
        // A pod that is being prepared, or whose preparation was cut off, has no manifest yet.
        if entry.place == Place::Prepare {
            return Ok(());
        }
        let pod = pods.open(entry)?;
        let manifest = match pod.manifest() {
            Ok(manifest) => manifest,
            Err(error) => {
                self.take_apps(broken_apps(&pod));
                return Err(error.into());
            }
        };
        let net = NetRequest::of(&manifest)?;
        let asked = entry.state == State::Running && (net.mode == Mode::Default || !net.joins.is_empty());
        let report = asked.then(|| client::report(pods, entry)).flatten();
        // A pod that was never started has no networks.
        if entry.started_ns.is_some() {
            self.networks = addresses::networks(&net, report.as_ref());
        }
        self.ports = ports::with_changes(&manifest, report.as_ref().map(|report| &report.network));
        self.user_annotations.clone_from(&manifest.user_annotations);
        self.user_annotations.retain(|name, _| !is_reserved(name));
        self.user_labels.clone_from(&manifest.user_labels);
        self.take_apps(apps(manifest));
        self.exit_status = pod.pod_status()?.map(|status| status.status);
        for (app, status) in statuses(&pod)? {
            if let Some(listed) = self.apps.iter_mut().find(|listed| listed.name == app.as_str()) {
                listed.exit_status = status.exit.map(pod::AppExit::status);
            }
        }
        Ok(())
    }

    fn take_apps(&mut self, apps: Vec<ListedApp>) {
        self.app_names = apps.iter().map(|app| app.name.clone()).collect();
        self.apps = apps;
    }
}

fn statuses(pod: &PodRef) -> Result<Vec<(AcName, AppStatus)>, CommandError> {
    let recorded = pod.statuses()?.into_iter().filter_map(|(app, status)| Some((app, status?)));
    Ok(recorded.collect())
}

/// rkt's table: UUIDs of 8 characters and ages, or everything with `--full`.
fn rows(pods: &[ListedPod], args: &ListArgs, now: u64) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let id_column = args.full.then_some("IMAGE ID");
    // rkt's pods have no names, and it does not tell ports. These columns come last, so that whoever counts rkt's
    // columns finds them.
    let port_column = pods.iter().any(|pod| !pod.ports.is_empty()).then_some("PORTS");
    let name_column = pods.iter().any(|pod| pod.name.is_some()).then_some("NAME");
    if !args.no_legend {
        let titles = ["UUID", "APP", "IMAGE NAME"].into_iter().chain(id_column);
        let titles = titles.chain(["STATE", "CREATED", "STARTED", "NETWORKS"]).chain(name_column).chain(port_column);
        rows.push(titles.map(str::to_owned).collect());
    }
    for pod in pods {
        let of_pod = PodCells::new(pod, args.full, now, [name_column.is_some(), port_column.is_some()]);
        if pod.apps.is_empty() {
            rows.push(of_pod.row("-", "-", args.full.then_some("-")));
        }
        for (index, app) in pod.apps.iter().enumerate() {
            let below = PodCells { uuid: String::new(), rest: vec![String::new(); of_pod.rest.len()] };
            let cells = if index == 0 { &of_pod } else { &below };
            let name = app.image.name.as_deref().unwrap_or("--");
            let id = app.image.id.as_deref().map_or("--", |id| id.get(..19).unwrap_or(id));
            rows.push(cells.row(&app.name, name, args.full.then_some(id)));
        }
    }
    rows
}

/// The columns that belong to a pod as a whole.
struct PodCells {
    uuid: String,
    rest: Vec<String>,
}

impl PodCells {
    fn new(pod: &ListedPod, full: bool, now: u64, [named, with_ports]: [bool; 2]) -> Self {
        let time = |ns: Option<u64>| match ns {
            None => String::new(),
            Some(ns) if full => moment::full(ns),
            Some(ns) => moment::ago(ns, now),
        };
        let mut rest = vec![pod.state.to_owned(), time(pod.created_ns), time(pod.started_ns), pod.networks.join(", ")];
        rest.extend(named.then(|| pod.name.clone().unwrap_or_default()));
        rest.extend(with_ports.then(|| pod.ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")));
        Self { uuid: if full { pod.uuid.clone() } else { pod.uuid.chars().take(8).collect() }, rest }
    }

    fn row(&self, app: &str, image: &str, id: Option<&str>) -> Vec<String> {
        let mut row = vec![self.uuid.clone()];
        row.extend([Some(app), Some(image), id].into_iter().flatten().map(|cell| printable(cell).into_owned()));
        row.extend(self.rest.iter().cloned());
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn pods() -> Vec<ListedPod> {
        let app = |name: &str, id: Option<&str>| ListedApp {
            name: name.into(),
            image: ListedImage { name: id.map(|_| format!("example.com/{name}")), id: id.map(str::to_owned) },
            exit_status: Some(0),
        };
        vec![
            ListedPod {
                uuid: "5c8f2f6e-0000-4000-8000-000000000000".into(),
                name: Some("web".into()),
                state: "exited",
                created_ns: Some(1_700_000_000 * SECOND),
                started_ns: Some(1_700_000_060 * SECOND),
                exit_status: Some(0),
                networks: vec![],
                ports: vec![],
                apps: vec![app("redis", Some("sha512-0123456789abcdef0123")), app("logs", None)],
                app_names: vec!["redis".into(), "logs".into()],
                created_at: Some(1_700_000_000 * SECOND),
                started_at: Some(1_700_000_060 * SECOND),
                user_annotations: BTreeMap::from([("why".into(), "test".into())]),
                user_labels: BTreeMap::new(),
            },
            ListedPod {
                uuid: "6d8f2f6e-0000-4000-8000-000000000000".into(),
                name: None,
                state: "preparing",
                created_ns: Some(1_700_000_120 * SECOND),
                started_ns: None,
                exit_status: None,
                networks: vec![],
                ports: vec![],
                apps: vec![],
                app_names: vec![],
                created_at: Some(1_700_000_120 * SECOND),
                started_at: None,
                user_annotations: BTreeMap::new(),
                user_labels: BTreeMap::new(),
            },
        ]
    }

    fn shown(args: &ListArgs) -> String {
        table::aligned(&rows(&pods(), args, 1_700_000_120 * SECOND)).replace('\t', ">")
    }

    #[test]
    fn the_table_has_a_line_per_app() {
        let args = ListArgs { no_legend: false, full: false, format: Format::Table };
        assert_eq!(
            shown(&args),
            "UUID>>APP>IMAGE NAME>>STATE>>CREATED>>STARTED>>NETWORKS>NAME\n\
             5c8f2f6e>redis>example.com/redis>exited>>2 minutes ago>1 minute ago>>>web\n\
             >>logs>-->>>>>>>>>>>\n\
             6d8f2f6e>->->>>preparing>now>>>>>>\n"
        );
    }

    #[test]
    fn full_shows_ids_and_times() {
        let args = ListArgs { no_legend: true, full: true, format: Format::Table };
        let shown = shown(&args);
        let first = shown.lines().next().unwrap();
        assert_eq!(
            first,
            "5c8f2f6e-0000-4000-8000-000000000000>redis>example.com/redis>sha512-0123456789ab>exited>>\
             2023-11-14 22:13:20.000 +0000 UTC>2023-11-14 22:14:20.000 +0000 UTC>>web"
        );
    }

    #[test]
    fn json_is_stable() {
        crate::golden::check("list.json", &output::pretty_json(&pods()).unwrap());
    }
}
