//! What is tried again, and how often.

use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use fetch::http::{HttpError, Method, Request};

use crate::server::{Server, answer, client};

/// A server that answers `first` for a number of times before it answers well.
fn recovering(failures: u32, first: String) -> Server {
    let count = AtomicU32::new(0);
    Server::start(move |_, stream| {
        let good = answer("200 OK", &[], "done");
        let reply = if count.fetch_add(1, Ordering::SeqCst) < failures { &first } else { &good };
        let _ = stream.write_all(reply.as_bytes());
    })
}

#[test]
fn troubled_servers_get_another_chance() {
    for first in [
        answer("503 Service Unavailable", &[], ""),
        answer("429 Too Many Requests", &["Retry-After: 0"], ""),
        String::new(),
    ] {
        let server = recovering(3, first.clone());
        assert_eq!(client().document(&Request::get(server.url("/")), 10).unwrap(), b"done", "{first}");
        assert_eq!(server.requests().len(), 4);
    }
}

#[test]
fn patience_ends() {
    let server = recovering(9, answer("502 Bad Gateway", &[], ""));
    let error = client().document(&Request::get(server.url("/")), 10).unwrap_err();
    assert!(error.to_string().ends_with("/: the server answers 502 Bad Gateway"), "{error}");
    assert_eq!(server.requests().len(), 4);
    let server = recovering(9, answer("429 Too Many Requests", &["Retry-After: 1000000000"], ""));
    assert!(matches!(client().document(&Request::get(server.url("/")), 10), Err(HttpError::Status { .. })));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn some_requests_have_less_patience() {
    let server = recovering(1, answer("500 Internal Server Error", &[], ""));
    assert_eq!(client().document(&Request::get(server.url("/")).at_most(2), 10).unwrap(), b"done");
    let server = recovering(9, answer("500 Internal Server Error", &[], ""));
    assert!(client().document(&Request::get(server.url("/")).at_most(2), 10).is_err());
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn refusals_are_final() {
    let body = r#"{"errors":[{"code":"DENIED","message":"go\u001b[2Jaway"}]}"#;
    for status in ["400 Bad Request", "401 Unauthorized", "403 Forbidden", "404 Not Found", "418 I'm a teapot"] {
        let server = Server::always(&answer(status, &[], body));
        let error = client().document(&Request::get(server.url("/")), 10).unwrap_err().to_string();
        assert!(error.ends_with(&format!(r#"the server answers {status}: "go\u{{1b}}[2Jaway""#)), "{error}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn what_cannot_be_repeated_is_not() {
    let server = recovering(1, answer("503 Service Unavailable", &[], ""));
    let client = client();
    let request = Request::new(Method::POST, server.url("/"));
    let answer = client.block_on(async { client.send(&request).await }).unwrap();
    assert_eq!((answer.status().as_u16(), server.requests().len()), (503, 1));
}
