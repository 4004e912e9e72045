//! Input that is none: every malformed packet, and early ends.

use super::*;

/// An unknown setup type ends the agent, as the original; a first packet of another type is an error.
#[test]
fn bad_setups() {
    let (status, output, _) = exchange(&Setup { kind: 5, ..DIAL }.packet());
    assert_eq!((status, output), (Some(0), hex(SUCCESS_HEX)));
    for (input, code) in [
        (packet(DATA, 0, None), "AGENTPROTO_PACKET_INVALID"),
        (packet(0, 0, None), "AGENTPROTO_DECODE_FAILED"),
        (packet(0, 0, Some(b"")), "AGENTPROTO_DECODE_FAILED"),
        (packet(0, 0, Some(&[0xa0, 0])), "AGENTPROTO_DECODE_FAILED"),
        (packet(0, 0, Some(&Value::map([("BindPort", Value::Text("x".into()))]).encode())), "AGENTPROTO_DECODE_FAILED"),
        (b"hello".to_vec(), "AGENTPROTO_DECODE_FAILED"),
        (b"\n".to_vec(), "AGENTPROTO_DECODE_FAILED"),
        (vec![], "AGENTPROTO_PACKET_INVALID"),
    ] {
        let (status, output, log) = exchange(&input);
        assert_eq!((status, output), (Some(1), vec![]), "{log}");
        let last = log.lines().last().expect("a line");
        let line: serde_json::Value = serde_json::from_str(last).expect("JSON");
        assert_eq!((&line["level"], &line["code"]), (&"error".into(), &code.into()), "{log}");
        assert!(line["timestamp"].is_string() && line["message"].is_string() && line["details"].is_object());
    }
}

/// Wherever the input ends, the agent does too: between packets in peace, within one with an error.
#[test]
fn early_ends_of_input() {
    let whole = DIAL.packet();
    for end in (1..whole.len()).step_by(7) {
        let (status, output, log) = exchange(&whole[..end]);
        assert_eq!((status, output.len()), (Some(1), 0), "cut at {end}: {log}");
        assert!(log.contains("AGENTPROTO_DECODE_FAILED"), "{log}");
    }
    for second in [packet(DATA, 1, Some(b"hi")), packet(NEW_CONNECTION, 1, Some(&connection("tcp", "::1", 1, ("", 0))))]
    {
        for end in (0..second.len()).step_by(5) {
            let (status, output, log) = exchange(&[&whole, &second[..end]].concat());
            assert_eq!((status, output), (Some(i32::from(end > 0)), hex(SUCCESS_HEX)), "cut at {end}: {log}");
        }
    }
}

#[test]
fn malformed_packets_end_it() {
    for bytes in
        ["00", "80", "f6", "ff", "a164547970656130", "a16c436f6e6e656374696f6e496420", "a1675061796c6f61646161", "bc"]
    {
        let (status, output, log) = exchange(&[DIAL.packet(), hex(bytes)].concat());
        assert_eq!((status, output), (Some(1), hex(SUCCESS_HEX)), "{bytes}: {log}");
        assert!(log.contains("AGENTPROTO_DECODE_FAILED") && !log.contains("panicked"), "{log}");
    }
}

/// A packet that says that it will be too large is not waited for: the input stays open until the agent has ended.
#[test]
fn announced_sizes_are_bounded() {
    let mut backend = Backend::set_up(&DIAL);
    // A payload of 1 TiB, of which one byte comes.
    backend.raw(&hex("a36454797065036c436f6e6e656374696f6e496401675061796c6f61645b000001000000000000"));
    let log = backend.ends(1);
    assert!(log.contains("a packet of more than 16777216 bytes"), "{log}");
}
