//! Pod names: a symbolic link per name, whose target is the UUID of the pod that has it.
//!
//! A link is made with its content in one step, so there is no claim without a holder. Claims change only under the
//! lock of the directory, and a claim whose holder is gone counts as free: nothing needs repair after a kill -9.

use std::fmt;
use std::os::fd::OwnedFd;
use std::str::FromStr;

use appc::PodUuid;
use rustix::fs::{OFlags, readlinkat, symlinkat};
use rustix::io::Errno;

use crate::dir::Dir;
use crate::place::{LockState, Place, State};
use crate::root::{self, NAMES, Root};
use crate::{CallError, PodError, files, listing, lock};

/// A name that its user gave to a pod.
///
/// One to 64 ASCII letters, digits, `_`, `.` and `-`, beginning with a letter or digit: safe as a file name, and 64 is
/// what Linux takes as a host name. A text that reads as a whole UUID is no name, so that a UUID always means that pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodName(String);

/// A text that is no pod name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PodNameError {
    /// Nothing at all.
    #[error("pod name cannot be empty")]
    Empty,
    /// Longer than 64 bytes.
    #[error("pod name {name:?}… is longer than {} bytes", PodName::MAX)]
    TooLong {
        /// Its beginning.
        name: String,
    },
    /// Some other character, or a `_`, `.` or `-` at the beginning.
    #[error("pod name {name:?}: {found:?} cannot stand there")]
    Character {
        /// The refused name.
        name: String,
        /// The first offending character.
        found: char,
    },
    /// A whole UUID.
    #[error("pod name {name:?} is a UUID")]
    Uuid {
        /// The refused name.
        name: String,
    },
}

