//! The loopback interface of a new network namespace: bringing it up (netdevice(7)) and giving it an address
//! (rtnetlink(7)).

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::check;
use crate::netlink::new_address;

/// Brings `lo` of the current network namespace up; the kernel then adds 127.0.0.1 and ::1 by itself.
///
/// An ioctl instead of netlink: two system calls instead of four, and the request has no variable parts.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN over the network namespace, `ENODEV` where there is no `lo`.
pub fn up() -> io::Result<()> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: ifreq is plain old data; all-zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"lo") {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which lives until the call returns.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    check(libc::c_long::from(result)).map(drop)
}

/// The loopback interface has this number in every network namespace (the kernel's `LOOPBACK_IFINDEX`).
pub(crate) const LOOPBACK: u32 = 1;

/// Gives `lo` of the current network namespace one more address, that of a single host.
///
/// Its scope is the host: the kernel never takes it for the source of a packet that leaves.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN over the network namespace, `EEXIST` if it is there already.
pub fn add_address(address: IpAddr) -> io::Result<()> {
    let length = if address.is_ipv4() { 32 } else { 128 };
    new_address(LOOPBACK, (address, length), libc::RT_SCOPE_HOST).send()
}
