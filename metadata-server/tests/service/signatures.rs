//! Signing and verifying (docs/security/corpus.md MDS-09).

use metadata_api::Route;

use crate::harness::{PodSpec, Server, TestPod};

const CONTENT: &[u8] = b"Old MacDonald Had A Farm";

fn sign(pod: &TestPod, content: &[u8]) -> String {
    let answer = pod.service().post(&Route::Sign, &[("content", content)]).unwrap();
    assert_eq!((answer.status, answer.content_type.as_str()), (200, "text/plain; charset=us-ascii"));
    String::from_utf8(answer.body).unwrap()
}

fn verify(pod: &TestPod, fields: &[(&str, &[u8])]) -> u16 {
    let answer = pod.service().post(&Route::Verify, fields).unwrap();
    if answer.status == 200 {
        assert_eq!((answer.content_type.as_str(), answer.body.len()), ("text/plain; charset=us-ascii", 0));
    }
    answer.status
}

#[test]
fn mds09_any_pod_can_verify_what_a_pod_has_signed() {
    let (a, b) = (TestPod::new(), TestPod::new());
    let signature = sign(&a, CONTENT);
    assert_eq!(signature.len(), 88, "512 bits in base64");
    let (uuid_a, uuid_b) = (a.spec.uuid.to_string(), b.spec.uuid.to_string());
    for pod in [&a, &b] {
        let check = |content: &[u8], uuid: &str, signature: &str| {
            let fields = [("content", content), ("uuid", uuid.as_bytes()), ("signature", signature.as_bytes())];
            verify(pod, &fields)
        };
        assert_eq!(check(CONTENT, &uuid_a, &signature), 200);
        assert_eq!(check(CONTENT, &uuid_a.to_uppercase().replace('-', ""), &signature), 200);
        assert_eq!(check(CONTENT, &uuid_b, &signature), 403, "in the name of another pod");
        assert_eq!(check(b"Old MacDonald", &uuid_a, &signature), 403);
        let flipped = match signature.as_bytes()[0] {
            b'A' => signature.replacen('A', "B", 1),
            first => signature.replacen(char::from(first), "A", 1),
        };
        assert_eq!(check(CONTENT, &uuid_a, &flipped), 403);
        assert_eq!(check(CONTENT, &uuid_a, &signature[..84]), 403, "a shorter code");
        for text in ["!", &signature[1..], &signature.replace('=', ""), &format!(" {signature}")] {
            assert_eq!(check(CONTENT, &uuid_a, text), 400, "{text}");
        }
    }
    assert_ne!(sign(&b, CONTENT), signature);
}

#[test]
fn a_field_that_is_missing_or_malformed_is_400() {
    let pod = TestPod::new();
    let uuid = pod.spec.uuid.to_string();
    let signature = sign(&pod, CONTENT);
    let (content, uuid, signature) =
        (("content", CONTENT), ("uuid", uuid.as_bytes()), ("signature", signature.as_bytes()));
    assert_eq!(verify(&pod, &[content, uuid, signature]), 200);
    assert_eq!(verify(&pod, &[("other", b"x"), signature, uuid, content]), 200, "in any order, beside others");
    for fields in [
        vec![],
        vec![content],
        vec![content, uuid],
        vec![content, signature],
        vec![uuid, signature],
        vec![("content", b""), uuid, signature],
        vec![content, ("uuid", b"x"), signature],
        vec![content, ("uuid", b"00000000-0000-0000-0000-000000000000"), signature],
        vec![content, uuid, ("signature", b"")],
        vec![content, content, uuid, signature],
    ] {
        assert_eq!(verify(&pod, &fields), 400, "{fields:?}");
    }
    let sign = |fields: &[(&str, &[u8])]| pod.service().post(&Route::Sign, fields).unwrap().status;
    assert_eq!((sign(&[]), sign(&[("content", b"")]), sign(&[content, content])), (400, 400, 400));
}

#[test]
fn a_body_that_is_no_form_is_400() {
    let pod = TestPod::new();
    let post = |kind: &str, body: &str| {
        let (target, host) = (pod.target("/pod/hmac/sign"), pod.spec.address());
        let kind = if kind.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
        let length = body.len();
        pod.status_of(format!("POST {target} HTTP/1.1\r\nHost: {host}\r\n{kind}Content-Length: {length}\r\n\r\n{body}"))
    };
    let form = "application/x-www-form-urlencoded";
    assert_eq!(post(form, "content=x"), 200);
    assert_eq!(post(&format!("{form}; charset=utf-8"), "content=%00%ff%0A"), 200);
    assert_eq!(post("", "content=x"), 400);
    assert_eq!(post("application/json", r#"{"content":"x"}"#), 400);
    assert_eq!(post(form, "content=%zz"), 400);
}

#[test]
fn mds09_contents_of_every_byte_and_up_to_a_mebibyte() {
    let pod = TestPod::new();
    let all: Vec<u8> = (0..=255).collect();
    sign(&pod, &all);
    sign(&pod, b"\0");
    let sign = |length: usize| pod.service().post(&Route::Sign, &[("content", &vec![b'x'; length])]).unwrap().status;
    let overhead = "content=".len();
    assert_eq!(sign((1 << 20) - overhead), 200);
    assert_eq!(sign((1 << 20) - overhead + 1), 413);
}

#[test]
fn mds09_signatures_hold_after_a_restart() {
    let server = Server::start();
    let pod = PodSpec::new().registered(&server);
    let signature = sign(&pod, CONTENT);
    let key = std::fs::read(server.data().join("metadata/hmac.key")).unwrap();
    // Another service of the same user.
    let other = Server::start();
    let lone = PodSpec::new().registered(&other);
    let uuid = pod.spec.uuid.to_string();
    let fields = [("content", CONTENT), ("uuid", uuid.as_bytes()), ("signature", signature.as_bytes())];
    assert_eq!(verify(&lone, &fields), 403, "another user's key");
    assert_ne!(std::fs::read(other.data().join("metadata/hmac.key")).unwrap(), key);
    let restarted = server.restart();
    let again = PodSpec::new().registered(&restarted);
    assert_eq!(verify(&again, &fields), 200);
}
