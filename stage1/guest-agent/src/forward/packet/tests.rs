//! Packets against vectors that a Go encoder of the original's kind makes, and against what is not well-formed.

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digit = |it: u8| (it as char).to_digit(16).expect("a digit") as u8;
    text.as_bytes().chunks(2).map(|it| digit(it[0]) << 4 | digit(it[1])).collect()
}

const SETUP: &str = "a36454797065006c436f6e6e656374696f6e496400675061796c6f61645863a86e436f6e6e656374696f6e54797065026842\
                     696e64486f7374606842696e64506f7274006850726f746f636f6c606653637265656e607053696e676c65436f6e6e656374\
                     696f6ef46c4175746850726f746f636f6c606a41757468436f6f6b696560";
const SUCCESS: &str = "a36454797065016c436f6e6e656374696f6e496400675061796c6f6164f6";
const DATA: &str = "a36454797065036c436f6e6e656374696f6e496401675061796c6f6164426869";
const NO_MORE: &str = "a36454797065066c436f6e6e656374696f6e496400675061796c6f6164f6";

fn encoded(kind: Kind, id: u64, payload: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = VecDeque::new();
    encode(&mut bytes, kind, id, payload);
    bytes.into()
}

fn packet(kind: Kind, id: u64, payload: Option<&[u8]>) -> Packet<'_> {
    Packet { kind: kind as i64, id, payload: payload.map(Cow::Borrowed) }
}

/// One whole packet.
fn decoded(bytes: &[u8]) -> Packet<'_> {
    let (packet, length) = decode(bytes).expect("it is well-formed").expect("it is all there");
    assert_eq!(length, bytes.len());
    packet
}

#[test]
fn packets_are_the_originals_bytes() {
    assert_eq!(encoded(Kind::Success, 0, None), hex(SUCCESS));
    assert_eq!(encoded(Kind::Data, 1, Some(b"hi")), hex(DATA));
    assert_eq!(encoded(Kind::NoMoreConnections, 0, None), hex(NO_MORE));
    assert_eq!(decoded(&hex(SUCCESS)), packet(Kind::Success, 0, None));
    assert_eq!(decoded(&hex(DATA)), packet(Kind::Data, 1, Some(b"hi")));
    let bytes = hex(SETUP);
    let setup = decoded(&bytes);
    assert_eq!(setup.kind, Kind::Setup as i64);
    let setup = Setup::decode(&setup.payload.expect("there is one")).expect("a setup");
    assert_eq!(setup, Setup { connection_type: 2, ..Setup::default() });
    assert_eq!(setup.kind(), Some(ConnectionType::PortDial));
}

#[test]
fn numbers_take_the_fewest_bytes() {
    for (id, expected) in
        [(23, "17"), (24, "1818"), (256, "190100"), (1 << 16, "1a00010000"), (u64::MAX, "1bffffffffffffffff")]
    {
        let expected = format!("a36454797065056c436f6e6e656374696f6e4964{expected}675061796c6f6164f6");
        assert_eq!(encoded(Kind::CloseConnection, id, None), hex(&expected));
        assert_eq!(decoded(&hex(&expected)).id, id);
    }
    for length in [0, 1, 23, 24, 255, 256, 65_535, 65_536] {
        let payload = vec![7; length];
        let bytes = encoded(Kind::Data, 9, Some(&payload));
        assert_eq!(decoded(&bytes), packet(Kind::Data, 9, Some(&payload)));
    }
}

#[test]
fn new_connections_are_the_originals_bytes() {
    let connection = NewConnection {
        protocol: "tcp".into(),
        connected_address: "::1".into(),
        connected_port: 8080,
        originator_address: "127.0.0.5".into(),
        originator_port: 8081,
    };
    let bytes = hex(
        "a56850726f746f636f6c6374637070436f6e6e656374656441646472657373633a3a316d436f6e6e6563746564506f7274191f90714f726967\
         696e61746f7241646472657373693132372e302e302e356e4f726967696e61746f72506f7274191f91",
    );
    assert_eq!(connection.encode(), bytes);
    assert_eq!(NewConnection::decode(&bytes), Ok(connection));
}

