//! One connection: where it is in the protocol, its socket, and the bytes its reader has not taken yet.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use super::dial::Dial;

/// How long a closed connection's peer may take to see the end. Closing a socket with unread bytes in it would tear the
/// last ones out of the peer's hands.
const LINGER: Duration = Duration::from_secs(1);

/// Where a connection is.
#[derive(Debug)]
pub(super) enum Phase {
    /// The backend asked for it; it is being made.
    Dialling(Box<Dial>),
    /// We told the backend of it and wait for its answer.
    Offered,
    /// Data flows.
    Started,
    /// We sent CLOSE_CONNECTION and wait for the answer. What was received before is still delivered.
    Closing,
    /// Over for the backend; the rest is being delivered.
    Finished,
    /// All is delivered; the peer has until then to close.
    Lingering(Instant),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) phase: Phase,
    /// None while it is made, and after an error.
    pub(super) socket: Option<OwnedFd>,
    pending: VecDeque<u8>,
    /// When the reader last took something, or had taken everything.
    pub(super) progress: Instant,
    /// The peer takes no more.
    deaf: bool,
    /// The peer sends no more.
    pub(super) silent: bool,
}

impl Connection {
    pub(super) fn new(phase: Phase, socket: Option<OwnedFd>, now: Instant) -> Self {
        Self { phase, socket, pending: VecDeque::new(), progress: now, deaf: false, silent: false }
    }

    /// Bytes that wait for the reader.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Gives bytes to the reader, at once as far as it takes them.
    pub(super) fn deliver(&mut self, mut bytes: &[u8], now: Instant) {
        if self.deaf || self.socket.is_none() {
            return;
        }
        if self.pending.is_empty() {
            self.progress = now;
            bytes = &bytes[self.send(bytes)..];
        }
        if !self.deaf {
            self.pending.extend(bytes);
        }
    }

    /// Gives the reader what waits for it.
    pub(super) fn flush(&mut self, now: Instant) {
        while !self.pending.is_empty() {
            let bytes = std::mem::take(&mut self.pending);
            let count = self.send(bytes.as_slices().0);
            self.pending = bytes;
            if self.deaf {
                self.pending = VecDeque::new();
            } else if count == 0 {
                return;
            } else {
                self.pending.drain(..count);
                self.progress = now;
            }
        }
        // A queue that was long once should not stay so.
        self.pending = VecDeque::new();
    }

    fn send(&mut self, bytes: &[u8]) -> usize {
        let Some(socket) = &self.socket else { return 0 };
        let mut sent = 0;
        while sent < bytes.len() {
            match send(socket, &bytes[sent..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // What the peer sent before it went may still be there to read; reading will tell the end.
                Err(_) => {
                    self.deaf = true;
                    break;
                }
            }
        }
        sent
    }

    /// Reads once without waiting: `Some(0)` at the end, `None` when there is nothing now.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let socket = self.socket.as_ref()?;
        loop {
            match recv(socket, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((count, _)) => {
                    self.silent |= count == 0;
                    return Some(count);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return None,
                Err(_) => {
                    (self.silent, self.deaf) = (true, true);
                    self.pending = VecDeque::new();
                    return Some(0);
                }
            }
        }
    }

    /// Takes a connection that is over for the backend to its end. Returns whether it is there.
    pub(super) fn wind_up(&mut self, now: Instant, buffer: &mut [u8]) -> bool {
        if matches!(self.phase, Phase::Finished) {
            self.flush(now);
            if !self.pending.is_empty() {
                return false;
            }
            let Some(socket) = &self.socket else { return true };
            if self.silent || self.deaf || shutdown(socket, Shutdown::Write).is_err() {
                return true;
            }
            self.phase = Phase::Lingering(now + LINGER);
        }
        let Phase::Lingering(until) = self.phase else { return false };
        while let Some(count) = self.receive(buffer) {
            if count == 0 {
                return true;
            }
        }
        now >= until
    }
}
