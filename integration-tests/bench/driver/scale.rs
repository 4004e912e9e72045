//! Compares the rate of launches made one after the other with the rate of 16 at a time.

use std::collections::HashSet;
use std::time::Instant;

use rustix::process::WaitOptions;
use serde_json::{Value, json};

use crate::Failure;
use crate::launch::Launcher;
use crate::peers::{Peer, Peers};

const AT_A_TIME: usize = 16;
const SERIAL_BATCH: usize = 60;
const PARALLEL_BATCH: usize = 160;

pub(crate) fn run(peers: &Peers, rounds: usize) -> Result<Value, Failure> {
    let launcher = Launcher::new()?;
    let scaled: Vec<&Peer> = peers.all.iter().filter(|it| it.scale).collect();
    let mut rates: Vec<[Vec<Rate>; 2]> = scaled.iter().map(|_| Default::default()).collect();
    // The first round warms up.
    for round in 0..=rounds {
        for (peer, rates) in scaled.iter().zip(&mut rates) {
            let serial = rate(&launcher, peer, 1, SERIAL_BATCH)?;
            let parallel = rate(&launcher, peer, AT_A_TIME, PARALLEL_BATCH)?;
            if round > 0 {
                rates[0].push(serial);
                rates[1].push(parallel);
            }
        }
    }

    println!("{:<14} {:>12} {:>12} {:>8} {:>18}", "", "1 at a time", "16 at a time", "scaling", "processors busy");
    let mut rows = Vec::new();
    for (peer, rates) in scaled.iter().zip(&rates) {
        let [serial, parallel] = rates.each_ref().map(|it| median(it, |it| it.per_s));
        let [serial_busy, parallel_busy] = rates.each_ref().map(|it| median(it, |it| it.busy));
        println!(
            "{:<14} {serial:>10.0}/s {parallel:>10.0}/s {:>8.2} {serial_busy:>8.2} and {parallel_busy:>5.2}",
            peer.name,
            parallel / serial
        );
        rows.push(json!({
            "peer": peer.name, "serial_per_s": serial.round(), "parallel_per_s": parallel.round(),
            "scaling": thousandths(parallel / serial), "serial_busy": thousandths(serial_busy),
            "parallel_busy": thousandths(parallel_busy),
        }));
    }
    Ok(Value::Array(rows))
}

/// How launches with so many in flight went.
struct Rate {
    per_s: f64,
    /// How many processors were not idle, on average: with the kernel's own work after a launch, and all else on the
    /// machine. What keeps 1.4 of two busy one at a time cannot scale by more than 2 / 1.4.
    busy: f64,
}

/// Makes so many launches with so many in flight.
fn rate(launcher: &Launcher, peer: &Peer, at_a_time: usize, count: usize) -> Result<Rate, Failure> {
    let idle = idle_time()?;
    let start = Instant::now();
    let (mut started, mut running) = (0, HashSet::new());
    while started < count || !running.is_empty() {
        if started < count && running.len() < at_a_time {
            running.insert(launcher.start(peer)?.id());
            started += 1;
            continue;
        }
        // Any child: also an orphan that a peer left to us, which is none of ours to count.
        let Some((pid, status)) = rustix::process::wait(WaitOptions::empty())? else { continue };
        if running.remove(&pid.as_raw_nonzero().get().unsigned_abs()) && status.exit_status() != Some(0) {
            return Err(launcher.failure(peer, &format!("{status:?}")));
        }
    }
    let (wall, idle) = (start.elapsed().as_secs_f64(), idle_time()? - idle);
    let processors = std::thread::available_parallelism()?.get() as f64;
    Ok(Rate { per_s: count as f64 / wall, busy: processors - idle / wall })
}

/// Seconds that all processors together were idle since the machine started: proc_stat(5), fields `idle` and `iowait`.
fn idle_time() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let fields: Vec<&str> = stat.lines().next().unwrap_or_default().split_whitespace().collect();
    let [_, _, _, _, idle, waiting, ..] = fields[..] else {
        return Err("/proc/stat: no line of all processors".into());
    };
    let ticks = idle.parse::<u64>()? + waiting.parse::<u64>()?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

fn median(rates: &[Rate], of: impl Fn(&Rate) -> f64) -> f64 {
    let mut sorted: Vec<f64> = rates.iter().map(of).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn thousandths(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}
