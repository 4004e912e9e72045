//! The uncompressed bytes on their way to the extractor: hashed as they pass.

use std::io::{self, BufRead, Read};

use crate::buffered;
use crate::digest::{Algorithm, Digest, Hasher};

/// A buffered reader over chunks; `next` replaces a used chunk by the following one, empty at the end.
pub(super) struct Chunks<F> {
    next: F,
    current: Vec<u8>,
    position: usize,
    hasher: Hasher,
    total: u64,
    ended: bool,
}

impl<F: FnMut(&mut Vec<u8>) -> io::Result<()>> Chunks<F> {
    pub(super) fn new(algorithm: Algorithm, next: F) -> Self {
        Self { next, current: Vec::new(), position: 0, hasher: Hasher::new(algorithm), total: 0, ended: false }
    }

    /// Reads to the end of the stream: what follows the archive counts for the digest too.
    pub(super) fn finish(mut self) -> io::Result<(Digest, u64)> {
        loop {
            let length = self.fill_buf()?.len();
            if length == 0 {
                return Ok((self.hasher.finish(), self.total));
            }
            self.consume(length);
        }
    }
}

impl<F: FnMut(&mut Vec<u8>) -> io::Result<()>> BufRead for Chunks<F> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.current.len() && !self.ended {
            (self.next)(&mut self.current)?;
            self.position = 0;
            self.ended = self.current.is_empty();
            self.hasher.update(&self.current);
            self.total += self.current.len() as u64;
        }
        Ok(&self.current[self.position..])
    }

    fn consume(&mut self, amount: usize) {
        self.position = (self.position + amount).min(self.current.len());
    }
}

impl<F: FnMut(&mut Vec<u8>) -> io::Result<()>> Read for Chunks<F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        buffered::read(self, into)
    }
}
