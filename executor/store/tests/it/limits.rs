//! Archives that are too much: each limit of the extractor, by the numbers of the security corpus.

use store::extract::ExtractLimits;

use crate::archive::{Archive, Entry, sparse_records};
use crate::bed::{Bed, refusal, refused};

/// Refused by this limit, with this text.
#[track_caller]
fn over(change: impl FnOnce(&mut ExtractLimits), archive: &[u8], expected: &str) {
    let mut bed = Bed::new();
    change(&mut bed.limits);
    let text = refusal(bed.layer(archive));
    assert!(text.contains(expected), "{text}");
}

#[test]
fn dos_06_entries() {
    let many = (0..11).fold(Archive::new(), |archive, n| archive.file(format!("f{n}"), "")).end();
    over(|limits| limits.entries = 10, &many, "limit exceeded: entries (10)");
    let mut bed = Bed::new();
    bed.limits.entries = 11;
    assert!(bed.layer(&many).is_ok());
    // Those that leave nothing in the tree count too.
    let devices = (0..11).fold(Archive::new(), |archive, _| archive.entry(Entry::new("d", b'3'))).end();
    over(|limits| limits.entries = 10, &devices, "limit exceeded: entries");
}

#[test]
fn dos_01_size() {
    let archive = Archive::new().file("a", [0; 600]).file("b", [0; 600]).end();
    over(|limits| limits.expanded = 1000, &archive, "limit exceeded: bytes of files (1000)");
}

#[test]
fn dos_03_headers() {
    let mut long = Entry::new("././@LongLink", b'L');
    long.size = Some(1 << 30);
    refused(&Archive::new().entry(long).raw([b'x'; 4096]).end(), "limit exceeded: bytes of PAX records");
    let mut pax = Entry::new("pax", b'x');
    pax.size = Some((1 << 20) + 1);
    refused(&Archive::new().entry(pax).raw([b'x'; 4096]).end(), "limit exceeded: bytes of PAX records");
    let lines = |n: usize| (0..n).map(|i| format!("{},1", i * 2)).collect::<Vec<_>>().join(",");
    let map = lines(10_001);
    let archive =
        Archive::new().pax(&sparse_records(b"10001", map.as_bytes(), b"30000")).file("s", vec![b'x'; 10_001]).end();
    refused(&archive, "limit exceeded: regions of a sparse file");
    let small = lines(30);
    let small = sparse_records(b"30", small.as_bytes(), b"100");
    let two = Archive::new().pax(&small).file("a", [b'x'; 30]).pax(&small);
    over(|limits| limits.sparse_regions = 300, &two.clone().file("b", [b'x'; 31]).end(), "map of the sparse file");
    let many = (0..11).fold(Archive::new(), |archive, n| archive.pax(&small).file(format!("s{n}"), [b'x'; 30]));
    over(|limits| limits.sparse_regions = 300, &many.end(), "limit exceeded: regions of sparse files (300)");
}

#[test]
fn dos_03_a_sparse_map_without_end() {
    let archive = Archive::new()
        .pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"5")])
        .file("s", vec![b'1'; 4 << 20])
        .end();
    refused(&archive, "a number of more than 100 digits");
    let lines = Archive::new()
        .pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"5")])
        .file("s", [b"10000\n".to_vec(), b"0\n".repeat(1 << 20)].concat())
        .end();
    refused(&lines, "sparse file");
}

#[test]
fn tar_22_xattrs() {
    let large = vec![b'x'; (64 << 10) + 1];
    let archive = Archive::new().pax(&[("SCHILY.xattr.user.a", &large)]).file("f", "").end();
    refused(&archive, "extended attributes of more than 65536 bytes");
    let some = vec![b'x'; 1000];
    let many = (0..5)
        .fold(Archive::new(), |archive, n| archive.pax(&[("SCHILY.xattr.user.a", &some)]).file(format!("f{n}"), ""));
    over(|limits| limits.xattrs_total = 3000, &many.end(), "limit exceeded: bytes of extended attributes (3000)");
}

#[test]
fn dos_06_names_that_are_remembered() {
    let many = (0..100).fold(Archive::new(), |archive, n| archive.dir(format!("d{n}"))).end();
    over(|limits| limits.remembered = 1000, &many, "limit exceeded: bytes of directory names");
    let owned =
        (0..100).fold(Archive::new(), |archive, n| archive.entry(Entry::new(format!("f{n}"), b'0').owner(1, 1)));
    over(|limits| limits.remembered = 1000, &owned.end(), "limit exceeded: bytes of owners");
}

#[test]
fn dos_06_hard_links_to_one_inode() {
    // ext4 allows 65,000; other file systems more. Either way it ends soon and says why.
    let links = (0..65_001).fold(Archive::new().file("f", ""), |archive, n| archive.hard_link(format!("l{n}"), "f"));
    if let Err(error) = Bed::new().layer(&links.end()) {
        assert!(error.to_string().contains("linkat: Too many links"), "{error}");
    }
}
