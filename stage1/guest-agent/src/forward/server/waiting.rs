//! What the server waits for, and until when.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::stdio::{stdin, stdout};

use super::super::Fatal;
use super::super::backend::Input;
use super::super::connection::{Connection, Phase};
use super::{STALL, Server};

/// What a polled descriptor belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Input,
    Output,
    Listener,
    Connection(u64),
}

/// Descriptors with what each belongs to, and the first of the deadlines.
#[derive(Default)]
struct Watch<'s> {
    sources: Vec<Source>,
    fds: Vec<PollFd<'s>>,
    deadline: Option<Instant>,
}

impl<'s> Watch<'s> {
    fn add(&mut self, source: Source, fd: BorrowedFd<'s>, flags: PollFlags) {
        self.sources.push(source);
        self.fds.push(PollFd::from_borrowed_fd(fd, flags));
    }

    fn until(&mut self, deadline: Instant) {
        self.deadline = Some(self.deadline.map_or(deadline, |known| known.min(deadline)));
    }

    /// Adds what a connection waits for. Its socket is read only with `room` for what comes.
    fn connection(&mut self, id: u64, connection: &'s Connection, room: bool) {
        let source = Source::Connection(id);
        if let Phase::Dialling(dial) = &connection.phase {
            self.until(dial.deadline());
            dial.fds().into_iter().for_each(|(fd, flags)| self.add(source, fd, flags));
        }
        if let Phase::Lingering(until) = connection.phase {
            self.until(until);
        }
        let Some(socket) = &connection.socket else { return };
        let reads = match connection.phase {
            Phase::Started => room,
            Phase::Lingering(_) => true,
            _ => false,
        };
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, reads);
        flags.set(PollFlags::OUT, connection.pending() > 0);
        // With none asked for, a peer that has hung up would be told of again and again.
        if !flags.is_empty() {
            self.add(source, socket.as_fd(), flags);
        }
    }

    /// Waits for an event or the deadline. Returns what happened to whom: nothing, if a signal came.
    fn wait(mut self, now: Instant) -> Result<Vec<(Source, PollFlags)>, Fatal> {
        let wait = self.deadline.map(|it| timespec(it.saturating_duration_since(now)));
        match poll(&mut self.fds, wait.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(Fatal::Poll(error)),
        }
        let events = self.sources.into_iter().zip(self.fds.iter().map(PollFd::revents));
        Ok(events.filter(|(_, flags)| !flags.is_empty()).collect())
    }
}

impl Server {
    /// Waits for something to do and does what came of it.
    pub(super) fn wait(&mut self, input: &mut Input, held: bool, now: Instant) -> Result<(), Fatal> {
        let events = self.poll(held, now)?;
        let now = Instant::now();
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (source, flags) in events {
            match source {
                Source::Input => drop(input.receive()?),
                Source::Output => drop(self.output.flush()?),
                Source::Listener => self.accept(now),
                Source::Connection(id) if id > self.turn => after.push((id, flags)),
                Source::Connection(id) => before.push((id, flags)),
            }
        }
        for (id, flags) in after.into_iter().chain(before) {
            self.serve(id, flags, now);
            self.turn = id;
        }
        Ok(())
    }

    /// Waits without doing anything about what comes; `held`, without looking at the input.
    pub(super) fn poll(&mut self, held: bool, now: Instant) -> Result<Vec<(Source, PollFlags)>, Fatal> {
        self.rests_until = self.rests_until.filter(|it| *it > now);
        let events = self.watch(held).wait(now)?;
        if events.iter().any(|(source, flags)| *source == Source::Output && flags.contains(PollFlags::ERR)) {
            if !self.output.is_flushed() {
                return Err(Fatal::Write(Errno::PIPE));
            }
            self.alone = true;
        }
        Ok(events)
    }

    fn watch(&self, held: bool) -> Watch<'_> {
        let room = self.output.has_room();
        let mut watch = Watch::default();
        if !self.alone {
            // Without an event asked for, poll(2) still tells that nobody reads any more.
            let writes = if self.output.is_flushed() { PollFlags::empty() } else { PollFlags::OUT };
            watch.add(Source::Output, stdout(), writes);
        }
        if held {
            let waiting = self.connections.values().filter(|it| it.pending() > 0);
            waiting.for_each(|it| watch.until(it.progress + STALL));
        } else {
            watch.add(Source::Input, stdin(), PollFlags::IN);
        }
        match (self.rests_until, &self.listener) {
            (Some(until), _) => watch.until(until),
            (None, Some(listener)) if room => watch.add(Source::Listener, listener.fd(), PollFlags::IN),
            (None, _) => {}
        }
        for (&id, connection) in &self.connections {
            watch.connection(id, connection, room);
        }
        watch
    }
}

fn timespec(wait: Duration) -> Timespec {
    // Rounded up: a wait that ends just before its deadline would only be repeated.
    let wait = wait + Duration::from_micros(100);
    Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() }
}
