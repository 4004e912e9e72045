//! Taking and probing `flock`s, without ever waiting for long.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::LockState;

/// How long to try for a lock that others hold for microseconds: readers probe, gc marks, names are claimed.
/// A process that is stopped in just that moment makes the taker fail after this time instead of hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// How long `rm` and gc try for the lock of a pod that somebody else may be removing: long enough for all the
/// readers of a busy machine, short enough to report it.
pub(crate) const SHORT_PATIENCE: Duration = Duration::from_millis(200);

/// Takes `LOCK_EX`, trying for at most `patience`; `false` if it stayed taken.
///
/// Not a blocking `flock`: that could not be bounded. Every reader's probe takes `LOCK_SH` for an instant, so one
/// refusal means nothing.
pub(crate) fn take(file: impl AsFd, patience: Duration) -> Result<bool, Errno> {
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => return Ok(true),
        Err(Errno::WOULDBLOCK) => {}
        Err(e) => return Err(e),
    }
    let deadline = Instant::now() + patience;
    let mut nap = Duration::from_micros(20);
    while Instant::now() < deadline {
        std::thread::sleep(nap);
        nap = (nap * 2).min(Duration::from_millis(2));
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(false)
}

/// Whether somebody holds the lock exclusively. `Free` means that `file` now holds it shared, until it is closed:
/// as long as it does, nobody can become the exclusive holder.
pub(crate) fn probe(file: impl AsFd) -> Result<LockState, Errno> {
    match flock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(LockState::Free),
        Err(Errno::WOULDBLOCK) => Ok(LockState::Held),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn two_views() -> (tempfile::TempDir, File, File) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = File::create(&path).unwrap();
        let second = File::open(&path).unwrap();
        (dir, first, second)
    }

    #[test]
    fn a_probe_sees_the_holder_and_its_end() {
        let (_dir, first, second) = two_views();
        assert!(take(&first, Duration::ZERO).unwrap());
        assert_eq!(probe(&second).unwrap(), LockState::Held);
        drop(first);
        assert_eq!(probe(&second).unwrap(), LockState::Free);
    }

    #[test]
    fn taking_gives_up_and_outlives_a_reader() {
        let (_dir, first, second) = two_views();
        assert_eq!(probe(&first).unwrap(), LockState::Free);
        let began = Instant::now();
        assert!(!take(&second, Duration::from_millis(20)).unwrap());
        assert!(began.elapsed() >= Duration::from_millis(20));

        let reader = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(10));
            drop(first);
        });
        assert!(take(&second, PATIENCE).unwrap());
        reader.join().unwrap();
    }
}
