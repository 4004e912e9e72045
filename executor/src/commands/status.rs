//! `proa status`: how a pod is, or how it went.

mod waiting;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use appc::isolator::report::ReportEntry;
use clap::Args;
use pod::{PodEntry, Pods, State};
use serde::Serialize;
use stage1::isolators::choices::Choices;
use stage1::isolators::net_admin::NetAdmin;
use stage1::network::NamedReport;
use stage1::protocol::{AppReport, AppStateName, Call, End, HealthReport, PodReport, Reply};

use crate::client::Client;
use crate::context::Context;
use crate::ending::Heard;
use crate::error::{CommandError, Explain as _};
use crate::escape::printable;
use crate::net::NetRequest;
use crate::ports::{self, LeadingPort};
use crate::{addresses, cgroup, health_record, moment, output, pod_argument, protection};

use waiting::{Patience, wait, wait_for_end};

/// Show the state of a pod
///
/// One `key=value` a line: the pod's state, its times, its process, whether it has exited, and for each app that has
/// ended its exit status.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  proa status web\n  proa status --wait=30s web\n  proa status --format=json 5c8f2f6e"
)]
pub(crate) struct StatusArgs {
    /// Wait until the pod has exited, at most so long if a time is given (30s, 5m)
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    wait: Option<String>,

    /// Wait until all its apps are started, at most so long if a time is given
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    wait_ready: Option<String>,

    /// Print lines for people or JSON for programs: text, json, json-pretty
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,

    /// Show the pod whose UUID is in FILE
    #[arg(long, value_name = "FILE")]
    uuid_file: Option<PathBuf>,

    /// The pod: a UUID, the unambiguous beginning of one, or a name
    #[arg(value_name = "POD")]
    pod: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
    JsonPretty,
}

impl Format {
    /// A state in this form; `lines` has it for people.
    pub(crate) fn show<T: Serialize>(self, state: &T, lines: fn(&T) -> String) -> Result<String, CommandError> {
        match self {
            Self::Text => Ok(lines(state)),
            Self::Json => output::json(state),
            Self::JsonPretty => output::pretty_json(state),
        }
    }
}

/// A pod's state. Times are nanoseconds since the epoch.
#[derive(Debug, Serialize)]
struct PodShown {
    uuid: String,
    name: Option<String>,
    state: &'static str,
    created_ns: Option<u64>,
    started_ns: Option<u64>,
    finished_ns: Option<u64>,
    /// `null` while the pod runs, and if nobody wrote down how it ended.
    exit_status: Option<i32>,
    exited: bool,
    /// Process id of the pod's pid 1, while it runs.
    pid: Option<i32>,
    ready: bool,
    /// `none`, `default` or `host`.
    network: &'static str,
    /// Its networks, with its addresses there while it runs.
    #[serde(skip)]
    networks: Vec<String>,
    /// The networks of pods that it is on, with its addresses there while it runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pod_networks: Vec<NamedReport>,
    /// The addresses of a running pod in a network of its own, but for those of its loopback interface.
    addresses: Vec<IpAddr>,
    /// Ports of the host that lead into it.
    ports: Vec<LeadingPort>,
    /// Why a running pod does not have it, if so.
    network_error: Option<String>,
    /// Protections that the operator switched off.
    insecure_options: Vec<&'static str>,
    /// The apps with rights over the pod's network; `APP:pre-start` for a handler alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    net_admin: Option<String>,
    /// `strict` or `default`.
    profile: &'static str,
    /// What became of the pod's own isolators.
    isolators: Vec<ReportEntry>,
    apps: Vec<AppShown>,
}

