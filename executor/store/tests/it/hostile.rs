//! Archives that attack: the unpack cases of the security corpus, by number. Every extraction also checks that the
//! canary beside the tree did not change.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::time::{Duration, Instant};

use crate::archive::{Archive, Entry, MANIFEST, aci, record, seal};
use crate::bed::{Bed, refusal, refused, xattrs};

#[test]
fn unp_01_writing_through_a_symlink() {
    let bed = Bed::new();
    let absolute = bed.canary();
    for target in ["../canary", absolute.to_str().unwrap()] {
        for archive in [
            Archive::new().symlink("x", target).file("x/pwn", "pwn"),
            Archive::new().symlink("x", target).file("x/sub/pwn", "pwn"),
            Archive::new().symlink("x", target).dir("x/sub/deep/pwn"),
            Archive::new().symlink("x", target).dir("x/pwn"),
            Archive::new().symlink("x", target).symlink("x/pwn", "y"),
            Archive::new().symlink("x", target).file("y", "").hard_link("x/pwn", "y"),
            Archive::new().symlink("x", target).entry(Entry::new("x/pwn", b'6')),
            Archive::new().dir("a").symlink("a/x", format!("../{target}")).file("a/x/pwn", "pwn"),
        ] {
            let text = refusal(Bed::new().layer(&archive.clone().end()));
            assert!(text.contains("a parent directory is a symbolic link"), "{text}");
        }
        // The canary of this bed is the target of the absolute link.
        assert!(bed.layer(&Archive::new().symlink("x", target).file("x/file", "pwn").end()).is_err());
    }
}

#[test]
fn unp_01_overwriting_through_a_symlink() {
    // The name itself is a link: the link is replaced, not followed.
    let bed = Bed::new();
    let target = bed.canary().join("file");
    let archive = Archive::new().symlink("x", target.to_str().unwrap()).file("x", "pwn").end();
    bed.layer(&archive).unwrap();
    assert_eq!(bed.read("x"), "pwn");
}

#[test]
fn unp_02_parents_outside() {
    refused(&Archive::new().symlink("s", "..").file("s/exploit/foo/bar", "x").end(), "is a symbolic link");
    refused(&Archive::new().symlink("s", "../canary").dir("s/exploit/foo/bar").end(), "is a symbolic link");
}

#[test]
fn unp_03_attributes_of_a_directory_behind_a_symlink() {
    let bed = Bed::new();
    let archive = Archive::new()
        .symlink("d", "../canary")
        .pax(&[("SCHILY.xattr.user.pwned", b"1")])
        .entry(Entry::new("d", b'5').mode(0o777).owner(0, 0))
        .end();
    bed.layer(&archive).unwrap();
    assert!(bed.metadata("d").is_dir(), "the link was replaced");
    assert_eq!(bed.mode("d"), 0o777);
    // Replaced by a link after it was a directory: its attributes are set at the end, and must not follow.
    let bed = Bed::new();
    let archive = Archive::new().entry(Entry::new("d", b'5').mode(0o777)).symlink("d", "../canary").end();
    bed.layer(&archive).unwrap();
    assert!(bed.metadata("d").is_symlink());
    // The same with a parent exchanged.
    let bed = Bed::new();
    let archive = Archive::new().entry(Entry::new("a/sub", b'5').mode(0o777)).symlink("a", "../canary").end();
    bed.layer(&archive).unwrap();
    assert!(bed.metadata("a").is_symlink());
}

/// A file that is an archive itself, holding `evil`.
fn nested() -> Vec<u8> {
    Archive::new().file("evil", "evil").open()
}

#[test]
fn unp_04_pax_size_wins_over_a_header_of_zero() {
    let inner = nested();
    let size = inner.len().to_string();
    let archive = Archive::new()
        .pax(&[("size", size.as_bytes())])
        .entry(Entry::new("outer", b'0').data(&inner).size(0))
        .file("after", "after")
        .end();
    let bed = Bed::new();
    bed.layer(&archive).unwrap();
    assert_eq!(bed.paths(), ["after", "outer"]);
    assert_eq!(fs::read(bed.tree().join("outer")).unwrap(), inner);
}

