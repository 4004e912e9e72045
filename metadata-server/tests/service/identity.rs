//! Identities: each app at its own socket, and nothing it says makes it another.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use metadata_api::ask::{Answer, Service};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{IMAGE_ID, PATIENCE, PodSpec, Server, TestPod, read_all, status};

/// A pod whose apps have their sockets.
struct Pod {
    dir: TempDir,
    pod: TestPod,
}

impl Pod {
    fn new(server: &Server) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut spec = PodSpec::new();
        for app in spec.apps.clone() {
            spec.identities.insert(app, UnixListener::bind(dir.path().join(app)).unwrap());
        }
        Self { pod: spec.registered(server), dir }
    }

    fn socket(&self, app: &str) -> PathBuf {
        self.dir.path().join(app)
    }

    fn get(&self, app: &str, path: &str) -> Answer {
        Service::at_socket(&self.socket(app), PATIENCE).get_path(path).unwrap()
    }
}

fn claims(answer: &Answer) -> Value {
    assert_eq!((answer.status, answer.content_type.as_str()), (200, "application/jwt"));
    let token = std::str::from_utf8(&answer.body).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

/// Sends any bytes to a socket; gives all that comes back.
fn exchange(socket: &Path, bytes: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn each_app_gets_its_own_at_its_own_socket() {
    let pod = Pod::new(Server::shared());
    for app in ["web", "side"] {
        let claims = claims(&pod.get(app, "/v1/identity?audience=https%3A%2F%2Fexample.com%2Fa+b"));
        assert_eq!(claims["app"], app);
        assert_eq!(claims["aud"], "https://example.com/a b");
        assert_eq!(claims["pod"], pod.pod.spec.uuid.to_string());
        assert_eq!(claims["iss"], "proa:alice@box");
        assert_eq!((&claims["image"], &claims["images"]), (&IMAGE_ID.into(), &serde_json::json!([IMAGE_ID])));
        let life = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
        assert!((60..=600).contains(&life), "{life}");
    }
}

#[test]
fn whoever_names_another_app_still_gets_its_own() {
    let pod = Pod::new(Server::shared());
    let other = Pod::new(Server::shared());
    let socket = pod.socket("web");
    let (uuid, other) = (pod.pod.spec.uuid.to_string(), other.pod.spec.uuid.to_string());
    for request in [
        "GET /v1/identity?audience=x&app=side HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        format!("GET /v1/identity?audience=x&pod={other} HTTP/1.1\r\nHost: side\r\n\r\n"),
        "GET /v1/identity?audience=x HTTP/1.1\r\nHost: a\r\nX-App: side\r\nAC_APP_NAME: side\r\nCookie: app=side\r\n\r\n".into(),
        format!("GET /v1/identity?audience=x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {other}\r\n\r\n"),
    ] {
        let answer = exchange(&socket, &request);
        let (_, token) = answer.split_once("\r\n\r\n").unwrap();
        let claims: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap();
        assert_eq!((&claims["app"], &claims["pod"]), (&"web".into(), &uuid.as_str().into()), "{request}");
    }
    for (request, expected) in [
        ("GET /v1/identity?audience=x HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\napp=side", 400),
        ("POST /v1/identity?audience=x HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\napp=side", 405),
        ("GET /v1/identity/side?audience=x HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("GET /v1/apps/side/identity?audience=x HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("GET http://side/v1/identity?audience=x HTTP/1.1\r\nHost: side\r\n\r\n", 400),
        ("GET /v1/identity?audience=x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: side\r\n\r\n", 400),
    ] {
        assert_eq!(status(&exchange(&socket, request)), expected, "{request}");
    }
}

#[test]
fn an_audience_is_asked_for() {
    let pod = Pod::new(Server::shared());
    let long = format!("/v1/identity?audience={}", "x".repeat(1025));
    for path in [
        "/v1/identity",
        "/v1/identity?audience=",
        "/v1/identity?audience=a&audience=b",
        "/v1/identity?audience=%0a",
        "/v1/identity?audience=%ff",
        "/v1/identity?audience=%",
        &long,
    ] {
        let answer = pod.get("web", path);
        assert_eq!((answer.status, answer.content_type.as_str()), (400, "application/json"), "{path}");
    }
    assert_eq!(pod.get("web", &long[..long.len() - 1]).status, 200);
}

#[test]
fn the_metadata_is_not_at_the_apps_socket_nor_the_identity_at_the_pods() {
    let pod = Pod::new(Server::shared());
    let target = pod.pod.target("/pod/uuid");
    assert_eq!(pod.get("web", &target).status, 404);
    assert_eq!(pod.get("web", "/acMetadata/v1/pod/uuid").status, 404);
    let over_tcp = pod.pod.service().get_path("/v1/identity?audience=x").unwrap();
    assert_eq!(over_tcp.status, 404);
}

#[test]
fn it_ends_with_the_pod() {
    let server = Server::start();
    let pod = Pod::new(&server);
    let mut open = UnixStream::connect(pod.socket("web")).unwrap();
    open.set_read_timeout(Some(PATIENCE)).unwrap();
    open.write_all(b"GET /v1/identity?audience=x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    open.read_exact(&mut [0; 12]).unwrap();
    let Pod { dir, pod } = pod;
    drop(pod);
    // Closed, as the listener is.
    let _ = open.read_to_end(&mut Vec::new()).unwrap();
    crate::harness::eventually("the listener is closed", || UnixStream::connect(dir.path().join("web")).is_err());
}

#[test]
fn a_pods_answers_do_not_wait_for_its_identities_connections() {
    let server = Server::start();
    let pod = Pod::new(&server);
    let _busy: Vec<_> = (0..40)
        .map(|_| {
            let mut stream = UnixStream::connect(pod.socket("web")).unwrap();
            // Those that are refused are closed already.
            let _ = stream.write_all(b"GET /");
            stream
        })
        .collect();
    assert_eq!(pod.pod.service().get_path("/acMetadata/v1/pod/uuid").unwrap().status, 200);
    assert_eq!(pod.get("side", "/v1/identity?audience=x").status, 200);
    let mut stream = pod.pod.connect();
    stream.write_all(pod.pod.get("/pod/uuid", "Connection: close\r\n").as_bytes()).unwrap();
    assert_eq!(status(&read_all(&mut stream)), 200);
}

/// A verifier that has nothing but the token and the public keys: OpenSSL.
#[test]
fn openssl_verifies_a_token_with_the_public_key() {
    let pod = Pod::new(Server::shared());
    let token = String::from_utf8(pod.get("web", "/v1/identity?audience=x").body).unwrap();
    let jwks = pod.get("side", "/v1/jwks");
    assert_eq!((jwks.status, jwks.content_type.as_str()), (200, "application/jwk-set+json"));
    let jwks: Value = serde_json::from_slice(&jwks.body).unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let header: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(message.split_once('.').unwrap().0).unwrap()).unwrap();
    let key = jwks["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header["kid"]).unwrap();
    let part = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
    // SubjectPublicKeyInfo of a P-256 key (RFC 5480): a fixed head and the point.
    let head = hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key"), [head, vec![4], part("x"), part("y")].concat()).unwrap();
    // OpenSSL wants the two numbers of the signature as a DER sequence, JOSE has them side by side.
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let integer = |bytes: &[u8]| {
        let bytes: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
        let bytes = if bytes[0] >= 0x80 { [&[0], bytes.as_slice()].concat() } else { bytes };
        [&[2, u8::try_from(bytes.len()).unwrap()], bytes.as_slice()].concat()
    };
    let numbers = [integer(&signature[..32]), integer(&signature[32..])].concat();
    let der = [&[0x30, u8::try_from(numbers.len()).unwrap()], numbers.as_slice()].concat();
    std::fs::write(dir.path().join("signature"), der).unwrap();
    let verify = |message: &str| {
        let mut openssl = Command::new("openssl")
            .args(["dgst", "-sha256", "-verify", "key", "-keyform", "DER", "-signature", "signature"])
            .current_dir(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("openssl is installed");
        openssl.stdin.take().unwrap().write_all(message.as_bytes()).unwrap();
        openssl.wait().unwrap().success()
    };
    assert!(verify(message));
    assert!(!verify(&format!("{message}x")), "the control");
}
