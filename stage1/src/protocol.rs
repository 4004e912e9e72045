//! The language of a pod's control socket: one JSON object a line, descriptors beside it (docs/formats/control-socket.md).
//!
//! A client connects, says [`Request`]s and hears [`Reply`]s. Requests carry the version of the language; a supervisor
//! refuses a version that it does not know, ignores members that it does not know, and never changes what a member
//! means. Times are nanoseconds since the epoch, signals are numbers.

mod health;

use crate::network::{CarriedPort, NetworkReport};
use crate::supervise::Restart;
use serde::{Deserialize, Serialize};

pub use health::{CheckReport, HealthReport, HealthStatus};

pub use crate::channel::{End, EnterSpec, FailureKind, TerminalSize};

/// The version spoken here.
pub const VERSION: u32 = 1;

/// Longest line in bytes: the manifest of an added app has at most 4 MiB.
pub const MAX_LINE: usize = 5 << 20;

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Version of the language.
    pub version: u32,
    /// What is wanted.
    #[serde(flatten)]
    pub call: Call,
}

impl Request {
    /// A request in this version.
    #[must_use]
    pub fn new(call: Call) -> Self {
        Self { version: VERSION, call }
    }
}

/// What can be wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "kebab-case")]
pub enum Call {
    /// The pod's state: [`Reply::Status`].
    Status,
    /// Every event after number `since`, of those that are remembered, and all that follow: [`Reply::Event`] each, and
    /// [`Reply::Exited`] with the pod's status when the pod is over.
    Events {
        /// Number of the last event that the client knows; 0 for none.
        #[serde(default)]
        since: u64,
    },
    /// Send a signal to the program of an app, or of each app. [`Reply::Done`].
    Signal {
        /// The app; all of them if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        app: Option<String>,
        /// The signal.
        signal: i32,
    },
    /// Stop an app or the pod. [`Reply::Done`] when it has begun; the pod's end closes the connection.
    Stop {
        /// The app; the pod if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        app: Option<String>,
        /// Signal to begin with, instead of each app's own. 9 gives no time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
        /// Milliseconds until the kill.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grace_ms: Option<u64>,
    },
    /// Start an app that is created or has exited. [`Reply::Done`].
    Start {
        /// The app.
        app: String,
    },
    /// Create an app. Descriptors: the trees of its image, lowest first, then its volumes' sources. [`Reply::Done`].
    Add {
        /// A pod manifest with this app alone and the volumes that it mounts.
        manifest: String,
        /// The manifest of its image, for the metadata service; without it, what the pod manifest says of the image.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image: Option<String>,
        /// How many trees come along.
        layers: usize,
        /// The names of those that belong to its image, for whoever keeps the pod: no garbage collection removes them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        trees: Vec<String>,
        /// How its streams are kept.
        stdio: StdioKind,
        /// Whether the client hears [`Reply::Remark`] before the answer.
        #[serde(default)]
        remarks: bool,
    },
    /// Let go of an app that does not run. [`Reply::Done`].
    Remove {
        /// The app.
        app: String,
    },
    /// Have a port of the host, or a range, lead into the pod. Descriptors: a socket for each, which listens or is for
    /// datagrams. [`Reply::Done`].
    AddPort {
        /// The port.
        port: CarriedPort,
    },
    /// Let go of such a port: [`Reply::Done`] when it is free. Who is connected stays so.
    RemovePort {
        /// The port.
        port: CarriedPort,
    },
    /// Execute something in an app. Descriptors: input, output and errors, or none with a terminal. [`Reply::Started`]
    /// with the terminal if there is one, and [`Reply::Exited`] at its end. If the client goes first, the process is
    /// hung up. One without a terminal that stays is told as started when its program is executed.
    Enter {
        /// The app.
        app: String,
        /// Whether it goes on when the client has gone.
        #[serde(default)]
        stays: bool,
        /// What.
        #[serde(flatten)]
        spec: EnterSpec,
    },
    /// Be given the namespaces of an app, to work on its files as a process that it cannot see: [`Reply::Room`].
    Room {
        /// The app.
        app: String,
    },
    /// Send a signal to what this connection has entered. No reply.
    Forward {
        /// The signal.
        signal: i32,
    },
    /// Be connected with an app's streams: [`Reply::Attached`], whose descriptors are those that were asked for and that
    /// the app has, in the order of the members.
    Attach {
        /// The app.
        app: String,
        /// Its input.
        #[serde(default)]
        stdin: bool,
        /// Its output.
        #[serde(default)]
        stdout: bool,
        /// Its errors.
        #[serde(default)]
        stderr: bool,
        /// Whether the pod is to be stopped when this connection ends.
        #[serde(default)]
        holds: bool,
    },
    /// Have the pod go on when this connection, which holds it, ends. [`Reply::Done`].
    LetGo,
    /// Start the apps again in these cases from now on, instead of those that were said when the pod was started.
    /// [`Reply::Done`].
    RestartPolicy {
        /// When.
        policy: Restart,
    },
}

