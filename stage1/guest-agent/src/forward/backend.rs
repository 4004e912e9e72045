//! The backend at the other end of standard input and output: packets in, packets out, never waiting.

use std::collections::VecDeque;
use std::io::IoSlice;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ReadWriteFlags, pwritev2, read, retry_on_intr, write};

use super::Fatal;
use super::packet::{Kind, Malformed, Packet, decode, encode};

/// As much as a pipe holds.
const READ: usize = 64 << 10;
/// What POSIX lets one write to a pipe that poll(2) calls writable: no more is sure not to wait.
const PIPE_BUF: usize = 4096;
/// With this much waiting to be written, sockets are not read.
const OUTPUT_BOUND: usize = 256 << 10;
/// With this much, which only answers to packets can amount to, packets are not read either.
const ANSWERS_BOUND: usize = 1 << 20;

/// Packets from the backend.
#[derive(Debug, Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    /// Where in `bytes` the next packet begins.
    start: usize,
    ended: bool,
}

/// Packets to the backend.
#[derive(Debug)]
pub(super) struct Output {
    bytes: VecDeque<u8>,
    /// Whether the kernel writes to standard output without waiting when asked to. Not all kinds of file can.
    nowait: bool,
}

impl Input {
    /// The next packet that is all here.
    pub(super) fn next(&mut self) -> Result<Option<Packet<'_>>, Malformed> {
        let Some((packet, length)) = decode_at(&self.bytes, self.start)? else { return Ok(None) };
        self.start += length;
        Ok(Some(packet))
    }

    /// Reads once. Returns whether there may be more; call it when poll(2) says so, or to wait.
    pub(super) fn receive(&mut self) -> Result<bool, Fatal> {
        self.bytes.drain(..self.start);
        self.start = 0;
        let length = self.bytes.len();
        self.bytes.resize(length + READ, 0);
        let result = retry_on_intr(|| read(rustix::stdio::stdin(), &mut self.bytes[length..]));
        let count = match result {
            // Somebody else made it non-blocking, and took what poll(2) saw.
            Err(Errno::AGAIN) => {
                self.bytes.truncate(length);
                return Ok(true);
            }
            other => other.map_err(Fatal::Read)?,
        };
        self.bytes.truncate(length + count);
        self.ended |= count == 0;
        Ok(!self.ended)
    }

    /// Whether the input is at its end.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether a packet has begun that is not all here.
    pub(super) fn is_within_packet(&self) -> bool {
        self.start < self.bytes.len()
    }
}

impl Output {
    pub(super) fn new() -> Self {
        Self { bytes: VecDeque::new(), nowait: true }
    }

    /// Puts a packet into the output.
    pub(super) fn send(&mut self, kind: Kind, id: u64, payload: Option<&[u8]>) {
        encode(&mut self.bytes, kind, id, payload);
    }

    /// Whether all output is written.
    pub(super) fn is_flushed(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether there is room for data of connections.
    pub(super) fn has_room(&self) -> bool {
        self.bytes.len() < OUTPUT_BOUND
    }

    /// Whether there is room for answers to packets.
    pub(super) fn has_room_for_answers(&self) -> bool {
        self.bytes.len() < ANSWERS_BOUND
    }

    /// Writes what can be written without waiting. Returns whether that was anything.
    pub(super) fn flush(&mut self) -> Result<bool, Fatal> {
        let mut progress = false;
        while !self.bytes.is_empty() {
            match self.write_some().map_err(Fatal::Write)? {
                0 => break,
                count => drop(self.bytes.drain(..count)),
            }
            progress = true;
        }
        if self.bytes.is_empty() && self.bytes.capacity() > OUTPUT_BOUND * 4 {
            self.bytes = VecDeque::new();
        }
        Ok(progress)
    }

    /// Writes everything, waiting for it.
    pub(super) fn flush_all(&mut self) -> Result<(), Fatal> {
        while !self.bytes.is_empty() {
            self.flush()?;
            let stdout = rustix::stdio::stdout();
            if !self.bytes.is_empty() {
                retry_on_intr(|| poll(&mut [PollFd::new(&stdout, PollFlags::OUT)], None)).map_err(Fatal::Poll)?;
            }
        }
        Ok(())
    }

    /// Standard output belongs to others as well, so it is not made non-blocking.
    fn write_some(&mut self) -> Result<usize, Errno> {
        let stdout = rustix::stdio::stdout();
        let (front, back) = self.bytes.as_slices();
        if self.nowait {
            let slices = [IoSlice::new(front), IoSlice::new(back)];
            // An offset of −1 is the file's own.
            match retry_on_intr(|| pwritev2(stdout, &slices, u64::MAX, ReadWriteFlags::NOWAIT)) {
                Ok(count) => return Ok(count),
                Err(Errno::AGAIN) => return Ok(0),
                Err(error @ (Errno::PIPE | Errno::CONNRESET)) => return Err(error),
                Err(_) => self.nowait = false,
            }
        }
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if retry_on_intr(|| poll(&mut [PollFd::new(&stdout, PollFlags::OUT)], Some(&now)))? == 0 {
            return Ok(0);
        }
        match retry_on_intr(|| write(stdout, &front[..front.len().min(PIPE_BUF)])) {
            Err(Errno::AGAIN) => Ok(0),
            result => result,
        }
    }
}

fn decode_at(input: &[u8], start: usize) -> Result<Option<(Packet<'_>, usize)>, Malformed> {
    if start == input.len() { Ok(None) } else { decode(&input[start..]) }
}
