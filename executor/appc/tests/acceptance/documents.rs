//! Whole manifests: kind, version, name, unknown fields, merging, syntax errors.

use appc::lastditch::{BrokenImage, BrokenPod};
use appc::{Dialect, ImageManifest, Kind, ManifestError, PodManifest, SyntaxProblem};

use crate::{image, image_with_app, pod, refusal};

fn read_image(json: &str) -> Result<ImageManifest, ManifestError> {
    ImageManifest::from_json(json.as_bytes())
}

fn read_pod(json: &str) -> Result<PodManifest, ManifestError> {
    PodManifest::from_json(json.as_bytes())
}

#[test]
fn upper_case_keys_make_an_app() {
    let json = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"a",
        "app":{"Exec":["/a"],"User":"0","Group":"0","UserAnnotations":{"weird!":"normal?"},"UserLabels":{"one!":"two?"}}}"#;
    let app = read_image(json).expect("valid").app.expect("an app");
    assert_eq!((app.user.as_str(), app.group.as_str(), app.exec), ("0", "0", vec!["/a".to_owned()]));
    assert_eq!(app.user_annotations["weird!"], "normal?");
    assert_eq!(app.user_labels["one!"], "two?");
    assert!(app.environment.is_empty());
}

#[test]
fn a_key_repeated_in_another_casing_is_refused_unless_asked_for() {
    let json = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"a","app":{"exec":["/a"],"user":"1000","group":"0","User":"0"}}"#;
    let error = read_image(json).expect_err("ambiguous");
    assert_eq!(error.located().to_string(), "$.app: key \"User\" repeats the field \"user\"");
    let lenient = ImageManifest::from_json_in(json.as_bytes(), Dialect::Actool).expect("the last one wins");
    assert_eq!(lenient.app.expect("an app").user, "0");
}

#[test]
fn unknown_fields_are_ignored_at_any_depth() {
    let plain = image_with_app(r#""ports":[{"name":"web","protocol":"tcp","port":80}]"#).expect("valid");
    let extra = image(
        r#""app":{"exec":["/a"],"user":"0","group":"0","zoo":{"a":[1,{"b":null}]},
            "ports":[{"name":"web","protocol":"tcp","port":80,"zoo":1e400}]},"zoo":[[],{}]"#,
    )
    .expect("valid");
    assert_eq!(plain, extra);
}

#[test]
fn the_last_ditch_reader_tells_what_it_can_of_an_invalid_image() {
    let json = r#"{"stuff":1,"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/test!",
        "labels":[{"name":"n1","value":"v1","clutter":{}},{"name":"n1","value":"v2"},{"name":"N2~"},{"name":"","value":""}]}"#;
    assert_eq!(
        refusal(read_image(json)),
        "ACIdentifier must contain only lower case alphanumeric characters plus \"-._~/\""
    );
    let broken = BrokenImage::from_json(json.as_bytes()).expect("readable");
    assert_eq!((broken.ac_version.as_str(), broken.name.as_str()), ("0.8.11", "example.com/test!"));
    let labels: Vec<_> = broken.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(labels, [("n1", "v1"), ("n1", "v2"), ("N2~", ""), ("", "")]);
}

#[test]
fn the_last_ditch_reader_tells_what_it_can_of_an_invalid_pod() {
    let json = r#"{"acVersion":7,"acKind":"PodManifest","apps":[
        {"name":"?","image":{"name":"!!!","id":"&&&","labels":[{"name":"n","value":"v"}]}},
        {"name":"a","image":{"id":"x"}},{"name":"a"},null]}"#;
    assert!(read_pod(json).is_err());
    let broken = BrokenPod::from_json(json.as_bytes()).expect("readable");
    assert_eq!(broken.ac_version, "");
    let names: Vec<_> = broken.apps.iter().map(|app| app.name.as_str()).collect();
    assert_eq!(names, ["?", "a", "a", ""]);
    assert_eq!((broken.apps[0].image_name.as_str(), broken.apps[0].image_id.as_str()), ("!!!", "&&&"));
    assert_eq!(broken.apps[0].image_labels, [("n".to_owned(), "v".to_owned())]);
}

#[test]
fn the_last_ditch_reader_refuses_other_kinds_and_other_texts() {
    for json in [r#"{"acKind":"Bogus","acVersion":"0.8.11"}"#, "{}", "[]"] {
        let error = BrokenImage::from_json(json.as_bytes()).expect_err(json).to_string();
        assert_eq!(error, "missing or bad ACKind (must be \"ImageManifest\")");
        let error = BrokenPod::from_json(json.as_bytes()).expect_err(json).to_string();
        assert_eq!(error, "missing or bad ACKind (must be \"PodManifest\")");
    }
    assert!(matches!(BrokenImage::from_json(b"<html></html>"), Err(ManifestError::Syntax(_))));
}

