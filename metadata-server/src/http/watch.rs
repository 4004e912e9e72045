//! What a connection is doing, for those who decide whether it may go on: one writer, several readers.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// The state of a connection. It orders nothing else, so every access is relaxed.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// A request has begun and is not whole.
    amid: AtomicBool,
    /// An answer waits until the client reads.
    stuck: AtomicBool,
    /// Requests that are whole.
    asked: AtomicU32,
    /// Requests that are answered.
    answered: AtomicU32,
    /// Writes that went through after having been stuck.
    moved: AtomicU32,
}

/// What has been done so far. If it is the same after a while, nothing was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Progress(u32, u32, u32);

impl Watch {
    /// Something was read: so many requests became whole.
    pub(crate) fn read(&self, whole: u32, amid: bool) {
        if whole > 0 {
            self.asked.store(self.asked.load(Relaxed).wrapping_add(whole), Relaxed);
        }
        self.amid.store(amid, Relaxed);
    }

    /// A request got its answer.
    pub(crate) fn answered(&self) {
        self.answered.store(self.answered.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Something was written, or could not be.
    pub(crate) fn wrote(&self, went: bool) {
        if self.stuck.swap(!went, Relaxed) && went {
            self.moved.store(self.moved.load(Relaxed).wrapping_add(1), Relaxed);
        }
    }

    /// Whether nobody waits for anything: the connection can be closed and no request is lost.
    pub(crate) fn is_idle(&self) -> bool {
        let flags = self.amid.load(Relaxed) || self.stuck.load(Relaxed);
        !flags && self.asked.load(Relaxed) == self.answered.load(Relaxed)
    }

    /// Whether the client owes the rest of a request.
    pub(crate) fn is_amid_request(&self) -> bool {
        self.amid.load(Relaxed)
    }

    /// What has been done so far.
    pub(crate) fn progress(&self) -> Progress {
        Progress(self.asked.load(Relaxed), self.answered.load(Relaxed), self.moved.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_is_who_owes_and_is_owed_nothing() {
        let watch = Watch::default();
        assert!(watch.is_idle());
        watch.read(0, true);
        assert!(!watch.is_idle() && watch.is_amid_request());
        watch.read(1, false);
        assert!(!watch.is_idle() && !watch.is_amid_request());
        watch.answered();
        assert!(watch.is_idle());
        watch.wrote(false);
        assert!(!watch.is_idle());
        let before = watch.progress();
        watch.wrote(true);
        assert!(watch.is_idle() && watch.progress() != before);
        let before = watch.progress();
        watch.wrote(true);
        assert_eq!(watch.progress(), before);
    }
}
