//! What must hold for any input: no panic on any bytes, and what prints reads back as the same value.

#[path = "../../fuzz/bodies.rs"]
mod bodies;
mod generators;

use appc::{ImageManifest, PodManifest};
use generators::{image, manifest_like, pod, volume};
use proptest::collection::vec;
use proptest::prelude::*;

/// Lets every reader of manifests loose on the bytes.
fn read_everything(bytes: &[u8]) {
    bodies::image_manifest(bytes);
    bodies::pod_manifest(bytes);
}

/// Lets every reader of short texts loose on the text.
fn parse_everything(text: &str) {
    bodies::quantity(text);
    bodies::volume(text);
    bodies::mount_point(text);
    bodies::port(text);
    bodies::image_string(text);
    bodies::scalars(text);
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..200)) {
        read_everything(&bytes);
        if let Ok(text) = std::str::from_utf8(&bytes) {
            parse_everything(text);
        }
    }

    #[test]
    fn arbitrary_json_tokens_do_no_harm(text in "([\\[\\]{}:, \\n]|\"a\"|\"\\\\u[0-9a-f]{4}\"|null|true|-?[0-9]{1,3}|\\.|e|\\\\){0,40}") {
        read_everything(text.as_bytes());
    }

    #[test]
    fn arbitrary_texts_do_no_harm(text in any::<String>()) {
        parse_everything(&text);
    }

    #[test]
    fn arbitrary_parameters_do_no_harm(
        text in "[a-c#]{0,2}(:[0-9]{1,2})?(,(kind=(host|empty)|source=/?x|readOnly=(true|0|x)|recursive=t|mode=07|uid=-?[0-9]{1,2}|port=[0-9]{1,5}|count=[0-9]{1,5}|protocol=t|path=/|x=[=:]?)){0,5}",
    ) {
        parse_everything(&text);
    }

    #[test]
    fn arbitrary_quantities_do_no_harm(text in "[+-]?[0-9]{0,22}(\\.[0-9]{0,30})?([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{0,3})?") {
        bodies::quantity(&text);
    }

    #[test]
    fn what_resembles_a_manifest_does_no_harm(json in manifest_like()) {
        read_everything(json.as_bytes());
    }

    #[test]
    fn an_image_prints_and_reads_back(image in image()) {
        let json = image.to_json().expect("valid");
        prop_assert_eq!(ImageManifest::from_json(&json), Ok(image.clone()));
        let pretty = image.to_json_pretty().expect("valid");
        prop_assert_eq!(ImageManifest::from_json(&pretty), Ok(image.clone()));
        let embedded = serde_json::to_string(&(7, &image)).expect("valid");
        prop_assert_eq!(serde_json::from_str::<(i32, ImageManifest)>(&embedded).expect("reads back"), (7, image));
    }

    #[test]
    fn a_pod_prints_and_reads_back(pod in pod()) {
        let json = pod.to_json().expect("valid");
        prop_assert_eq!(PodManifest::from_json(&json), Ok(pod.clone()));
        let embedded = serde_json::to_string(&[&pod]).expect("valid");
        prop_assert_eq!(serde_json::from_str::<[PodManifest; 1]>(&embedded).expect("reads back"), [pod]);
    }

    #[test]
    fn printed_json_is_json_to_others_too(image in image()) {
        let json = image.to_json().expect("valid");
        let tree: serde_json::Value = serde_json::from_slice(&json).expect("serde_json reads it");
        prop_assert_eq!(&tree["name"], image.name.as_str());
        let app = image.app.as_ref();
        let variables = app.map_or(0, |app| app.environment.len());
        prop_assert_eq!(tree["app"]["environment"].as_array().map_or(0, Vec::len), variables);
        for (index, variable) in app.iter().flat_map(|app| &app.environment).enumerate() {
            prop_assert_eq!(&tree["app"]["environment"][index]["value"], variable.value.as_str());
        }
    }

    #[test]
    fn a_volume_prints_and_reads_back(volume in volume()) {
        prop_assert_eq!(volume.to_string().parse(), Ok(volume.clone()));
        let mut pod = PodManifest::blank();
        pod.volumes.push(volume);
        prop_assert_eq!(PodManifest::from_json(&pod.to_json().expect("valid")), Ok(pod));
    }
}
