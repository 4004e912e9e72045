//! What is told of an app's health checks.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Whether an app does its work, as far as its health check tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReport {
    /// What follows from the checks.
    pub status: HealthStatus,
    /// How many have failed in a row.
    pub failing_streak: u32,
    /// The last five, the latest last.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub log: VecDeque<CheckReport>,
}

/// What the checks of an app come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthStatus {
    /// None has succeeded since its start, and not enough have failed.
    #[default]
    Starting,
    /// The last one succeeded, or not enough have failed since.
    Healthy,
    /// Too many failed in a row.
    Unhealthy,
}

impl HealthStatus {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// When it began.
    pub start_ns: u64,
    /// When it ended.
    pub end_ns: u64,
    /// Its exit status, as shells count it; -1 if it was killed for taking too long, or could not be executed.
    pub exit_code: i32,
    /// The beginning of what it has written, or why there is nothing.
    pub output: String,
}
