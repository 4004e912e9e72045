//! The streams of apps that the supervisor keeps: from pipe or terminal into the app's log, and to whoever is attached.
//!
//! Nothing here waits: a log that cannot be written loses lines and says so later, an attached client that does not
//! read is let go, and an app never waits longer than for the supervisor's next look.

mod log;
mod source;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};

use log::Log;
pub use log::LogLimits;
pub(crate) use source::Stream;
use source::{CHUNK, ROOM, Source};

use crate::control::ConnectionId;

/// Where else it goes.
#[derive(Debug)]
struct Sink {
    app: usize,
    stream: Stream,
    connection: ConnectionId,
    socket: OwnedFd,
    /// Not sent yet.
    backlog: Vec<u8>,
    /// Whether the app rather waits than that the client is let go: it is what the user sits at.
    holds: bool,
    /// Whether the app has ended, and the client goes when it has all.
    ending: bool,
}

/// Most bytes that an attached client may leave unread.
const MAX_BACKLOG: usize = 1 << 20;

/// Streams that clients are connected with at once: a client may ask more than once, and each takes a descriptor.
const MAX_SINKS: usize = 256;

/// As many may be left unread before the app has to wait for the client that it waits for.
const FULL: usize = CHUNK;

/// How long the last output may take to be read by the client that the app waited for.
const LAST_WORDS: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// The streams of all apps.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    sources: Vec<Source>,
    sinks: Vec<Sink>,
    logs: Vec<Option<Log>>,
    /// Input of the apps that have one: a pipe's end or a terminal.
    inputs: Vec<Option<OwnedFd>>,
    buffer: Vec<u8>,
}

