//! What is collected, and what is not: trees and layers in use, what dead processes left.

use std::fs;

use rustix::fs::{Mode, OFlags};
use store::{AsUser, FindError, Keep, Store};

use crate::archive::{Archive, Entry, aci};
use crate::bed::refusal;
use crate::imports::{check, data, file, import_aci, import_oci, manifest, map, names, nobody, small_aci};

#[test]
fn layers_are_shared_and_go_with_their_last_image() {
    let data = data();
    let store = Store::ensure(data.path()).unwrap();
    let layer = |text: &str| Archive::new().file(text, text).end();
    let one = import_oci(&store, &[layer("base"), layer("one")], "1", &["one"]).unwrap();
    let two = import_oci(&store, &[layer("base"), layer("two")], "2", &["two"]).unwrap();
    assert_eq!(one.layers[0], two.layers[0]);
    assert_eq!((names(data.path(), "trees").len(), names(data.path(), "blobs/sha256").len()), (3, 2));
    assert_eq!(check(data.path()).len(), 2);
    assert!(store.gc(&AsUser, &nobody).unwrap().trees.is_empty());

    store.remove(&one.id).unwrap();
    assert_eq!(refusal(store.remove(&one.id)), format!("no image {}", one.id));
    assert!(matches!(store.find("one").unwrap_err(), FindError::NoName(_)));
    let report = store.gc(&AsUser, &nobody).unwrap();
    assert_eq!((report.trees.len(), report.blobs.len()), (1, 1));
    assert!(report.failures.is_empty() && report.blob_bytes > 0);
    assert_eq!(check(data.path()), std::slice::from_ref(&two));

    store.remove(&two.id).unwrap();
    store.gc(&AsUser, &nobody).unwrap();
    for directory in ["trees", "tmp", "images", "blobs/sha256", "blobs/sha512"] {
        assert_eq!(names(data.path(), directory), Vec::<String>::new(), "{directory}");
    }
}

#[test]
fn a_tree_in_use_is_not_removed() {
    let data = data();
    let store = Store::ensure(data.path()).unwrap();
    let image = import_aci(&store, &small_aci("x"), &[]).unwrap();
    let tree = store.tree(&image.layers[0], &map()).unwrap().unwrap();
    store.remove(&image.id).unwrap();
    let report = store.gc(&AsUser, &nobody).unwrap();
    assert_eq!((report.trees.len(), report.in_use, report.blobs.len()), (0, 1, 1));
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::openat(tree.dir(), "marker", flags, Mode::empty()).expect("it is still there");
    // A copy of the guard alone holds it too, as in a child process.
    let (_, guard) = tree.into_parts();
    assert_eq!(store.gc(&AsUser, &nobody).unwrap().in_use, 1);
    // And it may be used again meanwhile.
    assert!(store.tree(&image.layers[0], &map()).unwrap().is_some());
    drop(guard);
    assert_eq!(store.gc(&AsUser, &nobody).unwrap().trees.len(), 1);
    assert!(store.tree(&image.layers[0], &map()).unwrap().is_none());
}

#[test]
fn an_import_under_way_is_not_collected() {
    let data = data();
    let store = Store::ensure(data.path()).unwrap();
    let layer = Archive::new().file("base", "base").end();
    let base = import_oci(&store, std::slice::from_ref(&layer), "base", &[]).unwrap();
    let mut import = store.begin().unwrap();
    assert!(import.reuse_layer(&base.layers[0], &map(), None, Keep::Recipe).unwrap());
    let mut other = store.begin().unwrap();
    let pending = other.new_layer(&map(), None, Keep::Archive).unwrap();
    store.remove(&base.id).unwrap();
    let report = store.gc(&AsUser, &nobody).unwrap();
    assert_eq!((report.trees.len(), report.in_use, report.unfinished), (0, 1, 0), "the tree is held");
    drop((pending, other));
    let config = import.add_document(b"other", store::BlobRole::Config).unwrap();
    let image =
        store::NewImage { id: config.into(), names: Vec::new(), manifest: manifest("example.com/x"), source: None };
    import.commit(image).unwrap();
    assert_eq!(check(data.path()).len(), 1);
}

#[test]
fn an_abandoned_import_leaves_nothing() {
    let data = data();
    let store = Store::ensure(data.path()).unwrap();
    let hostile = aci(|archive| archive.file("rootfs/a/b/c", "x").file("../escape", "x"));
    assert!(import_aci(&store, &hostile, &[]).is_err());
    let mut import = store.begin().unwrap();
    let layer = import.new_layer(&map(), None, Keep::Archive).unwrap();
    let locked = aci(|archive| archive.entry(Entry::new("rootfs/locked", b'5').mode(0)).file("rootfs/locked/f", ""));
    store::ingest::run(layer.job(file(&locked), store::ingest::InputFormat::Aci, true).unwrap()).unwrap();
    assert_eq!(names(data.path(), "tmp").len(), 1);
    import.abandon(&AsUser).unwrap();
    for directory in ["trees", "tmp", "images", "blobs/sha256"] {
        assert_eq!(names(data.path(), directory), Vec::<String>::new(), "{directory}");
    }
}

#[test]
fn what_dead_processes_left_is_collected() {
    let data = data();
    let store = Store::ensure(data.path()).unwrap();
    let image = import_aci(&store, &small_aci("x"), &["x"]).unwrap();
    let path = data.path().join("store");
    // Killed between making the directory and its lock, while extracting, and while being removed by gc.
    fs::create_dir(path.join("tmp/empty")).unwrap();
    fs::create_dir_all(path.join("tmp/extracting/layer-1/rootfs/deep/er")).unwrap();
    fs::write(path.join("tmp/extracting/lock"), "").unwrap();
    fs::create_dir_all(path.join("tmp/collecting/rootfs")).unwrap();
    fs::write(path.join("tmp/format-1234"), "1\n").unwrap();
    // A tree whose record died: nobody sees it, and it goes even though the image is named.
    let tree = path.join("trees").join(&names(data.path(), "trees")[0]);
    fs::remove_file(tree.join("tree.json")).unwrap();
    assert!(store.tree(&image.layers[0], &map()).unwrap().is_none());
    fs::create_dir(path.join("trees/lost+found")).unwrap();
    let report = store.gc(&AsUser, &nobody).unwrap();
    assert_eq!((report.unfinished, report.trees.len(), report.failures.len()), (4, 1, 0));
    assert_eq!(names(data.path(), "tmp"), Vec::<String>::new());
    assert_eq!(names(data.path(), "trees"), ["lost+found"], "what we never made is not ours to touch");
    // Extracting it again makes it whole.
    import_aci(&store, &small_aci("x"), &[]).unwrap();
    assert_eq!(check(data.path()).len(), 1);
}

#[test]
fn a_dead_tree_makes_room_for_a_new_one() {
    let data = data();
    let store = Store::ensure(data.path()).unwrap();
    let image = import_aci(&store, &small_aci("x"), &[]).unwrap();
    let tree = data.path().join("store/trees").join(&names(data.path(), "trees")[0]);
    fs::remove_file(tree.join("tree.json")).unwrap();
    fs::write(tree.join("rootfs/half"), "removed").unwrap();
    import_aci(&store, &small_aci("x"), &[]).unwrap();
    assert!(store.tree(&image.layers[0], &map()).unwrap().is_some());
    assert!(!tree.join("rootfs/half").exists());
    assert_eq!(names(data.path(), "tmp"), Vec::<String>::new());
}
