//! What a sound archive becomes.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use store::extract::Form;

use crate::archive::{Archive, Entry, MANIFEST, aci, octal, seal};
use crate::bed::{Bed, can_chown, refusal, xattrs};

fn is_whiteout(bed: &Bed, path: &str) -> bool {
    let metadata = bed.metadata(path);
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

fn is_opaque(bed: &Bed, path: &str) -> bool {
    xattrs(&bed.tree().join(path)).contains(&(b"user.overlay.opaque".to_vec(), b"y".to_vec()))
}

#[test]
fn every_kind_of_entry() {
    let bed = Bed::new();
    let archive = Archive::new()
        .entry(Entry::new("./", b'5').mode(0o751))
        .entry(Entry::new("bin/", b'5').mode(0o555))
        .entry(Entry::new("bin/tool", b'0').mode(0o4755).data("#!tool"))
        .symlink("bin/alias", "tool")
        .symlink("etc", "/usr/etc")
        .hard_link("bin/same", "bin/tool")
        .entry(Entry::new("run/pipe", b'6').mode(0o622))
        .file("empty", "")
        .entry(Entry::new("contiguous", b'7').data("7"))
        .entry(Entry::new("old/", 0))
        .end();
    let done = bed.layer(&archive).unwrap();
    assert_eq!((done.entries, done.content), (10, 7));
    assert!(done.warnings.is_empty() && done.owners.is_empty() && done.manifest.is_none());
    assert_eq!(
        bed.paths(),
        ["bin", "bin/alias", "bin/same", "bin/tool", "contiguous", "empty", "etc", "old", "run", "run/pipe"]
    );
    assert_eq!((bed.mode(""), bed.mode("bin"), bed.mode("bin/tool")), (0o751, 0o555, 0o4755));
    assert_eq!(bed.mode("run"), 0o755, "made because it was missing");
    assert_eq!(bed.mode("run/pipe"), 0o622);
    assert!(bed.metadata("run/pipe").file_type().is_fifo());
    assert_eq!(bed.metadata("bin/tool").ino(), bed.metadata("bin/same").ino());
    assert_eq!(fs::read_link(bed.tree().join("etc")).unwrap().to_str(), Some("/usr/etc"));
    for path in ["bin", "bin/tool", "bin/alias", "run/pipe", "empty"] {
        assert_eq!(bed.metadata(path).mtime(), 1_000_000_000, "{path}");
    }
}

#[test]
fn an_acis_rootfs_is_the_root() {
    let bed = Bed::new();
    let archive = Archive::new()
        .dir("./")
        .file("./rootfs/bin/sh", "x")
        .hard_link("rootfs/bin/bash", "./rootfs/bin/sh")
        .file("./rootfs/.wh.kept", "an ACI has no whiteouts")
        .entry(Entry::new("rootfs/", b'5').mode(0o711))
        .file("./manifest", MANIFEST)
        .end();
    let done = bed.aci(&archive).unwrap();
    assert_eq!(done.manifest.as_deref(), Some(MANIFEST));
    assert_eq!(bed.paths(), [".wh.kept", "bin", "bin/bash", "bin/sh"]);
    assert_eq!(bed.mode(""), 0o711);
}

#[test]
fn an_aci_needs_both_parts() {
    assert_eq!(refusal(Bed::new().aci(&Archive::new().dir("rootfs").end())), "no file \"manifest\" in the ACI");
    let only_manifest = Archive::new().file("manifest", MANIFEST).end();
    assert_eq!(refusal(Bed::new().aci(&only_manifest)), "no directory \"rootfs\" in the ACI");
    assert!(Bed::new().aci(&aci(|archive| archive)).is_ok());
}

#[test]
fn whiteouts_become_overlay_marks() {
    let bed = Bed::new();
    let archive = Archive::new()
        .dir("etc")
        .file("etc/.wh.passwd", "")
        .file("var/cache/.wh..wh..opq", "")
        .file("var/cache/new", "new")
        .hard_link("lib/.wh.old", "etc/.wh.passwd")
        .file(".wh..wh.plnk", "")
        .end();
    let done = bed.layer(&archive).unwrap();
    assert!(is_whiteout(&bed, "etc/passwd") && is_whiteout(&bed, "lib/old"));
    assert!(is_opaque(&bed, "var/cache") && !is_opaque(&bed, "var") && !is_opaque(&bed, "etc"));
    assert_eq!(bed.paths(), ["etc", "etc/passwd", "lib", "lib/old", "var", "var/cache", "var/cache/new"]);
    let warnings: Vec<_> = done.warnings.lines().collect();
    assert_eq!(warnings, [r#"bookkeeping of AUFS is left out: ".wh..wh.plnk""#]);
}

#[test]
fn a_whiteout_hides_only_lower_layers() {
    // image-spec layer.md: whiteouts apply to lower layers, wherever they stand among a layer's own entries.
    let orders = [
        Archive::new().file("f", "mine").file(".wh.f", "").dir("d").file("d/x", "x").file(".wh.d", ""),
        Archive::new().file(".wh.f", "").file("f", "mine").file(".wh.d", "").dir("d").file("d/x", "x"),
        Archive::new().file(".wh.f", "").file("f", "mine").file(".wh.d", "").file("d/x", "x"),
    ];
    for archive in orders {
        let bed = Bed::new();
        bed.layer(&archive.end()).unwrap();
        assert_eq!(bed.paths(), ["d", "d/x", "f"]);
        assert_eq!(bed.read("f"), "mine");
        assert!(is_opaque(&bed, "d"), "the lower directory of that name stays hidden");
    }
}

#[test]
fn the_root_may_be_opaque() {
    let bed = Bed::new();
    bed.layer(&Archive::new().file(".wh..wh..opq", "").file("a", "").end()).unwrap();
    assert!(is_opaque(&bed, ""));
}

#[test]
fn directories_may_forbid_what_is_written_below_them() {
    let bed = Bed::new();
    let archive = Archive::new()
        .entry(Entry::new("locked", b'5').mode(0o000))
        .entry(Entry::new("locked/inner", b'5').mode(0o500))
        .file("locked/inner/file", "x")
        .end();
    bed.layer(&archive).unwrap();
    assert_eq!(bed.mode("locked"), 0o000);
    fs::set_permissions(bed.tree().join("locked"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    assert_eq!((bed.mode("locked/inner"), bed.read("locked/inner/file").as_str()), (0o500, "x"));
    assert_eq!(bed.metadata("locked/inner").mtime(), 1_000_000_000);
}

#[test]
fn times_have_nanoseconds_and_bounds() {
    let bed = Bed::new();
    let mut negative = Entry::new("before", b'0').header();
    negative[136..148].fill(0xff);
    seal(&mut negative);
    let archive = Archive::new()
        .pax(&[("mtime", b"1234567890.25")])
        .file("exact", "")
        .pax(&[("mtime", b"-5")])
        .file("earlier", "")
        .raw(negative)
        .pax(&[("mtime", b"99999999999999999")])
        .file("late", "")
        .end();
    bed.layer(&archive).unwrap();
    let time = |path| (bed.metadata(path).mtime(), bed.metadata(path).mtime_nsec());
    assert_eq!(time("exact"), (1_234_567_890, 250_000_000));
    assert_eq!((time("before"), time("earlier")), ((0, 0), (0, 0)));
    assert!(time("late").0 > 4_000_000_000, "as late as the file system can");
}

#[test]
fn owners_of_a_single_id_tree_go_to_the_side_table() {
    let bed = Bed::new();
    let archive = Archive::new()
        .entry(Entry::new("home/user", b'5').owner(1000, 1001))
        .entry(Entry::new("home/user/su", b'0').owner(1000, 0).mode(0o6755))
        .entry(Entry::new("su", b'0').mode(0o6755))
        .entry(Entry::new("group", b'0').owner(0, 7).mode(0o6711))
        .hard_link("link", "home/user/su")
        .entry(Entry::new("gone", b'0').owner(5, 5))
        .file("gone", "now of root")
        .entry(Entry::new("dir/file", b'0').owner(6, 6))
        .entry(Entry::new("dir", b'0').owner(0, 0))
        .end();
    let done = bed.layer(&archive).unwrap();
    let owner = |path: &str| done.owners.get(path.as_bytes()).map(|o| (o.uid, o.gid, o.mode));
    assert_eq!(owner("home/user"), Some((1000, 1001, None)));
    assert_eq!(owner("home/user/su"), Some((1000, 0, Some(0o6755))));
    assert_eq!(owner("link"), owner("home/user/su"));
    assert_eq!(owner("group"), Some((0, 7, Some(0o6711))));
    assert_eq!(done.owners.len(), 4, "root's files and what was replaced are not in it");
    // Set-user-id of user 1000 would be set-user-id of the one user there is.
    assert_eq!((bed.mode("home/user/su"), bed.mode("su"), bed.mode("group")), (0o2755, 0o6755, 0o4711));
}

#[test]
fn owners_are_set_where_they_can_be() {
    if !can_chown() {
        return;
    }
    let bed = Bed::new();
    let archive = Archive::new()
        .entry(Entry::new("d", b'5').owner(1, 2))
        .entry(Entry::new("d/f", b'0').owner(3, 4).mode(0o6755))
        .entry(Entry::new("d/l", b'2').owner(5, 6).link("f"))
        .entry(Entry::new("d/p", b'6').owner(7, 8))
        .entry(Entry::new("big", b'0').owner(4_000_000_000, 3_000_000_000))
        .end();
    let done = bed.extract_with(Form::OciLayer, false, &archive).unwrap();
    assert!(done.owners.is_empty());
    let owner = |path: &str| (bed.metadata(path).uid(), bed.metadata(path).gid());
    assert_eq!([owner("d"), owner("d/f"), owner("d/l"), owner("d/p")], [(1, 2), (3, 4), (5, 6), (7, 8)]);
    assert_eq!(owner("big"), (4_000_000_000, 3_000_000_000));
    assert_eq!(bed.mode("d/f"), 0o6755, "chown clears these bits, so they are set after it");
}

#[test]
fn xattrs_of_users_are_kept() {
    let bed = Bed::new();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let archive = Archive::new()
        .pax(&[("SCHILY.xattr.user.note", b"a\0b\n")])
        .entry(Entry::new("file", b'0').mode(0o400))
        .pax(&[("SCHILY.xattr.user.note", b"dir")])
        .entry(Entry::new("dir", b'5').mode(0o500))
        .pax(&[("SCHILY.xattr.security.capability", &capability)])
        .entry(Entry::new("ping", b'0').mode(0o755))
        .pax(&[("SCHILY.xattr.security.selinux", b"x"), ("SCHILY.xattr.trusted.x", b"y")])
        .file("labelled", "")
        .pax(&[("SCHILY.xattr.user.note", b"z")])
        .symlink("link", "file")
        .end();
    let done = bed.layer(&archive).unwrap();
    let of = |path: &str| xattrs(&bed.tree().join(path));
    assert_eq!(of("file"), [(b"user.note".to_vec(), b"a\0b\n".to_vec())]);
    assert_eq!(of("dir"), [(b"user.note".to_vec(), b"dir".to_vec())]);
    assert!(of("labelled").is_empty() && of("link").is_empty());
    let warnings = done.warnings.lines().collect::<Vec<_>>().join("\n");
    assert!(warnings.contains("\"labelled\", \"labelled\"") && warnings.contains("\"link\""), "{warnings}");
    if can_chown() {
        assert_eq!(of("ping").len(), 1, "{warnings}");
    } else if of("ping").is_empty() {
        assert!(warnings.contains("file capabilities could not be set: \"ping\""), "{warnings}");
    }
}

#[test]
fn device_nodes_are_skipped_with_a_warning() {
    let bed = Bed::new();
    let archive = Archive::new().dir("dev").entry(Entry::new("dev/null", b'3')).entry(Entry::new("dev/sda", b'4'));
    let done = bed.layer(&archive.end()).unwrap();
    assert_eq!(bed.paths(), ["dev"]);
    assert_eq!(done.warnings.lines().collect::<Vec<_>>(), [r#"device nodes are skipped: "dev/null", "dev/sda""#]);
}

/// Found by the property test of whole images: such an image was called sound and could not be unpacked.
#[test]
fn hard_links_to_device_nodes_are_skipped_like_them() {
    let bed = Bed::new();
    let archive = Archive::new().dir("dev").entry(Entry::new("dev/null", b'3')).hard_link("dev/zero", "dev/null");
    let archive = archive.hard_link("dev/more", "dev/zero").file("dev/null2", "x");
    let done = bed.layer(&archive.end()).unwrap();
    assert_eq!(bed.paths(), ["dev", "dev/null2"]);
    let expected = r#"device nodes are skipped: "dev/null", "dev/zero", "dev/more""#;
    assert_eq!(done.warnings.lines().collect::<Vec<_>>(), [expected]);
    // What is there by the time of the link is linked.
    let bed = Bed::new();
    let archive = Archive::new().entry(Entry::new("null", b'3')).file("null", "x").hard_link("link", "null");
    bed.layer(&archive.end()).unwrap();
    assert_eq!(bed.paths(), ["link", "null"]);
}

#[test]
fn sparse_files_have_holes() {
    let bed = Bed::new();
    // Version 1.0 of the PAX form: the map stands before the data, padded to a block.
    let mut map = b"2\n4096\n5\n1048576\n3\n".to_vec();
    map.resize(512, 0);
    let pax = Archive::new()
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"one"),
            ("GNU.sparse.realsize", b"2097152"),
        ])
        .entry(Entry::new("GNUSparseFile.0/one", b'0').data([map, b"hello+++".to_vec()].concat()));
    // The old GNU form: the map is in the header.
    let mut old = Entry::new("old", b'S').data("hello").header();
    old[257..265].copy_from_slice(b"ustar  \0");
    octal(&mut old[386..398], 8192);
    octal(&mut old[398..410], 5);
    octal(&mut old[483..495], 16384);
    seal(&mut old);
    let mut data = b"hello".to_vec();
    data.resize(512, 0);
    let archive = pax.raw(old).raw(data).file("after", "after").end();
    let done = bed.layer(&archive).unwrap();
    let one = fs::read(bed.tree().join("one")).unwrap();
    assert_eq!((one.len(), &one[4096..4101], &one[1_048_576..1_048_579]), (2_097_152, &b"hello"[..], &b"+++"[..]));
    assert_eq!(one.iter().filter(|&&b| b != 0).count(), 8);
    assert!(bed.metadata("one").blocks() < 100);
    let old = fs::read(bed.tree().join("old")).unwrap();
    assert_eq!((old.len(), &old[8192..8197]), (16384, &b"hello"[..]));
    assert_eq!(bed.read("after"), "after");
    assert_eq!(done.content, 2_097_152 + 16384 + 5);
}

#[test]
fn long_names_of_both_dialects() {
    let name = format!("{}/{}", "d".repeat(200), "f".repeat(255));
    let target = "t".repeat(300);
    let bed = Bed::new();
    let mut long_name = Entry::new("././@LongLink", b'L').data(format!("{name}\0"));
    long_name.mode = 0;
    let archive = Archive::new()
        .entry(long_name)
        .file("cut", "gnu")
        .pax(&[("path", format!("{name}-").as_bytes().get(..456).unwrap()), ("linkpath", target.as_bytes())])
        .symlink("cut", "cut")
        .end();
    bed.layer(&archive).unwrap();
    assert_eq!(fs::read_link(bed.tree().join(&name)).unwrap().to_str(), Some(target.as_str()), "last wins");
}
