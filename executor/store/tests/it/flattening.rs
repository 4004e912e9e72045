//! Stacks of trees seen as one, and packed into one archive.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use store::extract::{Form, Lower};
use store::flatten::{FlattenError, Wrapping, flatten};
use store::stack::{Change, Stack, WalkError};
use store::{ImageRecord, Store};

use crate::archive::{Archive, Entry, MANIFEST, aci};
use crate::bed::Bed;
use crate::imports::{import_aci, import_oci, map};

fn stack(store: &Store, image: &ImageRecord) -> Stack {
    let lower = |layer| {
        let tree = store.tree(layer, &map()).unwrap().unwrap();
        let owners = tree.record().unwrap().owners;
        Arc::new(Lower { root: tree.dir().try_clone_to_owned().unwrap(), owners })
    };
    Stack::new(image.layers.iter().map(lower).collect(), true)
}

fn flat(data: &Path, layers: &[Vec<u8>], wrapping: Wrapping<'_>) -> Vec<u8> {
    let store = Store::ensure(data).unwrap();
    let image = import_oci(&store, layers, "{}", &[]).unwrap();
    let mut tar = Vec::new();
    flatten(&stack(&store, &image), wrapping, &mut tar).unwrap();
    tar
}

/// Name, type, mode, owner, link and content of every member.
fn listing(tar: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(tar);
    let mut members = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = String::new();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let link =
            entry.link_name_bytes().map_or(String::new(), |link| format!(" -> {}", String::from_utf8_lossy(&link)));
        let header = entry.header();
        let (mode, uid, gid) = (header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap());
        let kind = header.entry_type().as_byte() as char;
        std::io::Read::read_to_string(&mut entry, &mut content).unwrap();
        members.push(format!("{name}{link} {kind} {mode:o} {uid}:{gid} {content}").trim_end().to_owned());
    }
    members
}

#[test]
fn upper_trees_cover_lower_ones() {
    let owned = |name: &str, kind, owner| Entry::new(name, kind).owner(owner, owner + 1);
    let bottom = Archive::new()
        .entry(owned("keep", b'5', 5).mode(0o700))
        .entry(owned("keep/a", b'0', 7).data("a1"))
        .file("keep/b", "b1")
        .dir("gone")
        .file("gone/x", "x")
        .dir("clean")
        .file("clean/old", "old")
        .dir("to-file")
        .file("to-file/x", "x")
        .file("to-dir", "x")
        .symlink("to-dir-too", "keep")
        .file("first", "links")
        .hard_link("second", "first")
        .end();
    let middle = Archive::new()
        .file("keep/a", "a2")
        .file("keep/.wh.b", "")
        .file(".wh.gone", "")
        .file("clean/.wh..wh..opq", "")
        .file("clean/new", "new")
        .file("to-file", "now a file")
        .dir("to-dir")
        .file("to-dir/y", "y")
        .dir("to-dir-too")
        .end();
    let top = Archive::new()
        .file("gone/again", "again")
        .entry(Entry::new("pipe", b'6').mode(0o600))
        .symlink("link", "/etc/passwd")
        .entry(owned("suid", b'0', 9).mode(0o4755).data("s"))
        .end();
    let data = tempfile::tempdir().unwrap();
    let tar = flat(data.path(), &[bottom, middle, top], Wrapping::Layer);
    let expected = [
        "./ 5 755 0:0",
        "clean/ 5 755 0:0",
        "clean/new 0 644 0:0 new",
        "first 0 644 0:0 links",
        "gone/ 5 755 0:0",
        "gone/again 0 644 0:0 again",
        "keep/ 5 700 5:6",
        "keep/a 0 644 0:0 a2",
        "link -> /etc/passwd 2 777 0:0",
        "pipe 6 600 0:0",
        "second -> first 1 644 0:0",
        "suid 0 4755 9:10 s",
        "to-dir/ 5 755 0:0",
        "to-dir/y 0 644 0:0 y",
        "to-dir-too/ 5 755 0:0",
        "to-file 0 644 0:0 now a file",
    ];
    // Names are in the order of their bytes, what is in a directory right behind it.
    assert_eq!(listing(&tar), expected);
}

