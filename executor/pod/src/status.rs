//! What is kept of an app and of a pod after their end.

use serde::{Deserialize, Serialize};

/// How an app's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AppExit {
    /// It exited with this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

impl AppExit {
    /// The exit status that a shell would report: the code, or 128 plus the signal's number.
    #[must_use]
    pub const fn status(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// The record of one attempt to run an app: the file `app.APP.ATTEMPT`.
///
/// It holds times and causes, no state: whether an app runs is known only from the living. Members that a later
/// version adds are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppStatus {
    /// When the app was created, in nanoseconds since the epoch.
    pub created_ns: u64,
    /// When its process was started; absent if it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ns: Option<u64>,
    /// When its process ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_ns: Option<u64>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<AppExit>,
    /// Why, where that is known: one line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the kernel killed it for want of memory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oom_killed: bool,
    /// Whether it was to be started again after a pause: another attempt, unless the pod has ended meanwhile.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restarting: bool,
    /// Whether its program could not be executed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_executed: bool,
    /// Bytes of the app's log that could not be written by then, for want of room.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub logs_lost: u64,
    /// What its health checks told when they last changed their mind, as the supervisor says it
    /// (docs/formats/control-socket.md).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<serde_json::Value>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// How a pod ended: the file `status`. Without it, the monitor was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodStatus {
    /// The exit status of the pod, 0 to 255.
    pub status: i32,
    /// When it ended, in nanoseconds since the epoch.
    pub finished_ns: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_what_a_shell_reports() {
        assert_eq!(AppExit::Code(7).status(), 7);
        assert_eq!(AppExit::Signal(9).status(), 137);
    }

    #[test]
    fn members_of_a_later_version_are_ignored() {
        let read: AppStatus = serde_json::from_str(r#"{"created_ns":1,"exit":{"code":3},"colour":"red"}"#).unwrap();
        assert_eq!(read, AppStatus { created_ns: 1, exit: Some(AppExit::Code(3)), ..AppStatus::default() });
    }
}
