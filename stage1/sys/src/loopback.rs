//! The loopback interface of a new network namespace: bringing it up (netdevice(7)) and giving it an address
//! (rtnetlink(7)).

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

use crate::check;

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
const LOOPBACK: u32 = 1;

/// Gives `lo` of the current network namespace one more address, that of a single host.
///
/// Its scope is the host: the kernel never takes it for the source of a packet that leaves.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN over the network namespace, `EEXIST` if it is there already.
pub fn add_address(address: IpAddr) -> io::Result<()> {
    // Protocol 0 is NETLINK_ROUTE.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    sendto(&socket, &new_address(address), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; 256];
    let (_, length) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    acknowledged(&answer[..length.min(answer.len())])
}

/// A request to add an address and to acknowledge that: nlmsghdr, ifaddrmsg, one attribute, all in the machine's byte
/// order (netlink(7), rtnetlink(7)).
fn new_address(address: IpAddr) -> Vec<u8> {
    const FLAGS: i32 = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let (family, octets) = match address {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    let length = 28 + octets.len();
    let mut message = Vec::with_capacity(length);
    message.extend((length as u32).to_ne_bytes());
    message.extend(libc::RTM_NEWADDR.to_ne_bytes());
    message.extend((FLAGS as u16).to_ne_bytes());
    // Sequence number, and the port of the sender: the kernel knows both from the socket.
    message.extend([0; 8]);
    // Family, prefix length, flags, scope.
    message.extend([family as u8, 8 * octets.len() as u8, 0, libc::RT_SCOPE_HOST]);
    message.extend(LOOPBACK.to_ne_bytes());
    message.extend((4 + octets.len() as u16).to_ne_bytes());
    message.extend(libc::IFA_LOCAL.to_ne_bytes());
    message.extend(octets);
    message
}

/// What an acknowledgement says: a header of type NLMSG_ERROR, and a negative errno or zero.
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let code = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match (kind.map(i32::from), code) {
        (Some(libc::NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(libc::NLMSG_ERROR), Some(code)) => Err(io::Error::from_raw_os_error(-code)),
        _ => Err(Errno::BADMSG.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_as_long_as_it_says() {
        let message = new_address("fd00::1".parse().unwrap());
        assert_eq!((message.len(), &message[..4], message[17]), (44, &44_u32.to_ne_bytes()[..], 128));
        let message = new_address("169.254.169.254".parse().unwrap());
        assert_eq!(message.len(), 32);
        assert_eq!(message[..4], 32_u32.to_ne_bytes());
        assert_eq!(message[24..26], 8_u16.to_ne_bytes());
        assert_eq!(message[28..], [169, 254, 169, 254]);
    }

    #[test]
    fn acknowledgements() {
        let answer = |kind: u16, code: i32| {
            let mut answer = vec![0; 20];
            answer[4..6].copy_from_slice(&kind.to_ne_bytes());
            answer[16..20].copy_from_slice(&code.to_ne_bytes());
            acknowledged(&answer)
        };
        assert!(answer(2, 0).is_ok());
        assert_eq!(answer(2, -17).unwrap_err().raw_os_error(), Some(17));
        assert!(answer(3, 0).is_err() && acknowledged(&[2; 10]).is_err());
    }
}
