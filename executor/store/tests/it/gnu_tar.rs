//! Headers that contradict themselves: we see the files that GNU tar sees, or refuse (UNP-04 to UNP-06, table 12).

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::archive::{Archive, Entry, octal, record, seal};
use crate::bed::Bed;

/// What GNU tar lists, `None` where it reports an error.
fn listing(archive: &[u8]) -> Option<Vec<String>> {
    let mut tar = Command::new("tar");
    tar.args(["-t", "-f", "-", "--quoting-style=literal"]).env("LC_ALL", "C");
    let mut tar = tar.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().ok()?;
    let _ = tar.stdin.take().unwrap().write_all(archive); // it may stop reading at an error
    let output = tar.wait_with_output().unwrap();
    let names =
        String::from_utf8_lossy(&output.stdout).lines().map(|line| line.trim_end_matches('/').to_owned()).collect();
    output.status.success().then_some(names)
}

fn has_gnu_tar() -> bool {
    let version = Command::new("tar").arg("--version").output();
    let found = version.is_ok_and(|output| output.stdout.starts_with(b"tar (GNU tar)"));
    if !found {
        eprintln!("skipped: no GNU tar");
    }
    found
}

/// Compares; returns whether we took the archive.
fn compare(what: &str, archive: &[u8]) -> bool {
    let bed = Bed::new();
    let ours = bed.layer(archive);
    if ours.is_err() {
        return false; // refusing is always right
    }
    let theirs = listing(archive).unwrap_or_else(|| panic!("{what}: GNU tar refuses what we take"));
    let mut theirs: Vec<String> = theirs.into_iter().filter(|name| !name.is_empty() && name != ".").collect();
    theirs.sort();
    theirs.dedup();
    let mut ours = bed.paths();
    // Parents that GNU tar does not list.
    ours.retain(|path| theirs.contains(path) || !theirs.iter().any(|name| name.starts_with(&format!("{path}/"))));
    assert_eq!(ours, theirs, "{what}");
    true
}

/// The bytes of a file that look like an archive.
fn inner() -> Vec<u8> {
    Archive::new().file("evil", "evil").open()
}

/// Every combination of a size in the header, a size in PAX records, and where the next header is.
#[test]
fn sizes_that_contradict_each_other() {
    if !has_gnu_tar() {
        return;
    }
    let inner = inner();
    let mut taken = 0;
    for header in [0_u64, 1, 5, 511, 512, 513, 1024, 1536] {
        for pax in [None, Some(0_u64), Some(1), Some(5), Some(511), Some(512), Some(513), Some(1024), Some(1536)] {
            for kind in *b"0725\0" {
                let mut entry = Entry::new("outer", kind).data(&inner).size(header);
                entry.link = b"target".to_vec();
                let mut archive = Archive::new();
                if let Some(size) = pax {
                    archive = archive.pax(&[("size", size.to_string().as_bytes())]);
                }
                let archive = archive.entry(entry).file("after", "after").end();
                taken += usize::from(compare(&format!("header {header}, pax {pax:?}, kind {kind}"), &archive));
            }
        }
    }
    assert!(taken > 20, "only {taken} were taken at all");
}

/// Numbers in every spelling that some reader takes.
#[test]
fn numbers_in_strange_spellings() {
    if !has_gnu_tar() {
        return;
    }
    let spellings: [&[u8]; 20] = [
        b"00000000005\0",
        b"00000000005 ",
        b"000000000005",
        b"          5\0",
        b"5\0\0\0\0\0\0\0\0\0\0\0",
        b"5           ",
        b"5 garbage!!\0",
        b"5\0garbage!!\0",
        b"\x0000000000005",
        b"+0000000005\0",
        b"-0000000005\0",
        b"0000000005x\0",
        b"\x80\0\0\0\0\0\0\0\0\0\0\x05",
        b"\x80\0\0\x01\0\0\0\0\0\0\0\x05",
        b"\x81\0\0\0\0\0\0\0\0\0\0\x05",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x05",
        b"\t         5\0",
        b"            ",
        b"\0\0\0\0\0\0\0\0\0\0\0\0",
        b"           \0",
    ];
    let mut taken = 0;
    for spelling in spellings {
        for field in [124..136, 136..148] {
            let mut header = Entry::new("f", b'0').data(b"12345").header();
            header[field.clone()].copy_from_slice(spelling);
            seal(&mut header);
            let size_is_zero = field.start == 124 && spelling.iter().all(|b| matches!(b, 0 | b' '));
            let data: &[u8] = if size_is_zero { b"" } else { b"12345" };
            let mut block = data.to_vec();
            block.resize(data.len().next_multiple_of(512), 0);
            let archive = Archive::new().raw(header).raw(block).file("after", "after").end();
            taken += usize::from(compare(&format!("{spelling:?} at {field:?}"), &archive));
        }
    }
    assert!(taken > 8, "only {taken} were taken at all");
}

/// Long names, PAX paths, prefixes and zero blocks, in every order.
#[test]
fn extension_headers_in_every_order() {
    if !has_gnu_tar() {
        return;
    }
    let long = Entry::new("././@LongLink", b'L').data(b"gnu-name\0");
    let link = Entry::new("././@LongLink", b'K').data(b"gnu-link\0");
    let pax = Entry::new("pax", b'x').data(record(b"path", b"pax-name"));
    let global = Entry::new("g", b'g').data(record(b"comment", b"hello"));
    let mut prefixed = Entry::new("base", b'0').header();
    prefixed[345..351].copy_from_slice(b"prefix");
    seal(&mut prefixed);
    let mut old = Entry::new("old", b'0').header();
    old[257..265].fill(0);
    old[345..351].copy_from_slice(b"prefix");
    seal(&mut old);
    let mut gnu = Entry::new("gnu", b'0').header();
    gnu[257..265].copy_from_slice(b"ustar  \0");
    octal(&mut gnu[345..357], 1);
    seal(&mut gnu);
    let parts: Vec<(&str, Vec<u8>)> = vec![
        ("file", Archive::new().file("plain", "x").open()),
        ("long", Archive::new().entry(long).open()),
        ("link", Archive::new().entry(link).open()),
        ("pax", Archive::new().entry(pax).open()),
        ("global", Archive::new().entry(global).open()),
        ("prefixed", prefixed.to_vec()),
        ("old", old.to_vec()),
        ("gnu", gnu.to_vec()),
        ("zero", vec![0; 512]),
        ("symlink", Archive::new().symlink("s", "t").open()),
    ];
    let mut taken = 0;
    for first in &parts {
        for second in &parts {
            for third in &parts {
                let bytes = [&first.1[..], &second.1, &third.1].concat();
                let archive = Archive::new().raw(bytes).file("after", "after").end();
                taken += usize::from(compare(&format!("{}, {}, {}", first.0, second.0, third.0), &archive));
            }
        }
    }
    assert!(taken > 150, "only {taken} were taken at all");
}
