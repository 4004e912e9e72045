//! What the kernel answers, taken apart.

use std::io;

use rustix::io::Errno;

use super::{ATTRIBUTE, HEADER, Link};

/// The messages of an answer, whose header is 16 bytes long, or the attributes of one, whose header is 4: type and body.
pub(super) fn parts(mut bytes: &[u8], header: usize) -> impl Iterator<Item = io::Result<(u16, &[u8])>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let number = |at: usize| bytes.get(at..at + 2).map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
        let length = match header {
            HEADER => bytes.get(..4).map(|b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]) as usize),
            _ => number(0).map(usize::from),
        };
        let kind = number(if header == HEADER { 4 } else { 2 });
        let (Some(length), Some(kind)) = (length, kind) else { return Some(broken(&mut bytes)) };
        let Some(body) = bytes.get(header..length) else { return Some(broken(&mut bytes)) };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Ok((kind, body)))
    })
}

/// The end of what is no answer.
fn broken<'a>(bytes: &mut &'a [u8]) -> io::Result<(u16, &'a [u8])> {
    *bytes = &[];
    Err(Errno::BADMSG.into())
}

/// What an NLMSG_ERROR says: a negative errno, or zero for none.
pub(super) fn error(body: &[u8]) -> Option<io::Error> {
    match body.get(..4).map(|b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]])) {
        Some(0) => None,
        Some(code) => Some(io::Error::from_raw_os_error(code.wrapping_neg())),
        None => Some(Errno::BADMSG.into()),
    }
}

/// What an acknowledgement says: the type of its header, and what follows that. The rest may be cut off.
pub(super) fn acknowledged(answer: &[u8]) -> io::Result<()> {
    match (answer.get(4..6), answer.get(HEADER..)) {
        (Some(&[low, high]), Some(body)) if i32::from(u16::from_ne_bytes([low, high])) == libc::NLMSG_ERROR => {
            error(body).map_or(Ok(()), Err)
        }
        _ => Err(Errno::BADMSG.into()),
    }
}

/// The interface that a message is about (ifinfomsg and attributes).
pub(super) fn link(body: &[u8]) -> io::Result<Link> {
    let (Some(index), Some(attributes)) = (body.get(4..8), body.get(16..)) else { return Err(Errno::BADMSG.into()) };
    let index = u32::from_ne_bytes([index[0], index[1], index[2], index[3]]);
    let mut link = Link { index, name: String::new(), alias: String::new() };
    for part in parts(attributes, ATTRIBUTE) {
        let (kind, value) = part?;
        let text = || String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
        match kind {
            libc::IFLA_IFNAME => link.name = text(),
            libc::IFLA_IFALIAS => link.alias = text(),
            _ => {}
        }
    }
    Ok(link)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::{Request, interface};

    #[test]
    fn an_answer_that_is_none_is_refused() {
        let request = Request::new(libc::RTM_NEWLINK, 0, &interface(5, 0, 0));
        let request = request.with_text(libc::IFLA_IFNAME, "v7", 15).with(libc::IFLA_IFALIAS, b"db");
        let message = request.message().unwrap();
        let (kind, body) = parts(&message, HEADER).next().unwrap().unwrap();
        assert_eq!(kind, libc::RTM_NEWLINK);
        assert_eq!(link(body).unwrap(), Link { index: 5, name: "v7".into(), alias: "db".into() });
        for length in [0, 3, 17, 19, 22] {
            assert!(link(&body[..length]).is_err(), "{length}");
        }
        assert_eq!(error(&(-17_i32).to_ne_bytes()).unwrap().raw_os_error(), Some(17));
        assert!(error(&0_i32.to_ne_bytes()).is_none() && error(&[]).is_some());
        assert!(parts(&[16, 0, 0, 0], HEADER).next().unwrap().is_err());
        assert!(parts(&[3, 0, 0, 0, 0, 0], ATTRIBUTE).next().unwrap().is_err(), "shorter than its header");
    }

    #[test]
    fn acknowledgements() {
        let answer = |kind: u16, code: i32| {
            // The request comes along, and may be cut off.
            let mut answer = vec![0; 24];
            answer[..4].copy_from_slice(&300_u32.to_ne_bytes());
            answer[4..6].copy_from_slice(&kind.to_ne_bytes());
            answer[16..20].copy_from_slice(&code.to_ne_bytes());
            acknowledged(&answer)
        };
        assert!(answer(2, 0).is_ok());
        assert_eq!(answer(2, -17).unwrap_err().raw_os_error(), Some(17));
        assert!(answer(3, 0).is_err() && acknowledged(&[2; 10]).is_err());
    }
}
