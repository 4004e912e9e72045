//! An end of a conversation that never waits for the other side alone to read.
//!
//! Pid 1 tells of each process of each app, and waits where the monitor does not read; a monitor that has hundreds of apps
//! to start or to signal waited for pid 1 in turn, and both for ever.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Channel;

/// One end. What the other side says while this one waits to be heard is kept, in its order.
#[derive(Debug)]
pub(crate) struct Patient<Out, In> {
    channel: Channel<Out, In>,
    early: RefCell<VecDeque<(In, Vec<OwnedFd>)>>,
}

impl<Out, In> Patient<Out, In> {
    pub(crate) fn new(channel: Channel<Out, In>) -> Self {
        Self { channel, early: RefCell::default() }
    }

    /// Whether there is something to hear that no poll(2) tells of.
    pub(crate) fn has_early(&self) -> bool {
        !self.early.borrow().is_empty()
    }
}

impl<Out: Serialize, In: DeserializeOwned> Patient<Out, In> {
    /// As [`Channel::say`].
    pub(crate) fn say(&self, message: &Out) -> rustix::io::Result<()> {
        self.say_with(message, &[])
    }

    /// As [`Channel::say_with`].
    pub(crate) fn say_with(&self, message: &Out, fds: &[BorrowedFd<'_>]) -> rustix::io::Result<()> {
        loop {
            match self.channel.say_with_now(message, fds) {
                Err(Errno::AGAIN) => self.listen()?,
                said => return said,
            }
        }
    }

    /// As [`Channel::hear_with`].
    pub(crate) fn hear_with(&self) -> rustix::io::Result<Option<(In, Vec<OwnedFd>)>> {
        let early = self.early.borrow_mut().pop_front();
        early.map_or_else(|| self.channel.hear_with(), |message| Ok(Some(message)))
    }

    /// Waits until something can be said, and keeps what is heard meanwhile.
    fn listen(&self) -> rustix::io::Result<()> {
        let mut polled = [PollFd::new(&self.channel, PollFlags::IN | PollFlags::OUT)];
        match poll(&mut polled, None) {
            Err(Errno::INTR) => return Ok(()),
            polled => polled?,
        };
        if polled[0].revents().contains(PollFlags::IN) {
            match self.channel.hear_with_now() {
                // Gone: the next attempt to say something tells.
                Ok(None) | Err(Errno::AGAIN) => {}
                heard => self.early.borrow_mut().extend(heard?),
            }
        }
        Ok(())
    }
}

impl<Out, In> AsFd for Patient<Out, In> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{End, FromInit, ToInit, pair};
    use super::*;

    #[test]
    fn both_may_talk_at_once_however_much_there_is_to_say() {
        const COUNT: u64 = 2000;
        let (monitor, init) = pair::<ToInit, FromInit>().unwrap();
        let pid_1 = std::thread::spawn(move || {
            (0..COUNT).for_each(|process| init.say(&FromInit::Exited { process, end: End::Code(0) }).unwrap());
            let heard = (0..COUNT).map(|_| init.hear().unwrap().unwrap());
            assert!(heard.eq((0..COUNT).map(|process| ToInit::Signal { process, signal: 15 })));
        });
        let monitor = Patient::new(monitor);
        (0..COUNT).for_each(|process| monitor.say(&ToInit::Signal { process, signal: 15 }).unwrap());
        assert!(monitor.has_early(), "nothing had to be kept: this tests nothing");
        let heard = (0..COUNT).map(|_| monitor.hear_with().unwrap().unwrap().0);
        assert!(heard.eq((0..COUNT).map(|process| FromInit::Exited { process, end: End::Code(0) })));
        assert!(!monitor.has_early());
        pid_1.join().unwrap();
        assert!(monitor.hear_with().unwrap().is_none(), "the other side is gone");
        monitor.say(&ToInit::Mapped).unwrap();
    }
}
