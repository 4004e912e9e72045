//! Whether anybody has needed the service lately.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts what keeps the service busy: connections of apps and of monitors that register.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    begun: AtomicU64,
    over: AtomicU64,
}

/// Lasts as long as something keeps the service busy.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Activity>);

impl Activity {
    pub(crate) fn begin(self: &Arc<Self>) -> Busy {
        self.begun.fetch_add(1, Relaxed);
        Busy(self.clone())
    }

    /// How much has begun so far.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Relaxed)
    }

    /// Whether all that has begun is over.
    pub(crate) fn is_quiet(&self) -> bool {
        self.over.load(Relaxed) == self.begun.load(Relaxed)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.over.fetch_add(1, Relaxed);
    }
}
