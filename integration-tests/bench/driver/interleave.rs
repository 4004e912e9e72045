//! Launches the peers one at a time, all of them in every round, and compares their times.

use std::time::Duration;

use serde_json::{Value, json};

use crate::Failure;
use crate::launch::{Launcher, Sample, peak_rss};
use crate::peers::Peers;

const WARM_UP: usize = 3;

pub(crate) fn run(peers: &Peers, rounds: usize) -> Result<Value, Failure> {
    let launcher = Launcher::new()?;
    for _ in 0..WARM_UP {
        for peer in &peers.all {
            launcher.launch(peer)?;
        }
    }
    let mut samples: Vec<Vec<Sample>> = peers.all.iter().map(|_| Vec::new()).collect();
    let mut order = Order::new(peers.all.len());
    for round in 0..rounds {
        for &index in order.next() {
            let peer = &peers.all[index];
            if round % peer.every == 0 {
                samples[index].push(launcher.launch(peer)?);
            }
        }
    }

    let yardstick = Wall::of(&samples[0]).median;
    println!(
        "{:<14} {:>5} {:>9} {:>9} {:>9} {:>7} {:>9} {:>9}",
        "", "runs", "median", "p10", "p90", "ratio", "cpu", "rss"
    );
    let mut rows = Vec::new();
    for (peer, samples) in peers.all.iter().zip(&samples) {
        let wall = Wall::of(samples);
        let cpu = samples.iter().map(|it| it.cpu).sum::<Duration>() / u32::try_from(samples.len())?;
        let rss = peak_rss(peers, peer)?;
        let ratio = wall.median.as_secs_f64() / yardstick.as_secs_f64();
        println!(
            "{:<14} {:>5} {:>6.2} ms {:>6.2} ms {:>6.2} ms {:>7.2} {:>6.2} ms {:>6.1} MB",
            peer.name,
            samples.len(),
            millis(wall.median),
            millis(wall.p10),
            millis(wall.p90),
            ratio,
            millis(cpu),
            rss as f64 / 1e6
        );
        rows.push(json!({
            "peer": peer.name, "runs": samples.len(), "median_us": micros(wall.median), "p10_us": micros(wall.p10),
            "p90_us": micros(wall.p90), "ratio": (ratio * 1000.0).round() / 1000.0, "cpu_us": micros(cpu), "rss_bytes": rss,
        }));
    }
    Ok(Value::Array(rows))
}

/// Where the times of a peer lie.
struct Wall {
    p10: Duration,
    median: Duration,
    p90: Duration,
}

impl Wall {
    fn of(samples: &[Sample]) -> Self {
        let mut sorted: Vec<Duration> = samples.iter().map(|it| it.wall).collect();
        sorted.sort_unstable();
        let at = |percent: usize| sorted[(sorted.len() - 1) * percent / 100];
        Self { p10: at(10), median: at(50), p90: at(90) }
    }
}

/// A new order of the peers for every round: what one leaves behind (caches, dying namespaces) must not always meet the
/// same successor. The same in every run.
struct Order {
    order: Vec<usize>,
    state: u64,
}

impl Order {
    fn new(peers: usize) -> Self {
        Self { order: (0..peers).collect(), state: 0x9e37_79b9_7f4a_7c15 }
    }

    fn next(&mut self) -> &[usize] {
        for last in (1..self.order.len()).rev() {
            // xorshift64; its slight bias over so few peers does not matter here.
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            let other = (self.state % (last as u64 + 1)) as usize;
            self.order.swap(last, other);
        }
        &self.order
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