/// An app's state.
#[derive(Debug, Serialize)]
pub(super) struct AppShown {
    pub(super) name: String,
    pub(super) state: &'static str,
    attempt: u32,
    pub(super) created_ns: Option<u64>,
    pub(super) started_ns: Option<u64>,
    pub(super) finished_ns: Option<u64>,
    pub(super) exit_status: Option<i32>,
    signal: Option<i32>,
    /// Whether the kernel killed it for want of memory.
    oom: bool,
    reason: Option<String>,
    /// Bytes of its log that could not be written.
    #[serde(skip_serializing_if = "is_zero")]
    logs_lost: u64,
    /// What its health checks come to, if it has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<HealthReport>,
    /// What became of each of its isolators.
    isolators: Vec<ReportEntry>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

pub(crate) fn run(context: &Context, args: StatusArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let entry = match pod_argument::one(&pods, args.pod.as_ref(), args.uuid_file.as_ref()) {
        Err(error) if pod_argument::is_unreadable(&error) => {
            output::complain(&error.report(Some("status")));
            return Ok(pod_argument::UNREADABLE);
        }
        entry => entry?,
    };
    let uuid = entry.uuid.to_string();
    let format = args.format;
    if let Some(wanted) = Patience::of(args.wait.as_deref())? {
        // Of one that is removed when it ends, there is nothing to look at later.
        let before = examine(&pods, &entry, None);
        if let Some(heard) = wait_for_end(&pods, entry, wanted)? {
            let mut shown = before?;
            shown.end(&heard);
            output::write(&format.show(&shown, lines)?)?;
            return Ok(0);
        }
    }
    if let Some(wanted) = Patience::of(args.wait_ready.as_deref())? {
        wait(wanted, || {
            let entry = pods.find(&uuid)?;
            Ok(is_over(entry.state) || report(&pods, &entry).is_some_and(|report| report.ready))
        })?;
    }
    let entry = pods.find(&uuid)?;
    let live = if entry.state == State::Running { report(&pods, &entry) } else { None };
    // What has no supervisor any more has ended meanwhile.
    let entry = if live.is_none() { pods.find(&uuid)? } else { entry };
    let shown = examine(&pods, &entry, live)?;
    output::write(&format.show(&shown, lines)?)?;
    Ok(0)
}

fn is_over(state: State) -> bool {
    !matches!(state, State::Running | State::Embryo | State::Preparing | State::Prepared)
}

/// What the supervisor says; `None` if there is none, or none any more.
fn report(pods: &Pods, entry: &PodEntry) -> Option<PodReport> {
    match Client::reach(pods, entry).ok()??.ask(Call::Status, &[]).ok()? {
        (Reply::Status(report), _) => Some(report),
        _ => None,
    }
}

fn examine(pods: &Pods, entry: &PodEntry, live: Option<PodReport>) -> Result<PodShown, CommandError> {
    let (mut apps, mut exit) = (Vec::new(), None);
    let (mut net, mut ports) = (NetRequest::default(), Vec::new());
    let (mut choices, mut isolators) = (Choices::default(), Vec::new());
    let mut granted = NetAdmin::default();
    if entry.place != pod::Place::Prepare {
        let pod = pods.open(entry)?;
        exit = pod.pod_status()?;
        apps = match &live {
            Some(report) => report.apps.iter().map(of_report).collect(),
            None => recorded(&pod).during(|| format!("pod {}", entry.uuid))?,
        };
        let manifest = pod.manifest()?;
        choices = Choices::of(&manifest.annotations)?;
        granted = NetAdmin::of(&manifest.annotations)?;
        // Of a pod that runs, what it has; of another, what this host would give.
        let controllers = match &live {
            Some(report) => report.cgroup.as_ref().map_or_else(Vec::new, |path| cgroup::controllers(Path::new(path))),
            None => protection::prospects(&manifest),
        };
        net = NetRequest::of(&manifest)?;
        ports = ports::with_changes(&manifest, live.as_ref().map(|report| &report.network));
        let bandwidth = match &live {
            Some(report) => protection::network_of_running(&manifest, &report.network)?,
            None => protection::network(&manifest, true)?,
        };
        for (app, entry) in protection::report(&manifest, &controllers, &bandwidth)? {
            match app.and_then(|name| apps.iter_mut().find(|app| app.name == name.as_str())) {
                Some(app) => app.isolators.push(entry),
                None => isolators.push(entry),
            }
        }
    }
    Ok(PodShown {
        uuid: entry.uuid.to_string(),
        name: entry.name.as_ref().map(ToString::to_string),
        state: entry.state.as_str(),
        created_ns: entry.created_ns,
        started_ns: entry.started_ns,
        finished_ns: exit.map(|exit| exit.finished_ns),
        exit_status: exit.map(|exit| exit.status),
        exited: is_over(entry.state) && entry.started_ns.is_some(),
        pid: live.as_ref().map(|report| report.pid),
        ready: live.as_ref().is_some_and(|report| report.ready),
        network: net.mode.as_str(),
        networks: addresses::networks(&net, live.as_ref()),
        pod_networks: pod_networks(&net, live.as_ref()),
        addresses: live.as_ref().map_or_else(Vec::new, |report| addresses::of_pod(&net, report)),
        ports,
        network_error: live.and_then(|report| report.network.down),
        insecure_options: choices.insecure.names(),
        net_admin: (!granted.is_empty()).then(|| granted.to_string()),
        profile: if choices.strict { "strict" } else { "default" },
        isolators,
        apps,
    })
}

impl PodShown {
    /// The pod has ended since, and was removed.
    fn end(&mut self, heard: &Heard) {
        (self.state, self.exited) = (State::Exited.as_str(), true);
        self.exit_status = heard.status;
        for app in &mut self.apps {
            let Some(last) = heard.apps.get(&app.name) else { continue };
            (app.state, app.finished_ns) = (AppStateName::Exited.as_str(), Some(last.time_ns));
            (app.exit_status, app.signal) = (Some(last.exit.status()), signal(last.exit));
        }
        self.finished_ns = self.apps.iter().filter_map(|app| app.finished_ns).max();
    }
}

fn signal(exit: End) -> Option<i32> {
    match exit {
        End::Signal(signal) => Some(signal),
        End::Code(_) => None,
    }
}

fn pod_networks(net: &NetRequest, live: Option<&PodReport>) -> Vec<NamedReport> {
    let of_live = live.map(|report| report.network.joined.clone()).filter(|joined| !joined.is_empty());
    let of_pod = || {
        net.joins
            .iter()
            .map(|joins| NamedReport { name: joins.network.clone(), address: None, newer_address: None })
            .collect()
    };
    of_live.unwrap_or_else(of_pod)
}

/// The apps of a pod without a supervisor, by what was written down.
///
/// # Errors
///
/// That cannot be read.
pub(super) fn recorded(pod: &pod::PodRef) -> Result<Vec<AppShown>, CommandError> {
    let mut statuses: std::collections::BTreeMap<_, _> = pod.statuses()?.into_iter().collect();
    let mut apps = Vec::new();
    for app in pod.manifest()?.apps {
        let attempt = pod.attempts(&app.name)?.last().copied().unwrap_or(0);
        let status = statuses.remove(&app.name).flatten();
        let exit = status.as_ref().and_then(|status| status.exit);
        apps.push(AppShown {
            name: app.name.to_string(),
            state: if exit.is_some() { "exited" } else { "unknown" },
            attempt,
            created_ns: status.as_ref().map(|status| status.created_ns),
            started_ns: status.as_ref().and_then(|status| status.started_ns),
            finished_ns: status.as_ref().and_then(|status| status.finished_ns),
            exit_status: exit.map(pod::AppExit::status),
            signal: match exit {
                Some(pod::AppExit::Signal(signal)) => Some(signal),
                _ => None,
            },
            oom: status.as_ref().is_some_and(|status| status.oom_killed),
            logs_lost: status.as_ref().map_or(0, |status| status.logs_lost),
            health: status.as_ref().and_then(|status| health_record::read(status.health.as_ref())),
            reason: status.and_then(|status| status.reason),
            isolators: Vec::new(),
        });
    }
    Ok(apps)
}

/// An app as its supervisor tells of it.
pub(super) fn of_report(app: &AppReport) -> AppShown {
    AppShown {
        name: app.name.clone(),
        state: app.state.as_str(),
        attempt: app.attempt,
        created_ns: Some(app.created_ns),
        started_ns: app.started_ns,
        finished_ns: app.finished_ns,
        exit_status: (app.state == AppStateName::Exited).then(|| app.exit.map(End::status)).flatten(),
        signal: app.exit.and_then(signal),
        oom: app.oom,
        reason: app.reason.clone(),
        logs_lost: app.logs_lost,
        health: app.health.clone(),
        isolators: Vec::new(),
    }
}

/// rkt's lines, in rkt's order.
fn lines(pod: &PodShown) -> String {
    let mut lines = vec![format!("state={}", pod.state)];
    lines.extend(pod.created_ns.map(|ns| format!("created={}", moment::full(ns))));
    lines.extend(pod.started_ns.map(|ns| format!("started={}", moment::full(ns))));
    if pod.started_ns.is_some() {
        lines.push(format!("networks={}", pod.networks.join(", ")));
        lines.extend(pod.network_error.as_ref().map(|why| format!("network-error={why}")));
        let ports: Vec<String> = pod.ports.iter().map(ToString::to_string).collect();
        lines.extend((!ports.is_empty()).then(|| format!("ports={}", ports.join(", "))));
    }
    lines.extend(pod.pid.map(|pid| format!("pid={pid}")));
    if pod.started_ns.is_some() {
        lines.push(format!("exited={}", pod.exited));
    }
    if pod.exited {
        lines.extend(pod.apps.iter().filter_map(|app| Some(format!("app-{}={}", app.name, app.exit_status?))));
        let reasons = pod.apps.iter().filter_map(|app| Some((&app.name, app.reason.as_deref()?)));
        lines.extend(reasons.map(|(app, reason)| format!("reason-{app}={}", printable(reason))));
    }
    if !pod.exited {
        let running = pod.apps.iter().filter(|app| app.state == AppStateName::Running.as_str());
        let health = running.filter_map(|app| Some((&app.name, app.health.as_ref()?.status)));
        lines.extend(health.map(|(app, health)| format!("health-{app}={}", health.as_str())));
    }
    let lacking = pod.apps.iter().filter(|app| app.logs_lost > 0);
    lines.extend(lacking.map(|app| format!("logs-lost-{}={} bytes", app.name, app.logs_lost)));
    lines.extend(protection(pod));
    lines.join("\n") + "\n"
}

/// What is other than usual about the protection of the apps.
fn protection(pod: &PodShown) -> Vec<String> {
    let mut lines = Vec::new();
    if !pod.insecure_options.is_empty() {
        lines.push(format!("insecure-options={}", pod.insecure_options.join(",")));
    }
    lines.extend(pod.net_admin.as_ref().map(|apps| format!("net-admin={apps}")));
    if pod.profile != "default" {
        lines.push(format!("profile={}", pod.profile));
    }
    lines.extend(pod.isolators.iter().map(|entry| format!("isolator={entry}")));
    for app in &pod.apps {
        lines.extend(app.isolators.iter().map(|entry| format!("isolator-{}={entry}", app.name)));
    }
    lines
}