/// Directories are told of before what is in them, and where something in them changes.
#[test]
fn changes_are_those_of_the_uppermost_tree() {
    let bottom = Archive::new()
        .dir("keep")
        .dir("keep/deep")
        .file("keep/deep/a", "a")
        .file("keep/b", "b")
        .file("keep/same", "same")
        .dir("gone")
        .file("gone/x", "x")
        .dir("clean")
        .file("clean/old", "old")
        .file("clean/same", "same")
        .file("to-dir", "x")
        .dir("to-file")
        .file("to-file/x", "x")
        .file("hidden", "x")
        .end();
    let middle = Archive::new().file(".wh.hidden", "").file("middle", "x").dir("usual").end();
    let top = Archive::new()
        .file("keep/deep/a", "longer")
        .file("keep/.wh.b", "")
        .file("keep/same", "same")
        .file("keep-it", "")
        .file(".wh.gone", "")
        .file(".wh.never", "")
        .file("clean/.wh..wh..opq", "")
        .file("clean/new", "new")
        .file("clean/same", "same")
        .file("to-file", "now a file")
        .dir("to-dir")
        .file("to-dir/y", "y")
        .entry(Entry::new("middle", b'0').mode(0o600).data("x"))
        .file("hidden", "again")
        .dir("new")
        .dir("new/new")
        .dir("usual")
        .dir("also-usual")
        .file("also-usual/x", "x")
        .dir("usual-too")
        .end();
    let data = tempfile::tempdir().unwrap();
    let store = Store::ensure(data.path()).unwrap();
    let image = import_oci(&store, &[bottom, middle, top], "{}", &[]).unwrap();
    let mut seen = Vec::new();
    let told = stack(&store, &image).changes(&["also-usual", "usual-too"], |change, path| {
        let letter = match change {
            Change::Added => 'A',
            Change::Changed => 'C',
            Change::Deleted => 'D',
        };
        seen.push(format!("{letter} {}", String::from_utf8_lossy(path)));
        Ok::<_, WalkError>(())
    });
    told.unwrap();
    let expected = [
        "C also-usual",
        "A also-usual/x",
        "C clean",
        "A clean/new",
        "D clean/old",
        "D gone",
        "A hidden",
        "C keep",
        "D keep/b",
        "C keep/deep",
        "C keep/deep/a",
        "A keep-it",
        "C middle",
        "A new",
        "A new/new",
        "C to-dir",
        "A to-dir/y",
        "C to-file",
    ];
    assert_eq!(seen, expected);
}

/// What is packed and unpacked again is the same, times and attributes with it; and packs to the same bytes.
#[test]
fn a_flat_archive_is_the_same_again() {
    let layer = Archive::new()
        .pax(&[("mtime", b"1234.5"), ("SCHILY.xattr.user.note", b"kept\0bytes")])
        .file("noted", "x")
        .pax(&[("path", "long/".repeat(60).as_bytes())])
        .entry(Entry::new("x", b'5').mode(0o711))
        .entry(Entry::new("big-ids", b'0').owner(4_000_000_000, 3_000_000))
        .entry(Entry::new(b"bytes-\xff\n", b'0').data("x"))
        .end();
    let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let first = flat(one.path(), &[layer], Wrapping::Layer);
    let second = flat(two.path(), std::slice::from_ref(&first), Wrapping::Layer);
    assert!(first == second);
    let bed = Bed::new();
    let extracted = bed.layer(&first).unwrap();
    let owner = extracted.owners.get(b"big-ids").unwrap();
    assert_eq!((owner.uid, owner.gid), (4_000_000_000, 3_000_000));
    let noted = fs::metadata(bed.tree().join("noted")).unwrap().modified().unwrap();
    let since = noted.duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!((since.as_secs(), since.subsec_nanos()), (1234, 500_000_000));
    assert_eq!(crate::bed::xattrs(&bed.tree().join("noted")), [(b"user.note".to_vec(), b"kept\0bytes".to_vec())]);
}

#[test]
fn an_aci_has_its_manifest_first_and_comes_back() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::ensure(data.path()).unwrap();
    let image =
        import_aci(&store, &aci(|archive| archive.file("rootfs/.wh.kept", "a file").dir("rootfs/d")), &[]).unwrap();
    let mut tar = Vec::new();
    flatten(&stack(&store, &image), Wrapping::Aci(MANIFEST.as_bytes()), &mut tar).unwrap();
    let names: Vec<_> = listing(&tar).iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(names, ["manifest", "rootfs/", "rootfs/.wh.kept", "rootfs/d/"]);
    let again = Bed::new();
    assert_eq!(again.extract_with(Form::Aci, true, &tar).unwrap().manifest.as_deref(), Some(MANIFEST));
    assert_eq!(again.read(".wh.kept"), "a file");
    // In a layer it would hide a file that nobody wanted hidden.
    let refused = flatten(&stack(&store, &image), Wrapping::Layer, &mut Vec::new()).unwrap_err();
    assert!(matches!(&refused, FlattenError::Whiteout(name) if name.as_str() == ".wh.kept"), "{refused}");
}

/// With a single id the owners of directories that a layer implies are in the table of the layer below.
#[test]
fn implied_directories_keep_the_owners_of_lower_layers() {
    let bottom = Archive::new().entry(Entry::new("srv", b'5').owner(33, 34).mode(0o2750)).end();
    let top = Archive::new().file("srv/file", "x").end();
    let data = tempfile::tempdir().unwrap();
    let tar = flat(data.path(), &[bottom, top], Wrapping::Layer);
    let lines: BTreeMap<_, _> = listing(&tar)
        .into_iter()
        .map(|line| line.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap())
        .collect();
    assert_eq!(lines["srv/"], "5 2750 33:34");
}

#[test]
fn a_full_disk_is_an_error() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::ensure(data.path()).unwrap();
    let image = import_oci(&store, &[Archive::new().dir("d").file("d/f", "x").end()], "{}", &[]).unwrap();
    let stack = stack(&store, &image);
    let mut full = Full;
    assert!(matches!(flatten(&stack, Wrapping::Layer, &mut full), Err(FlattenError::Write(_))));
}

struct Full;

impl std::io::Write for Full {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
