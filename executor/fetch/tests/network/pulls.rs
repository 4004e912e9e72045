//! Registries that lie, stall, redirect and want to know who asks.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use fetch::http::{Client, HttpError, Settings};
use fetch::oci::OciError;
use fetch::registry::{
    Credential, Credentials, CredentialsError, NoCredentials, Puller, Registries, RegistryError, RegistryRef, Secret,
};
use fetch::{Algorithm, Digest, OciImage};
use serde_json::{Value, json};

use crate::server::{Head, Server, answer, client};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

fn digest(bytes: &[u8]) -> String {
    Digest::of(Algorithm::Sha256, bytes).to_string()
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
}

/// An image of one layer, as documents.
struct Image {
    config: Vec<u8>,
    layer: Vec<u8>,
    manifest: Value,
}

impl Image {
    fn new() -> Self {
        let layer = vec![b'x'; 100_000];
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = json!({"os": "linux", "architecture": architecture, "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]}});
        let config = config.to_string().into_bytes();
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &config), "layers": [descriptor(LAYER, &layer)]});
        Self { config, layer, manifest }
    }

    fn manifest(&self) -> Vec<u8> {
        self.manifest.to_string().into_bytes()
    }

    /// What a good registry answers: bodies by the last part of their paths.
    fn content(&self) -> BTreeMap<String, (String, Vec<u8>)> {
        let manifest = self.manifest();
        let octets = "application/octet-stream".to_owned();
        BTreeMap::from([
            (digest(&self.config), (octets.clone(), self.config.clone())),
            (digest(&self.layer), (octets, self.layer.clone())),
            (digest(&manifest), (MANIFEST.to_owned(), manifest.clone())),
            ("tag".to_owned(), (MANIFEST.to_owned(), manifest)),
        ])
    }
}

fn send(stream: &mut TcpStream, status: &str, headers: &[&str], body: &[u8]) {
    let mut head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    headers.iter().for_each(|line| head += &format!("{line}\r\n"));
    let _ = stream.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| stream.write_all(body));
}

fn serve(content: &BTreeMap<String, (String, Vec<u8>)>, head: &Head, stream: &mut TcpStream) {
    let name = head.path().rsplit('/').next().unwrap_or_default();
    match content.get(name) {
        Some((media_type, body)) => send(stream, "200 OK", &[&format!("Content-Type: {media_type}")], body),
        None => send(stream, "404 Not Found", &[], b"{}"),
    }
}

fn good(content: BTreeMap<String, (String, Vec<u8>)>) -> Server {
    Server::start(move |head, stream| serve(&content, head, stream))
}

fn reference(server: &Server) -> RegistryRef {
    format!("{}/some/app:tag", server.address).parse().unwrap()
}

fn puller<'a>(client: &'a Client, credentials: &'a dyn Credentials, server: &Server) -> Puller<'a> {
    Puller::new(client, credentials, &Registries::default(), reference(server)).unwrap()
}

fn pull(puller: &Puller<'_>) -> Result<(OciImage, Vec<u8>), RegistryError> {
    let found = puller.find()?;
    let image = puller.image(&found)?;
    let layer = download(puller, &found, &image, 0)?;
    Ok((image, layer))
}

fn download(
    puller: &Puller<'_>,
    found: &fetch::registry::Found,
    image: &OciImage,
    from: u64,
) -> Result<Vec<u8>, RegistryError> {
    let mut layer = Vec::new();
    let mut download = puller.download(found, &image.layers[0], from);
    puller.client().block_on(async {
        while let Some(bytes) = download.chunk().await? {
            layer.extend_from_slice(&bytes);
        }
        Ok::<_, RegistryError>(())
    })?;
    Ok(layer)
}

