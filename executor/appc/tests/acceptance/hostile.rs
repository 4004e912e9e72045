//! Manifests made to do harm: refused quickly, with a message, and without a crash on a small stack.

use std::time::{Duration, Instant};

use appc::{Dialect, ImageManifest, ManifestError, PodManifest, SyntaxProblem};

use crate::{image, image_with_app, pod, refusal};

fn problem(json: &[u8]) -> SyntaxProblem {
    match ImageManifest::from_json(json) {
        Err(ManifestError::Syntax(error)) => error.problem,
        other => panic!("a syntax error was expected, not {other:?}"),
    }
}

/// Runs `test` where a deep recursion would not fit.
fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(256 << 10).spawn(test).expect("a thread");
    thread.join().expect("it does not overflow");
}

#[test]
fn nesting_is_refused_beyond_its_bound() {
    on_a_small_stack(|| {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let deep = open.repeat(100_000) + "1" + &close.repeat(100_000);
            assert_eq!(problem(deep.as_bytes()), SyntaxProblem::TooDeep { limit: 64 });
            assert_eq!(problem(open.repeat(100_000).as_bytes()), SyntaxProblem::TooDeep { limit: 64 });
        }
        let deepest = format!(r#""zoo":{}{}"#, "[".repeat(63), "]".repeat(63));
        assert!(image(&deepest).is_ok());
    });
}

#[test]
fn size_is_refused_beyond_its_bound() {
    let blank = vec![b' '; 4 << 20];
    assert_eq!(problem(&blank), SyntaxProblem::UnexpectedEnd);
    let larger = vec![b' '; (4 << 20) + 1];
    let error = ImageManifest::from_json(&larger).expect_err("too large");
    assert_eq!(error.to_string(), "manifest of 4194305 bytes is larger than 4194304 bytes");
    assert!(matches!(PodManifest::from_json_in(&larger, Dialect::Actool), Err(ManifestError::TooLarge { .. })));
}