#[test]
fn unp_05_pax_size_wins_over_any_header() {
    for (size, blocks) in [(5_usize, 1_usize), (513, 2)] {
        let archive = Archive::new()
            .pax(&[("size", size.to_string().as_bytes())])
            .entry(Entry::new("f", b'0').data(vec![b'x'; blocks * 512]).size(512))
            .file("after", "after")
            .end();
        let bed = Bed::new();
        bed.layer(&archive).unwrap();
        assert_eq!((bed.metadata("f").size(), bed.read("after").as_str()), (size as u64, "after"));
    }
}

#[test]
fn unp_06_malformed_records_are_refused() {
    let pax = |data: &[u8]| Archive::new().entry(Entry::new("p", b'x').data(data)).file("f", "x").end();
    for data in [
        &b"99 path=x\n"[..],
        b"0 path=x\n",
        b"-5 path=x\n",
        b"+9 path=x\n",
        b"path=x\n",
        b"9 path x\n",
        b"9 path=xy",
        b"5 =x\n",
        b"9 path=x\n\0\0\0",
        b"12 path=a\0b\n",
        b"9 size=x\n",
        b"10 size=-1\n",
        b"10 size=+1\n",
        b"8 size=\n",
        b"8 path=\n",
        b"29 size=99999999999999999999\n",
        b"10 mtime=x\n",
        b"9 path=a\n9 path=b\n",
        b"9 \xff\xffth=x\n",
    ] {
        refused(&pax(data), "malformed header");
    }
    let long = |kind| Entry::new("l", kind).data(b"name\0");
    refused(&Archive::new().entry(long(b'L')).open(), "truncated");
    refused(&Archive::new().entry(long(b'L')).end(), "malformed header");
    refused(&Archive::new().entry(long(b'L')).entry(long(b'L')).file("f", "").end(), "malformed header");
    refused(&Archive::new().entry(long(b'L')).pax(&[("path", b"other")]).file("f", "").end(), "long name and PAX");
    refused(&Archive::new().pax(&[("path", b"other")]).entry(long(b'K')).file("f", "").end(), "long name and PAX");
    refused(&Archive::new().pax(&[("a", b"b")]).pax(&[("a", b"b")]).file("f", "").end(), "malformed header");
    refused(&Archive::new().entry(Entry::new("l", b'L').data(b"a\0b\0")).file("f", "").end(), "NUL");
    refused(&Archive::new().raw([0; 512]).file("f", "").end(), "zero block");
}

#[test]
fn unp_06_global_headers_never_change_an_entry() {
    let global = |key: &str, value: &[u8]| {
        let data = record(key.as_bytes(), value);
        Archive::new().entry(Entry::new("g", b'g').data(data)).file("f", "x").end()
    };
    for key in ["path", "linkpath", "size", "uid", "mtime", "SCHILY.xattr.user.a", "GNU.sparse.major", "hdrcharset"] {
        refused(&global(key, b"1"), "global PAX record");
    }
    let bed = Bed::new();
    bed.layer(&global("comment", b"made by git archive")).unwrap();
    assert_eq!(bed.paths(), ["f"]);
    let between = Archive::new().pax(&[("path", b"y")]).entry(Entry::new("g", b'g').data(record(b"comment", b"")));
    refused(&between.file("f", "").end(), "between an extension header and its entry");
}

