//! Reading and printing of whole manifests.

use appc::{ImageManifest, PodManifest};

fn image(json: &str) -> Result<ImageManifest, appc::ManifestError> {
    ImageManifest::from_json(json.as_bytes())
}

#[test]
fn the_smallest_image_prints_as_it_was_read() {
    let json = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/app"}"#;
    let manifest = image(json).expect("valid");
    assert_eq!(manifest.name, "example.com/app");
    assert_eq!(manifest.to_json().expect("prints"), json.as_bytes());
}

#[test]
fn a_pod_without_lists_prints_null_for_them() {
    let json = r#"{"acVersion":"0.8.11","acKind":"PodManifest"}"#;
    let printed = PodManifest::from_json(json.as_bytes()).expect("valid").to_json().expect("prints");
    assert_eq!(
        String::from_utf8_lossy(&printed),
        r#"{"acVersion":"0.8.11","acKind":"PodManifest","apps":null,"volumes":null,"isolators":null,"annotations":null,"ports":null}"#
    );
}

#[test]
fn a_pod_with_empty_lists_prints_them_empty() {
    let json = r#"{"acVersion":"0.8.11","acKind":"PodManifest","apps":[],"volumes":[],"isolators":[],"annotations":[],"ports":[]}"#;
    let printed = PodManifest::from_json(json.as_bytes()).expect("valid").to_json().expect("prints");
    assert_eq!(String::from_utf8_lossy(&printed), json);
}
