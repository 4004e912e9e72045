//! What becomes of a pod that is run.

use super::KeeperError;
use crate::cgroup::CgroupError;
use crate::channel::Failure;
use crate::idmap::IdMapError;
use crate::plan::PlanError;

/// How a pod ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodOutcome {
    /// The pod's exit status: the first failing app's, or 0.
    pub status: i32,
    /// The status of each app, in the order of the manifest; `None` for one that was killed with the pod.
    pub apps: Vec<Option<i32>>,
}

/// Why a pod could not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The manifest asks for what cannot be.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A standard stream is something that would let an app out of its root.
    #[error("{stream} is a {kind} of the host")]
    Stream {
        /// Which stream.
        stream: &'static str,
        /// What it is.
        kind: &'static str,
    },
    /// No user namespace.
    #[error("create the pod's user namespace")]
    Namespace(#[source] std::io::Error),
    /// The keeper could not make the pod's directories.
    #[error("make the pod's directories")]
    Files(#[source] KeeperError),
    /// The control groups of the pod could not be made, or a limit was refused.
    #[error("limit the pod's resources")]
    Cgroup(#[from] CgroupError),
    /// The id map was refused.
    #[error("map the pod's ids")]
    IdMap(#[from] IdMapError),
    /// The pod failed before its apps ran, or an app could not be executed.
    #[error("{}", .0.message)]
    Pod(Failure),
    /// Pid 1 of the pod ended before its apps did.
    #[error("the pod's pid 1 ended with status {0} before its apps did")]
    InitDied(i32),
    /// A system call of the monitor failed.
    #[error("supervise the pod")]
    Monitor(#[from] std::io::Error),
}

impl RunError {
    /// The exit status that stands for this error, as shells have it.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Pod(failure) => failure.exit_status(),
            _ => 254,
        }
    }
}

/// An error and what caused it, in one line: how it goes to a client.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