#[test]
fn order_case_and_unknown_keys_do_not_matter() {
    // {"x": [1, {2: 3}], "PAYLOAD": h'01', 7: "y", "type": 3, "connectionid": 5}, the same in indefinite lengths, and
    // with tags before values.
    for bytes in [
        "a561788201a10203675041594c4f414441010761796474797065036c636f6e6e656374696f6e696405",
        "bf61789f01bf0203ffff675041594c4f41445f4101ff077f6179ff7f627479627065ff036c636f6e6e656374696f6e696405ff",
        "a3675041594c4f4144c141016474797065c1036c636f6e6e656374696f6e6964d82005",
    ] {
        assert_eq!(decoded(&hex(bytes)), packet(Kind::Data, 5, Some(&[1])), "{bytes}");
    }
    assert_eq!(decoded(&[0xa0]), Packet::default());
}

#[test]
fn part_of_a_packet_is_not_yet_one() {
    for bytes in [SETUP, DATA, NO_MORE].map(hex) {
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), Ok(None), "cut at {end}");
        }
    }
    // The next packet is left alone.
    let two = [hex(DATA), hex(NO_MORE)].concat();
    assert_eq!(decode(&two), Ok(Some((packet(Kind::Data, 1, Some(b"hi")), DATA.len() / 2))));
}

#[test]
fn malformed_packets_are_refused() {
    // Not a map; a type that is no number; a negative id; a text payload; a reserved length; text that is no UTF-8.
    for bytes in [
        "00",
        "80",
        "f6",
        "ff",
        "a164547970656130",
        "a16c436f6e6e656374696f6e496420",
        "a1675061796c6f61646161",
        "bc",
        "a161ff00",
        "a16454797065f90000",
    ] {
        assert!(matches!(decode(&hex(bytes)), Err(Malformed::Cbor(_))), "{bytes}");
    }
    // Lengths that nobody will wait for: once they are there, or as soon as they are announced.
    for head in ["a1675061796c6f61645a7fffffff", "a1675061796c6f61645b0000010000000000"] {
        let head = hex(head);
        assert_eq!(decode(&head), Err(Malformed::TooLarge));
        assert_eq!(decode(&head[..head.len() - 1]), Ok(None));
    }
    let mut pieces = hex("a1675061796c6f61645f59ffff");
    assert_eq!(decode(&pieces), Ok(None));
    pieces.resize(MAX_PACKET, 0x40);
    assert_eq!(decode(&pieces), Err(Malformed::TooLarge));
}

#[test]
fn a_payload_is_one_map() {
    assert!(matches!(Setup::decode(b""), Err(Malformed::Cbor(_))));
    assert_eq!(Setup::decode(&[0xa0, 0x00]), Err(Malformed::Extraneous(1)));
    // Port −1, and a host that is a number.
    assert!(Setup::decode(&hex("a16842696e64506f727420")).is_err());
    assert!(NewConnection::decode(&hex("a170436f6e6e65637465644164647265737301")).is_err());
}

/// Whatever the bytes: an answer, no panic, and never more than is there.
#[test]
fn any_bytes_are_judged() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let seeds = [SETUP, DATA, NO_MORE].map(hex);
    for round in 0..200_000 {
        let mut bytes = seeds[round % 3].clone();
        for _ in 0..=round % 4 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let at = state as usize % bytes.len();
            bytes[at] = (state >> 32) as u8;
        }
        if let Ok(Some((packet, length))) = decode(&bytes) {
            assert!(length <= bytes.len());
            let payload = packet.payload.unwrap_or_default();
            let _ = (Setup::decode(&payload), NewConnection::decode(&payload));
        }
    }
}
