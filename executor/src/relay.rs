//! Between the user's terminal and one of a pod: bytes both ways, sizes one way, and keys that let go.

use std::io::IsTerminal as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::Signal;
use rustix::stdio::{stdin, stdout};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use stage1::TerminalSize;

use crate::error::{CommandError, Explain as _};

/// Bytes at once.
const CHUNK: usize = 16 * 1024;

/// Why relaying ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The other side has something to say, or is gone.
    Notified,
    /// The user typed the keys that let go.
    Detached,
    /// Output and errors, which there were, are at their end.
    Streams,
    /// Nobody reads any more what the other side writes.
    Unread,
}

/// Whether a terminal is what the user sits at.
pub(crate) fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// The size of the user's terminal; the usual one if there is none.
pub(crate) fn size() -> TerminalSize {
    tcgetwinsize(stdin())
        .or_else(|_| tcgetwinsize(stdout()))
        .ok()
        .filter(|size| size.ws_row > 0 && size.ws_col > 0)
        .map_or(TerminalSize { rows: 24, columns: 80 }, |size| TerminalSize { rows: size.ws_row, columns: size.ws_col })
}

/// The user's terminal with every key going through, until this is dropped.
#[derive(Debug)]
pub(crate) struct RawTerminal(Option<Termios>);

impl RawTerminal {
    /// Switches standard input over, if it is a terminal.
    pub(crate) fn enter() -> Self {
        let Ok(before) = tcgetattr(stdin()) else { return Self(None) };
        let mut raw = before.clone();
        raw.make_raw();
        let switched = tcsetattr(stdin(), OptionalActions::Now, &raw);
        Self(switched.ok().map(|()| before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // A terminal that is gone needs nothing back.
            let _ = tcsetattr(stdin(), OptionalActions::Drain, before);
        }
    }
}

/// What standard input, output and errors are connected with.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// Where input goes.
    pub(crate) input: Option<OwnedFd>,
    /// Where output comes from.
    pub(crate) output: Option<OwnedFd>,
    /// Where errors come from.
    pub(crate) errors: Option<OwnedFd>,
    /// Whether input is a terminal, whose size follows the user's.
    pub(crate) terminal: bool,
    /// Whether there is nothing more to do when whoever reads the output is gone.
    pub(crate) for_a_reader: bool,
    /// The keys that let go of a terminal; none where nobody can.
    pub(crate) keys: Vec<u8>,
}

impl Streams {
    /// Relays until `notifier` has something to say or is gone, or the user lets go. `signals` hands on what this
    /// process is told: it gets each signal but SIGWINCH.
    ///
    /// # Errors
    ///
    /// The user's streams cannot be read or written.
    pub(crate) fn relay(
        &mut self,
        notifier: BorrowedFd<'_>,
        signals: &OwnedFd,
        mut signalled: impl FnMut(i32) -> Result<(), CommandError>,
    ) -> Result<Ended, CommandError> {
        let mut reads_input = self.input.is_some();
        let mut typed = Vec::new();
        let reads = self.output.is_some() || self.errors.is_some();
        loop {
            if reads && self.output.is_none() && self.errors.is_none() {
                return Ok(Ended::Streams);
            }
            let Some(ready) = self.wait(notifier, signals, reads_input)? else { continue };
            if ready.signals {
                self.hear(signals, &mut signalled)?;
            }
            if self.pass_on(&ready)? && self.for_a_reader {
                return Ok(Ended::Unread);
            }
            if ready.input {
                reads_input = self.send_input(&mut typed)?;
                if self.lets_go(&typed) {
                    return Ok(Ended::Detached);
                }
            }
            // What the other side has still written comes first.
            if ready.notifier && !ready.output && !ready.errors {
                return Ok(Ended::Notified);
            }
        }
    }

    /// Whether the keys that were typed last let go.
    fn lets_go(&self, typed: &[u8]) -> bool {
        self.terminal && !self.keys.is_empty() && *typed == self.keys
    }