fn refusal(server: &Server) -> String {
    let client = client();
    let error = pull(&puller(&client, &NoCredentials, server)).expect_err("it must be refused");
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[test]
fn a_good_image_is_pulled_and_finding_it_takes_one_request() {
    let image = Image::new();
    let server = good(image.content());
    let client = client();
    let puller = puller(&client, &NoCredentials, &server);
    let found = puller.find().unwrap();
    assert_eq!(found.manifest.to_string(), digest(&image.manifest()));
    // One more is the attempt at TLS, which never became a request.
    assert_eq!(server.requests().iter().filter(|head| head.line.starts_with("GET ")).count(), 1);
    let (pulled, layer) = pull(&puller).unwrap();
    assert_eq!((pulled.manifest, pulled.config, layer), (image.manifest(), image.config, image.layer));
    assert_eq!(pulled.tag.as_deref(), Some("tag"));
    assert_eq!(pulled.name, format!("{}/some/app", server.address));
}

#[test]
fn an_index_leads_to_the_image_for_this_machine() {
    let image = Image::new();
    let mut content = image.content();
    let manifest = image.manifest();
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let mut mine = descriptor(MANIFEST, &manifest);
    mine["platform"] = json!({"os": "linux", "architecture": architecture});
    let mut other = descriptor(MANIFEST, b"other");
    other["platform"] = json!({"os": "linux", "architecture": "s390x"});
    let index = json!({"schemaVersion": 2, "manifests": [other, mine]}).to_string().into_bytes();
    content.insert("tag".into(), (INDEX.into(), index));
    let server = good(content);
    let client = client();
    assert_eq!(pull(&puller(&client, &NoCredentials, &server)).unwrap().1, image.layer);
}

#[test]
fn documents_that_lie_are_refused() {
    let image = Image::new();
    let manifest = image.manifest();
    let with = |key: &str, value: (&str, Vec<u8>)| {
        let mut content = image.content();
        content.insert(key.to_owned(), (value.0.to_owned(), value.1));
        good(content)
    };
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut manifest = image.manifest.clone();
        change(&mut manifest);
        manifest.to_string().into_bytes()
    };
    let tag = |media_type: &'static str, bytes: Vec<u8>| with("tag", (media_type, bytes));
    let config = digest(&image.config);
    for (server, expected) in [
        (tag(INDEX, manifest.clone()), "mixes the fields"),
        (tag("application/vnd.docker.distribution.manifest.v2+json", manifest.clone()), "calls itself"),
        (tag(MANIFEST, changed(&|it| it["manifests"] = json!([]))), "mixes the fields"),
        (tag(MANIFEST, changed(&|it| it["schemaVersion"] = json!(1))), "schema version 1"),
        (tag(MANIFEST, changed(&|it| it["layers"] = json!([]))), "no layers"),
        (tag("application/vnd.docker.distribution.manifest.v1+prettyjws", manifest.clone()), "unsupported media type"),
        (tag("text/html", b"<html>".to_vec()), "unsupported media type"),
        (tag("", manifest.clone()), "does not say what kind"),
        (tag(MANIFEST, b"{}".to_vec()), "missing field"),
        (tag(MANIFEST, b"{\"schemaVersion\":2,\"schemaVersion\":2}".to_vec()), "duplicate key"),
        (tag(MANIFEST, [manifest.clone(), vec![b' '; 5 << 20]].concat()), "more than 4194304 bytes"),
        (tag(MANIFEST, changed(&|it| it["config"]["size"] = json!(5_000_000))), "the limit for a document"),
        (with(&config, ("x", b"{}".to_vec())), "its descriptor says"),
        (with(&config, ("x", image.config.iter().map(|b| b ^ 1).collect())), "damaged or was tampered with"),
        (with(&digest(&image.layer), ("x", vec![b'x'; 99_999])), "its descriptor says 100000"),
        (with(&digest(&image.layer), ("x", vec![b'x'; 100_001])), "its descriptor says 100000"),
    ] {
        let text = refusal(&server);
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn indexes_in_indexes_end() {
    let image = Image::new();
    let mut content = image.content();
    let mut inner = image.manifest();
    let mut media_type = MANIFEST;
    for level in 0..9 {
        content.insert(digest(&inner), (media_type.into(), inner.clone()));
        inner = json!({"schemaVersion": 2, "manifests": [descriptor(media_type, &inner)]}).to_string().into_bytes();
        media_type = INDEX;
        content.insert("tag".into(), (INDEX.into(), inner.clone()));
        let server = good(content.clone());
        let client = client();
        let pulled = pull(&puller(&client, &NoCredentials, &server));
        match level {
            0..=4 => assert!(pulled.is_ok(), "{level}"),
            _ => assert!(
                matches!(pulled, Err(RegistryError::Document(OciError::TooDeep { .. }))),
                "{level}: {:?}",
                pulled.map(|_| ())
            ),
        }
    }
}

#[test]
fn a_pinned_digest_is_what_comes_or_nothing() {
    let image = Image::new();
    let manifest = image.manifest();
    for (pinned, ok) in [(digest(&manifest), true), (digest(b"another"), false)] {
        // A registry that answers every digest with the same manifest, and swears it is right.
        let (body, header) = (manifest.clone(), format!("Docker-Content-Digest: {pinned}"));
        let server = Server::start(move |_, stream| {
            send(stream, "200 OK", &[&format!("Content-Type: {MANIFEST}"), &header], &body);
        });
        let client = client();
        let name = format!("{}/some/app@{pinned}", server.address).parse().unwrap();
        let puller = Puller::new(&client, &NoCredentials, &Registries::default(), name).unwrap();
        match puller.find() {
            Ok(found) => assert!(ok && found.manifest.to_string() == pinned),
            Err(error) => assert!(!ok && matches!(error, RegistryError::Digest { .. }), "{error}"),
        }
    }
}

/// A registry that cuts every answer to a request for the layer after so many bytes.
fn cutting(image: &Image, after: usize, ranges: bool) -> Server {
    let (content, layer, name) = (image.content(), image.layer.clone(), digest(&image.layer));
    Server::start(move |head, stream| {
        if !head.path().ends_with(&name) {
            return serve(&content, head, stream);
        }
        let from = head
            .header("range")
            .filter(|_| ranges)
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        let (status, start) = match from {
            Some(from) => ("206 Partial Content", from),
            None => ("200 OK", 0),
        };
        let rest = &layer[start..];
        let mut reply = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", rest.len());
        if from.is_some() {
            reply += &format!("Content-Range: bytes {start}-{}/{}\r\n", layer.len() - 1, layer.len());
        }
        let _ = stream.write_all(format!("{reply}\r\n").as_bytes());
        let _ = stream.write_all(&rest[..rest.len().min(after)]);
    })
}

#[test]
fn cut_downloads_go_on_where_they_were() {
    let image = Image::new();
    for (after, requests) in [(40_000, 3), (50_000, 2), (1_000_000, 1)] {
        let server = cutting(&image, after, true);
        let client = client();
        assert_eq!(pull(&puller(&client, &NoCredentials, &server)).unwrap().1, image.layer);
        let name = digest(&image.layer);
        assert_eq!(server.requests().iter().filter(|head| head.path().ends_with(&name)).count(), requests, "{after}");
    }
}

#[test]
fn a_download_that_gets_nowhere_is_given_up() {
    let image = Image::new();
    // Without ranges every attempt begins anew and gets no further.
    let server = cutting(&image, 40_000, false);
    let text = refusal(&server);
    assert!(text.contains("the connection was cut"), "{text}");
    let layers = server.requests().iter().filter(|head| head.path().ends_with(&digest(&image.layer))).count();
    assert!((2..=4).contains(&layers), "{layers}");
}

#[test]
fn what_was_there_before_is_not_asked_for_again() {
    let image = Image::new();
    for ranges in [true, false] {
        let server = cutting(&image, 1_000_000, ranges);
        let client = client();
        let puller = puller(&client, &NoCredentials, &server);
        let found = puller.find().unwrap();
        let pulled = puller.image(&found).unwrap();
        let rest = download(&puller, &found, &pulled, 60_000).unwrap();
        assert_eq!(rest, image.layer[60_000..], "ranges: {ranges}");
        assert_eq!(server.requests().last().unwrap().header("range"), Some("bytes=60000-"));
    }
}

#[test]
fn a_part_that_was_not_asked_for_is_refused() {
    let image = Image::new();
    let content = image.content();
    let name = digest(&image.layer);
    let server = Server::start(move |head, stream| {
        if !head.path().ends_with(&name) {
            return serve(&content, head, stream);
        }
        send(stream, "206 Partial Content", &["Content-Range: bytes 5-99999/100000"], &[b'x'; 99_995]);
    });
    assert!(refusal(&server).contains("another part than was asked for"));
}

#[derive(Debug)]
struct Known(Option<Credential>);

impl Credentials for Known {
    fn of_registry(&self, _: &str, repository: &str) -> Result<Option<Credential>, CredentialsError> {
        assert_eq!(repository, "some/app");
        Ok(self.0.clone())
    }
}

fn basic() -> Known {
    Known(Some(Credential::Basic { user: "user".into(), password: Secret::new("canary") }))
}

/// A registry that answers only requests with this header, and challenges all others.
fn guarded(image: &Image, challenge: String, wanted: &'static str) -> Server {
    let content = image.content();
    Server::start(move |head, stream| {
        if head.header("authorization") == Some(wanted) {
            return serve(&content, head, stream);
        }
        send(stream, "401 Unauthorized", &[&format!("WWW-Authenticate: {challenge}")], b"{}");
    })
}

#[test]
fn basic_authentication() {
    let image = Image::new();
    let server = guarded(&image, "Basic realm=\"x\"".into(), "Basic dXNlcjpjYW5hcnk=");
    let client = client();
    assert_eq!(pull(&puller(&client, &basic(), &server)).unwrap().1, image.layer);
    let unauthorized = |credentials: &dyn Credentials| {
        let error = puller(&client, credentials, &server).find().unwrap_err();
        let RegistryError::Unauthorized { shown, .. } = error else { panic!("{error}") };
        shown
    };
    assert!(!unauthorized(&NoCredentials));
    let wrong = Known(Some(Credential::Basic { user: "user".into(), password: Secret::new("wrong") }));
    assert!(unauthorized(&wrong));
}

#[test]
fn tokens_are_asked_for_and_shared() {
    let image = Image::new();
    for (credentials, asked_with) in [(basic(), Some("Basic dXNlcjpjYW5hcnk=")), (Known(None), None)] {
        let service = Server::always(&answer("200 OK", &[], r#"{"access_token":"the-token","expires_in":60}"#));
        let challenge = format!("Bearer realm=\"{}\",service=\"s\",scope=\"ignored\"", service.url("/token"));
        let server = guarded(&image, challenge, "Bearer the-token");
        let client = client();
        assert_eq!(pull(&puller(&client, &credentials, &server)).unwrap().1, image.layer);
        let [request] = &service.requests()[..] else { panic!("one token is enough") };
        assert_eq!(request.header("authorization"), asked_with);
        let scope = "service=s&scope=repository%3Asome%2Fapp%3Apull";
        assert!(request.path().contains(scope), "{}", request.path());
    }
}

#[test]
fn an_identity_token_is_exchanged() {
    let image = Image::new();
    let service = Server::always(&answer("200 OK", &[], r#"{"access_token":"the-token"}"#));
    let server = guarded(&image, format!("Bearer realm=\"{}\"", service.url("/token")), "Bearer the-token");
    let identity = Known(Some(Credential::Identity(Secret::new("canary"))));
    pull(&puller(&client(), &identity, &server)).unwrap();
    let request = &service.requests()[0];
    assert!(request.line.starts_with("POST /token"), "{}", request.line);
    assert!(!request.line.contains("canary") && request.header("authorization").is_none());
}

#[test]
fn credentials_are_not_shown_to_a_foreign_token_service() {
    let image = Image::new();
    let service = Server::always(&answer("200 OK", &[], r#"{"token":"x"}"#));
    // The same machine by another name: another host.
    let realm = service.named_url("/token");
    let server = guarded(&image, format!("Bearer realm=\"{realm}\""), "Bearer x");
    let client = client();
    let error = puller(&client, &basic(), &server).find().unwrap_err();
    assert!(matches!(error, RegistryError::Realm { .. }), "{error}");
    assert!(service.requests().is_empty());
    // Without credentials there is nothing to lose, and with the administrator's word it may have them.
    pull(&puller(&client, &NoCredentials, &server)).unwrap();
    let host = reference(&server).host().to_owned();
    let services =
        Registries { token_services: BTreeMap::from([(host, vec!["localhost".to_owned()])]), ..Default::default() };
    Puller::new(&client, &basic(), &services, reference(&server)).unwrap().find().unwrap();
}

#[test]
fn a_registry_that_is_never_satisfied_is_given_up() {
    let count = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&count);
    let service = Server::always(&answer("200 OK", &[], r#"{"token":"x"}"#));
    let challenge = format!("WWW-Authenticate: Bearer realm=\"{}\"", service.url("/"));
    let server = Server::start(move |_, stream| {
        seen.fetch_add(1, Ordering::SeqCst);
        send(stream, "401 Unauthorized", &[&challenge], b"{}");
    });
    let client = client();
    let error = puller(&client, &NoCredentials, &server).find().unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { shown: false, .. }), "{error}");
    assert!(count.load(Ordering::SeqCst) <= 3);
    for challenge in ["", "WWW-Authenticate: Negotiate"] {
        let server = Server::always(&answer("401 Unauthorized", &[challenge].map(|it| it.trim_matches('\n')), ""));
        let error = puller(&client, &NoCredentials, &server).find().unwrap_err();
        assert!(matches!(error, RegistryError::Challenge { .. } | RegistryError::Http(_)), "{error}");
    }
}

#[test]
fn answers_have_their_names() {
    let status = |status: &str| {
        let body = r#"{"errors":[{"code":"X","message":"because"}]}"#;
        refusal(&Server::always(&answer(status, &[], body)))
    };
    let text = status("404 Not Found");
    assert!(text.ends_with("has no image some/app:tag"), "{text}");
    let text = status("403 Forbidden");
    assert!(text.ends_with("permits no access to some/app: \"because\""), "{text}");
    assert!(status("400 Bad Request").ends_with("the server answers 400 Bad Request: \"because\""));
}

#[test]
fn plain_registries_need_permission() {
    let server = good(Image::new().content());
    let strict = Client::new(Settings::default());
    let error = puller(&strict, &NoCredentials, &server).find().unwrap_err();
    assert!(matches!(error, RegistryError::Http(HttpError::Handshake { .. })), "{error}");
    assert!(server.requests().iter().all(|head| !head.line.contains("/v2/")));
}

#[test]
fn mirrors_come_first_and_the_registry_stands_in_for_them() {
    let image = Image::new();
    let mirror = good(image.content());
    let origin = good(image.content());
    let empty = good(BTreeMap::new());
    let host = reference(&origin).host().to_owned();
    let client = client();
    for (mirrors, expected) in [(vec![&mirror], [1, 0]), (vec![&empty, &mirror], [2, 0]), (vec![&empty], [2, 1])] {
        let names = mirrors.iter().map(|server| server.address.to_string()).collect();
        let registries = Registries { mirrors: BTreeMap::from([(host.clone(), names)]), ..Default::default() };
        let puller = Puller::new(&client, &NoCredentials, &registries, reference(&origin)).unwrap();
        let found = puller.find().unwrap();
        let pulled = puller.image(&found).unwrap();
        assert_eq!(download(&puller, &found, &pulled, 0).unwrap(), image.layer);
        assert_eq!(pulled.name, format!("{host}/some/app"), "a mirror leaves the name as it is");
        let of_tag = |server: &Server| server.requests().iter().filter(|head| head.path().ends_with("/tag")).count();
        assert_eq!([of_tag(&mirror), of_tag(&origin)], expected);
    }
}