impl Outputs {
    /// Whether no stream is kept at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.sinks.is_empty()
    }

    /// Has an app's lines logged as `log.NAME` in `dir`.
    ///
    /// # Errors
    /// The log cannot be opened.
    pub(crate) fn keep_log(
        &mut self,
        app: usize,
        name: &str,
        dir: BorrowedFd<'_>,
        limits: LogLimits,
    ) -> rustix::io::Result<()> {
        let log = Log::open(dir.try_clone_to_owned().map_err(|_| Errno::MFILE)?, name, limits)?;
        self.place(app);
        self.logs[app] = Some(log);
        Ok(())
    }

    /// Bytes of an app's log that could not be written.
    pub(crate) fn lost(&self, app: usize) -> u64 {
        self.logs.get(app).and_then(Option::as_ref).map_or(0, Log::all_lost)
    }

    fn place(&mut self, app: usize) {
        if self.logs.len() <= app {
            self.logs.resize_with(app + 1, || None);
            self.inputs.resize_with(app + 1, || None);
        }
    }

    /// Reads from now on what an app writes to this descriptor.
    pub(crate) fn add_source(&mut self, app: usize, stream: Stream, fd: OwnedFd) {
        self.place(app);
        self.sources.push(Source::new(app, stream, fd));
    }

    /// Writes what attached clients say to this descriptor from now on; `None` closes the app's input.
    pub(crate) fn set_input(&mut self, app: usize, fd: Option<OwnedFd>) {
        self.place(app);
        self.inputs[app] = fd;
    }

    /// The app's input, if it has one: shared, or for one client alone, whose end is then the input's end.
    pub(crate) fn input(&mut self, app: usize, alone: bool) -> Option<OwnedFd> {
        let input = self.inputs.get_mut(app)?;
        if alone { input.take() } else { input.as_ref()?.try_clone().ok() }
    }

    /// Connects a client with a stream of an app; returns the client's end.
    ///
    /// # Errors
    /// Those of socketpair(2); `EMFILE` where too many are connected already.
    pub(crate) fn attach(
        &mut self,
        app: usize,
        stream: Stream,
        connection: ConnectionId,
        holds: bool,
    ) -> rustix::io::Result<OwnedFd> {
        if self.sinks.len() >= MAX_SINKS {
            return Err(Errno::MFILE);
        }
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let sink = Sink { app, stream, connection, socket: ours, backlog: Vec::new(), holds, ending: false };
        self.sinks.push(sink);
        Ok(theirs)
    }

    /// Lets the client go that this connection belongs to.
    pub(crate) fn detach(&mut self, connection: ConnectionId) {
        self.sinks.retain(|sink| sink.connection != connection);
    }

    /// What to poll for; [`Outputs::polled`] wants the answers in this order.
    pub(crate) fn to_poll(&self, now: Instant) -> Vec<PollFd<'_>> {
        let full = |source: &Source| {
            self.sinks.iter().any(|sink| sink.holds && sink.is_of(source) && sink.backlog.len() >= FULL)
        };
        let poll = move |source| if full(source) { source.to_poll_for_end() } else { source.to_poll(now) };
        let sources = self.sources.iter().map(poll);
        let sinks = self.sinks.iter().map(|sink| {
            let out = if sink.backlog.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            PollFd::new(&sink.socket, out)
        });
        sources.chain(sinks).collect()
    }

    /// When streams that are left alone at this moment are to be polled again.
    pub(crate) fn respite(&self, now: Instant) -> Option<Instant> {
        self.sources.iter().filter_map(|source| source.respite(now)).min()
    }

    /// Nothing is written at the moment: lets go of what is only needed for that.
    pub(crate) fn rest(&mut self) {
        self.buffer = Vec::new();
        self.sources.iter_mut().for_each(Source::calm_down);
        self.logs.iter_mut().flatten().for_each(Log::rest);
    }

    /// Moves what there is.
    pub(crate) fn polled(&mut self, ready: &[PollFlags]) {
        let sources = self.sources.len();
        for (sink, flags) in self.sinks.iter_mut().zip(&ready[sources.min(ready.len())..]) {
            if !flags.is_empty() {
                sink.flush();
            }
        }
        let ready: Vec<bool> = ready.iter().take(sources).map(|flags| !flags.is_empty()).collect();
        let mut due: Vec<usize> =
            (0..ready.len()).filter(|index| ready[*index] || self.is_due(*index, &ready)).collect();
        self.sort(&mut due);
        // Signals and clients wait meanwhile, however many streams are busy.
        let most = (ROOM / due.len().max(1)).max(CHUNK);
        let mut ended = Vec::new();
        for index in due {
            match self.read_all(index, most) {
                Some(len) => {
                    let source = &self.sources[index];
                    // Somebody may wait for each piece, to answer it.
                    let may_rest = !self.sinks.iter().any(|sink| sink.is_of(source));
                    self.sources[index].was_read(len, may_rest);
                }
                None => ended.push(index),
            }
        }
        ended.sort_unstable();
        ended.into_iter().rev().for_each(|index| self.end(index));
        self.sinks.retain(|sink| !sink.is_done());
    }

    /// Whether a source that rests is to be read because another one of its app is: what was written first is not logged last.
    fn is_due(&self, index: usize, ready: &[bool]) -> bool {
        let source = &self.sources[index];
        source.rests() && self.sources.iter().zip(ready).any(|(other, ready)| *ready && other.app == source.app)
    }

    /// In the order in which they are to be read. Of several streams that are ready nobody can tell which was written to
    /// first: likely the one that was being read anyway, or else the output.
    fn sort(&self, sources: &mut [usize]) {
        let now = Instant::now();
        sources.sort_unstable_by_key(|index| {
            let source = &self.sources[*index];
            (!source.rests(), !source.is_active(now), *index)
        });
    }

    /// Reads until there is no more, or so much was read, and says how much it was; `None` at the end.
    fn read_all(&mut self, index: usize, most: usize) -> Option<usize> {
        let mut all = 0;
        while all < most {
            let len = self.read(index)?;
            all += len;
            if len < CHUNK {
                break;
            }
        }
        Some(all)
    }

    /// Reads once, and says how much; `None` at the end.
    fn read(&mut self, index: usize) -> Option<usize> {
        let source = &self.sources[index];
        let bytes = source.read(&mut self.buffer)?;
        if bytes.is_empty() {
            return Some(0);
        }
        if let Some(log) = &mut self.logs[source.app] {
            log.write(source.stream, bytes);
        }
        for sink in self.sinks.iter_mut().filter(|sink| sink.is_of(source)) {
            sink.write(bytes);
        }
        Some(bytes.len())
    }

    fn end(&mut self, index: usize) {
        let Source { app, stream, .. } = self.sources.remove(index);
        if let Some(log) = &mut self.logs[app] {
            log.end_line(stream);
        }
    }

    /// The app has ended: its clients see the end of its streams once these are read.
    pub(crate) fn app_ended(&mut self, app: usize) {
        self.drain(|source| source.app == app);
        for sink in self.sinks.iter_mut().filter(|sink| sink.app == app) {
            sink.ending = true;
            sink.flush();
        }
        self.sinks.retain(|sink| !sink.is_done());
    }

    /// The app is no more of the pod: nothing of it is kept open.
    pub(crate) fn forget(&mut self, app: usize) {
        self.app_ended(app);
        self.sources.retain(|source| source.app != app);
        self.sinks.retain(|sink| sink.app != app);
        if let (Some(log), Some(input)) = (self.logs.get_mut(app), self.inputs.get_mut(app)) {
            (*log, *input) = (None, None);
        }
    }

    /// Reads what is left when no process of the pod is.
    pub(crate) fn finish(&mut self) {
        self.drain(|_| true);
        (0..self.sources.len()).rev().for_each(|index| self.end(index));
        for sink in &mut self.sinks {
            sink.flush();
            while sink.holds && !sink.backlog.is_empty() {
                let mut ready = [PollFd::new(&sink.socket, PollFlags::OUT)];
                if !poll(&mut ready, Some(&LAST_WORDS)).is_ok_and(|ready| ready > 0) {
                    break;
                }
                sink.flush();
            }
        }
    }

    /// Reads all that can be read now. What another process holds open for writing may go on.
    fn drain(&mut self, which: impl Fn(&Source) -> bool) {
        let mut drained: Vec<usize> = (0..self.sources.len()).filter(|index| which(&self.sources[*index])).collect();
        self.sort(&mut drained);
        let mut ended = Vec::new();
        for index in drained {
            // A pipe holds at most 1 MiB unless root made it larger; whoever still writes does not keep us for ever.
            for _ in 0..64 {
                // Whoever shares a terminal with it may have made it one that is waited for.
                match self.sources[index].has_some().then(|| self.read(index)) {
                    None => break,
                    Some(Some(_)) => {}
                    Some(None) => {
                        ended.push(index);
                        break;
                    }
                }
            }
        }
        ended.sort_unstable();
        ended.into_iter().rev().for_each(|index| self.end(index));
    }
}

