//! Time and space that a server can take.

use std::io::Write as _;
use std::net::TcpListener;
use std::thread::sleep;
use std::time::{Duration, Instant};

use fetch::http::{Client, HttpError, Request, Url};

use crate::server::{Server, answer, client};

fn get(client: &Client, url: Url, limit: usize) -> Result<Vec<u8>, HttpError> {
    client.document(&Request::get(url), limit)
}

#[test]
fn a_document_that_says_it_is_too_long_is_not_read() {
    let server = Server::always("HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n");
    let error = get(&client(), server.url("/"), 1000).unwrap_err();
    assert!(matches!(error, HttpError::TooLarge { limit: 1000, .. }), "{error}");
}

#[test]
fn an_endless_document_is_given_up() {
    let server = Server::start(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    assert!(matches!(get(&client(), server.url("/"), 1 << 20), Err(HttpError::TooLarge { .. })));
    assert_eq!(get(&client(), Server::always(&answer("200 OK", &[], "12345")).url("/"), 5).unwrap(), b"12345");
}

#[test]
fn a_body_that_is_cut_is_an_error() {
    for reply in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\nZZ",
    ] {
        let error = get(&client(), Server::always(reply).url("/"), 1000).unwrap_err();
        assert!(matches!(error, HttpError::Cut { received: 5, .. }), "{reply:?}: {error}");
    }
}

#[test]
fn silence_and_trickling_are_given_up() {
    let silent = Server::start(|_, _| sleep(Duration::from_secs(30)));
    let trickling = Server::start(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        while stream.write_all(b"x").is_ok() {
            sleep(Duration::from_millis(100));
        }
    });
    let quick = Client::new(fetch::http::Settings {
        connect_timeout: Duration::from_millis(300),
        ..client().settings().clone()
    });
    let begin = Instant::now();
    assert!(matches!(get(&quick, silent.url("/"), 10), Err(HttpError::Silent { .. })));
    assert!(matches!(get(&quick, trickling.url("/"), 1 << 20), Err(HttpError::Slow { .. })));
    assert!(begin.elapsed() < Duration::from_secs(20));
}

#[test]
fn heads_are_bounded() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(100_000));
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(10 << 20));
    for reply in [many, long, "garbage\r\n\r\n".to_owned()] {
        let error = get(&client(), Server::always(&reply).url("/"), 10).unwrap_err();
        assert!(matches!(error, HttpError::Protocol { .. }), "{error}");
    }
}

#[test]
fn endless_interim_answers_are_given_up() {
    let server = Server::start(|_, stream| {
        while stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").is_ok() {
            sleep(Duration::from_millis(1));
        }
    });
    let quick = Client::new(fetch::http::Settings {
        connect_timeout: Duration::from_millis(300),
        ..client().settings().clone()
    });
    let error = get(&quick, server.url("/"), 10).unwrap_err();
    assert!(matches!(error, HttpError::Silent { .. }), "{error}");
}

#[test]
fn nobody_there_is_said_at_once() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = get(&client(), Url::parse(&format!("http://{free}/")).unwrap(), 10).unwrap_err();
    assert_eq!(error.to_string(), format!("connect to http://{free}/: Connection refused (os error 111)"));
    let error = get(&client(), Url::parse("https://proa.invalid/x?secret").unwrap(), 10).unwrap_err();
    assert!(error.to_string().starts_with("https://proa.invalid/x?…: host proa.invalid cannot be found: "), "{error}");
}

#[test]
fn a_server_of_plain_http_speaks_no_tls() {
    let server = Server::always(&answer("400 Bad Request", &[], ""));
    let url = Url::parse(&format!("https://{}/", server.address)).unwrap();
    let error = get(&client(), url, 10).unwrap_err();
    assert!(matches!(error, HttpError::Handshake { .. }) && error.is_no_tls(), "{error}");
}