#[test]
fn what_would_print_too_large_to_be_read_again_does_not_print() {
    let image = image(&format!(r#""annotations":[{{"name":"a","value":"{}"}}]"#, "<".repeat(1 << 20))).expect("valid");
    assert!(matches!(image.to_json(), Err(ManifestError::TooLarge { .. })));
}

#[test]
fn text_that_means_different_things_to_different_readers_is_refused() {
    let valid = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"a"}"#;
    assert!(ImageManifest::from_json(valid.as_bytes()).is_ok());
    for repeated in ["acVersion", "name", "isolators", "anything"] {
        let json = format!(r#"{{"{repeated}":1,"x":{{}},"{repeated}":2}}"#);
        assert_eq!(problem(json.as_bytes()), SyntaxProblem::DuplicateKey { key: repeated.to_owned() });
    }
    assert!(matches!(problem(format!("\u{feff}{valid}").as_bytes()), SyntaxProblem::InvalidCharacter { .. }));
    assert!(matches!(problem(format!("{valid}{valid}").as_bytes()), SyntaxProblem::InvalidCharacter { .. }));
    assert!(matches!(problem(format!("{valid}\0").as_bytes()), SyntaxProblem::InvalidCharacter { .. }));
    assert_eq!(problem(br#"{"a":"\ud800"}"#), SyntaxProblem::LoneSurrogate { unit: 0xd800 });
    assert_eq!(problem(br#"{"a":"x\u0000"}"#), SyntaxProblem::Nul);
    assert_eq!(problem(b"{\"a\":\"\xff\"}"), SyntaxProblem::InvalidUtf8);
    assert_eq!(problem(b"{\"a\":\"\xed\xa0\x80\"}"), SyntaxProblem::InvalidUtf8);
}

#[test]
fn actool_makes_of_broken_text_what_go_does() {
    let json = br#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"x","name":"a",
        "annotations":[{"name":"a","value":"\ud800"}]}"#;
    let image = ImageManifest::from_json_in(json, Dialect::Actool).expect("lenient");
    assert_eq!((image.name.as_str(), image.annotations.get("a")), ("a", Some("\u{fffd}")));
    let mut bytes = json.to_vec();
    let at = bytes.windows(6).position(|window| window == br"\ud800").expect("there");
    bytes.splice(at..at + 6, *b"\xff");
    let image = ImageManifest::from_json_in(&bytes, Dialect::Actool).expect("lenient");
    assert_eq!(image.annotations.get("a"), Some("\u{fffd}"));
}

#[test]
fn every_field_may_be_of_every_type_without_a_crash() {
    let values = [
        "null",
        "true",
        "0",
        "-1",
        "1.5",
        "1e400",
        "18446744073709551616",
        "\"\"",
        "\"x\"",
        "\"/x\"",
        "\"\\u00e9\"",
        "[]",
        "[null]",
        "[[]]",
        "[{}]",
        "[\"x\"]",
        "[0]",
        "{}",
        "{\"x\":null}",
        "{\"x\":{}}",
        "{\"name\":\"x\"}",
        "[{\"name\":\"x\"}]",
    ];
    let fields = [
        "acKind",
        "acVersion",
        "name",
        "labels",
        "app",
        "annotations",
        "dependencies",
        "pathWhitelist",
        "exec",
        "eventHandlers",
        "user",
        "group",
        "supplementaryGIDs",
        "workingDirectory",
        "environment",
        "mountPoints",
        "ports",
        "isolators",
        "userAnnotations",
        "userLabels",
        "apps",
        "volumes",
        "image",
        "id",
        "mounts",
        "volume",
        "path",
        "appVolume",
        "readOnlyRootFS",
        "kind",
        "source",
        "readOnly",
        "recursive",
        "mode",
        "uid",
        "gid",
        "protocol",
        "port",
        "count",
        "socketActivated",
        "hostPort",
        "hostIP",
        "podPort",
        "imageName",
        "imageID",
        "size",
        "value",
        "set",
        "errno",
        "limit",
        "request",
        "default",
    ];
    for field in fields {
        for value in values {
            let member = format!(r#""{field}":{value}"#);
            let wrapped = [
                format!(r#""app":{{"user":"0","group":"0",{member}}}"#),
                format!(r#""dependencies":[{{{member}}}],"labels":[{{{member}}}]"#),
                format!(r#""app":{{"user":"0","group":"0","ports":[{{{member}}}],"mountPoints":[{{{member}}}]}}"#),
                format!(
                    r#""app":{{"user":"0","group":"0","environment":[{{{member}}}],"eventHandlers":[{{{member}}}]}}"#
                ),
                format!(
                    r#""apps":[{{"name":"x","image":{{{member}}},"mounts":[{{{member}}}]}}],"ports":[{{{member}}}]"#
                ),
                format!(r#""apps":[{{{member}}}]"#),
                format!(r#""volumes":[{{"name":"v",{member}}}]"#),
                format!(r#""isolators":[{{"name":"resource/cpu","value":{{{member}}}}}]"#),
            ];
            for fields in wrapped {
                for read in [image(&fields).map(|image| image.to_json()), pod(&fields).map(|pod| pod.to_json())] {
                    if let Err(error) = read {
                        assert!(!error.located().to_string().is_empty());
                    }
                }
            }
            let alone = format!("{{{member}}}");
            assert!(ImageManifest::from_json(alone.as_bytes()).is_err());
            assert!(PodManifest::from_json(alone.as_bytes()).is_err());
        }
    }
}

#[test]
fn large_manifests_are_read_in_linear_time() {
    let names = |count: usize, element: &dyn Fn(usize) -> String| (0..count).map(element).collect::<Vec<_>>().join(",");
    let started = Instant::now();
    let apps = names(60_000, &|n| format!(r#"{{"name":"a{n}","image":{{"id":"sha512-a"}}}}"#));
    assert_eq!(pod(&format!(r#""apps":[{apps}]"#)).expect("valid").apps.len(), 60_000);
    let variables = names(100_000, &|n| format!(r#"{{"name":"V{n}","value":"x"}}"#));
    assert!(image_with_app(&format!(r#""environment":[{variables}]"#)).is_ok());
    let labels = names(100_000, &|n| format!(r#"{{"name":"l{n}","value":"x"}}"#));
    assert!(image(&format!(r#""labels":[{labels}],"annotations":[{labels}]"#)).is_err(), "larger than 4 MiB");
    assert!(image(&format!(r#""labels":[{labels}]"#)).is_ok());
    let keys = names(200_000, &|n| format!(r#""{n}":0"#));
    assert!(image(&keys).is_ok());
    let isolators = names(60_000, &|_| r#"{"name":"resource/cpu","value":{"limit":"1"}}"#.to_owned());
    assert!(image_with_app(&format!(r#""isolators":[{isolators}]"#)).is_ok());
    let handlers = names(100_000, &|_| r#"{"name":"pre-start"}"#.to_owned());
    assert_eq!(
        refusal(image_with_app(&format!(r#""eventHandlers":[{handlers}]"#))),
        "Only one eventHandler of name \"pre-start\" allowed"
    );
    let open = format!(r#""zoo":[{}0"#, "[],".repeat(1_000_000));
    assert!(image(&open).is_err());
    // Unoptimized and beside other tests this takes a second or two; anything quadratic takes minutes.
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[test]
fn messages_about_hostile_text_stay_short_and_harmless() {
    let esc = "\\u001b[2J";
    for fields in [
        format!(r#""labels":[{{"name":"os","value":"{esc}"}}]"#),
        format!(r#""app":{{"user":"0","group":"0","environment":[{{"name":"{esc}"}}]}}"#),
        format!(r#""app":{{"user":"0","group":"0","eventHandlers":[{{"name":"{esc}"}}]}}"#),
        format!(r#""annotations":[{{"name":"homepage","value":"{esc}"}}]"#),
        format!(r#""annotations":[{{"name":"created","value":"{esc}"}}]"#),
    ] {
        let message = image(&fields).expect_err(&fields).located().to_string();
        assert!(!message.contains('\u{1b}'), "{message:?}");
    }
    let message = refusal(image(&format!(r#""name":"{}"#, "x".repeat(1 << 20))));
    assert!(message.len() < 1000, "{} bytes", message.len());
}