impl PodName {
    /// The longest name, in bytes.
    pub const MAX: usize = 64;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PodName {
    type Err = PodNameError;

    fn from_str(text: &str) -> Result<Self, PodNameError> {
        if text.is_empty() {
            return Err(PodNameError::Empty);
        }
        if text.len() > Self::MAX {
            return Err(PodNameError::TooLong { name: text.chars().take(16).collect() });
        }
        let name = text.to_owned();
        let is_bad = |(at, c): &(usize, char)| !(c.is_ascii_alphanumeric() || (*at > 0 && "_.-".contains(*c)));
        if let Some((_, found)) = text.char_indices().find(is_bad) {
            return Err(PodNameError::Character { name, found });
        }
        if PodUuid::from_str(text).is_ok() {
            return Err(PodNameError::Uuid { name });
        }
        Ok(Self(name))
    }
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Gives `name` to the pod `uuid`, which must be locked by us already: that is what others judge the claim by.
pub(crate) fn claim(root: &Root, name: &PodName, uuid: PodUuid) -> Result<(), PodError> {
    let _guard = lock_names(root)?;
    let path = path(name);
    loop {
        match root.dir.at().and_then(|at| symlinkat(uuid.to_string(), at, &path)) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(source) => return Err(root.dir.error("symlinkat", &path, source).into()),
        }
        match holder(root, name)? {
            Some(holder) if holder == uuid => return Ok(()),
            Some(holder) => {
                if let Some(state) = claim_state(root, holder)? {
                    return Err(PodError::NameInUse { name: name.clone(), holder, state });
                }
            }
            None => {}
        }
        match root.dir.unlink(&path) {
            Err(e) if e.source != Errno::NOENT => return Err(e.into()),
            _ => {}
        }
    }
}

/// Takes `name` from the pod `uuid`, if it is its.
pub(crate) fn release(root: &Root, name: &PodName, uuid: PodUuid) -> Result<(), PodError> {
    let _guard = lock_names(root)?;
    if holder(root, name)? == Some(uuid) {
        root.dir.unlink(&path(name))?;
    }
    Ok(())
}

/// The pod whose UUID stands at `name`, whether that pod exists or not.
pub(crate) fn holder(root: &Root, name: &PodName) -> Result<Option<PodUuid>, PodError> {
    let path = path(name);
    match root.dir.at().and_then(|at| readlinkat(at, &path, Vec::new())) {
        Ok(target) => Ok(target.to_str().ok().and_then(|text| text.parse().ok())),
        // Not a link: whatever it is, it names no pod.
        Err(Errno::NOENT | Errno::INVAL) => Ok(None),
        Err(source) => Err(root.dir.error("readlinkat", &path, source).into()),
    }
}

/// The name that a pod has in its own directory: what it claimed when it was created. A file that holds no name
/// counts as none.
pub(crate) fn written(root: &Root, place: Place, uuid: PodUuid) -> Result<Option<PodName>, PodError> {
    read(&root.dir, &format!("{}/name", root::path(place, uuid)))
}

/// The name in the file at `path` below `dir`.
pub(crate) fn read(dir: &Dir, path: &str) -> Result<Option<PodName>, PodError> {
    match files::read_optional(dir, path, files::STATUS_LIMIT) {
        Ok(bytes) => Ok(bytes.and_then(|bytes| str::from_utf8(&bytes).ok()?.parse().ok())),
        Err(PodError::NotAFile { .. } | PodError::TooLarge { .. }) => Ok(None),
        Err(e) => Err(e),
    }
}

/// All names and what stands at them; names of no pod are left out.
pub(crate) fn all(root: &Root) -> Result<Vec<(PodName, PodUuid)>, PodError> {
    let mut claims = Vec::new();
    for entry in listing::entries(&root.dir, NAMES)? {
        if let Ok(name) = PodName::from_str(&entry)
            && let Some(uuid) = holder(root, &name)?
        {
            claims.push((name, uuid));
        }
    }
    Ok(claims)
}

/// Frees the names whose pods are gone.
pub(crate) fn sweep(root: &Root) -> Result<(), PodError> {
    for (name, uuid) in all(root)? {
        if claim_state(root, uuid)?.is_some() {
            continue;
        }
        // Looked at again under the lock: the name may have been claimed meanwhile.
        let _guard = lock_names(root)?;
        if let Some(uuid) = holder(root, &name)?
            && claim_state(root, uuid)?.is_none()
        {
            root.dir.unlink(&path(&name))?;
        }
    }
    Ok(())
}

/// The state of a pod that keeps its name; `None` if the pod is gone or can only be removed.
///
/// An exited pod keeps its name, since its statuses are asked for by it. A pod that died before it was complete does
/// not: the same command must work again after a kill -9.
fn claim_state(root: &Root, uuid: PodUuid) -> Result<Option<State>, PodError> {
    let found = listing::locate(root, uuid)?;
    Ok(match found {
        Some((Place::Embryo, _)) => match listing::probe_lock(root, Place::Embryo, uuid)? {
            Some(probe) if probe.lock == LockState::Held => Some(State::Embryo),
            // Free: its creator is dead. Gone: it moved on, or was swept; the caller's next look decides.
            Some(_) => None,
            None => listing::locate(root, uuid)?.map(|(_, state)| state),
        },
        Some((Place::Garbage, _)) | Some((_, State::AbortedPrepare)) | None => None,
        Some((_, state)) => Some(state),
    })
}

/// The lock of all names: a descriptor of the directory, which no pod ever sees.
fn lock_names(root: &Root) -> Result<OwnedFd, PodError> {
    let open = || root.dir.open(NAMES, OFlags::RDONLY | OFlags::DIRECTORY);
    let dir = match open() {
        Err(e) if e.source == Errno::NOENT => {
            root::make_places(&root.dir)?;
            open()?
        }
        other => other?,
    };
    let call = |source| -> CallError { root.dir.error("flock", NAMES, source) };
    if lock::take(&dir, lock::PATIENCE).map_err(call)? {
        return Ok(dir);
    }
    Err(PodError::StillLocked { path: root.dir.shown(NAMES), waited_ms: lock::PATIENCE.as_millis() })
}

fn path(name: &PodName) -> String {
    format!("{NAMES}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_file_names_that_nobody_takes_for_something_else() {
        for good in ["a", "Web", "web-1", "0", "a.b_c-d", "beef", &"x".repeat(64)] {
            assert_eq!(good.parse::<PodName>().unwrap().as_str(), good);
        }
        for bad in
            ["", ".", "..", "-x", "_x", ".x", "a/b", "a b", "%2e", "a\0b", "ä", "a\n", "../x", &"x".repeat(65), "a:b"]
        {
            assert!(bad.parse::<PodName>().is_err(), "{bad:?}");
        }
        assert!(matches!("6733C088A5074694AABB9C8BA3AE7F3A".parse::<PodName>(), Err(PodNameError::Uuid { .. })));
    }
}
