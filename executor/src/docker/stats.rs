//! `docker stats`: what containers use.
//!
//! Of a container with control groups the kernel counts it; of another one the processes' own accounts are added up, so that
//! what has ended is missing and what is shared counts for each.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Args;
use pod::{PodEntry, Pods, State};
use rustix::system::sysinfo;
use serde_json::{Value, json};
use stage1::protocol::{Call, Reply};

use super::container::{self, Container};
use super::listing::Listing;
use crate::client::Client;
use crate::context::Context;
use crate::error::CommandError;
use crate::processes::Process;
use crate::{cgroup, output, processes, size};

/// Display a live stream of container resource usage statistics
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Show all containers (default shows just running)
    #[arg(long, short)]
    all: bool,

    /// Disable streaming stats and only pull the first result
    #[arg(long)]
    no_stream: bool,

    /// Do not truncate output
    #[arg(long)]
    no_trunc: bool,

    /// Format output: table, json, or a template of fields such as '{{.Name}} {{.CPUPerc}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    /// The containers
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// How long processor time is watched to tell how much is used.
const SPAN: Duration = Duration::from_secs(1);

/// What is shown where nobody counts.
const UNKNOWN: &str = "--";

/// All processes, by their pids.
type Processes = BTreeMap<i32, Process>;

/// One look at a container.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    cpu_usec: u64,
    memory: u64,
    limit: Option<u64>,
    pids: u64,
}

pub(crate) fn run(context: &Context, args: StatsArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let listing = Listing::parse(args.format.as_deref())?;
    let once = args.no_stream || !rustix::termios::isatty(rustix::stdio::stdout());
    loop {
        let entries = if args.containers.is_empty() {
            let wanted = |entry: &PodEntry| {
                entry.state == State::Running || args.all && pod::Place::VISIBLE.contains(&entry.place)
            };
            pods.list()?.into_iter().rev().filter(wanted).collect()
        } else {
            args.containers.iter().map(|word| container::find(&pods, word)).collect::<Result<Vec<_>, _>>()?
        };
        let rows = rows(&pods, entries, args.no_trunc);
        let columns = ["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"];
        let text = listing.show(&rows, &columns, &TITLES)?;
        // From the corner of an empty screen, as docker does.
        if once { output::write(&text) } else { output::write_screen(&text) }?;
        if once {
            return Ok(0);
        }
    }
}

/// Two looks at each container.
fn rows(pods: &Pods, entries: Vec<PodEntry>, whole: bool) -> Vec<Value> {
    let looks = || {
        // Read once for all containers, when the first one needs it.
        let processes = LazyCell::new(|| processes::all().unwrap_or_default());
        entries.iter().map(|entry| look(pods, entry, &processes)).collect::<Vec<_>>()
    };
    let (begun, first) = (Instant::now(), looks());
    if first.iter().any(Option::is_some) {
        std::thread::sleep(SPAN);
    }
    let (span, second) = (begun.elapsed().as_micros().max(1), looks());
    let total = sysinfo().totalram.saturating_mul(sysinfo().mem_unit.into()).max(1);
    let mut rows = Vec::new();
    for ((entry, first), second) in entries.iter().zip(first).zip(second) {
        let Ok(container) = Container::read(pods, entry.clone()) else { continue };
        let (first, now) = (first.unwrap_or_default(), second.unwrap_or_default());
        let used = now.cpu_usec.saturating_sub(first.cpu_usec);
        let limit = if second.is_some() { now.limit.unwrap_or(total).max(1) } else { 0 };
        let percent =
            |part: f64, of: f64| if of > 0.0 { format!("{:.2}%", part / of * 100.0) } else { UNKNOWN.to_owned() };
        rows.push(json!({
            "Container": container.short_id(),
            "ID": if whole { container.id() } else { container.short_id() },
            "Name": container.name(),
            "CPUPerc": percent(used as f64, if second.is_some() { span as f64 } else { 0.0 }),
            "MemUsage": format!("{} / {}", bytes(now.memory), bytes(limit)),
            "MemPerc": percent(now.memory as f64, limit as f64),
            "NetIO": UNKNOWN,
            "BlockIO": UNKNOWN,
            "PIDs": now.pids.to_string(),
        }));
    }
    rows
}

/// As docker writes it: without a blank.
fn bytes(bytes: u64) -> String {
    size::binary(bytes).replace(' ', "")
}

fn look<F: FnOnce() -> Processes>(pods: &Pods, entry: &PodEntry, processes: &LazyCell<Processes, F>) -> Option<Look> {
    if entry.state != State::Running {
        return None;
    }
    if let Ok((group, _)) = cgroup::of_pod(pods, entry)
        && let Ok(usage) = group.usage()
        && let (Some(memory), Some(pids)) = (usage.memory_bytes, usage.pids)
    {
        return Some(Look { cpu_usec: usage.cpu_usec, memory, limit: usage.memory_limit_bytes, pids });
    }
    let (Reply::Status(report), _) = Client::connect(pods, entry).ok()?.ask(Call::Status, &[]).ok()? else {
        return None;
    };
    let mut sum = Look::default();
    for process in processes::pids_below(processes, report.pid).iter().filter_map(|pid| processes.get(pid)) {
        sum.cpu_usec += process.time_usec;
        sum.memory += process.resident;
        sum.pids += process.threads;
    }
    Some(sum)
}

const TITLES: [(&str, &str); 6] = [
    ("ID", "CONTAINER ID"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
];
