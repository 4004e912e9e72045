//! What a pod's processes tell one another.

use serde::{Deserialize, Serialize};

use super::Failure;
use crate::network::EtcFile;
use crate::plan::SourceKind;

/// What the monitor tells pid 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ToInit {
    /// The id maps of the pod's user namespace are written.
    Mapped,
    /// Descriptors of the pod's directory, as many as come with the message; the last of them when told.
    Files {
        /// Whether these are the last.
        last: bool,
    },
    /// Execute the program of an app. For the first time that is the process which waits for it; later ones come with
    /// their standard streams, unless the app has the pod's.
    Start {
        /// Index of the app.
        app: usize,
        /// The number under which the monitor knows the process.
        process: u64,
        /// Whether the pod is over when that process has ended: no [`ToInit::Shutdown`] is to be waited for then.
        last: bool,
        /// Whether [`FromInit::Executed`] is to be said.
        awaited: bool,
    },
    /// Execute something else in an app: an [`EnterSpec`] as JSON in a memory file, then standard streams or none.
    Enter(Entry),
    /// Hand out the namespaces of an app.
    Room {
        /// Index of the app.
        app: usize,
        /// The number under which the monitor knows the question.
        process: u64,
    },
    /// Create another app: an [`AddSpec`] as JSON in a memory file, then its mounts, root first, then streams or none.
    Add {
        /// Index of the app.
        app: usize,
    },
    /// Let go of an app none of whose processes run any more.
    Remove {
        /// Index of the app.
        app: usize,
    },
    /// Send a signal to a process.
    Signal {
        /// Its number.
        process: u64,
        /// The signal.
        signal: i32,
    },
    /// Kill a process with the whole of its process group.
    Kill {
        /// Its number.
        process: u64,
    },
    /// Wait for [`ToInit::Shutdown`] in any case, and say [`FromInit::Stays`].
    Stay,
    /// Change every app's /etc/hosts: edits ([`crate::node::Edits`]) as JSON in a memory file.
    Hosts,
    /// The pod is over.
    Shutdown,
}

/// What pid 1 tells the monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FromInit {
    /// Something failed before the first apps were created; pid 1 ends.
    Failed(Failure),
    /// Something the user should know of.
    Remark {
        /// Index of the app.
        app: usize,
        /// What.
        text: String,
    },
    /// The pod's network namespace and user namespace come along, for who connects it; then the network namespace between
    /// it and the world, if there is one.
    Namespaces,
    /// The user namespace and the mount namespace of an app come along.
    Room {
        /// The number of the question.
        process: u64,
    },
    /// Listening sockets of the metadata service come along: the pod's, if told, then those of apps.
    Listeners {
        /// Whether the pod's is among them.
        pod: bool,
        /// Indices of the apps whose own they are.
        apps: Vec<usize>,
    },
    /// The apps that the pod begins with are created. With this come the terminals of those that have one.
    Created {
        /// Indices of the apps whose terminals come along.
        terminals: Vec<usize>,
    },
    /// An app that was added is created; its terminal comes along if it has one.
    Added {
        /// Index of the app.
        app: usize,
    },
    /// An app could not be added.
    AddFailed {
        /// Index of the app.
        app: usize,
        /// Why.
        failure: Failure,
    },
    /// The terminal of a process comes along.
    Terminal {
        /// Number of the process.
        process: u64,
    },
    /// A program is executed, as was to be told.
    Executed {
        /// Number of the process.
        process: u64,
    },
    /// A program could not be executed.
    ExecFailed {
        /// Number of the process.
        process: u64,
        /// Why.
        failure: Failure,
    },
    /// From now on the end of no process is the pod's before the monitor says so.
    Stays,
    /// A process ended.
    Exited {
        /// Its number.
        process: u64,
        /// How.
        end: End,
    },
}

/// What pid 1 tells the process that becomes an app's program, or another one in the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ToStub {
    /// The id maps of the app's user namespace are written.
    Mapped,
    /// Execute the program.
    Start,
}

/// What such a process tells pid 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FromStub {
    /// Something the user should know of.
    Remark(String),
    /// It sits in its own user namespace, whose maps are to be written.
    WantsMap {
        /// The app's user.
        uid: u32,
        /// The app's group.
        gid: u32,
    },
    /// The terminal that it has made comes along.
    Terminal,
    /// Everything that can fail on input has succeeded.
    Ready,
    /// It failed, and ends.
    Failed(Failure),
}

/// A process that is executed in an app, other than its first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Index of the app.
    pub(crate) app: usize,
    /// The number under which the monitor knows the process.
    pub(crate) process: u64,
    /// Whether it is the app's pre-start handler.
    pub(crate) pre_start: bool,
    /// Whether [`FromInit::Executed`] is waited for.
    pub(crate) awaited: bool,
    /// Whether its streams are pipes of the supervisor.
    pub(crate) kept: bool,
}

impl Entry {
    /// That of a process that is no handler, and of which nobody waits to hear that it is executed.
    pub(crate) fn new(app: usize, process: u64) -> Self {
        Self { app, process, pre_start: false, awaited: false, kept: false }
    }
}

/// What is executed in an app beside or instead of its program. Absent members are as the app has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EnterSpec {
    /// Program and arguments.
    pub exec: Vec<String>,
    /// Variables that replace those of the app.
    pub environment: Vec<(String, String)>,
    /// Absolute path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    /// User name, number or path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Group name, number or path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// A terminal of this size instead of streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminal: Option<TerminalSize>,
}

/// An app that is added to a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AddSpec {
    /// A pod manifest that holds this app alone, and the pod's volumes.
    pub(crate) manifest: String,
    /// The pod's host name.
    pub(crate) hostname: String,
    /// For each volume, what its source on the host is.
    pub(crate) sources: Vec<Option<SourceKind>>,
    /// Which of the app's mounts come along, behind its root.
    pub(crate) mounts: Vec<usize>,
    /// A terminal of this size instead of streams.
    pub(crate) terminal: Option<TerminalSize>,
    /// Where it finds the metadata service.
    pub(crate) metadata_url: Option<String>,
    /// The files of /etc that it is given.
    pub(crate) etc: Vec<EtcFile>,
    /// Whether the way into its control group comes along, behind its mounts.
    pub(crate) cgroup: bool,
}

/// The size of a terminal (ioctl_tty(2), `TIOCSWINSZ`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// How a process ended (wait(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// It exited with this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

impl End {
    /// The status as shells count it: the code, or 128 plus the signal's number.
    #[must_use]
    pub fn status(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}
