//! Options of sockets that rustix does not set: to speak from addresses which are not this machine's (ip(7), `IP_TRANSPARENT`;
//! socket(7), `SO_MARK`), and to give up early (tcp(7), `TCP_SYNCNT`).

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use rustix::net::AddressFamily;

use crate::check;

/// `IPV6_TRANSPARENT` (linux/in6.h).
const IPV6_TRANSPARENT: libc::c_int = 75;

/// Level and name of each option that is set here, for filters of system calls.
pub const OPTIONS: [(libc::c_int, libc::c_int); 4] = [
    (libc::IPPROTO_IP, libc::IP_TRANSPARENT),
    (libc::IPPROTO_IPV6, IPV6_TRANSPARENT),
    (libc::SOL_SOCKET, libc::SO_MARK),
    (libc::IPPROTO_TCP, libc::TCP_SYNCNT),
];

/// Lets a socket be bound to any address, and has its packets, and those of the connections that they open, bear a mark.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN over the network namespace of the socket.
pub fn speak_for_others(socket: BorrowedFd<'_>, family: AddressFamily, mark: u32) -> io::Result<()> {
    let [older, newer, marked, _] = OPTIONS;
    set(socket, if family == AddressFamily::INET6 { newer } else { older }, 1)?;
    set(socket, marked, mark.cast_signed())
}

/// Has a connection fail that was asked for so many times more and is not there: after 7 seconds with 2, after 15 with 3.
///
/// # Errors
/// Those of setsockopt(2).
pub fn give_up_after(socket: BorrowedFd<'_>, retries: u8) -> io::Result<()> {
    let [.., asked] = OPTIONS;
    set(socket, asked, retries.into())
}

fn set(socket: BorrowedFd<'_>, (level, name): (libc::c_int, libc::c_int), value: libc::c_int) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: setsockopt reads `length` bytes of `value`, which lives until the call returns.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), length) };
    check(libc::c_long::from(result)).map(drop)
}
