//! Whether an app does its work: a command that is executed in it from time to time, and what follows from how it ends.
//! Pure.
//!
//! It is docker's HEALTHCHECK: the fields, their defaults, and when an app counts as healthy are those of the Dockerfile
//! reference.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::protocol::{CheckReport, HealthReport, HealthStatus};

/// Annotation of a pod's app, or of an OCI image: its health check, as docker's image configuration has it.
pub const HEALTHCHECK: &str = "proa.local/oci/healthcheck";

/// Time between two checks, and the longest that one may take, where nothing else is said.
const USUAL: Duration = Duration::from_secs(30);

/// Time between two checks in the start period.
const USUAL_AT_START: Duration = Duration::from_secs(5);

/// So many failures in a row make an app unhealthy.
const USUAL_RETRIES: u32 = 3;

/// No time may be shorter: docker's bound.
const SHORTEST: Duration = Duration::from_millis(1);

/// How many checks are remembered.
const REMEMBERED: usize = 5;

/// Bytes of what a check writes that are kept.
pub(crate) const MAX_OUTPUT: usize = 4096;

/// The exit code of a check that did not come to an end of its own.
const NO_CODE: i32 = -1;

/// A health check, as docker writes it down: times in nanoseconds; empty and 0 where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, expecting = "an object with Test, Interval, Timeout, Retries")]
pub struct Healthcheck {
    /// `["CMD", PROGRAM, ARGUMENT…]`, `["CMD-SHELL", COMMAND]`, or `["NONE"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<Vec<String>>,
    /// Time between the end of a check and the next.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "or_nothing")]
    pub interval: u64,
    /// Longest time for one check.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "or_nothing")]
    pub timeout: u64,
    /// Time after the start in which failures do not count.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "or_nothing")]
    pub start_period: u64,
    /// Time between two checks until the first that succeeds in the start period.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "or_nothing")]
    pub start_interval: u64,
    /// How many failures in a row make the app unhealthy.
    #[serde(skip_serializing_if = "is_none", deserialize_with = "or_nothing")]
    pub retries: u32,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_none(number: &u32) -> bool {
    *number == 0
}

/// A number, or null, which is 0 to programs in Go.
fn or_nothing<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A health check that makes no sense.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadHealthcheck {
    /// It is not written as docker writes it.
    #[error("health check {json} is not as docker writes it: {source}")]
    Json {
        /// What there is.
        json: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Its test is of no known kind, or lacks its command.
    #[error("health check: {0:?} is not [\"CMD\", PROGRAM, …], [\"CMD-SHELL\", COMMAND] or [\"NONE\"]")]
    Test(Vec<String>),
    /// One of its times is too short.
    #[error("health check: {field} of {time:?} is less than 1ms")]
    Short {
        /// Which.
        field: &'static str,
        /// How long it is.
        time: Duration,
    },
}

impl Healthcheck {
    /// Understands what stands in the annotation [`HEALTHCHECK`].
    ///
    /// # Errors
    /// [`BadHealthcheck`].
    pub fn parse(json: &str) -> Result<Self, BadHealthcheck> {
        let bad = |source| BadHealthcheck::Json { json: json.chars().take(MAX_OUTPUT).collect(), source };
        let check: Self = serde_json::from_str(json).map_err(bad)?;
        check.validate().map(|()| check)
    }

    /// Whether it makes sense.
    ///
    /// # Errors
    /// [`BadHealthcheck`].
    pub fn validate(&self) -> Result<(), BadHealthcheck> {
        let words: Vec<&str> = self.test.iter().flatten().map(String::as_str).collect();
        let is_known = match words.as_slice() {
            [] | ["NONE"] => true,
            ["CMD", program, ..] => !program.is_empty(),
            ["CMD-SHELL", _] => true,
            _ => false,
        };
        if !is_known {
            return Err(BadHealthcheck::Test(self.test.clone().unwrap_or_default()));
        }
        let times = [
            ("Interval", self.interval),
            ("Timeout", self.timeout),
            ("StartPeriod", self.start_period),
            ("StartInterval", self.start_interval),
        ];
        match times.into_iter().find(|(_, time)| *time > 0 && Duration::from_nanos(*time) < SHORTEST) {
            Some((field, time)) => Err(BadHealthcheck::Short { field, time: Duration::from_nanos(time) }),
            None => Ok(()),
        }
    }

    /// This one, with what it does not say from another.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let either = |own: u64, other: u64| if own == 0 { other } else { own };
        Self {
            test: self.test.filter(|test| !test.is_empty()).or(other.test),
            interval: either(self.interval, other.interval),
            timeout: either(self.timeout, other.timeout),
            start_period: either(self.start_period, other.start_period),
            start_interval: either(self.start_interval, other.start_interval),
            retries: if self.retries == 0 { other.retries } else { self.retries },
        }
    }

    /// What is to be executed; `None` if nothing is.
    #[must_use]
    pub fn command(&self) -> Option<Vec<String>> {
        match self.test.as_deref()? {
            [kind, command] if kind == "CMD-SHELL" => {
                Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), command.clone()])
            }
            [kind, command @ ..] if kind == "CMD" && !command.is_empty() => Some(command.to_vec()),
            _ => None,
        }
    }

    /// The longest time for one check.
    pub(crate) fn longest(&self) -> Duration {
        said(self.timeout, USUAL)
    }

    /// The time until the next check of an app that was started so long ago.
    pub(crate) fn pause(&self, status: HealthStatus, since_start: Duration) -> Duration {
        if status == HealthStatus::Starting && self.is_start(since_start) {
            return said(self.start_interval, USUAL_AT_START);
        }
        said(self.interval, USUAL)
    }

    fn is_start(&self, since_start: Duration) -> bool {
        since_start < Duration::from_nanos(self.start_period)
    }
}

