//! `-m`, `--cpus`, `--cpu-shares` and their like: limits of `docker run`, which `docker update` changes afterwards.

use appc::IsolatorValue;
use appc::isolator::limit::Limit;
use appc::isolator::scheduling::CpuShares;
use appc::resource::{Format, Quantity};
use clap::Args;
use stage1::limits::MAX_PROCESSES;

use crate::app_isolators::Given;
use crate::diagnostics::warn;
use crate::error::CommandError;

// The options are flattened into those of two commands; a doc comment here would become their help text.
#[derive(Debug, Args)]
pub(super) struct LimitArgs {
    /// Memory limit: a number with b, k, m or g
    #[arg(long, short, value_name = "BYTES")]
    memory: Option<String>,

    /// Number of CPUs
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<String>,

    /// CPU shares (relative weight)
    #[arg(long, short, value_name = "NUMBER")]
    cpu_shares: Option<i64>,

    /// Memory soft limit
    #[arg(long, value_name = "BYTES", hide = true)]
    memory_reservation: Option<String>,

    /// Swap limit equal to memory plus swap
    #[arg(long, value_name = "BYTES", hide = true, allow_hyphen_values = true)]
    memory_swap: Option<String>,

    /// Limit CPU CFS (Completely Fair Scheduler) period
    #[arg(long, value_name = "MICROSECONDS", hide = true)]
    cpu_period: Option<String>,

    /// Limit CPU CFS (Completely Fair Scheduler) quota
    #[arg(long, value_name = "MICROSECONDS", hide = true, allow_hyphen_values = true)]
    cpu_quota: Option<String>,

    /// CPUs in which to allow execution
    #[arg(long, value_name = "CPUS", hide = true)]
    cpuset_cpus: Option<String>,

    /// Memory nodes in which to allow execution
    #[arg(long, value_name = "NODES", hide = true)]
    cpuset_mems: Option<String>,

    /// Block IO weight
    #[arg(long, value_name = "WEIGHT", hide = true)]
    blkio_weight: Option<String>,
}

impl LimitArgs {
    /// Says which limits are not held; returns how many that are.
    pub(super) fn tell_unheld(&self) -> usize {
        let unheld = [
            ("--memory-reservation", &self.memory_reservation),
            ("--memory-swap", &self.memory_swap),
            ("--cpu-period", &self.cpu_period),
            ("--cpu-quota", &self.cpu_quota),
            ("--cpuset-cpus", &self.cpuset_cpus),
            ("--cpuset-mems", &self.cpuset_mems),
            ("--blkio-weight", &self.blkio_weight),
        ];
        let given = unheld.iter().filter_map(|(option, value)| Some((option, value.as_ref()?)));
        given.inspect(|(option, value)| warn(&format!("{option} {value} is not held"))).count()
    }

    /// The limits that are held, as isolators of the app in place of the image's. Zero is none, as docker has it.
    ///
    /// # Errors
    ///
    /// One is no number, or out of bounds.
    pub(super) fn of_app(&self) -> Result<Vec<Given>, CommandError> {
        let mut values = Vec::new();
        if let Some(text) = &self.memory {
            let bytes = bytes("-m", text, "6m")?;
            let limit = bytes.map(|bytes| Quantity::new(bytes, Format::DecimalSi));
            values.extend(limit.is_some().then(|| IsolatorValue::Memory(Limit { limit, ..Limit::default() })));
        }
        if let Some(text) = &self.cpus {
            let refused = || CommandError::usage(format!("--cpus {text}: not a number of CPUs"));
            let cpus: Quantity = text.parse().map_err(|_| refused())?;
            match cpus.milli_value() {
                0 => {}
                1.. => values.push(IsolatorValue::Cpu(Limit { limit: Some(cpus), ..Limit::default() })),
                _ => return Err(refused()),
            }
        }
        if let Some(shares) = self.cpu_shares.filter(|shares| *shares != 0) {
            let shares = CpuShares::new(shares).map_err(|error| CommandError::usage(format!("--cpu-shares: {error}")));
            values.push(IsolatorValue::CpuShares(shares?));
        }
        Ok(values.into_iter().filter_map(Given::new).collect())
    }
}

/// docker's units are binary ones, in either case; `least` is written so, too. Zero is as if nothing was said.
///
/// # Errors
///
/// It is no such number, or less.
pub(super) fn bytes(option: &str, text: &str, least: &str) -> Result<Option<i64>, CommandError> {
    let refused =
        || CommandError::usage(format!("{option} {text}: wanted a number with b, k, m or g, of at least {least}"));
    let number = number(text).ok_or_else(refused)?;
    match number {
        0 => Ok(None),
        _ if number >= self::number(least).unwrap_or_default() => Ok(Some(number)),
        _ => Err(refused()),
    }
}

/// How many processes a container may have; `None` for as many as usual. Warns of more than can be had.
///
/// # Errors
///
/// It is no such number.
pub(super) fn processes(text: &str) -> Result<Option<i64>, CommandError> {
    // Pid 1 is one of those of a pod.
    const MOST: u64 = MAX_PROCESSES - 1;
    let number = text.parse::<i64>().ok().filter(|number| *number >= -1);
    let number = number.ok_or_else(|| {
        CommandError::usage(format!("--pids-limit {text}: wanted a number of processes, or -1 for as many as usual"))
    })?;
    if u64::try_from(number).is_ok_and(|number| number > MOST) {
        warn(&format!("--pids-limit {text}: no container has more than {MOST} processes"));
    }
    Ok(Some(number).filter(|number| *number > 0))
}

fn number(text: &str) -> Option<i64> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches('b').trim_end_matches(['k', 'm', 'g']);
    let shift = match lower[digits.len()..].chars().next() {
        None | Some('b') => 0,
        Some('k') => 10,
        Some('m') => 20,
        _ => 30,
    };
    digits.parse::<i64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_bytes() {
        for (text, wanted) in [("64m", 64 << 20), ("1g", 1 << 30), ("1GB", 1 << 30), ("8388608", 8 << 20)] {
            assert_eq!(bytes("-m", text, "6m").unwrap(), Some(wanted), "{text}");
        }
        assert_eq!(bytes("-m", "0", "6m").unwrap(), None);
        for text in ["", "m", "5m", "-1", "1t", "1.5g", "99999999999g", "64 m"] {
            bytes("-m", text, "6m").expect_err(text);
        }
    }
}
