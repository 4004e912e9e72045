//! What is in a store, and whose: opening it, putting images in, and who may do that.

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use rustix::fs::Mode;
use store::{AsUser, IdMap, LayerKey, Store, StoreError};

use crate::archive::gzip;
use crate::bed::{can_chown, refusal};
use crate::imports::{check, data, image_id, import_aci, manifest, map, mode, names, nobody, small_aci};

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
