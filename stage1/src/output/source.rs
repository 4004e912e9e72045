//! A stream of an app, as its supervisor reads it: at once, and where much comes in small pieces at a pace.
//!
//! Whoever writes a gigabyte in pieces of 4 KiB would wake the supervisor a quarter of a million times, and each time it
//! would look at everything, read, write, and sleep. So a stream that has more at once is left alone for a moment, in a pipe
//! that has room for what comes meanwhile. What comes now and then is read when it comes.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::fcntl_setpipe_size;

/// Bytes read at once from a stream.
pub(super) const CHUNK: usize = 64 * 1024;

/// How long a busy stream is left alone: nobody who follows a log sees it.
const PACE: Duration = Duration::from_millis(1);

/// Reads of so much need no pace.
const PLENTY: usize = CHUNK / 4;

/// Room for what a busy stream brings meanwhile, so that its writer need not wait. Four times what a pipe has of
/// itself: a user has 64 MiB for all (pipe(7), pipe-user-pages-soft).
pub(super) const ROOM: usize = 256 * 1024;

/// One of an app's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output, and all of a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What an app writes to.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) app: usize,
    pub(super) stream: Stream,
    fd: OwnedFd,
    /// When it was last read.
    last: Option<Instant>,
    /// Until when it is left alone.
    rests: Option<Instant>,
    /// Whether it has room for what comes while it rests; `None` as long as it was never busy.
    is_wide: Option<bool>,
}

impl Source {
    pub(super) fn new(app: usize, stream: Stream, fd: OwnedFd) -> Self {
        nonblocking(&fd);
        Self { app, stream, fd, last: None, rests: None, is_wide: None }
    }

    /// What to poll for. While it rests that is its end alone.
    pub(super) fn to_poll(&self, now: Instant) -> PollFd<'_> {
        if self.respite(now).is_some() { self.to_poll_for_end() } else { PollFd::new(&self.fd, PollFlags::IN) }
    }

    /// Polls for its end, which cannot be left out (poll(2)).
    pub(super) fn to_poll_for_end(&self) -> PollFd<'_> {
        PollFd::new(&self.fd, PollFlags::empty())
    }

    /// Whether it was left alone when it was last looked at.
    pub(super) fn rests(&self) -> bool {
        self.rests.is_some()
    }

    /// Until when it rests, if it does.
    pub(super) fn respite(&self, now: Instant) -> Option<Instant> {
        self.rests.filter(|until| now < *until)
    }

    /// What there is, at most [`CHUNK`]; `None` at the end.
    pub(super) fn read<'a>(&self, buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        buffer.resize(CHUNK, 0);
        loop {
            return match rustix::io::read(&self.fd, buffer.as_mut_slice()) {
                // A terminal whose last user is gone says EIO (pty(7)).
                Ok(0) | Err(Errno::IO) => None,
                Ok(len) => Some(&buffer[..len]),
                Err(Errno::AGAIN) => Some(&[]),
                Err(Errno::INTR) => continue,
                Err(_) => None,
            };
        }
    }

    /// It was read in its turn, and had so many bytes. It rests if it is busy, and may.
    pub(super) fn was_read(&mut self, len: usize, may_rest: bool) {
        let now = Instant::now();
        // Twice: after a rest as long as that it would never be busy.
        let busy = self.last.is_some_and(|last| now.duration_since(last) < 2 * PACE) && len < PLENTY;
        self.last = Some(now);
        self.rests = (busy && may_rest && self.is_wide()).then(|| now + PACE);
    }

    /// Whether it has room for what comes while it rests, which it is given when it is first asked for. A terminal never has, and
    /// a user with many pipes gets no more: there the writer would have to wait.
    fn is_wide(&mut self) -> bool {
        *self.is_wide.get_or_insert_with(|| fcntl_setpipe_size(&self.fd, ROOM).is_ok())
    }
}

fn nonblocking(fd: &OwnedFd) {
    if let Ok(flags) = fcntl_getfl(fd) {
        let _ = fcntl_setfl(fd, flags | OFlags::NONBLOCK);
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{Timespec, poll};
    use rustix::pipe::{fcntl_getpipe_size, pipe};

    use super::*;

    fn source() -> (Source, OwnedFd) {
        let (ours, theirs) = pipe().unwrap();
        (Source::new(0, Stream::Stdout, ours), theirs)
    }

    fn is_ready(fd: PollFd<'_>) -> bool {
        poll(&mut [fd], Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
    }

    #[test]
    fn small_pieces_that_come_fast_are_read_at_a_pace() {
        let (mut source, theirs) = source();
        source.was_read(100, true);
        assert_eq!(source.respite(Instant::now()), None, "the first is read at once");
        let before = Instant::now();
        source.was_read(100, true);
        assert!(source.respite(before).is_some_and(|until| until >= before + PACE));
        rustix::io::write(&theirs, b"more").unwrap();
        let after = before + 10 * PACE;
        assert!(!is_ready(source.to_poll(before)));
        assert!(is_ready(source.to_poll(after)));
        assert_eq!(source.respite(after), None);
        assert_eq!(fcntl_getpipe_size(&theirs).unwrap(), ROOM);
        // After the rest it is as busy as before.
        source.last = Some(Instant::now().checked_sub(PACE).unwrap());
        source.was_read(100, true);
        assert!(source.respite(Instant::now()).is_some());
    }

    #[test]
    fn others_are_not() {
        for (len, may_rest, ago) in
            [(PLENTY, true, Duration::ZERO), (100, false, Duration::ZERO), (100, true, 3 * PACE)]
        {
            let (mut source, theirs) = source();
            source.last = Some(Instant::now().checked_sub(ago).unwrap());
            source.was_read(len, may_rest);
            assert_eq!(source.respite(Instant::now()), None, "{len} {may_rest} {ago:?}");
            assert!(fcntl_getpipe_size(&theirs).unwrap() < ROOM);
        }
    }

    #[test]
    fn a_stream_that_cannot_be_widened_never_rests() {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut source = Source::new(0, Stream::Stdout, ours.into());
        for _ in 0..3 {
            source.was_read(100, true);
            assert_eq!(source.respite(Instant::now()), None);
        }
    }

    #[test]
    fn what_there_is_is_read_and_then_the_end() {
        let (source, theirs) = source();
        let mut buffer = Vec::new();
        assert_eq!(source.read(&mut buffer), Some(&b""[..]));
        rustix::io::write(&theirs, b"some").unwrap();
        assert_eq!(source.read(&mut buffer), Some(&b"some"[..]));
        drop(theirs);
        assert_eq!(source.read(&mut buffer), None);
    }
}
