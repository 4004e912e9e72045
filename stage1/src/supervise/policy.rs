//! What was decided beforehand: when a pod is over, and when an app is started again.

use serde::{Deserialize, Serialize};

use super::SIGTERM;

/// When a pod is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExitPolicy {
    /// When all apps have ended; the first that fails has the others stopped.
    #[default]
    Failure,
    /// When the first app ends, however it does: the others are stopped.
    Any,
    /// When all apps have ended, however they did.
    All,
    /// Only when it is stopped: a sandbox whose apps come and go.
    Never,
}

/// When an app that has ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Never.
    #[default]
    No,
    /// When it failed, at most so many times; without a number, always.
    OnFailure(Option<u32>),
    /// However it ended.
    Always,
}

/// What the supervisor must know of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppPolicy {
    /// Whether something runs before its program is started.
    pub pre_start: bool,
    /// Whether something runs after its program has ended.
    pub post_stop: bool,
    /// The signal that asks it to end.
    pub stop_signal: i32,
    /// Whether it is started again.
    pub restart: Restart,
}

impl Default for AppPolicy {
    fn default() -> Self {
        Self { pre_start: false, post_stop: false, stop_signal: SIGTERM, restart: Restart::No }
    }
}
