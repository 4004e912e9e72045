//! Finding and listing what is stored.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use store::{FindError, ImageKind, Store};

use crate::archive::Archive;
use crate::bed::refusal;
use crate::imports::{data, image_id, import_aci, import_oci, manifest, small_aci, small_manifest};

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