#[test]
fn unp_06_sizes_that_are_negative_or_huge() {
    let with_size = |field: &[u8]| {
        let mut header = Entry::new("f", b'0').header();
        header[124..136].copy_from_slice(field);
        seal(&mut header);
        Archive::new().raw(header).raw([b'x'; 512]).end()
    };
    refused(&with_size(&[0xff; 12]), "malformed header");
    refused(&with_size(b"\x80\0\0\x01\0\0\0\0\0\0\0\x01"), "negative or too large");
    refused(&with_size(b"-0000000001\0"), "malformed header");
    refused(&with_size(b"0000000000x\0"), "malformed header");
    refused(&with_size(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"), "limit exceeded");
    refused(&with_size(b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"), "malformed header");
}

#[test]
fn unp_07_hard_links_stay_inside() {
    let canary = Bed::new();
    let absolute = canary.canary().join("file");
    for (target, expected) in [
        ("../canary/file", "contains \"..\""),
        ("/etc/hostname", "absolute"),
        (absolute.to_str().unwrap(), "absolute"),
        ("Cargo.toml", "does not exist in this archive"),
        ("later", "does not exist in this archive"),
        ("self", "hard link to itself"),
        ("dir", "which is a directory or a whiteout"),
        (".wh.gone", "does not exist"),
        ("gone", "which is a directory or a whiteout"),
        ("", "empty"),
    ] {
        let archive = Archive::new().dir("dir").file(".wh.gone", "").hard_link("self", target).file("later", "").end();
        refused(&archive, expected);
    }
    let chain = Archive::new()
        .dir("a/b/c")
        .symlink("a/b/c/up", "../..")
        .symlink("a/b/escape", "c/up/../..")
        .hard_link("exfil", "a/b/escape/canary/file")
        .end();
    refused(&chain, "is a symbolic link");
    assert_eq!(fs::metadata(absolute).unwrap().nlink(), 1);
}

#[test]
fn unp_07_a_hard_link_to_a_symlink_is_one_more_symlink() {
    let bed = Bed::new();
    let archive = Archive::new().symlink("s", "../canary/file").hard_link("h", "s").file("h", "new").end();
    bed.layer(&archive).unwrap();
    assert!(bed.metadata("s").is_symlink());
    assert_eq!(bed.read("h"), "new", "the second link was replaced, not followed");
}

#[test]
fn unp_08_the_root_stays_a_directory() {
    for name in [".", "./", "./."] {
        for kind in *b"01236S7" {
            let text = refusal(Bed::new().layer(&Archive::new().entry(Entry::new(name, kind).link("../canary")).end()));
            assert!(text.contains("root of the tree") || text.contains("malformed"), "{text}");
        }
    }
    for name in ["/", "/."] {
        refused(&Archive::new().symlink(name, "../canary").end(), "absolute");
    }
    for name in ["rootfs", "rootfs/", "rootfs/.", "./rootfs"] {
        for kind in *b"0126" {
            let archive =
                Archive::new().file("manifest", MANIFEST).entry(Entry::new(name, kind).link("../canary")).end();
            let text = refusal(Bed::new().aci(&archive));
            assert!(text.contains("root of the tree") || text.contains("ends in \"/\""), "{name}: {text}");
        }
    }
}

#[test]
fn unp_09_whiteouts_stay_inside() {
    for name in [".wh.", ".wh..", ".wh...", "a/.wh..", "a/.wh..."] {
        refused(&Archive::new().file(name, "").end(), "whiteout of");
    }
    refused(&Archive::new().file(".wh.a/b", "").end(), "begins with \".wh.\"");
    refused(&Archive::new().symlink("s", "../canary").file("s/.wh.file", "").end(), "is a symbolic link");
    refused(&Archive::new().symlink("s", "../canary").file("s/.wh..wh..opq", "").end(), "is a symbolic link");
    refused(&Archive::new().symlink("s", "../canary").file("s/sub/.wh..wh..opq", "").end(), "is a symbolic link");
    refused(&Archive::new().file("../canary/.wh.file", "").end(), "contains \"..\"");
    for kind in *b"2356" {
        refused(&Archive::new().entry(Entry::new(".wh.x", kind).link("y")).end(), "whiteout of \"x\"");
    }
    // An opaque mark on a link to a directory is one for nothing at all.
    let text = refusal(Bed::new().layer(&Archive::new().symlink("s", "../canary").file("s/.wh..wh..opq", "").end()));
    assert!(text.contains("symbolic link"), "{text}");
}

#[test]
fn unp_10_top_level_names_of_an_aci() {
    let start = Instant::now();
    let with = |entry: Entry| Archive::new().entry(entry).file("rootfs/x", "").end();
    for kind in *b"1256" {
        let text = refusal(Bed::new().aci(&with(Entry::new("manifest", kind).link("../canary/file"))));
        assert!(text.contains("manifest is not a regular file"), "{text}");
    }
    let text = refusal(Bed::new().aci(&with(Entry::new("manifest", b'3'))));
    assert!(text.contains("manifest is not a regular file"), "{text}");
    let twice = aci(|archive| archive.file("./manifest", MANIFEST));
    assert!(refusal(Bed::new().aci(&twice)).contains("more than one manifest"));
    let large = Archive::new().file("manifest", vec![b' '; (4 << 20) + 1]).dir("rootfs").end();
    assert!(refusal(Bed::new().aci(&large)).contains("larger than 4194304 bytes"));
    let binary = Archive::new().file("manifest", b"\xff").dir("rootfs").end();
    assert!(refusal(Bed::new().aci(&binary)).contains("not UTF-8"));
    for name in ["foo", "rootfs2/x", "rootfs.x", "manifest/x", "Rootfs/x", "templates"] {
        let text = refusal(Bed::new().aci(&aci(|archive| archive.file(name, ""))));
        assert!(text.contains("only \"manifest\" and \"rootfs\""), "{text}");
    }
    let outside = aci(|archive| archive.hard_link("rootfs/m", "manifest"));
    assert!(refusal(Bed::new().aci(&outside)).contains("target of the hard link"));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn unp_12_a_fifo_is_made_and_not_opened() {
    let bed = Bed::new();
    let archive = Archive::new().entry(Entry::new("etc/passwd", b'6')).hard_link("etc/group", "etc/passwd").end();
    let start = Instant::now();
    bed.layer(&archive).unwrap();
    assert!(start.elapsed() < Duration::from_secs(1));
    assert!(bed.metadata("etc/group").file_type().is_fifo());
}

#[test]
fn unp_14_set_user_id_files_are_stored_as_such() {
    let bed = Bed::new();
    bed.layer(&Archive::new().entry(Entry::new("su", b'0').mode(0o4755)).end()).unwrap();
    assert_eq!(bed.mode("su"), 0o4755);
}

#[test]
fn unp_15_marks_of_overlayfs_cannot_be_forged() {
    let bed = Bed::new();
    let archive = Archive::new()
        .pax(&[("SCHILY.xattr.user.overlay.opaque", b"y"), ("SCHILY.xattr.user.overlay.redirect", b"/etc")])
        .dir("etc")
        .pax(&[("SCHILY.xattr.user.overlay.whiteout", b"y"), ("SCHILY.xattr.trusted.overlay.metacopy", b"")])
        .file("file", "")
        .entry(Entry::new("whiteout", b'3'))
        .end();
    let done = bed.layer(&archive).unwrap();
    assert_eq!(bed.paths(), ["etc", "file"]);
    for path in ["etc", "file"] {
        assert_eq!(xattrs(&bed.tree().join(path)), [], "{path}");
    }
    assert_eq!(done.warnings.lines().count(), 2);
}

#[test]
fn unp_16_special_and_unknown_types() {
    for kind in *b"8AZVMDNs" {
        refused(&Archive::new().entry(Entry::new("x", kind)).end(), "unknown type of entry");
    }
    for kind in *b"3456" {
        refused(&Archive::new().entry(Entry::new("x", kind).data("data")).end(), "cannot have 4 bytes of data");
    }
    for kind in *b"12" {
        let archive = Archive::new().file("f", "").entry(Entry::new("x", kind).link("f").data("data")).end();
        refused(&archive, "cannot have 4 bytes of data");
    }
    // A type of GNU tar in a header that is not GNU tar's.
    let mut old = Entry::new("x", b'L').data("name").header();
    old[257..265].fill(0);
    seal(&mut old);
    refused(&Archive::new().raw(old).raw([b'n'; 512]).end(), "unknown type of entry 0x4c");
}

#[test]
fn unp_17_name_games() {
    for (name, expected) in [
        (&b"/etc/passwd"[..], "absolute"),
        (b"..", "contains \"..\""),
        (b"a/../b", "contains \"..\""),
        (b"../canary/file", "contains \"..\""),
        (b"file/", "ends in \"/\""),
    ] {
        refused(&Archive::new().file(name, "x").end(), expected);
    }
    refused(&Archive::new().symlink("link/", "x").end(), "ends in \"/\"");
    let long = |name: &str| Archive::new().pax(&[("path", name.as_bytes())]).file("x", "").end();
    refused(&long(&"c".repeat(256)), "longer than 255 bytes");
    refused(&long(&"abc/".repeat(1025)), "longer than 4096 bytes");
    refused(&long(&"d/".repeat(300)), "deeper than 256 directories");
    refused(&Archive::new().file("", "x").end(), "malformed header");
    refused(&Archive::new().symlink("s", "").end(), "unusable target");

    let bed = Bed::new();
    let names: [&[u8]; 7] = [b"back\\slash", b"new\nline", b"esc\x1b[31m", b"\xff\xfe", b"C:\\x", b" ", b"a//b/./c"];
    let archive = names.iter().fold(Archive::new(), |archive, name| archive.file(name, "x"));
    bed.layer(&archive.end()).unwrap();
    use std::os::unix::ffi::OsStrExt as _;
    for name in names {
        assert!(bed.tree().join(std::ffi::OsStr::from_bytes(name)).is_file());
    }
    // In an error the name is harmless.
    let text = refusal(Bed::new().layer(&Archive::new().entry(Entry::new(b"esc\x1b[31m\xff", b'Z')).end()));
    assert!(text.starts_with(r#"entry "esc\x1b[31m\xff""#), "{text}");
}

#[test]
fn unp_18_the_last_entry_of_a_name_wins() {
    let bed = Bed::new();
    let archive = Archive::new()
        .file("a", "first")
        .hard_link("sibling", "a")
        .file("a", "second")
        .dir("a")
        .file("a/child", "child")
        .dir("a/sub/deep")
        .symlink("a", "nowhere")
        .file("b", "b")
        .entry(Entry::new("b", b'6'))
        .hard_link("b", "sibling")
        .dir("c")
        .file("c/kept", "kept")
        .entry(Entry::new("c", b'5').mode(0o700))
        .end();
    bed.layer(&archive).unwrap();
    assert_eq!(bed.paths(), ["a", "b", "c", "c/kept", "sibling"]);
    assert!(bed.metadata("a").is_symlink());
    assert_eq!(bed.read("sibling"), "first", "not written through the old inode");
    assert_eq!((bed.read("b").as_str(), bed.mode("c")), ("first", 0o700));
    // A directory that was the parent of the last entry, replaced and made again.
    let bed = Bed::new();
    let archive = Archive::new().file("a/b/x", "").file("a", "").dir("a").file("a/b/y", "y").end();
    bed.layer(&archive).unwrap();
    assert_eq!(bed.paths(), ["a", "a/b", "a/b/y"]);
}

#[test]
fn unp_18_a_hard_link_must_not_remove_its_own_target() {
    refused(&Archive::new().file("d/f", "x").hard_link("d", "d/f").end(), "hard link to itself");
    let bed = Bed::new();
    // Both names are the same file already.
    let archive = Archive::new().file("a", "x").hard_link("b", "a").hard_link("b", "a").hard_link("a", "b").end();
    bed.layer(&archive).unwrap();
    assert_eq!((bed.read("a").as_str(), bed.metadata("a").nlink()), ("x", 2));
}

#[test]
fn unp_18_ten_thousand_changes_of_type_take_linear_time() {
    let bed = Bed::new();
    let mut archive = Archive::new();
    for turn in 0..10_000 {
        archive = match turn % 4 {
            0 => archive.file("same", "x"),
            1 => archive.symlink("same", "../canary"),
            2 => archive.dir("same"),
            _ => archive.file("same/child", "x"),
        };
    }
    let start = Instant::now();
    bed.layer(&archive.end()).unwrap();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(bed.paths(), ["same", "same/child"]);
}
