//! Headers that contradict themselves, as GNU tar, bsdtar and Python's tarfile read them: what we take, all of them take,
//! and see the same members in it (UNP-04 to UNP-06, CVE-2025-62518 and its family).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use store::archive::{IngestError, MemberKind, MemberReader as _, scan};
use store::extract::ExtractLimits;

use crate::archive::{Archive, Entry, octal, record, seal};

/// A member as every reader tells it: its name without a slash at the end, and for files the size.
type Member = (String, Option<u64>);

/// One way in which two parts of an archive can disagree.
#[derive(Clone, Debug)]
enum Conflict {
    /// The size of a file in its header, in PAX, and how much data really follows.
    Sizes { header: u64, pax: Option<u64>, data: usize, base_256: bool },
    /// The name in the header, in PAX and in a GNU long name.
    Names { pax: Option<&'static str>, long: Option<&'static str>, prefix: Option<&'static str> },
    /// A type that should have no data, and some.
    DataOf { kind: u8, size: u64, data: usize },
    /// Two records of one key.
    Twice { key: &'static str, values: [&'static str; 2] },
    /// A global header that says something of all that follows.
    Global { key: &'static str, value: &'static str },
    /// The GNU magic, under which the prefix is something else, or none at all.
    Magic { magic: &'static [u8; 8], prefix: &'static str },
    /// A name with a slash at its end, or none, for every type.
    Slash { kind: u8, slash: bool },
    /// A sparse map and a size.
    Sparse { map: &'static str, real: &'static str, data: usize },
    /// A PAX record that is not quite one.
    Record { bytes: &'static [u8] },
    /// One lone block of zeros between members.
    ZeroBlock,
    /// A numeric field in another form: blanks, no digits, a sign.
    Number { field: std::ops::Range<usize>, text: &'static [u8] },
}

fn conflict() -> impl Strategy<Value = Conflict> {
    let size = || prop::sample::select(vec![0_u64, 1, 5, 511, 512, 513, 1024, 1536]);
    let data = || prop::sample::select(vec![0_usize, 5, 512, 1024, 1536]);
    let name =
        || prop::option::of(prop::sample::select(vec!["rootfs/other", "other/", "./rootfs//x", "rootfs/é", "x"]));
    let kind = || prop::sample::select(b"0125673\0D".to_vec());
    prop_oneof![
        4 => (size(), prop::option::of(size()), data(), any::<bool>())
            .prop_map(|(header, pax, data, base_256)| Conflict::Sizes { header, pax, data, base_256 }),
        3 => (name(), name(), name()).prop_map(|(pax, long, prefix)| Conflict::Names { pax, long, prefix }),
        2 => (kind(), size(), data()).prop_map(|(kind, size, data)| Conflict::DataOf { kind, size, data }),
        1 => prop::sample::select(vec![("path", ["a", "b"]), ("size", ["0", "512"]), ("linkpath", ["a", "b"]), ("path", ["a", ""])])
            .prop_map(|(key, values)| Conflict::Twice { key, values }),
        1 => prop::sample::select(vec![("path", "global"), ("size", "512"), ("comment", "hello"), ("hdrcharset", "BINARY"), ("uid", "7")])
            .prop_map(|(key, value)| Conflict::Global { key, value }),
        2 => (prop::sample::select(vec![b"ustar  \0", b"ustar\x0000", b"\0\0\0\0\0\0\0\0", b"ustar\x00  "]),
                prop::sample::select(vec!["", "pre/fix", "12345670123"]))
            .prop_map(|(magic, prefix)| Conflict::Magic { magic, prefix }),
        1 => (kind(), any::<bool>()).prop_map(|(kind, slash)| Conflict::Slash { kind, slash }),
        2 => (prop::sample::select(vec!["0,5", "0,5,512,5", "512,0", "5,1,0,1", "0,9999", ""]),
                prop::sample::select(vec!["0", "5", "600", "99999"]), data())
            .prop_map(|(map, real, data)| Conflict::Sparse { map, real, data }),
        2 => prop::sample::select(vec![&b"6 a=b\n"[..], b"7 a=b\n", b"5 a=b\n", b"06 a=b\n", b"6 a=b ", b"6 =ab\n", b"6\ta=b\n",
                b" 6 a=b\n", b"6 a=b\n\0\0", b"12 path=a\0b\n", b"11 path=\xff\xfe\n", b"999999999999999999999 a=b\n", b"8 path=\n"])
            .prop_map(|bytes| Conflict::Record { bytes }),
        1 => Just(Conflict::ZeroBlock),
        2 => (prop::sample::select(vec![100..108, 108..116, 124..136, 136..148]),
                prop::sample::select(vec![&b"        "[..], b"\0\0\0\0\0\0\0\0", b"    5 \0 ", b"-0000005", b"+0000005", b"0000008\0", b"5\0\0\0\x005\0\0", b"0x000005", b"00000005"]))
            .prop_map(|(field, text)| Conflict::Number { field, text }),
    ]
}

/// The archive with these conflicts, one after the other, between two sound members.
fn archive(conflicts: &[Conflict]) -> Vec<u8> {
    let mut archive = Archive::new().file("first", "one");
    for (number, conflict) in conflicts.iter().enumerate() {
        archive = add(archive, conflict, &format!("c{number}"));
    }
    archive.file("last", "two").end()
}

fn add(archive: Archive, conflict: &Conflict, name: &str) -> Archive {
    // Data that would be headers to a reader that has lost its place.
    let filler = |length: usize| {
        let inner = Archive::new().file("evil", vec![b'e'; 100]).file("evil2", "").open();
        inner.iter().copied().cycle().take(length).collect::<Vec<u8>>()
    };
    match conflict {
        Conflict::Sizes { header, pax, data, base_256 } => {
            let archive = match pax {
                Some(size) => archive.pax(&[("size", size.to_string().as_bytes())]),
                None => archive,
            };
            let mut block = Entry::new(name, b'0').size(*header).header();
            if *base_256 {
                block[124..136].fill(0);
                block[124] = 0x80;
                block[128..136].copy_from_slice(&header.to_be_bytes());
                seal(&mut block);
            }
            archive.raw(block).raw(padded(filler(*data)))
        }
        Conflict::Names { pax, long, prefix } => {
            let mut archive = archive;
            if let Some(long) = long {
                archive = archive.entry(Entry::new("././@LongLink", b'L').data([long.as_bytes(), b"\0"].concat()));
            }
            if let Some(pax) = pax {
                archive = archive.pax(&[("path", pax.as_bytes())]);
            }
            let mut block = Entry::new(name, b'0').header();
            if let Some(prefix) = prefix {
                block[345..345 + prefix.len()].copy_from_slice(prefix.as_bytes());
                seal(&mut block);
            }
            archive.raw(block)
        }
        Conflict::DataOf { kind, size, data } => {
            let block = Entry::new(name, *kind).size(*size).link("first").header();
            archive.raw(block).raw(padded(filler(*data)))
        }
        Conflict::Twice { key, values } => {
            let data = values.iter().flat_map(|value| record(key.as_bytes(), value.as_bytes())).collect::<Vec<u8>>();
            archive.entry(Entry::new("pax", b'x').data(data)).file(name, "content")
        }
        Conflict::Global { key, value } => {
            let data = record(key.as_bytes(), value.as_bytes());
            archive.entry(Entry::new("pax", b'g').data(data)).file(name, "content")
        }
        Conflict::Magic { magic, prefix } => {
            let mut block = Entry::new(name, b'0').header();
            block[257..265].copy_from_slice(&magic[..]);
            block[345..345 + prefix.len()].copy_from_slice(prefix.as_bytes());
            seal(&mut block);
            archive.raw(block)
        }
        Conflict::Slash { kind, slash } => {
            let name = if *slash { format!("{name}/") } else { name.to_owned() };
            archive.entry(Entry::new(name, *kind).link("first"))
        }
        Conflict::Sparse { map, real, data } => archive
            .pax(&[
                ("GNU.sparse.size", real.as_bytes()),
                ("GNU.sparse.numblocks", b"1"),
                ("GNU.sparse.map", map.as_bytes()),
            ])
            .file(name, filler(*data)),
        Conflict::Record { bytes } => archive.entry(Entry::new("pax", b'x').data(bytes)).file(name, "content"),
        Conflict::ZeroBlock => archive.raw([0; 512]).file(name, "content"),
        Conflict::Number { field, text } => {
            let mut block = Entry::new(name, b'0').size(5).header();
            let length = text.len().min(field.len());
            block[field.clone()].fill(b'0');
            octal(&mut block[field.clone()], 0);
            block[field.start..field.start + length].copy_from_slice(&text[..length]);
            seal(&mut block);
            archive.raw(block).raw(padded(filler(5)))
        }
    }
}

fn padded(mut data: Vec<u8>) -> Vec<u8> {
    data.resize(data.len().next_multiple_of(512), 0);
    data
}

/// What we see, if we take it.
fn ours(path: &Path) -> Result<Vec<Member>, IngestError> {
    let limits = ExtractLimits::default();
    let listed = scan(fs::File::open(path).unwrap(), &limits, |members| {
        let mut listed = Vec::new();
        while let Some(member) = members.next_member()? {
            let size = match &member.kind {
                MemberKind::File => Some(member.size),
                MemberKind::Sparse(map, size) => {
                    // The extractor's rule: in order, within the file, and all that is stored.
                    let mut end = 0;
                    let ordered = map.iter().all(|&(offset, length)| {
                        let fits = offset >= end;
                        end = offset.saturating_add(length);
                        fits
                    });
                    if !ordered || end > *size || map.iter().map(|region| region.1).sum::<u64>() != member.size {
                        return Err(refused());
                    }
                    Some(*size)
                }
                MemberKind::Unknown(_) => return Err(refused()),
                _ if member.size != 0 => return Err(refused()),
                _ => None,
            };
            if member.name.ends_with(b"/") && member.kind != MemberKind::Directory {
                return Err(refused());
            }
            listed.push((plain(&String::from_utf8_lossy(&member.name)), size));
        }
        Ok::<_, IngestError>(listed)
    });
    listed.map(|(listed, _)| listed)
}

/// What the extractor refuses, the reader only tells.
fn refused() -> IngestError {
    IngestError::Empty
}

fn plain(name: &str) -> String {
    let parts: Vec<_> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    parts.join("/")
}

/// The members that Python's tarfile sees in each archive, `None` where it reports an error.
fn python(dir: &Path) -> BTreeMap<String, Option<Vec<Member>>> {
    let script = r#"
import json, os, sys, tarfile
for name in sorted(os.listdir(sys.argv[1])):
    try:
        with tarfile.open(os.path.join(sys.argv[1], name), errorlevel=2, ignore_zeros=False) as tar:
            seen = [(m.name.encode('utf8', 'surrogateescape').decode('utf8', 'replace'), m.size if m.isreg() else None) for m in tar]
            rest = tar.fileobj.read()
        print(json.dumps([name, seen]))
    except Exception as e:
        print(json.dumps([name, None]))
"#;
    let output = Command::new("python3").args(["-c", script]).arg(dir).output().expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line = |line: &str| serde_json::from_str::<(String, Option<Vec<Member>>)>(line).expect("JSON");
    String::from_utf8_lossy(&output.stdout).lines().map(line).collect()
}

/// The members that a program with GNU tar's options sees: permissions, owner, size, date, time, name.
fn program(name: &str, path: &Path) -> Option<Vec<Member>> {
    let mut command = Command::new(name);
    command.args(["-tvf"]).arg(path).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    if name == "tar" {
        command.args(["--quoting-style=literal", "--numeric-owner", "--full-time"]);
    }
    let output = command.output().unwrap_or_else(|e| panic!("{name}: {e}"));
    // A word on stderr about an unknown record is no error.
    if !output.status.success() {
        return None;
    }
    let member = |line: &str| {
        // bsdtar: mode, links, user, group, size, month, day, time or year, name; GNU tar: mode, owner, size, date, time, name.
        let (size, rest) = if name == "tar" { (2, 5) } else { (4, 8) };
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = words[rest..].join(" ");
        let name = name.split(" -> ").next().unwrap_or_default();
        let name = name.split(" link to ").next().unwrap_or_default();
        // GNU tar calls the type 7, which all take for a file, contiguous.
        let size = line.starts_with(['-', 'C']).then(|| words[size].parse().expect("a size"));
        (plain(name), size)
    };
    Some(String::from_utf8_lossy(&output.stdout).lines().map(member).collect())
}

fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: no {tool}");
    }
    found
}

