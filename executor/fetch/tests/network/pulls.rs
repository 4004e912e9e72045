//! Registries that lie, stall and redirect.

use std::collections::BTreeMap;

use fetch::http::{Client, HttpError, Settings};
use fetch::oci::OciError;
use fetch::registry::{NoCredentials, Puller, Registries, RegistryError};
use serde_json::{Value, json};

use crate::image::{
    INDEX, Image, MANIFEST, descriptor, digest, download, good, pull, puller, reference, refusal, send,
};
use crate::server::{Server, answer, client};

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
