//! Who may run a test now.

use std::cell::Cell;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The right to have environments. Tests that share a process (cargo test) take turns, because a snapshot cannot tell
/// their processes apart; with nextest each has a process of its own and nobody waits. One thread may have several.
#[derive(Debug)]
pub(crate) struct Turn(Option<MutexGuard<'static, ()>>);

static TURNS: Mutex<()> = Mutex::new(());

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
}

impl Turn {
    pub(crate) fn take() -> Self {
        let first = HELD.replace(HELD.get() + 1) == 0;
        Self(first.then(|| TURNS.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        HELD.set(HELD.get() - 1);
        self.0.take();
    }
}
