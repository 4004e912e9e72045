//! What the monitor orders of a process that carries ports, while it does.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::channel::{self, Channel, MAX_FDS};
use crate::network::{Relay, Target};

/// An order.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// Carry from further sockets, which come along, to these.
    Carry(Vec<Target>),
    /// Let go of the sockets at these addresses, and say that number then.
    Free(Vec<SocketAddr>, u64),
}

/// What has been ordered is done.
#[derive(Debug, Serialize, Deserialize)]
struct Freed(u64);

/// The monitor's end.
#[derive(Debug)]
pub(crate) struct Orderer(Channel<Order, Freed>);

/// The end of the process that carries.
#[derive(Debug)]
pub(crate) struct Orders(Channel<Freed, Order>);

/// What is to be different.
pub(super) enum Change<'a> {
    Carry(Vec<Relay>),
    Free(ToFree<'a>),
}

/// Sockets that are to be let go of.
pub(super) struct ToFree<'a> {
    addresses: Vec<SocketAddr>,
    number: u64,
    orders: &'a Orders,
}

/// Both ends.
pub(crate) fn pair() -> io::Result<(Orderer, Orders)> {
    let (ours, theirs) = channel::pair()?;
    Ok((Orderer(ours), Orders(theirs)))
}

impl Orderer {
    /// Has connections or datagrams that come in at the sockets carried to the targets.
    ///
    /// # Errors
    /// Those of sendmsg(2).
    pub(crate) fn carry(&self, targets: &[Target], sockets: &[OwnedFd]) -> io::Result<()> {
        for (targets, sockets) in targets.chunks(MAX_FDS).zip(sockets.chunks(MAX_FDS)) {
            let fds: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
            self.0.say_with(&Order::Carry(targets.to_vec()), &fds)?;
        }
        Ok(())
    }

    /// Has the sockets at these addresses closed; when they are, [`Orderer::freed`] has the number.
    ///
    /// # Errors
    /// Those of send(2).
    pub(crate) fn free(&self, addresses: Vec<SocketAddr>, number: u64) -> io::Result<()> {
        Ok(self.0.say(&Order::Free(addresses, number))?)
    }

    /// The number of something that has been done by now.
    pub(crate) fn freed(&self) -> Option<u64> {
        self.0.hear_now().ok().flatten().map(|Freed(number)| number)
    }

    #[cfg(test)]
    pub(crate) fn freed_after_a_while(&self) -> u64 {
        self.0.hear().unwrap().unwrap().0
    }
}

impl AsFd for Orderer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for Orders {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Orders {
    /// What has been ordered, if anything is there.
    ///
    /// # Errors
    /// Nobody is left who could order anything.
    pub(super) fn next(&self, is_there: bool) -> io::Result<Option<Change<'_>>> {
        if !is_there {
            return Ok(None);
        }
        match self.0.hear_with_now() {
            Ok(None) => Err(io::ErrorKind::NotConnected.into()),
            Ok(Some((Order::Carry(targets), sockets))) => {
                let relay = |(socket, target)| Relay { socket, target, datagrams: false };
                Ok(Some(Change::Carry(sockets.into_iter().zip(targets).map(relay).collect())))
            }
            Ok(Some((Order::Free(addresses, number), _))) => {
                Ok(Some(Change::Free(ToFree { addresses, number, orders: self })))
            }
            Err(Errno::AGAIN) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl ToFree<'_> {
    /// Whether a socket at this address is one of them.
    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.addresses.contains(&address)
    }

    /// They are closed.
    ///
    /// # Errors
    /// Those of send(2).
    pub(super) fn done(self) -> io::Result<()> {
        Ok(self.orders.0.say(&Freed(self.number))?)
    }
}
