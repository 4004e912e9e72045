//! How long `proa status` waits for a pod, and for what.

use std::time::{Duration, Instant};

use pod::{PodEntry, Pods};

use super::is_over;
use crate::duration;
use crate::ending::{Ending, Heard, Waiting};
use crate::error::CommandError;

/// How often a pod is looked at that is waited for.
const PAUSE: Duration = Duration::from_millis(20);

/// How long something is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    Forever,
    Until(Instant),
}

impl Patience {
    /// What the value of an option says; `None` if nothing is to be waited for.
    ///
    /// # Errors
    ///
    /// It is no time.
    pub(super) fn of(value: Option<&str>) -> Result<Option<Self>, CommandError> {
        match value {
            None | Some("false") => Ok(None),
            Some("true") => Ok(Some(Self::Forever)),
            Some(text) => {
                let time = duration::parse(text).map_err(|error| CommandError::usage(format!("{text:?}: {error}")))?;
                Ok(Some(Self::Until(Instant::now() + time)))
            }
        }
    }

    fn deadline(self) -> Option<Instant> {
        match self {
            Self::Forever => None,
            Self::Until(deadline) => Some(deadline),
        }
    }

    fn is_over(self) -> bool {
        self.deadline().is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// Waits for a condition, and not longer than wanted.
///
/// # Errors
///
/// It cannot be known.
pub(super) fn wait(
    patience: Patience,
    mut reached: impl FnMut() -> Result<bool, CommandError>,
) -> Result<(), CommandError> {
    while !reached()? && !patience.is_over() {
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Waits until the pod has run and ended, and not longer than wanted. Returns what was heard of one that is not there any more.
///
/// # Errors
///
/// It is not there any more, and nobody has told how it ended.
pub(super) fn wait_for_end(
    pods: &Pods,
    mut entry: PodEntry,
    patience: Patience,
) -> Result<Option<Heard>, CommandError> {
    loop {
        entry = match Waiting::begin(pods, entry).end(pods, patience.deadline())? {
            Ending::Removed(heard) => return Ok(Some(heard)),
            Ending::Kept(entry) if is_over(entry.state) || patience.is_over() => return Ok(None),
            Ending::Kept(entry) => entry,
        };
        // It is prepared, and somebody may run it.
        std::thread::sleep(PAUSE);
        entry = pods.find(&entry.uuid.to_string())?;
    }
}
