//! Uploads: in which order, to where, with whose credentials.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fetch::registry::{
    Content, Credential, Credentials, CredentialsError, NoCredentials, Pusher, Registries, RegistryError, RegistryRef,
    Secret,
};
use fetch::{Algorithm, Digest};

use crate::server::{Head, Server, answer, client};

fn reference(server: &Server) -> RegistryRef {
    format!("{}/some/app:tag", server.address).parse().unwrap()
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

fn reply(stream: &mut TcpStream, status: &str, headers: &[&str]) {
    let _ = stream.write_all(answer(status, headers, "").as_bytes());
}

/// A registry that takes everything and has nothing. `place` makes the address of an upload out of its number.
fn taking(place: impl Fn(u32) -> String + Send + Sync + 'static) -> (Server, Arc<Mutex<Vec<u8>>>) {
    let got = Arc::new(Mutex::new(Vec::new()));
    let (kept, count) = (Arc::clone(&got), Mutex::new(0));
    let server = Server::with_bodies(move |head: &Head, body: &[u8], stream: &mut TcpStream| {
        let location = |count: u32| format!("Location: {}", place(count));
        let method = head.line.split(' ').next().unwrap_or_default();
        match method {
            "HEAD" => reply(stream, "404 Not Found", &[]),
            "POST" => reply(stream, "202 Accepted", &[&location(0)]),
            "PATCH" => {
                kept.lock().unwrap().extend_from_slice(body);
                let mut count = count.lock().unwrap();
                *count += 1;
                reply(stream, "202 Accepted", &[&location(*count)]);
            }
            _ => {
                kept.lock().unwrap().extend_from_slice(body);
                reply(stream, "201 Created", &[]);
            }
        }
    });
    (server, got)
}

#[derive(Debug)]
struct Known;

impl Credentials for Known {
    fn of_registry(&self, _: &str, _: &str) -> Result<Option<Credential>, CredentialsError> {
        Ok(Some(Credential::Basic { user: "user".into(), password: Secret::new("canary") }))
    }
}

fn upload(server: &Server, content: &[u8], piece: Option<u64>) -> Result<(), RegistryError> {
    let client = client();
    let pusher = Pusher::new(&client, &NoCredentials, &Registries::default(), &reference(server)).unwrap();
    let bytes = Content::Bytes(Bytes::copy_from_slice(content));
    client.block_on(pusher.upload(&digest(content), &bytes, piece, |_| {}))
}

fn lines(server: &Server) -> Vec<String> {
    let requests = server.requests().into_iter().map(|head| head.line);
    requests.filter(|line| line.contains("/v2/") || line.contains("/place")).collect()
}

#[test]
fn a_blob_goes_out_at_once_or_in_pieces() {
    let content = vec![b'x'; 2500];
    let name = digest(&content).to_string().replace(':', "%3A");
    let (server, got) = taking(|_| "/place?state=a%2Fb".to_owned());
    upload(&server, &content, None).unwrap();
    assert_eq!(
        lines(&server),
        [
            "POST /v2/some/app/blobs/uploads/ HTTP/1.1".to_owned(),
            format!("PUT /place?state=a%2Fb&digest={name} HTTP/1.1"),
        ]
    );
    assert_eq!(*got.lock().unwrap(), content);

    let (server, got) = taking(|count| format!("/place/{count}"));
    upload(&server, &content, Some(1000)).unwrap();
    let ranges: Vec<_> = server
        .requests()
        .iter()
        .filter(|head| head.line.starts_with("PATCH"))
        .map(|head| format!("{} {}", head.path(), head.header("content-range").unwrap_or_default()))
        .collect();
    assert_eq!(ranges, ["/place/0 0-999", "/place/1 1000-1999", "/place/2 2000-2499"]);
    assert!(lines(&server).last().unwrap().starts_with(&format!("PUT /place/3?digest={name}")));
    assert_eq!(*got.lock().unwrap(), content);
}

#[test]
fn the_place_of_an_upload_gets_no_credentials_on_another_host() {
    let (elsewhere, got) = taking(|_| "/place".to_owned());
    let there = elsewhere.named_url("/place").to_string();
    let registry = Server::start(move |head, stream| {
        if head.header("authorization").is_none() {
            return reply(stream, "401 Unauthorized", &["WWW-Authenticate: Basic realm=\"x\""]);
        }
        reply(stream, "202 Accepted", &[&format!("Location: {there}")]);
    });
    let client = client();
    let pusher = Pusher::new(&client, &Known, &Registries::default(), &reference(&registry)).unwrap();
    let content = Content::Bytes(Bytes::from_static(b"content"));
    client.block_on(pusher.upload(&digest(b"content"), &content, None, |_| {})).unwrap();
    assert_eq!(*got.lock().unwrap(), b"content");
    assert!(elsewhere.requests().iter().all(|head| head.header("authorization").is_none()));
}

#[test]
fn bad_places_are_refused() {
    for (location, expected) in [
        ("Location: http://169.254.169.254/x", "internal address"),
        ("Location: http://u:p@127.0.0.1/x", "user name or password"),
        ("Location: file:///etc/passwd", "scheme file"),
        ("Location: http://[", "no URL"),
        ("X: y", "names no place"),
    ] {
        let server = Server::always(&answer("202 Accepted", &[location], ""));
        let error = upload(&server, b"content", None).unwrap_err().to_string();
        assert!(error.contains(expected), "{location}: {error}");
    }
}

#[test]
fn what_another_repository_has_is_taken_over_if_the_registry_likes() {
    let client = client();
    let mounted = |status: &str, headers: &[&str]| {
        let server = Server::always(&answer(status, headers, ""));
        let pusher = Pusher::new(&client, &NoCredentials, &Registries::default(), &reference(&server)).unwrap();
        let outcome = client.block_on(pusher.mount(&digest(b"x"), "other/app"));
        let first = lines(&server).first().cloned().unwrap_or_default();
        assert!(first.contains("mount=sha256%3A") && first.contains("&from=other%2Fapp"), "{first}");
        outcome.ok()
    };
    assert_eq!(mounted("201 Created", &[]), Some(true));
    assert_eq!(mounted("202 Accepted", &["Location: /place"]), Some(false));
    assert_eq!(mounted("404 Not Found", &[]), Some(false));
    assert_eq!(mounted("400 Bad Request", &[]), None);
}

#[test]
fn a_registry_that_has_got_another_manifest_is_told_of() {
    let client = client();
    let put = |headers: &[&str]| {
        let server = Server::always(&answer("201 Created", headers, ""));
        let pusher = Pusher::new(&client, &NoCredentials, &Registries::default(), &reference(&server)).unwrap();
        client.block_on(pusher.put_manifest("tag", "application/json", b"{}"))
    };
    assert_eq!(put(&[]).unwrap(), digest(b"{}"));
    let other = format!("Docker-Content-Digest: {}", digest(b"other"));
    assert!(matches!(put(&[&other]), Err(RegistryError::Digest { .. })));
}

#[test]
fn refusals_are_told() {
    for (status, expected) in [
        ("403 Forbidden", "permits no access to some/app"),
        ("413 Payload Too Large", "413"),
        ("200 OK", "the server answers 200"),
    ] {
        let server = Server::always(&answer(status, &[], ""));
        let error = upload(&server, b"content", None).unwrap_err().to_string();
        assert!(error.contains(expected), "{status}: {error}");
    }
}
