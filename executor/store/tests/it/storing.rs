//! The store as its users see it: opening, finding, listing, removing, collecting.

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use store::{AsUser, FindError, IdMap, ImageKind, Keep, LayerKey, Store, StoreError};

use crate::archive::{Archive, Entry, aci, gzip};
use crate::bed::{can_chown, refusal};
use crate::imports::{check, file, image_id, import_aci, import_oci, manifest, map, names, nobody};

fn data() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn small_aci(marker: &str) -> Vec<u8> {
    aci(|archive| archive.file("rootfs/marker", marker))
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_new_store_is_closed_to_others() {
    let data = data();
    let path = data.path().join("deep/data");
    let store = Store::ensure(&path).unwrap();
    assert!(!store.is_read_only());
    for directory in ["", "store", "store/images", "store/trees", "store/tmp", "store/blobs/sha512", "store/locks"] {
        assert_eq!(mode(&path.join(directory)), 0o700, "{directory}");
    }
    assert_eq!(fs::read_to_string(path.join("store/format")).unwrap(), "1\n");
    assert_eq!(names(&path, "tmp"), Vec::<String>::new());
    import_aci(&store, &small_aci("x"), &[]).unwrap();
    let blob = &names(&path, "blobs/sha256")[0];
    assert_eq!(mode(&path.join("store/blobs/sha256").join(blob)), 0o400);
    let tree = path.join("store/trees").join(&names(&path, "trees")[0]);
    let record = path.join("store/images").join(&names(&path, "images")[0]);
    assert_eq!((mode(&tree), mode(&tree.join("tree.json")), mode(&record)), (0o700, 0o600, 0o600));
}

#[test]
fn sto_03_a_directory_that_cannot_be_trusted_is_refused() {
    let data = data();
    let dir = |name: &str| data.path().join(name);
    Store::ensure(&dir("real")).unwrap();

    symlink(dir("real"), dir("link")).unwrap();
    let text = refusal(Store::ensure(&dir("link")));
    assert!(text.ends_with("link is not a directory (symbolic links are not followed)"), "{text}");
    fs::create_dir(dir("inner")).unwrap();
    symlink(dir("real/store"), dir("inner/store")).unwrap();
    assert!(refusal(Store::ensure(&dir("inner"))).contains("inner/store is not a directory"));
    fs::write(dir("file"), "").unwrap();
    assert!(refusal(Store::ensure(&dir("file"))).contains("is not a directory"));

    for bits in [0o777, 0o722, 0o720, 0o1777] {
        fs::set_permissions(dir("real"), fs::Permissions::from_mode(bits)).unwrap();
        let text = refusal(Store::ensure(&dir("real")));
        assert!(text.contains(&format!("has mode {bits:04o}; it must not be writable")), "{text}");
    }
    fs::set_permissions(dir("real"), fs::Permissions::from_mode(0o755)).unwrap();
    Store::ensure(&dir("real")).unwrap();
    for bits in [0o755, 0o701, 0o740] {
        fs::set_permissions(dir("real/store"), fs::Permissions::from_mode(bits)).unwrap();
        let text = refusal(Store::ensure(&dir("real")));
        assert!(text.contains("it must be closed to group and others (0700)"), "{text}");
    }
    fs::set_permissions(dir("real/store"), fs::Permissions::from_mode(0o700)).unwrap();

    if can_chown() {
        std::os::unix::fs::chown(dir("real/store"), Some(1000), None).unwrap();
        assert!(refusal(Store::ensure(&dir("real"))).contains("belongs to uid 1000, not to uid 0"));
        std::os::unix::fs::chown(dir("real"), Some(1001), None).unwrap();
        assert!(refusal(Store::ensure(&dir("real"))).contains("belongs to uid 1001, not to uid 0"));
    } else if !rustix::process::geteuid().is_root() {
        assert!(refusal(Store::ensure("/".as_ref())).contains("belongs to uid 0, not to uid"));
    }
}

#[test]
fn sto_06_a_store_of_a_later_version_is_only_read() {
    let data = data();
    let id = import_aci(&Store::ensure(data.path()).unwrap(), &small_aci("x"), &["name"]).unwrap().id;
    fs::write(data.path().join("store/format"), "2\n").unwrap();
    let store = Store::ensure(data.path()).unwrap();
    assert!(store.is_read_only());
    assert_eq!(store.find("name").unwrap().id, id);
    assert!(store.tree(&store.find("name").unwrap().layers[0], &map()).unwrap().is_some());
    let text = "the store has format 2, this version writes format 1: it can only be read";
    assert_eq!(refusal(store.begin()), text);
    assert_eq!(refusal(store.remove(&id)), text);
    assert_eq!(refusal(store.gc(&AsUser, &nobody)), text);
    for garbage in ["", "x", "0\n", "-1\n", "\x1b"] {
        fs::write(data.path().join("store/format"), garbage).unwrap();
        assert!(refusal(Store::ensure(data.path())).starts_with("the store's format file holds \""));
    }
}

#[test]
fn an_image_is_found_by_id_prefix_and_name() {
    let data = data();
    let store = Store::ensure(data.path()).unwrap();
    let aci = import_aci(&store, &small_aci("one"), &["example.com/one:1", "one"]).unwrap();
    let oci = import_oci(&store, &[Archive::new().file("f", "x").end()], "{}", &["docker.io/library/two"]).unwrap();
    assert_eq!((aci.kind, oci.kind), (ImageKind::Aci, ImageKind::Oci));
    assert_eq!((aci.id.algorithm(), oci.id.algorithm()), (appc::Algorithm::Sha512, appc::Algorithm::Sha256));
    for needle in [&aci.id.to_string(), &aci.id.to_string()[..9], "one", "example.com/one:1"] {
        assert_eq!(store.find(needle).unwrap(), aci, "{needle}");
    }
    for needle in [&oci.id.to_string(), &oci.id.to_string().replace(':', "-"), &oci.id.to_string()[..12]] {
        assert_eq!(store.find(needle).unwrap(), oci, "{needle}");
    }
    let hex = aci.id.hex();
    for (needle, expected) in [
        ("sha512-", "image ID too short: \"sha512-\""),
        ("sha512-a", "image ID too short: \"sha512-a\""),
        ("sha256:%", "no image IDs found for \"sha256:%\""),
        ("sha512-__", "no image IDs found for"),
        ("sha512-../../x", "no image IDs found for"),
        (&format!("sha512-{}", hex[..20].to_uppercase()), "no image IDs found for"),
        (&format!("sha512-{}", "0".repeat(128)), "no image IDs found for"),
        ("nobody", "no image named \"nobody\""),
        ("", "no image named \"\""),
        ("one\n", "no image named \"one\\x0a\""),
        ("on", "no image named \"on\""),
    ] {
        let text = refusal(store.find(needle));
        assert!(text.starts_with(expected), "{needle}: {text}");
    }
}

#[test]
fn a_name_is_found_however_it_is_written() {
    let data = data();
    let store = Store::ensure(data.path()).unwrap();
    let image = import_aci(&store, &small_aci("one"), &["example.com/one:1"]).unwrap();
    for name in ["with \"quotes\"", "back\\slash", "ünï", "a b", "tab\t", "plain"] {
        store.tag(&image.id, &[name.to_owned()]).unwrap();
        assert_eq!(store.find(name).unwrap().id, image.id, "{name:?}");
        store.untag(name).unwrap();
        assert!(matches!(store.find(name).unwrap_err(), FindError::NoName(_)), "{name:?}");
    }
    // That text is in its record, but no name of it.
    assert!(matches!(store.find("ImageManifest").unwrap_err(), FindError::NoName(_)));
}

#[test]
fn a_record_hides_those_of_stores_behind() {
    let (front, behind) = (data(), data());
    let other = Store::ensure(behind.path()).unwrap();
    let image = import_aci(&other, &small_aci("one"), &["first", "second"]).unwrap();
    let mut store = Store::ensure(front.path()).unwrap();
    store.put_behind(behind.path()).unwrap();
    assert_eq!(store.find("first").unwrap().id, image.id);
    assert_eq!(import_aci(&store, &small_aci("one"), &["third"]).unwrap().id, image.id);
    let own = Store::ensure(front.path()).unwrap().find("third").unwrap();
    let found = |name: &str| store.find(name).is_ok();
    let listed = |name: &str| store.list().unwrap().images.iter().any(|image| image.names().any(|own| own == name));
    for name in ["first", "second", "third"] {
        assert_eq!(found(name), listed(name), "{name}");
    }
    assert!(own.names().any(|name| name == "third"));
}

#[test]
fn api_05_an_ambiguous_prefix_is_its_own_error() {
    let data = data();
    let store = Store::ensure(data.path()).unwrap();
    fake_images(data.path(), 40);
    let id = image_id(0x12);
    let mut other = id.file_name();
    other.replace_range(20.., &"9".repeat(other.len() - 20));
    let record = fs::read_to_string(data.path().join(format!("store/images/{}.json", id.file_name()))).unwrap();
    fs::write(data.path().join(format!("store/images/{other}.json")), record.replace(&id.to_string(), &other)).unwrap();
    let text = refusal(store.find("sha512-1212"));
    assert_eq!(text, "ambiguous image ID: \"sha512-1212\" (2 images)");
    assert!(matches!(store.find("sha512-12").unwrap_err(), FindError::Ambiguous { count: 2, .. }));
    assert_eq!(store.find(&id.to_string()[..30]).unwrap().id, id);
}

/// Writes records of images without layers, as many as there are numbers.
fn fake_images(data: &Path, count: u8) {
    for number in 0..count {
        let id = image_id(number);
        let manifest = String::from_utf8(manifest("example.com/app").to_json().unwrap()).unwrap();
        let json = format!(
            r#"{{"version":1,"id":"{id}","kind":"aci","names":[],"layers":[],"blobs":[],"size":0,"imported_ns":{number},"manifest":{manifest}}}"#
        );
        fs::write(data.join(format!("store/images/{}.json", id.file_name())), json).unwrap();
    }
}

#[test]
fn a_thousand_images_are_listed_quickly() {
    let data = data();
    let store = Store::ensure(data.path()).unwrap();
    let manifest = String::from_utf8(small_manifest()).unwrap();
    for number in 0..1000_u32 {
        let mut bytes = [0; 64];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        let id = appc::ImageId::sha512(bytes);
        let json = format!(
            r#"{{"version":1,"id":"{id}","kind":"aci","names":[{{"name":"n{number}","claimed_ns":1}}],"layers":["aci-{id}"],"blobs":[],"size":0,"imported_ns":{number},"manifest":{manifest}}}"#
        );
        fs::write(data.path().join(format!("store/images/{}.json", id.file_name())), json).unwrap();
    }
    let best = (0..5)
        .map(|_| {
            let start = Instant::now();
            assert_eq!(store.list().unwrap().images.len(), 1000);
            start.elapsed()
        })
        .min()
        .unwrap();
    // The budget is 50 ms. Unoptimised and beside other tests it may take longer, but not by an order.
    let budget = Duration::from_millis(if cfg!(debug_assertions) { 1000 } else { 50 });
    assert!(best < budget, "{best:?}");
    assert_eq!(store.find("n77").unwrap().imported_ns, 77);
    println!("listing 1,000 images: {best:?}");
}

fn small_manifest() -> Vec<u8> {
    let text = crate::archive::MANIFEST.as_bytes();
    appc::ImageManifest::from_json(text).unwrap().to_json().unwrap()
}

#[test]
fn sto_04_a_damaged_record_hides_no_other() {
    let data = data();
    let store = Store::ensure(data.path()).unwrap();
    let good = import_aci(&store, &small_aci("good"), &["good"]).unwrap();
    let images = data.path().join("store/images");
    let name = |number| format!("{}.json", image_id(number).file_name());
    fs::write(images.join(name(1)), "").unwrap();
    fs::write(images.join(name(2)), "{\"version\":1").unwrap();
    fs::create_dir(images.join(name(3))).unwrap();
    symlink(images.join(format!("{}.json", good.id.file_name())), images.join(name(4))).unwrap();
    fs::write(images.join(name(5)), fs::read(images.join(format!("{}.json", good.id.file_name()))).unwrap()).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, images.join(name(6)), Mode::RUSR).unwrap();
    fs::write(images.join("README"), "not a record").unwrap();
    let listing = store.list().unwrap();
    assert_eq!(listing.images, std::slice::from_ref(&good));
    let bad: Vec<_> = listing.bad.iter().map(ToString::to_string).collect();
    assert_eq!(bad.len(), 6, "{bad:?}");
    for number in 1..=6 {
        let name = image_id(number).file_name();
        assert!(bad.iter().any(|text| text.contains(&name)), "{number}: {bad:?}");
    }
    assert_eq!(store.find("good").unwrap(), good);
    // It is unknown what the damaged ones need, so nothing is collected.
    fs::write(data.path().join("store/blobs/sha256").join("0".repeat(64)), "").unwrap();
    let report = store.gc(&AsUser, &nobody).unwrap();
    assert_eq!((report.failures.len(), report.blobs.len()), (6, 0));
    for number in 1..=6 {
        store.remove(&image_id(number)).or_else(|_| fs::remove_dir(images.join(name(number)))).unwrap();
    }
    let report = store.gc(&AsUser, &nobody).unwrap();
    assert_eq!((report.failures.len(), report.blobs.len()), (0, 1));
    assert_eq!(check(data.path()), [good]);
}

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
fn importing_again_changes_nothing_but_names() {
    let data = data();
    let store = Store::ensure(data.path()).unwrap();
    let first = import_aci(&store, &small_aci("x"), &["a"]).unwrap();
    let again = import_aci(&store, &small_aci("x"), &["b"]).unwrap();
    assert_eq!((first.id, first.imported_ns), (again.id, again.imported_ns));
    assert_eq!(again.names().collect::<Vec<_>>(), ["a", "b"]);
    // The same archive packed otherwise is the same image.
    let packed = import_aci(&store, &gzip(&small_aci("x")), &[]).unwrap();
    assert_eq!((packed.id, packed.layers), (first.id, first.layers));
    let archive = |bytes: &[u8]| store::Digest::of_reader(store::Algorithm::Sha256, bytes).unwrap();
    assert_eq!(store.find_archive(&archive(&gzip(&small_aci("x")))).unwrap().unwrap().id, first.id);
    assert_eq!(store.find_archive(&archive(b"other")).unwrap(), None);
    store.gc(&AsUser, &nobody).unwrap();
    assert_eq!(check(data.path()).len(), 1);
    assert_eq!((names(data.path(), "trees").len(), names(data.path(), "tmp").len()), (1, 0));
}