#[test]
fn what_we_take_every_reader_takes_and_sees_the_same() {
    if !["tar", "bsdtar", "python3"].into_iter().all(has) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let cases: u32 = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(250);
    // The same archives every time: a difference is to be found again.
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let mut written: Vec<(PathBuf, Vec<Conflict>)> = Vec::new();
    for case in 0..cases {
        let conflicts = vec(conflict(), 1..3).new_tree(&mut runner).unwrap().current();
        let path = dir.path().join(format!("{case:05}.tar"));
        fs::write(&path, archive(&conflicts)).unwrap();
        written.push((path, conflicts));
    }
    let python = python(dir.path());
    let (mut taken, mut different) = (0, Vec::new());
    for (path, conflicts) in &written {
        let Ok(mine) = ours(path) else { continue }; // refusing is always right
        taken += 1;
        let name = path.file_name().unwrap().to_str().unwrap();
        let theirs =
            python[name].clone().map(|seen| seen.into_iter().map(|(name, size)| (plain(&name), size)).collect());
        // Python takes the times of GNU's incremental archives for a prefix of the name; nobody else does.
        let misread = |it: &Conflict| matches!(it, Conflict::Magic { magic: b"ustar  \0", prefix: "12345670123" });
        let theirs = if conflicts.iter().any(misread) { Some(mine.clone()) } else { theirs };
        for (reader, theirs) in [("python", theirs), ("tar", program("tar", path)), ("bsdtar", program("bsdtar", path))]
        {
            if theirs.as_ref() != Some(&mine) {
                different.push(format!("{reader} sees {theirs:?}, we {mine:?}: {conflicts:?}"));
            }
        }
    }
    assert!(different.is_empty(), "{} of {taken} taken:\n{}", different.len(), different.join("\n"));
    assert!(taken > cases / 20, "only {taken} of {cases} were taken: this compares nothing");
}
