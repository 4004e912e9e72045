//! Good documents with one byte changed, at every place: each is opened or refused, and every refusal is fit to print.

use std::fs;

use crate::fixture::{CONFIG, Fixture, LAYER, host_config};

/// Bytes that end, begin or spoil something in JSON. Each place gets one of them.
const BYTES: [u8; 6] = [b'"', b'}', b'0', b'\\', 0x1b, 0xff];

fn mutations(document: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..document.len()).map(|place| {
        let mut changed = document.to_vec();
        changed[place] = BYTES[place % BYTES.len()];
        changed
    })
}

#[test]
fn the_index() {
    let fixture = Fixture::with_image();
    let index = fs::read(fixture.dir().join("index.json")).unwrap();
    let refused = mutations(&index).filter(|changed| {
        fixture.raw_index(changed);
        fixture.attempt(None).is_err()
    });
    assert!(refused.count() > index.len() / 2, "most changes break a document");
}

#[test]
fn the_config() {
    let fixture = Fixture::new();
    let config = host_config(1).to_string().into_bytes();
    let layer = fixture.blob(LAYER, b"x");
    let refused = mutations(&config).filter(|changed| {
        let config = fixture.blob(CONFIG, changed);
        fixture.index(&[fixture.manifest(&config, std::slice::from_ref(&layer))]);
        fixture.attempt(None).is_err()
    });
    assert!(refused.count() > config.len() / 2, "most changes break a document");
}
