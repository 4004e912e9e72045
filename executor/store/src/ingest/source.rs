//! The compressed bytes on their way in: hashed and stored as they are read.

use std::fs::File;
use std::io::{self, BufRead, ErrorKind, Read, Write};

use super::error::IngestError;
use crate::buffered;
use crate::digest::{Algorithm, Digest, Hasher};
use crate::os_error::OsError;

/// Reads the input once. Whoever reads from it, every byte is hashed and written to the blob exactly once.
#[derive(Debug)]
pub(super) struct Source {
    file: File,
    /// Bytes that may still be read from the file.
    left: u64,
    blob: Option<File>,
    hasher: Option<Hasher>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    total: u64,
    limit: u64,
    at_end: bool,
    /// The error behind an `io::Error` that went through a decoder.
    fault: Option<IngestError>,
}

/// Large enough that system calls do not count, small enough for the second-level cache.
pub(super) const BUFFER: usize = 256 << 10;

impl Source {
    /// `algorithm` is that of the digest of what is read, if anybody wants one.
    pub(super) fn new(
        file: File,
        length: Option<u64>,
        blob: Option<File>,
        algorithm: Option<Algorithm>,
        limit: u64,
    ) -> Self {
        let hasher = algorithm.map(Hasher::new);
        Self {
            file,
            left: length.unwrap_or(u64::MAX),
            blob,
            hasher,
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
            total: 0,
            limit,
            at_end: false,
            fault: None,
        }
    }

    /// Bytes that were handed out.
    pub(super) fn consumed(&self) -> u64 {
        self.total - (self.end - self.start) as u64
    }

    /// The first bytes, up to a buffer full of them.
    pub(super) fn head(&mut self) -> Result<&[u8], IngestError> {
        if self.start == self.end {
            self.fill()?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    /// The error that made a read fail, if it was one of reading or storing.
    pub(super) fn take_fault(&mut self) -> Option<IngestError> {
        self.fault.take()
    }

    /// Reads, hashes and stores what is left.
    pub(super) fn drain(&mut self) -> Result<(), IngestError> {
        loop {
            match self.fill_buf().map(<[u8]>::len) {
                Ok(0) => return Ok(()),
                Ok(length) => self.consume(length),
                Err(error) => return Err(self.take_fault().unwrap_or(IngestError::Read(OsError::from(error)))),
            }
        }
    }

    /// The digest and number of all bytes. What was written of them is durable only when the import is committed.
    pub(super) fn finish(self) -> (Option<Digest>, u64) {
        (self.hasher.map(Hasher::finish), self.total)
    }

    /// The digest of what was read.
    pub(super) fn into_digest(self) -> Option<Digest> {
        self.hasher.map(Hasher::finish)
    }

    fn fill(&mut self) -> Result<(), IngestError> {
        (self.start, self.end) = (0, 0);
        // To the brim, so that the first bytes are enough to recognise the format.
        while self.end < self.buffer.len() && !self.at_end {
            let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(self.buffer.len() - self.end);
            match self.file.read(&mut self.buffer[self.end..self.end + room]) {
                // Also when nothing is left to be read.
                Ok(0) => self.at_end = true,
                Ok(length) => {
                    self.end += length;
                    self.left -= length as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(IngestError::Read(OsError::from(error))),
            }
        }
        let fresh = &self.buffer[..self.end];
        self.total += fresh.len() as u64;
        if self.total > self.limit {
            return Err(IngestError::TooLarge { limit: self.limit });
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(fresh);
        }
        match &mut self.blob {
            Some(blob) => blob.write_all(fresh).map_err(|error| IngestError::WriteBlob(OsError::from(error))),
            None => Ok(()),
        }
    }
}

impl BufRead for Source {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end
            && let Err(fault) = self.fill()
        {
            self.fault = Some(fault);
            return Err(io::Error::other("the source failed"));
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, amount: usize) {
        self.start = (self.start + amount).min(self.end);
    }
}

impl Read for Source {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        buffered::read(self, into)
    }
}
