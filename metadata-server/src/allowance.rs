//! How often something may happen: a number at once, and so many more each second.

use std::time::Instant;

/// A token bucket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    burst: f64,
    per_second: f64,
    left: f64,
    since: Option<Instant>,
}

impl Allowance {
    pub(crate) const fn new(burst: u32, per_second: u32) -> Self {
        let burst = burst as f64;
        Self { burst, per_second: per_second as f64, left: burst, since: None }
    }

    /// Takes one; false if there is none left.
    pub(crate) fn take(&mut self) -> bool {
        self.take_at(Instant::now())
    }

    fn take_at(&mut self, now: Instant) -> bool {
        let passed = self.since.replace(now).map_or(0.0, |since| now.saturating_duration_since(since).as_secs_f64());
        self.left = (self.left + passed * self.per_second).min(self.burst);
        let any = self.left >= 1.0;
        if any {
            self.left -= 1.0;
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_and_then_a_rate() {
        let mut allowance = Allowance::new(3, 2);
        let start = Instant::now();
        let taken = |allowance: &mut Allowance, at: u64| {
            (0..10).filter(|_| allowance.take_at(start + Duration::from_millis(at))).count()
        };
        assert_eq!(taken(&mut allowance, 0), 3);
        assert_eq!(taken(&mut allowance, 400), 0);
        assert_eq!(taken(&mut allowance, 1000), 2);
        assert_eq!(taken(&mut allowance, 60_000), 3, "no more than the burst is saved up");
    }
}