#[test]
fn sto_08_a_name_goes_with_the_last_claim_whatever_the_clock_says() {
    let data = data();
    let store = Store::ensure(data.path()).unwrap();
    let old = import_aci(&store, &small_aci("old"), &["name", "old"]).unwrap();
    // As if it had been imported while the clock was ten years ahead.
    let path = data.path().join(format!("store/images/{}.json", old.id.file_name()));
    let claim = old.names[0].claimed_ns;
    let ahead = claim + 10 * 365 * 86_400 * 1_000_000_000;
    let json = fs::read_to_string(&path).unwrap().replace(&claim.to_string(), &ahead.to_string());
    fs::write(&path, json).unwrap();
    let new = import_aci(&store, &small_aci("new"), &["name"]).unwrap();
    assert_eq!(store.find("name").unwrap().id, new.id);
    assert_eq!(store.find("old").unwrap().id, old.id);
    let listed: Vec<Vec<String>> =
        store.list().unwrap().images.iter().map(|image| image.names().map(str::to_owned).collect()).collect();
    assert!(listed.contains(&vec!["old".to_owned()]) && listed.contains(&vec!["name".to_owned()]), "{listed:?}");
    // Back to the old one.
    import_aci(&store, &small_aci("old"), &["name"]).unwrap();
    assert_eq!(store.find("name").unwrap().id, old.id);
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

#[test]
fn trees_of_different_maps_and_forms_are_different() {
    let data = data();
    let store = Store::ensure(data.path()).unwrap();
    let image = import_aci(&store, &small_aci("x"), &[]).unwrap();
    let layer = image.layers[0];
    assert!(store.tree(&layer, &IdMap::new("range-u1.2")).unwrap().is_none());
    assert!(store.tree(&LayerKey::oci(layer.digest()), &map()).unwrap().is_none());
    let tree = store.tree(&layer, &map()).unwrap().unwrap();
    let record = tree.record().unwrap();
    assert_eq!((record.layer, record.map, record.content, record.entries), (layer, map(), 1, 3));
    assert!(tree.guard().as_fd().try_clone_to_owned().is_ok());
}

#[test]
fn an_image_must_be_made_of_what_was_taken_in() {
    let data = data();
    let store = Store::ensure(data.path()).unwrap();
    let commit = |import: store::Import<'_>| {
        import.commit(store::NewImage {
            id: image_id(1),
            names: Vec::new(),
            manifest: manifest("example.com/x"),
            source: None,
        })
    };
    assert!(refusal(commit(store.begin().unwrap())).contains("an ACI has exactly one layer"));
    let mut import = store.begin().unwrap();
    crate::imports::add(&mut import, &small_aci("x"), store::ingest::InputFormat::Aci).unwrap();
    assert!(matches!(commit(import).unwrap_err(), StoreError::Import { .. }));
    assert!(store.list().unwrap().images.is_empty());
    assert_eq!(names(data.path(), "tmp"), Vec::<String>::new());
}
