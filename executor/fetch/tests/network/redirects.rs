//! Where redirects lead, and that credentials stay behind.

use std::io::Write as _;

use fetch::http::header::{ACCEPT, HeaderName};
use fetch::http::{Authorization, Client, HttpError, Reach, Request, Settings, Url};

use crate::server::{Server, answer, client};

const LIMIT: usize = 1 << 20;

fn secret() -> Option<Authorization> {
    Some(Authorization::basic("user", "canary"))
}

#[test]
fn credentials_stay_at_their_origin_and_do_not_come_back() {
    let other = Server::start(|head, stream| {
        // Sends everybody back to where they came from.
        let back = format!("Location: {}", head.path().strip_prefix("/to/").unwrap_or_default());
        let _ = stream.write_all(answer("302 Found", &[&back], "").as_bytes());
    });
    let there = other.named_url("").to_string();
    let origin = Server::start(move |head, stream| {
        let reply = if head.path() == "/start" {
            let host = head.header("host").unwrap_or_default();
            answer("307 Temporary Redirect", &[&format!("Location: {there}to/http://{host}/end")], "")
        } else {
            answer("200 OK", &[], "done")
        };
        let _ = stream.write_all(reply.as_bytes());
    });
    let request = Request::get(origin.url("/start"))
        .header(ACCEPT, "text/plain")
        .header(HeaderName::from_static("cookie"), "canary")
        .authorization(secret());
    assert_eq!(client().document(&request, LIMIT).unwrap(), b"done");
    let [start, end] = &origin.requests()[..] else { panic!("two requests") };
    assert!(start.header("authorization").is_some() && start.header("cookie").is_some());
    let [elsewhere] = &other.requests()[..] else { panic!("one request") };
    for request in [elsewhere, end] {
        assert_eq!(request.header("authorization"), None, "{}", request.line);
        assert_eq!(request.header("cookie"), None, "{}", request.line);
        assert_eq!(request.header("accept"), Some("text/plain"), "{}", request.line);
    }
}

#[test]
fn credentials_go_along_within_their_origin() {
    let server = Server::start(|head, stream| {
        let reply = match head.path() {
            "/a" => answer("301 Moved Permanently", &["Location: b"], ""),
            _ => answer("200 OK", &[], ""),
        };
        let _ = stream.write_all(reply.as_bytes());
    });
    client().document(&Request::get(server.url("/a")).authorization(secret()), LIMIT).unwrap();
    assert!(server.requests().iter().all(|head| head.header("authorization").is_some()));
}

#[test]
fn ten_redirects_are_followed_and_no_more() {
    let server = Server::start(|head, stream| {
        let count: u32 = head.path()[1..].parse().unwrap();
        let reply = match count {
            0 => answer("200 OK", &[], "done"),
            _ => answer("302 Found", &[&format!("Location: /{}", count - 1)], ""),
        };
        let _ = stream.write_all(reply.as_bytes());
    });
    assert_eq!(client().document(&Request::get(server.url("/10")), LIMIT).unwrap(), b"done");
    let error = client().document(&Request::get(server.url("/11")), LIMIT).unwrap_err();
    assert!(matches!(error, HttpError::TooManyRedirects(_)), "{error}");
    assert_eq!(server.requests().len(), 22);
}

#[test]
fn uploads_are_not_sent_elsewhere() {
    let server = Server::always(&answer("307 Temporary Redirect", &["Location: /elsewhere"], ""));
    let client = client();
    let request =
        Request::new(fetch::http::Method::PUT, server.url("/x")).body(fetch::http::Body::Bytes("content".into()));
    let answer = client.block_on(async { client.send(&request).await }).unwrap();
    assert_eq!((answer.status().as_u16(), server.requests().len()), (307, 1));
}

#[test]
fn a_server_cannot_send_us_further_inside() {
    // The first hop is this machine, so only what is special is further inside.
    let server = Server::always(&answer("302 Found", &["Location: http://169.254.169.254/latest/meta-data/"], ""));
    let error = client().document(&Request::get(server.url("/")), LIMIT).unwrap_err();
    assert!(matches!(error, HttpError::Internal { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "http://169.254.169.254/latest/meta-data/: refused to connect to the internal address 169.254.169.254 on a \
         server's word"
    );
}

#[test]
fn what_a_public_server_names_must_be_public() {
    let server = Server::always(&answer("200 OK", &[], ""));
    for url in [server.url("/"), server.named_url("/"), Url::parse("http://2130706433:9/").unwrap()] {
        let error = client().document(&Request::get(url.clone()).discovered(Reach::Public), LIMIT).unwrap_err();
        assert!(matches!(error, HttpError::Internal { .. }), "{url}: {error}");
    }
    assert!(server.requests().is_empty());
    for url in [server.url("/"), server.named_url("/")] {
        client().document(&Request::get(url).discovered(Reach::Loopback), LIMIT).unwrap();
    }
}

#[test]
fn an_answer_says_how_far_inside_its_server_is() {
    let server = Server::always(&answer("200 OK", &[], ""));
    let client = client();
    for url in [server.url("/"), server.named_url("/")] {
        let answer = client.block_on(async { client.send(&Request::get(url)).await }).unwrap();
        assert_eq!(answer.reach(), Reach::Loopback);
    }
}

#[test]
fn plain_http_needs_permission() {
    let server = Server::always(&answer("200 OK", &[], ""));
    let strict = Client::new(Settings::default());
    let error = strict.document(&Request::get(server.url("/")), LIMIT).unwrap_err();
    assert!(matches!(error, HttpError::PlainHttp(_)), "{error}");
    assert!(server.requests().is_empty());
    let ftp = Url::parse("ftp://example.com/x").unwrap();
    assert!(matches!(strict.document(&Request::get(ftp), LIMIT), Err(HttpError::Scheme { .. })));
}
