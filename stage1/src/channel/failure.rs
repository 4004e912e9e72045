//! A failure that crosses a fork.

use serde::{Deserialize, Serialize};

/// A failure that crosses a fork.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which kind.
    pub kind: FailureKind,
    /// What failed, with its arguments.
    pub message: String,
}

/// Most characters of a failure's text. Escaped as JSON, six bytes each at the worst, it still fits a message.
const MAX_FAILURE: usize = 2000;

impl Failure {
    /// A failure of this kind; a text that is too long for people is cut.
    pub(crate) fn new(kind: FailureKind, what: &dyn std::fmt::Display) -> Self {
        Self { kind, message: shortened(what.to_string()) }
    }

    /// The exit status that stands for this failure, as shells have it.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self.kind {
            FailureKind::NotFound => 127,
            FailureKind::NotExecutable => 126,
            _ => 254,
        }
    }
}

/// A text for people that fits a message.
pub(crate) fn shortened(text: String) -> String {
    match text.char_indices().nth(MAX_FAILURE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Kinds of failure, as far as the exit status or a hint depends on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FailureKind {
    /// An operation of the runner failed.
    Setup,
    /// The kernel refused a namespace.
    Namespace,
    /// The overlay could not be mounted.
    Overlay,
    /// A volume could not be mounted where it was asked for.
    Volume,
    /// The user or group does not exist in the image, or its id cannot be mapped.
    User,
    /// The working directory does not exist or cannot be entered.
    WorkingDirectory,
    /// The program does not exist in the image: status 127, as shells say.
    NotFound,
    /// The program exists and cannot be executed: status 126.
    NotExecutable,
}
