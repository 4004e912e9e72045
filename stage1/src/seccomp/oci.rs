//! System call filters as profiles of the OCI runtime specification (config-linux.md, "Seccomp"), and of the files that
//! docker, podman and containerd read, which say in addition for which capabilities, architectures and kernels an entry
//! is.
//!
//! Only an operator has one: an image has no place to name it.

use serde::Deserialize;

mod rules;
#[cfg(test)]
mod tests;

pub use rules::{Circumstances, Made, policy};

/// A profile that is longer is not read: docker's own has 12 kB.
pub const MAX_BYTES: u64 = 1 << 20;
/// More names than that are not looked up.
const MAX_NAMES: usize = 100_000;

/// A profile.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    /// Asks a program of the host about calls.
    #[serde(default)]
    listener_path: Option<String>,
    #[serde(default)]
    syscalls: Option<Vec<Entry>>,
}

/// What is answered to some calls.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    names: Option<Vec<String>>,
    /// The form of docker before 1.13.
    #[serde(default)]
    name: Option<String>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Option<Only>,
    #[serde(default)]
    excludes: Option<Only>,
}

/// What is asked of an argument.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

/// When an entry is or is not one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Only {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

/// A profile that cannot be obeyed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// No JSON, or not of this form.
    #[error("{0}")]
    Json(String),
    /// Too long.
    #[error("it is longer than {MAX_BYTES} bytes or names more than {MAX_NAMES} calls")]
    TooLarge,
    /// An action that the specification does not have, or that there is nobody for.
    #[error("action {0:?}: there are SCMP_ACT_ALLOW, _ERRNO, _KILL, _KILL_PROCESS, _KILL_THREAD, _LOG and _TRAP")]
    Action(String),
    /// A comparison that the specification does not have.
    #[error(
        "op {0:?}: there are SCMP_CMP_EQ, SCMP_CMP_NE, SCMP_CMP_LT, SCMP_CMP_LE, SCMP_CMP_GT, SCMP_CMP_GE and \
         SCMP_CMP_MASKED_EQ"
    )]
    Comparison(String),
    /// A kernel's version that is none.
    #[error("minKernel {0:?} is not a version such as 4.8")]
    Kernel(String),
    /// Asks a program of the host about calls.
    #[error("listenerPath {0:?}: no program can be asked about system calls")]
    Listener(String),
}

impl Profile {
    /// Reads a profile. Fields that are not known are passed over; `architectures` and `flags` too, because a filter is
    /// for calls of the host's own architecture alone, and others kill.
    ///
    /// # Errors
    /// [`ProfileError`]
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        if text.len() as u64 > MAX_BYTES {
            return Err(ProfileError::TooLarge);
        }
        let profile: Self = serde_json::from_str(text).map_err(|error| ProfileError::Json(error.to_string()))?;
        if profile.entries().iter().map(|entry| entry.names().count()).sum::<usize>() > MAX_NAMES {
            return Err(ProfileError::TooLarge);
        }
        match &profile.listener_path {
            Some(path) if !path.is_empty() => Err(ProfileError::Listener(path.clone())),
            _ => Ok(profile),
        }
    }

    fn entries(&self) -> &[Entry] {
        self.syscalls.as_deref().unwrap_or_default()
    }
}

impl Entry {
    fn names(&self) -> impl Iterator<Item = &str> {
        self.name.iter().chain(self.names.iter().flatten()).map(String::as_str).filter(|name| !name.is_empty())
    }
}
