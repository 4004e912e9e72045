//! Where a pod directory can stand, and what that means together with its lock.

use std::fmt;

/// One of the six sibling directories that a pod directory is moved through.
///
/// A pod only ever moves forward in the order of the variants (`Embryo` is first), which is what lets a reader
/// that visits the places in that order see every pod at least once, as in rkt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Being born: the lock may not be taken yet. Holds nothing but the lock file.
    Embryo,
    /// Being filled, under the lock of the process that fills it.
    Prepare,
    /// Complete, waiting for somebody to run it. The lock says nothing here.
    Prepared,
    /// Running while the lock is held, exited once it is free.
    Run,
    /// Exited and marked by gc; removed when the grace period is over.
    ExitedGarbage,
    /// Nothing in it is wanted any more; removed by whoever comes first.
    Garbage,
}

impl Place {
    /// All places in the order in which pods move, which is the order every reader must visit them.
    pub const ALL: [Self; 6] =
        [Self::Embryo, Self::Prepare, Self::Prepared, Self::Run, Self::ExitedGarbage, Self::Garbage];

    /// The places in which a pod can be found by its user: not while it is being born or when it is rubbish.
    pub const VISIBLE: [Self; 4] = [Self::Prepare, Self::Prepared, Self::Run, Self::ExitedGarbage];

    /// The directory's name under `pods/`.
    #[must_use]
    pub const fn dir_name(self) -> &'static str {
        match self {
            Self::Embryo => "embryo",
            Self::Prepare => "prepare",
            Self::Prepared => "prepared",
            Self::Run => "run",
            Self::ExitedGarbage => "exited-garbage",
            Self::Garbage => "garbage",
        }
    }

    /// Whether the lock distinguishes two states in this place.
    #[must_use]
    pub const fn lock_matters(self) -> bool {
        !matches!(self, Self::Embryo | Self::Prepared)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.dir_name())
    }
}

/// What a probe of a pod's lock found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockState {
    /// Some process holds the lock exclusively.
    Held,
    /// No process does.
    Free,
}

/// The state of a pod: its place, told apart further by its lock. Never written anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Being created.
    Embryo,
    /// Being filled.
    Preparing,
    /// The process that filled it is gone; it can never run.
    AbortedPrepare,
    /// Ready for `run-prepared`.
    Prepared,
    /// Its monitor is alive.
    Running,
    /// Its monitor is gone.
    Exited,
    /// Exited, marked, and somebody is removing it.
    ExitedDeleting,
    /// Exited and marked; removed after the grace period.
    ExitedGarbage,
    /// Being removed.
    Deleting,
    /// Waiting to be removed by the next gc.
    Garbage,
}

impl State {
    /// The state of a pod that stands in `place` and whose lock is `lock`.
    #[must_use]
    pub const fn of(place: Place, lock: LockState) -> Self {
        match (place, lock) {
            (Place::Embryo, _) => Self::Embryo,
            (Place::Prepare, LockState::Held) => Self::Preparing,
            (Place::Prepare, LockState::Free) => Self::AbortedPrepare,
            (Place::Prepared, _) => Self::Prepared,
            (Place::Run, LockState::Held) => Self::Running,
            (Place::Run, LockState::Free) => Self::Exited,
            (Place::ExitedGarbage, LockState::Held) => Self::ExitedDeleting,
            (Place::ExitedGarbage, LockState::Free) => Self::ExitedGarbage,
            (Place::Garbage, LockState::Held) => Self::Deleting,
            (Place::Garbage, LockState::Free) => Self::Garbage,
        }
    }

    /// The word that `list` and `status` print, the same as rkt's.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Embryo => "embryo",
            Self::Preparing => "preparing",
            Self::AbortedPrepare => "aborted prepare",
            Self::Prepared => "prepared",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::ExitedDeleting => "exited deleting",
            Self::ExitedGarbage => "exited garbage",
            Self::Deleting => "deleting",
            Self::Garbage => "garbage",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_and_lock_has_the_state_of_the_table() {
        let table = [
            (Place::Embryo, "embryo", "embryo"),
            (Place::Prepare, "preparing", "aborted prepare"),
            (Place::Prepared, "prepared", "prepared"),
            (Place::Run, "running", "exited"),
            (Place::ExitedGarbage, "exited deleting", "exited garbage"),
            (Place::Garbage, "deleting", "garbage"),
        ];
        assert_eq!(table.map(|row| row.0), Place::ALL);
        for (place, held, free) in table {
            assert_eq!(State::of(place, LockState::Held).to_string(), held);
            assert_eq!(State::of(place, LockState::Free).to_string(), free);
            assert_eq!(place.lock_matters(), held != free, "{place}");
        }
    }

    #[test]
    fn places_are_ordered_as_pods_move() {
        assert!(Place::ALL.is_sorted());
        assert!(Place::VISIBLE.is_sorted());
    }
}
