//! Keeps what a slow download has brought, so that an interrupted one can go on.
//!
//! Writing it costs as much as the unpacked files do, so it is only worth it where bytes are dear: a download that comes
//! faster than [`FAST`] is begun anew in less time than it takes to write it down twice.

use std::time::{Duration, Instant};

use store::{Digest, Partial, Store, StoreError};

/// Layers below this size are not kept.
const SMALL: u64 = 1 << 20;

/// From so many bytes on a download can turn out to be fast; a new connection may need a while for that.
const BEGINNING: u64 = 4 << 20;

/// After so many bytes it is decided.
const TRIAL: u64 = 16 << 20;

/// Bytes per second from which on a download is not kept.
const FAST: u64 = 24 << 20;

/// What is kept of one download.
#[derive(Debug)]
pub(super) struct Spool<'s> {
    partial: Option<Partial<'s>>,
    /// Bytes that were there in the beginning.
    resumed: u64,
    begin: Instant,
    decided: bool,
}

impl<'s> Spool<'s> {
    /// What there is of a layer of `size` bytes.
    ///
    /// # Errors
    ///
    /// The store's.
    pub(super) fn open(store: &'s Store, digest: &Digest, size: u64) -> Result<Self, StoreError> {
        let partial = if size < SMALL { None } else { store.partial(digest)? };
        let partial = match partial {
            // More than there is: not the beginning of it.
            Some(partial) if partial.length() > size => {
                partial.discard()?;
                store.partial(digest)?
            }
            other => other,
        };
        let resumed = partial.as_ref().map_or(0, Partial::length);
        // What somebody waited for once is worth keeping on.
        Ok(Self { partial, resumed, begin: Instant::now(), decided: resumed > 0 })
    }

    /// How many bytes there were in the beginning.
    pub(super) fn resumed(&self) -> u64 {
        self.resumed
    }

    /// Reads of those.
    ///
    /// # Errors
    ///
    /// Those of pread(2).
    pub(super) fn read_at(&self, into: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.partial.as_ref().map_or(Ok(0), |partial| partial.read_at(into, offset))
    }

    /// Keeps more bytes, unless it turns out not to be worth it. A disk that is full is no reason to stop: then nothing
    /// is kept.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        let Some(partial) = &mut self.partial else { return };
        let kept = partial.append(bytes).is_ok();
        if !self.decided && partial.length() >= BEGINNING {
            self.decided = partial.length() >= TRIAL;
            if is_fast(partial.length(), self.begin.elapsed()) {
                self.discard();
                return;
            }
        }
        if !kept {
            self.discard();
        }
    }

    /// Removes it: the layer is there, or what was kept is not its beginning.
    pub(super) fn discard(&mut self) {
        if let Some(partial) = self.partial.take() {
            // `gc` finds it otherwise.
            let _ = partial.discard();
        }
    }
}

fn is_fast(bytes: u64, time: Duration) -> bool {
    bytes as f64 > FAST as f64 * time.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use store::Algorithm;

    use super::*;

    #[test]
    fn only_slow_downloads_are_worth_keeping() {
        assert!(is_fast(TRIAL, Duration::from_millis(500)));
        assert!(!is_fast(TRIAL, Duration::from_secs(1)));
    }

    #[test]
    fn what_was_kept_is_there_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::ensure(&dir.path().join("data")).unwrap();
        let digest = Digest::of(Algorithm::Sha256, b"x");
        let mut spool = Spool::open(&store, &digest, 2 * SMALL).unwrap();
        spool.keep(b"beginning");
        drop(spool);
        let spool = Spool::open(&store, &digest, 2 * SMALL).unwrap();
        let mut bytes = [0; 16];
        assert_eq!((spool.resumed(), spool.read_at(&mut bytes, 4).unwrap(), &bytes[..5]), (9, 5, &b"nning"[..]));
        drop(spool);
        // Too much for this size: begun anew.
        std::fs::File::options()
            .write(true)
            .open(dir.path().join(format!("data/store/downloads/sha256-{}", digest.hex())))
            .unwrap()
            .set_len(2 * SMALL + 1)
            .unwrap();
        let mut spool = Spool::open(&store, &digest, 2 * SMALL).unwrap();
        assert_eq!(spool.resumed(), 0);
        spool.discard();
        assert_eq!(Spool::open(&store, &digest, SMALL - 1).unwrap().resumed(), 0);
    }
}