    /// Waits for something to do; `None` if a signal came in between.
    fn wait(
        &self,
        notifier: BorrowedFd<'_>,
        signals: &OwnedFd,
        reads_input: bool,
    ) -> Result<Option<Ready>, CommandError> {
        let output = self.output.as_ref().map(AsFd::as_fd);
        let errors = self.errors.as_ref().map(AsFd::as_fd);
        let wanted = [Some(notifier), Some(signals.as_fd()), reads_input.then(stdin), output, errors];
        let mut polled: Vec<PollFd<'_>> =
            wanted.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        match poll(&mut polled, None) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(None),
            Err(errno) => return Err(errno).during(|| "wait for the pod".into()),
        }
        let mut ready = polled.iter().map(|fd| !fd.revents().is_empty());
        let [notifier, signals, input, output, errors] = wanted.map(|fd| fd.is_some() && ready.next().unwrap_or(false));
        Ok(Some(Ready { notifier, signals, input, output, errors }))
    }

    /// Hands on the signals that have come, and the size of the user's terminal where it has changed.
    fn hear(
        &self,
        signals: &OwnedFd,
        signalled: &mut impl FnMut(i32) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        while let Some(signal) = sys::signal::next(signals)? {
            if signal != Signal::WINCH.as_raw() {
                signalled(signal)?;
            } else if let Some(terminal) = self.input.as_ref().filter(|_| self.terminal) {
                // The program may have ended, and its terminal with it.
                let _ = stage1::terminal::resize(terminal, size());
            }
        }
        Ok(())
    }

    /// Writes out a piece of what is ready. Returns whether nobody reads it any more.
    fn pass_on(&mut self, ready: &Ready) -> Result<bool, CommandError> {
        let mut unread = false;
        for (ready, source, target) in
            [(ready.output, &mut self.output, stdout()), (ready.errors, &mut self.errors, rustix::stdio::stderr())]
        {
            let copied = if ready { copy(source, target)? } else { Copied::Some };
            if copied != Copied::Some {
                *source = None;
            }
            unread |= copied == Copied::Unread;
        }
        Ok(unread)
    }

    /// Hands on what was typed; false at its end. Remembers the last keys in `typed`.
    fn send_input(&mut self, typed: &mut Vec<u8>) -> Result<bool, CommandError> {
        let mut buffer = [0; CHUNK];
        let len = match rustix::io::read(stdin(), &mut buffer) {
            Ok(0) | Err(Errno::IO) => 0,
            Ok(len) => len,
            Err(Errno::INTR | Errno::AGAIN) => return Ok(true),
            Err(errno) => return Err(errno).during(|| "read standard input".into()),
        };
        if len == 0 {
            // A pipe's end is seen by the app; a terminal is told by its own key.
            if !self.terminal {
                self.input = None;
            }
            return Ok(false);
        }
        typed.extend_from_slice(&buffer[..len]);
        let keep = typed.len().saturating_sub(self.keys.len());
        typed.drain(..keep);
        if self.lets_go(typed) {
            return Ok(true);
        }
        match self.input.as_ref().map(|input| write_all(input.as_fd(), &buffer[..len])) {
            Some(Err(_)) => {
                self.input = None;
                Ok(false)
            }
            _ => Ok(true),
        }
    }

    /// Writes out output and errors to their end.
    ///
    /// # Errors
    ///
    /// They cannot be written.
    pub(crate) fn read_to_end(&mut self) -> Result<(), CommandError> {
        for (source, target) in [(&mut self.output, stdout()), (&mut self.errors, rustix::stdio::stderr())] {
            while copy(source, target)? == Copied::Some {}
        }
        Ok(())
    }

    /// Writes out what can still be read of output and errors.
    ///
    /// # Errors
    ///
    /// They cannot be written.
    pub(crate) fn drain(&mut self) -> Result<(), CommandError> {
        for (source, target) in [(&mut self.output, stdout()), (&mut self.errors, rustix::stdio::stderr())] {
            while let Some(fd) = source {
                let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
                let ready = poll(&mut [PollFd::new(&*fd, PollFlags::IN)], Some(&now));
                if !ready.is_ok_and(|ready| ready > 0) || copy(source, target)? != Copied::Some {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Which descriptors have something to read, or are at their end.
#[derive(Debug)]
struct Ready {
    notifier: bool,
    signals: bool,
    input: bool,
    output: bool,
    errors: bool,
}

/// What became of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copied {
    /// It was copied, and there may be more.
    Some,
    /// There was none: that is the end.
    End,
    /// Nobody reads any more what is written.
    Unread,
}

/// Copies a piece.
fn copy(source: &mut Option<OwnedFd>, target: BorrowedFd<'_>) -> Result<Copied, CommandError> {
    let Some(fd) = source else { return Ok(Copied::End) };
    let mut buffer = [0; CHUNK];
    match rustix::io::read(&*fd, &mut buffer) {
        // A terminal whose last user is gone says EIO (pty(7)).
        Ok(0) | Err(Errno::IO) => Ok(Copied::End),
        Ok(len) => match write_all(target, &buffer[..len]) {
            Err(Errno::PIPE) => Ok(Copied::Unread),
            written => written.map(|()| Copied::Some).during(|| "write the pod's output".into()),
        },
        Err(Errno::INTR | Errno::AGAIN) => Ok(Copied::Some),
        Err(errno) => Err(errno).during(|| "read the pod's output".into()),
    }
}

fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(len) => bytes = &bytes[len..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                // Whatever ends the wait, the next write tells what there is.
                let _ = poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], None);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
