//! Images are removed, used and named while pods need them.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use appc::ImageId;
use store::{AsUser, Store, StoreError};

use crate::archive::aci;
use crate::imports::{image_id, import_aci, map, nobody};

fn archive(marker: &str) -> Vec<u8> {
    aci(|archive| archive.file("rootfs/marker", marker))
}

fn store() -> (tempfile::TempDir, Store) {
    let data = tempfile::tempdir().unwrap();
    let store = Store::ensure(data.path()).unwrap();
    (data, store)
}

#[test]
fn the_trees_of_a_removed_image_stay_as_long_as_a_pod_needs_them() {
    let (_data, store) = store();
    let image = import_aci(&store, &archive("a"), &["a"]).unwrap();
    store.remove(&image.id).unwrap();
    assert!(store.find("a").is_err() && store.find(&image.id.to_string()).is_err());

    let layer = image.layers[0];
    let prepared = move || Ok(BTreeSet::from([layer]));
    let report = store.gc(&AsUser, &prepared).unwrap();
    assert!(report.trees.is_empty() && report.failures.is_empty() && report.in_use == 1, "{report:?}");
    assert_eq!(report.blobs.len(), 1, "a pod needs no archive");
    assert!(store.tree(&layer, &map()).unwrap().is_some());
    assert_eq!(store.gc(&AsUser, &nobody).unwrap().trees.len(), 1);
}

/// A pod is prepared between the moment gc looks at the pods and the moment it takes the tree: so it must look while
/// it holds the tree's lock.
#[test]
fn pods_are_asked_for_while_nobody_can_begin_to_use_the_tree() {
    let (_data, store) = store();
    let image = import_aci(&store, &archive("a"), &["a"]).unwrap();
    store.remove(&image.id).unwrap();
    let ask = || {
        assert!(store.tree(&image.layers[0], &map()).unwrap().is_none(), "it is locked while pods are looked at");
        Ok(BTreeSet::new())
    };
    assert_eq!(store.gc(&AsUser, &ask).unwrap().trees.len(), 1);
}

#[test]
fn without_knowing_the_pods_no_tree_is_removed() {
    let (_data, store) = store();
    let image = import_aci(&store, &archive("a"), &["a"]).unwrap();
    store.remove(&image.id).unwrap();
    let report = store.gc(&AsUser, &|| Err("the pods cannot be read".into())).unwrap();
    assert!(matches!(report.failures.as_slice(), [StoreError::References { .. }]), "{report:?}");
    assert!(store.tree(&image.layers[0], &map()).unwrap().is_some());
}

#[test]
fn names_come_and_go_and_the_time_of_the_last_use_stays() {
    let (_data, store) = store();
    let [a, b] = ["a", "b"].map(|name| import_aci(&store, &archive(name), &[name]).unwrap().id);
    std::thread::sleep(Duration::from_millis(10));
    let used = store.last_used(&a).unwrap().unwrap();
    let tags = |id: &ImageId, tags: &[&str]| {
        let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
        store.tag(id, &tags).unwrap()
    };
    tags(&a, &["x", "y"]);
    assert_eq!(store.last_used(&a).unwrap(), Some(used), "a name is no use");
    assert_eq!(store.find("y").unwrap().id, a);
    tags(&b, &["y"]);
    assert_eq!(store.find("y").unwrap().id, b, "the last one who claims it");
    store.untag("y").unwrap();
    assert!(store.find("y").is_err(), "an older claim does not come back");
    store.untag("never-given").unwrap();
    assert!(matches!(store.tag(&image_id(7), &["z".to_owned()]), Err(StoreError::NoImage { .. })));

    let before = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    // The kernel's clock for files is that of the last tick.
    std::thread::sleep(Duration::from_millis(20));
    store.mark_used(&a).unwrap();
    assert!(store.last_used(&a).unwrap().unwrap() >= before);
    assert_eq!(store.last_used(&image_id(7)).unwrap(), None);
    store.mark_used(&image_id(7)).unwrap();
}