impl Call {
    /// Whether the client may be waiting for what comes of it for as long as it is connected.
    #[must_use]
    pub fn lasts(&self) -> bool {
        match self {
            Self::Events { .. }
            | Self::Stop { .. }
            | Self::Add { .. }
            | Self::RemovePort { .. }
            | Self::Enter { .. }
            | Self::Attach { .. } => true,
            Self::Status
            | Self::Signal { .. }
            | Self::Start { .. }
            | Self::Remove { .. }
            | Self::AddPort { .. }
            | Self::Room { .. }
            | Self::Forward { .. }
            | Self::LetGo
            | Self::RestartPolicy { .. } => false,
        }
    }
}

/// How an app's streams are kept by the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StdioKind {
    /// Whether something can be written to the app's input; else it is at its end.
    #[serde(default)]
    pub stdin: bool,
    /// A terminal of this size instead of pipes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<TerminalSize>,
    /// Whether the app's output is thrown away.
    #[serde(default)]
    pub no_stdout: bool,
    /// Whether its errors are.
    #[serde(default)]
    pub no_stderr: bool,
}

/// What a supervisor says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It is done, or has begun.
    Done,
    /// Something that the user should know, though nothing failed. The answer follows.
    Remark(String),
    /// The state of the pod.
    Status(PodReport),
    /// Something happened.
    Event(PodEvent),
    /// A process was made; with this comes its terminal, if it has one.
    Started,
    /// The process ended; of who holds the pod or hears its events, the pod.
    Exited(End),
    /// Descriptors come along: of these, in this order.
    Attached {
        /// Whether input is among them.
        stdin: bool,
        /// Whether output is.
        stdout: bool,
        /// Whether errors are.
        stderr: bool,
        /// Whether it is a terminal, of which all streams are one.
        terminal: bool,
    },
    /// Descriptors of the app's user namespace and of its mount namespace come along.
    Room,
    /// It could not be done.
    Error(Refused),
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// What a program should know.
    pub kind: RefusedKind,
    /// What a person should know.
    pub message: String,
}

/// Kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RefusedKind {
    /// The version or the call is not known.
    Version,
    /// The request makes no sense.
    Request,
    /// There is no such app.
    NoApp,
    /// The app is not in a state for it.
    State,
    /// It was tried and failed so.
    Failed(FailureKind),
}

/// The state of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodReport {
    /// Version of the supervisor's language.
    pub version: u32,
    /// Process id of the pod's pid 1, seen from outside.
    pub pid: i32,
    /// Whether every app that the pod began with has been started, and passed its pre-start handler.
    pub ready: bool,
    /// Whether it is being stopped.
    pub stopping: bool,
    /// Number of the last event.
    pub event: u64,
    /// The control group that the pod's groups are in, as a path of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// The apps.
    pub apps: Vec<AppReport>,
    /// Its network; supervisors of before had none.
    #[serde(default)]
    pub network: NetworkReport,
}

/// The state of an app.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppReport {
    /// Its name.
    pub name: String,
    /// `created`, `running` or `exited`.
    pub state: AppStateName,
    /// Number of the run, from 0.
    pub attempt: u32,
    /// When it was created.
    pub created_ns: u64,
    /// When it was last started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ns: Option<u64>,
    /// When it last ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_ns: Option<u64>,
    /// How it last ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<End>,
    /// Whether it has ended and will be started again after a pause.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restarting: bool,
    /// Whether the kernel killed it, or a process of it, for want of memory.
    #[serde(default)]
    pub oom: bool,
    /// One line for people, if there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether its program could not be executed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_executed: bool,
    /// Bytes of its log that could not be written, for want of room.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub logs_lost: u64,
    /// What its health check tells, if it has one; of an app that has ended, what it told last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthReport>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// States of an app, as users and rkt name them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AppStateName {
    /// It can be started.
    #[default]
    Created,
    /// A process of it runs.
    Running,
    /// It has ended.
    Exited,
}

impl AppStateName {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Exited => "exited",
        }
    }
}

/// Something that happened in a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodEvent {
    /// Its number: 1, 2, 3, without a gap.
    pub seq: u64,
    /// When.
    pub time_ns: u64,
    /// The app, unless it is the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// What.
    pub event: EventKind,
    /// How it ended, for `exited`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<End>,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EventKind {
    /// An app was created.
    Created,
    /// Its pre-start handler was started.
    PreStart,
    /// Its program was started.
    Started,
    /// Its post-stop handler was started.
    PostStop,
    /// It has ended.
    Exited,
    /// It was removed.
    Removed,
    /// The app or the pod is being stopped.
    Stopping,
    /// Something was executed in the app.
    Entered,
    /// A health check found it healthy, which it was not before.
    Healthy,
    /// Its health checks found it unhealthy, which it was not before.
    Unhealthy,
}