impl Sink {
    fn is_of(&self, source: &Source) -> bool {
        (self.app, self.stream) == (source.app, source.stream)
    }

    /// Whether the client has all, or cannot get it.
    fn is_done(&self) -> bool {
        (self.ending && self.backlog.is_empty()) || (!self.holds && self.backlog.len() > MAX_BACKLOG)
    }

    fn write(&mut self, bytes: &[u8]) {
        self.backlog.extend_from_slice(bytes);
        self.flush();
    }

    fn flush(&mut self) {
        while !self.backlog.is_empty() {
            match send(&self.socket, &self.backlog, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(sent) => drop(self.backlog.drain(..sent)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    // Nobody reads: it is let go with the connection.
                    self.backlog.clear();
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::AsFd as _;

    use rustix::pipe::pipe;

    use super::*;

    #[test]
    fn a_stream_that_rests_is_not_overtaken() {
        const IN: PollFlags = PollFlags::IN;
        const NONE: PollFlags = PollFlags::empty();
        let dir = tempfile::tempdir().unwrap();
        for (busy, other) in [(0, 1), (1, 0)] {
            let mut outputs = Outputs::default();
            let name = format!("app{busy}");
            let log_dir = File::open(dir.path()).unwrap();
            outputs.keep_log(0, &name, log_dir.as_fd(), LogLimits::default()).unwrap();
            let mut ends = Vec::new();
            for stream in [Stream::Stdout, Stream::Stderr] {
                let (ours, theirs) = pipe().unwrap();
                outputs.add_source(0, stream, ours);
                ends.push(theirs);
            }
            let only = |index: usize| [if index == 0 { IN } else { NONE }, if index == 1 { IN } else { NONE }];
            let write = |index: usize, text: &str| rustix::io::write(&ends[index], text.as_bytes()).unwrap();
            // On a machine that is not stopped for milliseconds each time.
            let make_busy = |outputs: &mut Outputs| {
                let is_busy = |_| {
                    write(busy, "busy\n");
                    outputs.polled(&only(busy));
                    outputs.sources[busy].rests()
                };
                assert!((0..1000).any(is_busy));
            };
            make_busy(&mut outputs);
            write(busy, "before\n");
            write(other, "after\n");
            outputs.polled(&only(other));
            let log = fs::read_to_string(dir.path().join(format!("log.{name}"))).unwrap();
            let lines: Vec<&str> = log.lines().filter_map(|line| line.rsplit(' ').next()).collect();
            assert!(lines.ends_with(&["before", "after"]), "{log}");
            // And at the end.
            make_busy(&mut outputs);
            write(busy, "before\n");
            write(other, "after\n");
            outputs.finish();
            let log = fs::read_to_string(dir.path().join(format!("log.{name}"))).unwrap();
            let lines: Vec<&str> = log.lines().filter_map(|line| line.rsplit(' ').next()).collect();
            assert!(lines.ends_with(&["busy", "before", "after"]), "{log}");
        }
    }
}
