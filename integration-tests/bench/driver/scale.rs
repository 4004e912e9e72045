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
    let mut rates: Vec<[Vec<f64>; 2]> = scaled.iter().map(|_| Default::default()).collect();
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

    println!("{:<14} {:>12} {:>12} {:>8}", "", "1 at a time", "16 at a time", "scaling");
    let mut rows = Vec::new();
    for (peer, rates) in scaled.iter().zip(&mut rates) {
        let [serial, parallel] = rates.each_mut().map(|it| median(it));
        println!("{:<14} {:>10.0}/s {:>10.0}/s {:>8.2}", peer.name, serial, parallel, parallel / serial);
        rows.push(json!({
            "peer": peer.name, "serial_per_s": serial.round(), "parallel_per_s": parallel.round(),
            "scaling": (parallel / serial * 1000.0).round() / 1000.0,
        }));
    }
    Ok(Value::Array(rows))
}

/// Launches per second with so many in flight.
fn rate(launcher: &Launcher, peer: &Peer, at_a_time: usize, count: usize) -> Result<f64, Failure> {
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
    Ok(count as f64 / start.elapsed().as_secs_f64())
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_unstable_by(f64::total_cmp);
    rates[rates.len() / 2]
}
