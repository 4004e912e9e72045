//! Says how far an archive has been taken in, to whoever waits for it.

use std::io::{self, BufRead, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::buffered;

/// Adds one to `event`, an eventfd(2), whenever `every` more uncompressed bytes have been extracted.
#[derive(Clone, Debug)]
pub struct Milestones {
    /// A number of bytes.
    pub every: u64,
    /// Who waits for it reads this.
    pub event: Arc<OwnedFd>,
}

/// The archive on its way to the extractor, with a milestone now and then.
#[derive(Debug)]
pub(super) struct Measured<R> {
    inner: R,
    milestones: Option<Milestones>,
    since: u64,
}

impl<R: BufRead> Measured<R> {
    pub(super) fn new(inner: R, milestones: Option<Milestones>) -> Self {
        Self { inner, milestones, since: 0 }
    }
}

impl<R: BufRead> BufRead for Measured<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.inner.consume(amount);
        let Some(milestones) = &self.milestones else { return };
        self.since += amount as u64;
        if self.since >= milestones.every {
            self.since = 0;
            // Nothing depends on being heard.
            let _ = rustix::io::write(&milestones.event, &1_u64.to_ne_bytes());
        }
    }
}

impl<R: BufRead> Read for Measured<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        buffered::read(self, into)
    }
}