#[test]
fn an_image_without_version_is_refused() {
    assert_eq!(refusal(read_image(r#"{"acKind":"ImageManifest","name":"a"}"#)), "acVersion must be set");
    assert!(read_pod(r#"{"acKind":"PodManifest"}"#).expect("pods need none").ac_version.is_zero());
    let error =
        read_pod(r#"{"acKind":"PodManifest"}"#).expect("valid").to_json().expect_err("but it cannot be printed");
    assert_eq!(error.to_string(), "SemVer cannot be zero");
}

#[test]
fn a_manifest_without_kind_is_refused() {
    let kind = |json: &str| Kind::of(json.as_bytes(), Dialect::Proa);
    assert_eq!(kind(r#"{"acKind":"ImageManifest"}"#), Ok(Kind::Image));
    assert_eq!(kind(r#"{"ackind":"PodManifest","apps":7}"#), Ok(Kind::Pod));
    let missing = "missing or bad ACKind (must be \"ImageManifest\" or \"PodManifest\")";
    assert_eq!(refusal(kind("{}")), missing);
    assert_eq!(refusal(kind("null")), missing);
    assert_eq!(refusal(kind("[]")), "expected an object, found an array");
    assert_eq!(refusal(kind(r#"{"acKind":"ImageManifest","acVersion":"x"}"#)), "SemVer is bad");

    assert_eq!(refusal(read_image("{}")), "missing or bad ACKind (must be \"ImageManifest\")");
    assert_eq!(refusal(read_pod("{}")), "missing or bad ACKind (must be \"PodManifest\")");
    let other = r#"{"acKind":"PodManifest","acVersion":"0.8.11","name":"a"}"#;
    assert_eq!(refusal(read_image(other)), "missing or bad ACKind (must be \"ImageManifest\")");
    assert_eq!(refusal(read_image(r#"{"acKind":null}"#)), "ACKind must be set");
    assert_eq!(refusal(read_image(r#"{"acKind":""}"#)), "ACKind must be set");
    assert_eq!(refusal(read_image(r#"{"acKind":"Bogus"}"#)), "bad ACKind: Bogus");
}

#[test]
fn an_image_needs_a_name() {
    assert_eq!(refusal(read_image(r#"{"acKind":"ImageManifest","acVersion":"0.8.11"}"#)), "name must be set");
    for name in ["null", "\"\""] {
        let json = format!(r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":{name}}}"#);
        assert_eq!(refusal(read_image(&json)), "ACIdentifier cannot be empty");
    }
}

#[test]
fn an_app_needs_user_and_group() {
    assert_eq!(refusal(image(r#""app":{}"#)), "user is required");
    assert_eq!(refusal(image(r#""app":{"user":null}"#)), "user is required");
    assert_eq!(refusal(image(r#""app":{"user":"0"}"#)), "group is required");
    assert_eq!(refusal(image(r#""app":{"user":"0","group":""}"#)), "group is required");
    assert_eq!(image(r#""app":null"#).expect("valid").app, None);
    let error = image(r#""app":{}"#).expect_err("no user");
    assert_eq!(error.path().expect("it has a place").to_string(), "$.app");
}

#[test]
fn a_version_of_another_major_is_refused_but_by_actool() {
    let json = r#"{"acKind":"ImageManifest","acVersion":"1.0.0","name":"a"}"#;
    assert_eq!(refusal(read_image(json)), "acVersion 1.0.0 is not supported (must be 0.x)");
    assert!(ImageManifest::from_json_in(json.as_bytes(), Dialect::Actool).is_ok());
    let json = r#"{"acKind":"PodManifest","acVersion":"2.1.0"}"#;
    assert_eq!(refusal(read_pod(json)), "acVersion 2.1.0 is not supported (must be 0.x)");
    assert!(PodManifest::from_json_in(json.as_bytes(), Dialect::Actool).is_ok());
}

#[test]
fn a_plain_field_of_the_wrong_type_yields_to_a_broken_rule_that_follows() {
    // The first is what Go calls a type mismatch, remembered; the second ends the reading.
    let broken = r#""app":{"user":7,"group":"0","environment":[{"name":"0"}]}"#;
    assert_eq!(refusal(image(broken)), "environment variable does not have valid identifier \"0\"");
    // Without it the mismatch counts, before the app's own rules do.
    let error = image(r#""app":{"user":7,"workingDirectory":"x"}"#).expect_err("a number is no user");
    assert_eq!(error.located().to_string(), "$.app.user: expected a string, found a number");
    // It is the first one that is told.
    let error = image(r#""pathWhitelist":["a",1,2]"#).expect_err("numbers are no paths");
    assert_eq!(error.located().to_string(), "$.pathWhitelist[1]: expected a string, found a number");
}

#[test]
fn numbers_are_whole_and_in_range() {
    let error = image_with_app(r#""supplementaryGIDs":[1,-2,1.0]"#).expect_err("1.0 is written as no integer");
    assert_eq!(error.located().to_string(), "$.app.supplementaryGIDs[2]: expected a whole number, found 1.0");
    assert_eq!(
        image_with_app(r#""supplementaryGIDs":[-2]"#).expect("valid").app.expect("app").supplementary_gids,
        [-2]
    );
    let error = image(r#""dependencies":[{"imageName":"a","size":-1}]"#).expect_err("sizes are not negative");
    assert_eq!(error.located().to_string(), "$.dependencies[0].size: expected a whole number of bytes, found -1");
}

#[test]
fn names_in_a_pod_are_unique() {
    let app = r#"{"name":"foo","image":{"id":"sha512-abc"}}"#;
    let bar = r#"{"name":"bar","image":{"id":"sha512-abc"}}"#;
    assert_eq!(pod(&format!(r#""apps":[{app},{bar}]"#)).expect("valid").apps.len(), 2);
    assert_eq!(refusal(pod(&format!(r#""apps":[{app},{bar},{app}]"#))), "duplicate apps of name \"foo\"");
    let volumes =
        r#""volumes":[{"name":"simplename","kind":"empty"},{"name":"simplename","kind":"host","source":"/tmp"}]"#;
    assert_eq!(refusal(pod(volumes)), "duplicate volume name \"simplename\"");

    let mut manifest = pod(&format!(r#""apps":[{app}]"#)).expect("valid");
    manifest.apps.push(manifest.apps[0].clone());
    let error = manifest.to_json().expect_err("printing checks again");
    assert_eq!(error.to_string(), "duplicate apps of name \"foo\"");
}

#[test]
fn an_empty_element_of_a_list_breaks_the_rules_of_the_list_only() {
    assert_eq!(pod(r#""apps":[null]"#).expect("Go takes it").apps[0].name, "");
    assert_eq!(refusal(pod(r#""volumes":[null]"#)), "name must be set");
    assert_eq!(refusal(image(r#""dependencies":[null]"#)), "imageName cannot be empty");
    assert_eq!(refusal(image_with_app(r#""ports":[null]"#)), "port must be in 1-65535 range");
    assert_eq!(refusal(image_with_app(r#""eventHandlers":[null]"#)), "eventHandler \"name\" cannot be empty");
    let app = image_with_app(r#""mountPoints":[null]"#).expect("Go takes it").app.expect("an app");
    assert!(app.mount_points[0].validate().is_err());
}

#[test]
fn printing_twice_gives_the_same_bytes_and_a_broken_value_none() {
    let mut manifest = image_with_app("").expect("valid");
    assert_eq!(manifest.to_json(), manifest.to_json());
    manifest.app.as_mut().expect("an app").user.clear();
    let error = manifest.to_json().expect_err("no user");
    assert_eq!(error.located().to_string(), "$.app: user is required");
    manifest.app = None;
    manifest.name = appc::AcIdentifier::default();
    assert_eq!(manifest.to_json().expect_err("no name").to_string(), "name must be set");
}

#[test]
fn defaults_make_a_fragment_valid() {
    let fragment = br#"{"name":"example.com/test"}"#;
    assert_eq!(refusal(ImageManifest::from_json(fragment)), "missing or bad ACKind (must be \"ImageManifest\")");
    let merged = ImageManifest::blank().merge_json(fragment).expect("valid");
    assert_eq!(
        merged.to_json().expect("prints"),
        br#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/test"}"#
    );
    let renamed = merged.merge_json(br#"{"name":"example.com/other","acVersion":"0.8.10"}"#).expect("valid");
    assert_eq!((renamed.name.as_str(), renamed.ac_version.to_string().as_str()), ("example.com/other", "0.8.10"));

    assert_eq!(refusal(PodManifest::from_json(b"{}")), "missing or bad ACKind (must be \"PodManifest\")");
    assert_eq!(PodManifest::blank().merge_json(b"{}"), Ok(PodManifest::blank()));
    let other_kind = PodManifest::blank().merge_json(br#"{"acKind":"ImageManifest"}"#);
    assert_eq!(refusal(other_kind), "missing or bad ACKind (must be \"PodManifest\")");
}

#[test]
fn a_syntax_error_is_shown_with_line_column_and_caret() {
    let json = "{\n    \"acKind\": \"ImageManifest\",\n    \"acVersion\": \"0.8.11\",\n}\n";
    let report = refusal(read_image(json));
    assert_eq!(
        report,
        "\nError at line 4, column 2\n    3:     \"acVersion\": \"0.8.11\",\n    4: }\n       ^\n\
         invalid character '}' looking for beginning of object key string"
    );
    assert_eq!(refusal(read_pod(json)), report);
    let Err(ManifestError::Syntax(error)) = read_image(json) else { panic!("a syntax error") };
    assert_eq!((error.line, error.column, error.offset), (4, 2, json.len() - 1));
    assert!(matches!(error.problem, SyntaxProblem::InvalidCharacter { found: '}', .. }));
}

#[test]
fn syntax_is_checked_before_any_field() {
    assert!(refusal(read_image(r#"{"acKind":"Bogus","name":}"#)).starts_with("\nError at line 1, column 26\n"));
}
