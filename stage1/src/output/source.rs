//! A stream of an app, as its supervisor reads it: at once, and where much comes in small pieces at a pace.
//!
//! Whoever writes a gigabyte in pieces of 4 KiB would wake the supervisor a quarter of a million times, and each time it
//! would look at everything, read, write, and sleep. So a stream that has more at once is left alone for a moment, in a pipe
//! that has room for what comes meanwhile. What comes now and then is read when it comes.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, retry_on_intr};
use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};

/// Bytes read at once from a stream.
pub(super) const CHUNK: usize = 64 * 1024;

/// How long a busy stream is left alone: nobody who follows a log sees it.
const PACE: Duration = Duration::from_millis(1);

/// Reads of so much need no pace.
const PLENTY: usize = CHUNK / 4;

/// A stream is busy that so many reads in a row found so: what a program says at its start is no reason to make a pipe wider.
const BUSY: u32 = 8;

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

/// The room that a stream's pipe has for what comes while it rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// What it has of itself: nobody has asked.
    Own,
    /// It was given more than these bytes of its own, or its app has made it as wide.
    Wide(Option<usize>),
    /// It cannot have more: a terminal never has, and a user with many pipes gets no more. Its writer would have to wait.
    Narrow,
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
    /// How many reads in a row came soon after the one before and brought little.
    busy: u32,
    room: Room,
}

impl Source {
    pub(super) fn new(app: usize, stream: Stream, fd: OwnedFd) -> Self {
        nonblocking(&fd);
        Self { app, stream, fd, last: None, rests: None, busy: 0, room: Room::Own }
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

    /// Whether it was read only just.
    pub(super) fn is_active(&self, now: Instant) -> bool {
        // Twice: after a rest as long as that nothing would be.
        self.last.is_some_and(|last| now.duration_since(last) < 2 * PACE)
    }

    /// Until when it rests, if it does.
    pub(super) fn respite(&self, now: Instant) -> Option<Instant> {
        self.rests.filter(|until| now < *until)
    }

    /// What there is, at most [`CHUNK`]; `None` at the end.
    pub(super) fn read<'a>(&self, buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        buffer.resize(CHUNK, 0);
        match retry_on_intr(|| rustix::io::read(&self.fd, buffer.as_mut_slice())) {
            // A terminal whose last user is gone says EIO (pty(7)).
            Ok(0) | Err(Errno::IO) => None,
            Ok(len) => Some(&buffer[..len]),
            Err(Errno::AGAIN) => Some(&[]),
            Err(_) => None,
        }
    }

    /// It was read in its turn, and had so many bytes. It rests if it is busy, and may.
    pub(super) fn was_read(&mut self, len: usize, may_rest: bool) {
        let now = Instant::now();
        self.busy = if self.is_active(now) && len > 0 && len < PLENTY { self.busy.saturating_add(1) } else { 0 };
        self.last = Some(now);
        self.rests = (self.busy >= BUSY && may_rest && self.is_wide()).then(|| now + PACE);
    }

    /// Whether it has room for what comes while it rests, which it is given when it is first asked for.
    fn is_wide(&mut self) -> bool {
        if self.room == Room::Own {
            self.room = match fcntl_getpipe_size(&self.fd) {
                Ok(own) if own >= ROOM => Room::Wide(None),
                Ok(own) if fcntl_setpipe_size(&self.fd, ROOM).is_ok() => Room::Wide(Some(own)),
                _ => Room::Narrow,
            };
        }
        self.room != Room::Narrow
    }

    /// Nothing has come for long: it gives back what it was given of the user's room for pipes.
    pub(super) fn calm_down(&mut self) {
        if let Room::Wide(Some(own)) = self.room {
            // Refused while more than that is in it: then the next time.
            if fcntl_setpipe_size(&self.fd, own).is_err() {
                return;
            }
        }
        (self.room, self.busy, self.rests) = (Room::Own, 0, None);
    }

    /// Whether there is something to read, or its end.
    pub(super) fn has_some(&self) -> bool {
        poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))
            .is_ok_and(|some| some > 0)
    }
}

fn nonblocking(fd: &OwnedFd) {
    if let Ok(flags) = fcntl_getfl(fd) {
        let _ = fcntl_setfl(fd, flags | OFlags::NONBLOCK);
    }
}

#[cfg(test)]
mod tests {
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
        let own = fcntl_getpipe_size(&theirs).unwrap();
        for _ in 0..BUSY {
            source.was_read(100, true);
            assert_eq!(source.respite(Instant::now()), None, "the first are read at once");
        }
        assert_eq!(fcntl_getpipe_size(&theirs).unwrap(), own);
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
        assert!(source.rests());
        source.calm_down();
        assert!(!source.rests());
        assert_eq!(fcntl_getpipe_size(&theirs).unwrap(), own);
    }

    #[test]
    fn others_are_not() {
        let cases = [
            (PLENTY, true, Duration::ZERO),
            (0, true, Duration::ZERO),
            (9, false, Duration::ZERO),
            (9, true, 3 * PACE),
        ];
        for (len, may_rest, ago) in cases {
            let (mut source, theirs) = source();
            for _ in 0..2 * BUSY {
                source.last = Some(Instant::now().checked_sub(ago).unwrap());
                source.was_read(len, may_rest);
                assert!(!source.rests(), "{len} {may_rest} {ago:?}");
            }
            assert!(fcntl_getpipe_size(&theirs).unwrap() < ROOM);
        }
    }

    #[test]
    fn a_stream_that_cannot_be_widened_never_rests() {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut source = Source::new(0, Stream::Stdout, ours.into());
        for _ in 0..2 * BUSY {
            source.was_read(100, true);
            assert!(!source.rests());
        }
    }

    #[test]
    fn a_pipe_that_its_app_made_wider_stays_so() {
        let (mut source, theirs) = source();
        let wide = fcntl_setpipe_size(&theirs, 2 * ROOM).unwrap();
        (0..2 * BUSY).for_each(|_| source.was_read(100, true));
        assert!(source.rests());
        source.calm_down();
        assert_eq!(fcntl_getpipe_size(&theirs).unwrap(), wide);
    }

    #[test]
    fn what_there_is_is_read_and_then_the_end() {
        let (source, theirs) = source();
        let mut buffer = Vec::new();
        assert!(!source.has_some());
        assert_eq!(source.read(&mut buffer), Some(&b""[..]));
        rustix::io::write(&theirs, b"some").unwrap();
        assert!(source.has_some());
        assert_eq!(source.read(&mut buffer), Some(&b"some"[..]));
        drop(theirs);
        assert!(source.has_some());
        assert_eq!(source.read(&mut buffer), None);
    }
}
