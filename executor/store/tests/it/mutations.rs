//! Archives changed at random: whatever comes out, nothing outside of the tree changes and nothing panics.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;
use store::extract::Form;
use store::removal;

use crate::archive::{Archive, Entry, MANIFEST, octal, seal};
use crate::bed::Bed;

/// A bit of everything, so that a changed byte meets every kind of entry.
fn seed(canary: &str) -> Vec<u8> {
    Archive::new()
        .dir("./")
        .file("manifest", MANIFEST)
        .dir("rootfs")
        .dir("rootfs/d")
        .file("rootfs/d/f", "content")
        .symlink("rootfs/out", canary)
        .symlink("rootfs/up", "../..")
        .hard_link("rootfs/h", "rootfs/d/f")
        .entry(Entry::new("rootfs/p", b'6'))
        .pax(&[("path", b"rootfs/d/long"), ("SCHILY.xattr.user.a", b"b"), ("mtime", b"1.5")])
        .file("x", "y")
        .entry(Entry::new("l", b'L').data(b"rootfs/d/longer\0"))
        .file("x", "z")
        .file("rootfs/d/.wh.f", "")
        .file("rootfs/.wh..wh..opq", "")
        .pax(&[("GNU.sparse.numblocks", b"2"), ("GNU.sparse.map", b"0,2,10,3"), ("GNU.sparse.size", b"100")])
        .file("rootfs/sparse", "xxxxx")
        .end()
}

/// One change of an archive.
#[derive(Clone, Debug)]
enum Change {
    /// Another byte anywhere, the checksum of its block made right.
    Byte(prop::sample::Index, u8),
    /// Another type.
    Kind(prop::sample::Index, u8),
    /// Another name or link target.
    Name(prop::sample::Index, bool, &'static str),
    /// Another size.
    Size(prop::sample::Index, u64),
    /// A block twice, gone, or exchanged with another one.
    Repeat(prop::sample::Index),
    Remove(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    /// The end cut off.
    Cut(prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    let names = prop::sample::select(vec![
        "..",
        "../canary/file",
        "/etc/passwd",
        "rootfs/out/file",
        "rootfs/out",
        "rootfs/up/canary/file",
        "rootfs",
        ".",
        "rootfs/d",
        "rootfs/d/f",
        "rootfs/d/../../..",
        "manifest",
        "rootfs/.wh.out",
        "rootfs/out/.wh.file",
        ".wh..",
        "",
    ]);
    let sizes = prop_oneof![Just(0), Just(511), Just(512), Just(513), Just(u64::MAX >> 1), any::<u64>()];
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(i, b)| Change::Byte(i, b)),
        2 => (at(), prop::sample::select(b"01234567LKxgSZ\0".to_vec())).prop_map(|(i, k)| Change::Kind(i, k)),
        4 => (at(), any::<bool>(), names).prop_map(|(i, link, name)| Change::Name(i, link, name)),
        1 => (at(), sizes).prop_map(|(i, size)| Change::Size(i, size)),
        1 => at().prop_map(Change::Repeat),
        1 => at().prop_map(Change::Remove),
        2 => (at(), at()).prop_map(|(a, b)| Change::Swap(a, b)),
        1 => at().prop_map(Change::Cut),
    ]
}

fn apply(blocks: &mut Vec<[u8; 512]>, change: &Change) {
    if blocks.is_empty() {
        return;
    }
    let pick = |index: &prop::sample::Index| index.index(blocks.len());
    match change {
        Change::Byte(index, byte) => {
            let at = index.index(blocks.len() * 512);
            let block = &mut blocks[at / 512];
            block[at % 512] = *byte;
            reseal(block);
        }
        Change::Kind(index, kind) => {
            let at = pick(index);
            blocks[at][156] = *kind;
            reseal(&mut blocks[at]);
        }
        Change::Name(index, link, name) => {
            let at = pick(index);
            let start = if *link { 157 } else { 0 };
            blocks[at][start..start + 100].fill(0);
            blocks[at][start..start + name.len()].copy_from_slice(name.as_bytes());
            reseal(&mut blocks[at]);
        }
        Change::Size(index, size) => {
            let at = pick(index);
            octal(&mut blocks[at][124..136], *size);
            reseal(&mut blocks[at]);
        }
        Change::Repeat(index) => {
            let at = pick(index);
            blocks.insert(at, blocks[at]);
        }
        Change::Remove(index) => drop(blocks.remove(pick(index))),
        Change::Swap(a, b) => {
            let (a, b) = (pick(a), pick(b));
            blocks.swap(a, b);
        }
        Change::Cut(index) => blocks.truncate(pick(index)),
    }
}

/// Most changes should get past the checksum.
fn reseal(block: &mut [u8; 512]) {
    if block[257..262] == *b"ustar" {
        seal(block);
    }
}

proptest! {
    // PROPTEST_CASES makes it more.
    #![proptest_config(Config { cases: 400, ..Config::default() })]

    #[test]
    fn changed_archives_stay_inside(changes in vec(change(), 1..6), aci in any::<bool>()) {
        let bed = Bed::new();
        let canary = bed.canary();
        let mut blocks: Vec<[u8; 512]> =
            seed(canary.to_str().unwrap()).chunks(512).map(|block| block.try_into().unwrap()).collect();
        for change in &changes {
            apply(&mut blocks, change);
        }
        let form = if aci { Form::Aci } else { Form::OciLayer };
        // Asserts that the canary did not change.
        let _ = bed.extract_with(form, true, blocks.as_flattened());
        // Whatever became of it can be removed, without touching the canary either.
        let tree = std::fs::File::open(bed.tree()).unwrap();
        removal::empty(std::os::fd::AsFd::as_fd(&tree)).unwrap();
        prop_assert!(bed.paths().is_empty());
        bed.assert_untouched();
    }

    #[test]
    fn random_bytes_are_refused(bytes in vec(any::<u8>(), 0..2000)) {
        prop_assert!(Bed::new().layer(&bytes).is_err());
    }
}
