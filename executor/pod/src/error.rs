//! What can go wrong with a pod directory.

use std::path::PathBuf;

use appc::PodUuid;
use rustix::io::Errno;

use crate::{PodName, RemovalError, State};

/// A system call that failed, printed the way strace prints it.
#[derive(Debug, thiserror::Error)]
#[error("{call}({path:?})")]
pub struct CallError {
    /// The call, by its man-page name.
    pub call: &'static str,
    /// What it was applied to, beginning below the data directory.
    pub path: String,
    /// The kernel's answer.
    #[source]
    pub source: Errno,
}

impl CallError {
    /// Whether there is nothing at that path.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self.source, Errno::NOENT | Errno::NOTDIR)
    }
}

/// Why an operation on pods failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PodError {
    /// A system call failed.
    #[error(transparent)]
    Call(#[from] CallError),

    /// The data directory is a symbolic link: what it points to could be exchanged between two commands.
    #[error("data directory {} is a symbolic link", path.display())]
    DataDirSymlink {
        /// The data directory as given.
        path: PathBuf,
    },

    /// The data directory is something else.
    #[error("data directory {} is not a directory", path.display())]
    DataDirKind {
        /// The path as given.
        path: PathBuf,
    },

    /// The data directory belongs to somebody else, who could exchange anything in it.
    #[error("{} belongs to uid {owner}, not to uid {user}", path.display())]
    DataDirOwner {
        /// The directory.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who we are.
        user: u32,
    },

    /// Others may write to the data directory.
    #[error("{} has mode {mode:04o}: others can write to it", path.display())]
    DataDirWritable {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },

    /// The `format` file of `pods/` is not a number.
    #[error("pods/format holds {found:?}, not a version number")]
    FormatUnreadable {
        /// The beginning of what stands there.
        found: String,
    },

    /// `pods/` was written by a later version: it can be read, not changed.
    #[error("pods/ has format {found}, this version knows up to {known}: it can only be read")]
    NewerFormat {
        /// The version on disk.
        found: u32,
        /// The newest version that this program writes.
        known: u32,
    },

    /// A pod of this UUID exists.
    #[error("a pod with UUID {uuid} exists")]
    UuidInUse {
        /// The UUID.
        uuid: PodUuid,
    },

    /// The name belongs to another pod.
    #[error("pod name {:?} is in use by pod {holder} ({state})", name.as_str())]
    NameInUse {
        /// The name that was asked for.
        name: PodName,
        /// The pod that has it.
        holder: PodUuid,
        /// That pod's state.
        state: State,
    },

    /// The pod is not there (any more).
    #[error("pod {uuid} does not exist")]
    NotFound {
        /// Its UUID.
        uuid: PodUuid,
    },

    /// The pod's state forbids what was asked for.
    #[error("pod {uuid} is {state}: cannot {wanted}")]
    WrongState {
        /// The pod.
        uuid: PodUuid,
        /// The state it is in.
        state: State,
        /// What was asked for, as a verb.
        wanted: &'static str,
    },

    /// Somebody has changed it since it was read.
    #[error("pod {uuid} was changed while it was about to run")]
    Changed {
        /// The pod.
        uuid: PodUuid,
    },

    /// A lock that is held for microseconds only did not come free.
    #[error("{path:?} stayed locked for {waited_ms} ms")]
    StillLocked {
        /// The locked file or directory.
        path: String,
        /// How long we tried, in milliseconds.
        waited_ms: u128,
    },

    /// Creation was undone by a gc over and over; never seen without somebody trying.
    #[error("pod {uuid} was swept away {attempts} times while it was created")]
    Swept {
        /// The pod.
        uuid: PodUuid,
        /// How often it was tried.
        attempts: u32,
    },

    /// A file of a pod is larger than such a file may be.
    #[error("{path:?} has {size} bytes, more than {limit}")]
    TooLarge {
        /// The file.
        path: String,
        /// Its size in bytes.
        size: u64,
        /// The bound in bytes.
        limit: u64,
    },

    /// A file of a pod is not a regular file.
    #[error("{path:?} is not a regular file")]
    NotAFile {
        /// The path.
        path: String,
    },

    /// The absent name, where a directory is to be made for it.
    #[error("an app or volume without a name")]
    EmptyName,

    /// A status file does not hold what it should.
    #[error("malformed status {path:?}")]
    Status {
        /// The file.
        path: String,
        /// What the JSON parser said.
        #[source]
        source: serde_json::Error,
    },

    /// The manifest of a pod does not parse.
    #[error("malformed manifest of pod {uuid}: {}", on_one_line(error))]
    Manifest {
        /// The pod.
        uuid: PodUuid,
        /// What the parser said.
        error: Box<appc::ManifestError>,
    },

    /// The pod's directory could not be removed; it stands in `garbage/` and gc will try again.
    #[error("remove pod {uuid}")]
    Removal {
        /// The pod.
        uuid: PodUuid,
        /// Why.
        #[source]
        source: RemovalError,
    },
}

impl PodError {
    /// The errno of the system call behind this error, if it is one.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Call(call) => Some(call.source),
            _ => None,
        }
    }
}

/// A parser's error with its place. (Go's form of an error of syntax is a picture of several lines.)
fn on_one_line(error: &appc::ManifestError) -> String {
    match error {
        appc::ManifestError::Syntax(syntax) => {
            format!("line {}, column {}: {}", syntax.line, syntax.column, syntax.problem)
        }
        error => error.located().to_string(),
    }
}
