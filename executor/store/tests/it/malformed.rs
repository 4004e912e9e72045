//! Archives that are damaged, or contradict themselves: the tar cases of the security corpus, by number.

use store::extract::ExtractError;

use crate::archive::{Archive, Entry, octal, seal, sparse_records};
use crate::bed::{Bed, refused};

#[test]
fn tar_16_damage_is_refused() {
    let good = Archive::new().file("a", "x").file("b", "y").end();
    let mut checksum = good.clone();
    checksum[1024] ^= 1;
    refused(&checksum, "malformed header at byte 1024");
    refused(
        b"this is no archive at all, but it is long enough not to be taken for a short one".repeat(20).as_slice(),
        "not a tar archive: it begins with \"this is no archi\"",
    );
    refused(b"short", "not a tar archive: it begins with \"short\"");
    refused(b"", "not a tar archive");
    refused(&good[..700], "truncated at byte 700");
    refused(&good[..1100], "truncated at byte 1100");
    refused(&good[..2048], "truncated at byte 2048: a header or the two closing zero blocks");
    refused(&good[..2560], "truncated at byte 2560");
    assert!(matches!(Bed::new().layer(&good[..1]), Err(ExtractError::NotTar(_))));
}

#[test]
fn tar_24_owners_have_bounds() {
    for uid in [u64::from(u32::MAX), u64::from(u32::MAX) + 1, 1 << 40] {
        let mut header = Entry::new("f", b'0').header();
        octal(&mut header[108..116], uid);
        seal(&mut header);
        refused(&Archive::new().raw(header).end(), "is not a valid id");
    }
    refused(&Archive::new().pax(&[("gid", b"4294967295")]).file("f", "").end(), "is not a valid id");
    let mut header = Entry::new("f", b'0').header();
    header[108..116].fill(0xff);
    seal(&mut header);
    refused(&Archive::new().raw(header).end(), "field uid is negative");
    let bed = Bed::new();
    let done = bed.layer(&Archive::new().entry(Entry::new("f", b'0').owner(4_294_967_294, 0)).end()).unwrap();
    assert_eq!(done.owners.get(b"f").unwrap().uid, 4_294_967_294);
}

/// How many regions a map of the sparse format 0.1 has.
fn blocks(map: &[u8]) -> Vec<u8> {
    (map.split(|&b| b == b',').count() / 2).to_string().into_bytes()
}

#[test]
fn tar_15_sparse_maps_are_checked() {
    let sparse = |map: &[u8], size: &[u8], data: usize| {
        let archive = Archive::new().pax(&sparse_records(&blocks(map), map, size));
        archive.file("s", vec![b'x'; data]).end()
    };
    assert!(Bed::new().layer(&sparse(b"0,2,10,3", b"100", 5)).is_ok());
    for (map, size, data) in [
        (&b"10,3,0,2"[..], &b"100"[..], 5), // not in order
        (b"0,4,2,3", b"100", 7),            // overlapping
        (b"0,2,10,3", b"12", 5),            // beyond the end
        (b"0,2,10,3", b"100", 6),           // not all of the data
        (b"0,2,10,3", b"100", 4),           // more than the data
        (b"18446744073709551615,2", b"100", 2),
    ] {
        refused(&sparse(map, size, data), "the map of the sparse file");
    }
    refused(&sparse(b"0,2,10", b"100", 5), "malformed header");
    refused(&sparse(b"0,x", b"100", 5), "malformed header");
    refused(&sparse(b"0,5", b"9223372036854775807", 5), "limit exceeded: bytes of files");
    let orphan = Archive::new().pax(&[("GNU.sparse.realsize", b"100")]).file("s", "x").end();
    refused(&orphan, "records of a sparse file without its map");
    let version = Archive::new().pax(&[("GNU.sparse.major", b"2"), ("GNU.sparse.minor", b"0")]).file("s", "x").end();
    refused(&version, "unknown version of the sparse format");
    let both =
        [("GNU.sparse.major", &b"1"[..]), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"5"), ("size", b"512")];
    let mut map = b"1\n0\n5\n".to_vec();
    map.resize(517, 0);
    refused(&Archive::new().pax(&both).file("s", map).end(), "PAX size of a sparse file");
    let link = Archive::new().pax(&sparse_records(b"1", b"0,0", b"0")).symlink("s", "x").end();
    refused(&link, "records of a sparse file without its map");
    // GNU tar counts the regions before it reads them.
    let uncounted = |records: &[(&str, &[u8])]| Archive::new().pax(records).file("s", "xx").end();
    for records in [
        &[("GNU.sparse.size", &b"9"[..]), ("GNU.sparse.map", b"0,2")][..],
        &[("GNU.sparse.map", b"0,2"), ("GNU.sparse.numblocks", b"1"), ("GNU.sparse.size", b"9")],
        &[("GNU.sparse.numblocks", b"2"), ("GNU.sparse.map", b"0,2"), ("GNU.sparse.size", b"9")],
    ] {
        refused(&uncounted(records), "a sparse map without the number of its entries before it");
    }
}
