//! Manifests as files: what is read, and what is printed, byte for byte.
//!
//! The `.canonical.json` files were written by the Go implementation from the file beside them.

use appc::{Dialect, ImageManifest, PodManifest};

macro_rules! golden {
    ($name:literal) => {
        (
            include_bytes!(concat!("../golden/", $name, ".json")).as_slice(),
            include_str!(concat!("../golden/", $name, ".canonical.json")),
        )
    };
}

fn text(json: Vec<u8>) -> String {
    String::from_utf8(json).expect("JSON is UTF-8")
}

#[test]
fn examples_are_valid_and_print_as_in_go() {
    for (json, canonical) in [golden!("image"), golden!("casing")] {
        for dialect in [Dialect::Proa, Dialect::Actool] {
            let image = ImageManifest::from_json_in(json, dialect).expect("valid");
            assert_eq!(text(image.to_json().expect("prints")), canonical);
        }
    }
    for (json, canonical) in [golden!("pod"), golden!("nulls")] {
        for dialect in [Dialect::Proa, Dialect::Actool] {
            let pod = PodManifest::from_json_in(json, dialect).expect("valid");
            assert_eq!(text(pod.to_json().expect("prints")), canonical);
        }
    }
}

#[test]
fn a_template_is_valid_as_a_file_but_cannot_be_printed() {
    let template = PodManifest::from_json(include_bytes!("../golden/template.json")).expect("valid");
    assert_eq!(template.apps[0].image.id, None);
    let error = template.to_json().expect_err("an image has no ID");
    assert_eq!(error.to_string(), "unexpected empty hash type");
    assert_eq!(error.located().to_string(), "$.apps[0].image.id: unexpected empty hash type");
}

#[test]
fn the_casing_of_keys_does_not_matter() {
    let image = ImageManifest::from_json(include_bytes!("../golden/casing.json")).expect("valid");
    let app = image.app.expect("an app");
    assert_eq!(app.supplementary_gids, [400, 500]);
    assert_eq!(app.working_directory.as_deref(), Some("/opt/work"));
    assert_eq!((app.ports[0].port, app.ports[0].count), (20000, 1000));
}

#[test]
fn canonical_output_reads_back_the_same_and_prints_the_same() {
    let (json, _) = golden!("image");
    let image = ImageManifest::from_json(json).expect("valid");
    let printed = image.to_json().expect("prints");
    let again = ImageManifest::from_json(&printed).expect("valid");
    assert_eq!(again, image);
    assert_eq!(again.to_json().expect("prints"), printed);
    assert!(printed.starts_with(br#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"#));
    let printed = text(printed);
    assert!(printed.contains(r#""\u003call\u003e \u0026 more""#), "{printed}");

    let (json, _) = golden!("pod");
    let pod = PodManifest::from_json(json).expect("valid");
    assert_eq!(PodManifest::from_json(&pod.to_json().expect("prints")), Ok(pod));
}

#[test]
fn indented_output_reads_back_the_same() {
    let (json, _) = golden!("image");
    let image = ImageManifest::from_json(json).expect("valid");
    let pretty = text(image.to_json_pretty().expect("prints"));
    assert!(pretty.starts_with("{\n    \"acKind\": \"ImageManifest\",\n    \"acVersion\": "), "{pretty}");
    assert!(pretty.ends_with("\n    ]\n}"), "{pretty}");
    assert_eq!(ImageManifest::from_json(pretty.as_bytes()), Ok(image));
}