fn said(nanoseconds: u64, usual: Duration) -> Duration {
    if nanoseconds == 0 { usual } else { Duration::from_nanos(nanoseconds) }
}

/// How a check went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It ended with this status, as shells count it.
    Ended(i32),
    /// It was killed, because it took too long.
    Late,
    /// It could not be executed.
    Failed(String),
}

/// A check that is over.
#[derive(Debug)]
pub(crate) struct Outcome<'a> {
    pub(crate) verdict: Verdict,
    /// What it has written.
    pub(crate) output: &'a [u8],
    /// When it began and when it ended, in nanoseconds since the epoch.
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    /// How long after the start of the app's program it began.
    pub(crate) since_start: Duration,
}

/// Takes the outcome of a check into the report; returns whether the app's status is another now.
pub(crate) fn judge(report: &mut HealthReport, check: &Healthcheck, outcome: Outcome<'_>) -> bool {
    let Outcome { verdict, output, start_ns, end_ns, since_start } = outcome;
    let before = report.status;
    let written = text(output);
    let (exit_code, output) = match verdict {
        Verdict::Ended(code) => (code, written),
        Verdict::Late if written.is_empty() => (NO_CODE, late(check)),
        Verdict::Late => (NO_CODE, format!("{}: {written}", late(check))),
        Verdict::Failed(why) => (NO_CODE, why),
    };
    if exit_code == 0 {
        (report.status, report.failing_streak) = (HealthStatus::Healthy, 0);
    } else if before != HealthStatus::Starting || !check.is_start(since_start) {
        report.failing_streak = report.failing_streak.saturating_add(1);
        if report.failing_streak >= if check.retries == 0 { USUAL_RETRIES } else { check.retries } {
            report.status = HealthStatus::Unhealthy;
        }
    }
    while report.log.len() >= REMEMBERED {
        report.log.pop_front();
    }
    report.log.push_back(CheckReport { start_ns, end_ns, exit_code, output });
    report.status != before
}

fn late(check: &Healthcheck) -> String {
    format!("Health check exceeded timeout ({:?})", check.longest())
}

/// What a check has written, as text, at most [`MAX_OUTPUT`] bytes of it.
fn text(output: &[u8]) -> String {
    let kept = String::from_utf8_lossy(&output[..output.len().min(MAX_OUTPUT)]).into_owned();
    if output.len() > MAX_OUTPUT { kept + "..." } else { kept }
}

impl HealthReport {
    /// That of an app whose program is started, and that was checked before.
    pub(crate) fn again(log: VecDeque<CheckReport>) -> Self {
        Self { status: HealthStatus::Starting, failing_streak: 0, log }
    }
}

#[cfg(test)]
mod tests;
