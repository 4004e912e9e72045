//! What apps are told.

use appc::PodManifest;

use crate::harness::{IMAGE, IMAGE_ID, PodSpec, Server, TestPod, manifest, status};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=us-ascii";

/// Status, content type and body of a route below `/acMetadata/v1`.
fn get(pod: &TestPod, route: &str) -> (u16, String, String) {
    let answer = pod.service().get_path(&format!("/acMetadata/v1{route}")).unwrap();
    (answer.status, answer.content_type, String::from_utf8(answer.body).unwrap())
}

fn found(kind: &str, body: impl Into<String>) -> (u16, String, String) {
    (200, kind.to_owned(), body.into())
}

#[test]
fn pod_and_apps() {
    let pod = TestPod::new();
    assert_eq!(get(&pod, "/pod/uuid"), found(TEXT, pod.spec.uuid.to_string()));
    assert_eq!(get(&pod, "/pod/manifest"), found(JSON, pod.spec.manifest.as_str()));
    PodManifest::from_json(get(&pod, "/pod/manifest").2.as_bytes()).unwrap();
    for app in ["web", "side"] {
        assert_eq!(get(&pod, &format!("/apps/{app}/image/id")), found(TEXT, IMAGE_ID));
        assert_eq!(get(&pod, &format!("/apps/{app}/image/manifest")), found(JSON, IMAGE));
    }
}

#[test]
fn pod_annotations_are_null_when_absent() {
    for (more, body) in [
        ("", "null"),
        (r#","annotations":null"#, "null"),
        (r#","annotations":[]"#, "[]"),
        (r#","annotations":[{"name":"a.b/c","value":"d"}]"#, r#"[{"name":"a.b/c","value":"d"}]"#),
        (r#","annotations":[{"name":"a.b/c","value":"é"}]"#, r#"[{"name":"a.b/c","value":"é"}]"#),
    ] {
        let mut spec = PodSpec::new();
        spec.manifest = manifest(&["web", "side"], more);
        let pod = spec.registered(Server::shared());
        assert_eq!(get(&pod, "/pod/annotations"), found(JSON, body));
        let value = get(&pod, "/pod/annotations/a.b/c");
        match body {
            it if it.contains("\"d\"") => assert_eq!(value, found(TEXT, "d")),
            it if it.contains("é") => assert_eq!(value, found("text/plain; charset=utf-8", "é")),
            _ => assert_eq!(value.0, 404),
        }
        assert_eq!(get(&pod, "/pod/annotations/other").0, 404);
    }
}

#[test]
fn an_apps_annotations_override_the_images_in_place() {
    let pod = TestPod::new();
    let created = r#"{"name":"created","value":"2014-10-27T19:32:27.67021798Z"}"#;
    let merged = format!(r#"[{{"name":"authors","value":"app"}},{created},{{"name":"extra","value":"app"}}]"#);
    assert_eq!(get(&pod, "/apps/web/annotations"), found(JSON, merged));
    assert_eq!(get(&pod, "/apps/web/annotations/authors"), found(TEXT, "app"));
    assert_eq!(get(&pod, "/apps/web/annotations/none").0, 404);
}

#[test]
fn what_is_not_there_is_404_and_what_is_not_allowed_405() {
    let pod = TestPod::new();
    for route in
        ["/pod", "/pod/nothing", "/apps/other/image/id", "/apps/web/nothing", "", "/", "/log", "/apps/side/log"]
    {
        let (status, kind, body) = get(&pod, route);
        assert_eq!((status, kind.as_str()), (404, JSON), "{route}");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["status"], 404);
        assert!(body["error"].is_string());
    }
    let of = |method: &str, route: &str| {
        let (target, host) = (pod.target(route), pod.spec.address());
        pod.exchange(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"))
    };
    for method in ["PUT", "DELETE", "TRACE", "OPTIONS", "POST", "PATCH", "BREW"] {
        let answer = of(method, "/pod/uuid");
        assert_eq!(status(&answer), 405, "{method}");
        assert!(answer.contains("\r\nallow: GET, HEAD\r\n"), "{answer}");
    }
    for method in ["GET", "HEAD", "PUT"] {
        let answer = of(method, "/pod/hmac/sign");
        assert_eq!(status(&answer), 405, "{method}");
        assert!(answer.contains("\r\nallow: POST\r\n"), "{answer}");
    }
    assert_eq!(status(&of("HEAD", "/pod/uuid")), 200);
    assert!(of("HEAD", "/pod/uuid").ends_with("\r\n\r\n"), "no body");
}

#[test]
fn logs_are_told_of_where_there_are_any() {
    let pod = TestPod::new();
    assert_eq!(get(&pod, "/apps/web/log"), found(JSON, r#"{"driver":"k8s-file","location":"web"}"#));
    assert_eq!(get(&pod, "/apps/side/log").0, 404);
    assert_eq!(get(&pod, "/log").0, 404);
}

#[test]
fn an_identity_is_not_to_be_had_over_tcp() {
    let answer = TestPod::new().service().get_path("/v1/identity?audience=x").unwrap();
    assert_eq!(answer.status, 404);
    assert!(String::from_utf8(answer.body).unwrap().contains("/run/proa/identity.sock"));
}

#[test]
fn answers_are_not_for_browsers_to_keep() {
    let pod = TestPod::new();
    for route in ["/pod/uuid", "/nothing"] {
        let answer = pod.exchange(pod.get(route, "Metadata-Flavor: AppContainer\r\n"));
        for field in ["x-content-type-options: nosniff", "cache-control: no-store", "referrer-policy: no-referrer"] {
            assert!(answer.contains(&format!("\r\n{field}\r\n")), "{answer}");
        }
        let token = pod.spec.token.expose();
        assert!(!answer.contains(token) && !answer.to_lowercase().contains("access-control"), "{answer}");
    }
}

#[test]
fn a_large_manifest_is_served_whole() {
    let mut spec = PodSpec::new();
    let value = "\\u003c".repeat(150_000);
    spec.manifest = manifest(&["web", "side"], &format!(r#","annotations":[{{"name":"long","value":"{value}"}}]"#));
    let pod = spec.registered(Server::shared());
    assert_eq!(get(&pod, "/pod/manifest").2, pod.spec.manifest);
    assert_eq!(get(&pod, "/pod/annotations/long").2.len(), 150_000);
}
