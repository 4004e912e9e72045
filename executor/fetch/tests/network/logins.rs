//! Registries that want to know who asks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use fetch::registry::{
    Credential, Credentials, CredentialsError, NoCredentials, Puller, Registries, RegistryError, Secret,
};

use crate::image::{Image, pull, puller, reference, send, serve};
use crate::server::{Server, answer, client};

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
