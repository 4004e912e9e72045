//! DNS messages, RFC 1035 section 4: one question for a name's addresses, and what the answer says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    A = 1,
    Aaaa = 28,
}

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// None, where the name does not exist or has none of this kind.
    Addresses(Vec<IpAddr>),
    /// Ask again over TCP.
    Truncated,
    /// The server could not or would not tell.
    Failure,
}

const HEADER: usize = 12;
const CLASS_IN: u16 = 1;
const CNAME: u16 = 5;
/// Longer chains of aliases are loops.
const MAX_ALIASES: usize = 16;
/// More addresses than anybody would try.
const MAX_ADDRESSES: usize = 64;

/// A recursive query, or `None` for what cannot be a name in DNS: empty or too long labels, more than 253 bytes.
pub(super) fn query(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    if name.len() > 253 {
        return None;
    }
    let mut message = Vec::with_capacity(HEADER + name.len() + 6);
    for field in [id, 0x0100, 1, 0, 0, 0] {
        message.extend(field.to_be_bytes());
    }
    for label in name.split('.') {
        if !(1..=63).contains(&label.len()) {
            return None;
        }
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend((kind as u16).to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    Some(message)
}

/// What `message` answers to `query`; `None` if it is not its answer or not well-formed.
pub(super) fn answer(message: &[u8], query: &[u8]) -> Option<Answer> {
    let field = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
    let flags = field(2)?;
    let question = query.get(HEADER..)?;
    let (is_response, questions) = (flags & 0x8000 != 0, field(4)?);
    // Servers repeat the question byte for byte but for the letters' case.
    let same = message.get(HEADER..HEADER + question.len())?.eq_ignore_ascii_case(question);
    if message.get(..2) != query.get(..2) || !is_response || questions != 1 || !same {
        return None;
    }
    if flags & 0x0200 != 0 {
        return Some(Answer::Truncated);
    }
    match flags & 0xf {
        0 => {}
        3 => return Some(Answer::Addresses(Vec::new())),
        _ => return Some(Answer::Failure),
    }
    let kind = u16::from_be_bytes(question[question.len() - 4..question.len() - 2].try_into().ok()?);
    let mut records = Vec::new();
    let mut at = HEADER + question.len();
    for _ in 0..field(6)? {
        let (owner, next) = name_at(message, at)?;
        let (record, class, length) = (field(next)?, field(next + 2)?, usize::from(field(next + 8)?));
        let data = next + 10;
        let bytes = message.get(data..data + length)?;
        if class == CLASS_IN && (record == kind || record == CNAME) {
            records.push((owner, record, data, bytes));
        }
        at = data + length;
    }
    let mut name = name_at(message, HEADER)?.0;
    for _ in 0..MAX_ALIASES {
        let own = records.iter().filter(|it| it.0 == name && it.1 == kind);
        let addresses: Vec<IpAddr> = own.filter_map(|it| address(it.3)).take(MAX_ADDRESSES).collect();
        let alias = records.iter().find(|it| it.0 == name && it.1 == CNAME);
        match alias {
            Some(alias) if addresses.is_empty() => name = name_at(message, alias.2)?.0,
            _ => return Some(Answer::Addresses(addresses)),
        }
    }
    Some(Answer::Addresses(Vec::new()))
}

fn address(data: &[u8]) -> Option<IpAddr> {
    match data.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).into()),
        _ => None,
    }
}

/// The name at a place, its labels in lower case behind their lengths, and the place behind it.
fn name_at(message: &[u8], mut at: usize) -> Option<(Vec<u8>, usize)> {
    let (mut name, mut behind) = (Vec::new(), None);
    loop {
        let length = usize::from(*message.get(at)?);
        match length >> 6 {
            0 if length == 0 => return Some((name, behind.unwrap_or(at + 1))),
            0 => {
                let label = message.get(at..=at + length)?;
                name.extend(label.iter().map(u8::to_ascii_lowercase));
                at += length + 1;
            }
            3 => {
                let target = (length & 0x3f) << 8 | usize::from(*message.get(at + 1)?);
                behind.get_or_insert(at + 2);
                // Pointers lead back; one that does not could lead in circles.
                if target >= at {
                    return None;
                }
                at = target;
            }
            _ => return None,
        }
        if name.len() > 255 {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let digit = |it: u8| (it as char).to_digit(16).expect("a digit") as u8;
        digits.chunks(2).map(|it| digit(it[0]) << 4 | digit(it[1])).collect()
    }

    const QUESTION: &str = "02 6462 07 6578616d706c65 00 0001 0001";

    /// An answer to `db.example` with these records.
    fn response(flags: &str, count: u8, records: &str) -> Vec<u8> {
        hex(&format!("1234 {flags} 0001 00{count:02x} 0000 0000 {QUESTION} {records}"))
    }

    fn asked(message: &[u8]) -> Option<Answer> {
        answer(message, &query(0x1234, "db.example", Kind::A).expect("a name"))
    }

    #[test]
    fn a_question_is_as_in_the_rfc() {
        let expected = hex(&format!("1234 0100 0001 0000 0000 0000 {QUESTION}"));
        assert_eq!(query(0x1234, "db.example", Kind::A), Some(expected));
        for name in ["", "a..b", ".a", "a.", &"x".repeat(64), &"x.".repeat(127)] {
            assert_eq!(query(1, name, Kind::Aaaa), None, "{name}");
        }
    }

    #[test]
    fn addresses_and_aliases_are_found() {
        let a = "c00c 0001 0001 00000001 0004 0a000001";
        let ip = |text: &str| Answer::Addresses(vec![text.parse().expect("an address")]);
        assert_eq!(asked(&response("8180", 1, a)), Some(ip("10.0.0.1")));
        // DB.example → x.example → 10.0.0.2; the record of another name does not count.
        let alias = "c00c 0005 0001 00000001 0004 0178c00f";
        let target = "0158 07 4558414d504c45 00 0001 0001 00000001 0004 0a000002";
        let other = "0179c00f 0001 0001 00000001 0004 0a000003";
        assert_eq!(asked(&response("8180", 3, &format!("{other}{target}{alias}"))), Some(ip("10.0.0.2")));
        assert_eq!(asked(&response("8183", 0, "")), Some(Answer::Addresses(vec![])));
        assert_eq!(asked(&response("8182", 0, "")), Some(Answer::Failure));
        assert_eq!(asked(&response("8380", 0, "")), Some(Answer::Truncated));
    }

    #[test]
    fn what_is_no_answer_is_not_taken_for_one() {
        let good = response("8180", 1, "c00c 0001 0001 00000001 0004 0a000001");
        for end in 0..good.len() {
            assert_eq!(asked(&good[..end]), None, "cut at {end}");
        }
        let mut other_id = good.clone();
        other_id[0] ^= 1;
        let mut other_name = good;
        other_name[13] ^= 1;
        let itself = response("8180", 1, "c01c 0001 0001 00000001 0004 0a000001");
        let forward = response("8180", 1, "c0ff 0001 0001 00000001 0004 0a000001");
        for message in [other_id, other_name, response("0100", 0, ""), itself, forward] {
            assert_eq!(asked(&message), None);
        }
        // An alias of itself ends.
        assert_eq!(asked(&response("8180", 1, "c00c 0005 0001 00000001 0002 c00c")), Some(Answer::Addresses(vec![])));
    }
}
