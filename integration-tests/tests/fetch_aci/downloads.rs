//! Images by URL: credentials, caches, what is cut, servers that fail.

use integration_tests::needs;
use integration_tests::site::{Answer, Hit};
use serde_json::json;

use crate::{AT, URL, World};

#[test]
fn an_image_is_fetched_by_url_with_its_signature() {
    let world = needs!(World::new());
    world.publish("1.0.0", AT);
    let id = world.fetch(&[URL]).succeeds().stderr_shows("signature verified:\n  maker\n").line().to_owned();
    assert_eq!(world.urls(), [AT.to_owned(), format!("{AT}.asc")]);
    world.runs(&id).prints("version 1.0.0\n").quietly();
    // What has not changed costs one request; by default `run` asks for nothing.
    assert_eq!(world.fetch(&[URL]).succeeds().quietly().line(), id);
    assert_eq!(world.urls(), [AT]);
    world.runs(URL).prints("version 1.0.0\n");
    assert_eq!(world.urls(), Vec::<String>::new());
    // Something new is fetched, and verified.
    world.publish("2.0.0", AT);
    let newer = world.fetch(&[URL]).succeeds().line().to_owned();
    assert_ne!(newer, id);
    world.runs(URL).prints("version 2.0.0\n");
}

#[test]
fn credentials_open_what_is_closed_and_stay_with_their_host() {
    let world = needs!(World::new());
    let file = world.image("1.0.0");
    let bytes = std::fs::read(&file).expect("it was just written");
    let closed = move |wanted: &'static str| {
        let bytes = bytes.clone();
        move |hit: &Hit| match hit.header("authorization") {
            Some(shown) if shown == wanted => Answer::ok(bytes.clone()),
            _ => Answer::status(401),
        }
    };
    // base64 of user:pass
    world.net.site.route("dist.example.com/basic.aci", closed("Basic dXNlcjpwYXNz"));
    world.net.site.route("token.example.com/token.aci", closed("Bearer someToken"));
    let fetch = |url: &str| world.net.proa(&["--insecure-options=image", "fetch", url]);
    fetch("https://dist.example.com/basic.aci").refuses("401");
    let auth = |domain: &str, kind: &str, credentials: serde_json::Value| json!({"rktKind": "auth", "rktVersion": "v1", "domains": [domain], "type": kind, "credentials": credentials});
    let folder = "home/.config/proa/auth.d";
    world.net.env.make_dir(&world.net.env.path(folder));
    let write = |name: &str, content: serde_json::Value| {
        world.net.env.write(format!("{folder}/{name}.json"), content.to_string());
    };
    write("basic", auth("dist.example.com", "basic", json!({"user": "user", "password": "wrong-canary"})));
    write("token", auth("token.example.com:443", "oauth", json!({"token": "someToken"})));
    let outcome = fetch("https://dist.example.com/basic.aci").refuses("401");
    assert!(!outcome.stderr.contains("canary"), "{outcome}");
    write("basic", auth("dist.example.com", "basic", json!({"user": "user", "password": "pass"})));
    fetch("https://dist.example.com/basic.aci").succeeds();
    fetch("https://token.example.com/token.aci").succeeds();
    // REG-01: another host, another port, a host below, and back again.
    world.net.site.hits();
    for target in ["https://other.org/x", "https://dist.example.com:8443/x", "https://a.dist.example.com/x"] {
        world.net.site.page("dist.example.com/away.aci", Answer::redirect(target));
        world.net.site.page("other.org/x", Answer::redirect("https://dist.example.com/back"));
        fetch("https://dist.example.com/away.aci").exits(254);
        let shown = world.net.site.hits().into_iter().filter(|hit| hit.header("authorization").is_some());
        let shown: Vec<String> = shown.map(|hit| hit.url()).collect();
        assert_eq!(shown, ["https://dist.example.com/away.aci"], "{target}");
    }
    fetch("https://user:canary@dist.example.com/x.aci").refuses("no user name or password");
}

#[test]
fn cut_downloads_are_resumed() {
    let world = needs!(World::new());
    let bytes = world.publish("1.0.0", AT);
    let (size, half) = (bytes.len(), bytes.len() / 2);
    let tag = |answer: Answer, etag: &str| answer.header("ETag", etag);
    // The first answer ends in the middle, and so does the server for good.
    let first = bytes.clone();
    world.net.site.route(AT, move |hit| match hit.header("range") {
        None => tag(Answer::ok(first.clone()).cut_after(half), "\"1\""),
        Some(_) => Answer::status(404),
    });
    let outcome = world.fetch(&[URL]).exits(254);
    assert!(outcome.stderr.contains("bad HTTP status code: 404"), "{outcome}");
    // A later process goes on where that one ended.
    let rest = bytes.clone();
    world.net.site.hits();
    world.net.site.route(AT, move |hit| {
        let Some(range) = hit.header("range") else { return Answer::status(500) };
        let start: usize = range.trim_start_matches("bytes=").trim_end_matches('-').parse().expect("a number");
        assert_eq!(hit.header("if-range"), Some("\"1\""));
        let range = format!("bytes {start}-{}/{size}", size - 1);
        tag(Answer::partial(rest[start..].to_vec()).header("Content-Range", &range), "\"1\"")
    });
    world.fetch(&[URL]).succeeds();
    let ranges: Vec<_> =
        world.net.site.hits().into_iter().filter_map(|hit| hit.headers.get("range").cloned()).collect();
    assert_eq!(ranges, [format!("bytes={half}-")]);
    world.runs(URL).prints("version 1.0.0\n");
}

/// Which knows no ranges: what comes again is no progress.
#[test]
fn a_server_that_always_ends_early_is_given_up() {
    let world = needs!(World::new());
    let bytes = world.publish("1.0.0", AT);
    let half = bytes.len() / 2;
    for etag in [None, Some("\"1\"")] {
        let bytes = bytes.clone();
        world.net.site.route(AT, move |_| {
            let cut = Answer::ok(bytes.clone()).cut_after(half);
            if let Some(etag) = etag { cut.header("ETag", etag) } else { cut }
        });
        world.net.site.hits();
        let begun = std::time::Instant::now();
        world.fetch(&[URL]).refuses("app.aci");
        let asked = world.net.site.hits().iter().filter(|hit| hit.path.ends_with(".aci")).count();
        assert!((2..=6).contains(&asked), "asked {asked} times in {:?}", begun.elapsed());
    }
}

#[test]
fn what_is_no_rest_of_the_same_file_is_fetched_from_the_start() {
    let world = needs!(World::new());
    for (name, answer) in [
        // Another file by now: the server sends it whole. It knows no ranges. The range is none of it.
        ("changed", 200),
        ("unsatisfiable", 416),
        ("another-part", 206),
    ] {
        let at = format!("dist.example.com/{name}.aci");
        let url = format!("https://{at}");
        let old = world.publish("1.0.0", &at);
        let half = old.len() / 2;
        let mut times = 0;
        let cut = old.clone();
        world.net.site.route(&at, move |_| {
            times += 1;
            if times == 1 {
                Answer::ok(cut.clone()).header("ETag", "\"1\"").cut_after(half)
            } else {
                Answer::status(404)
            }
        });
        world.fetch(&[&url]).exits(254);
        let new = world.publish("2.0.0", &at);
        let whole = new.clone();
        world.net.site.route(&at, move |hit| {
            let whole = Answer::ok(whole.clone()).header("ETag", "\"2\"");
            match (hit.header("range"), answer) {
                (Some(_), 416) => Answer::status(416),
                (Some(_), 206) => {
                    Answer::partial("junk").header("Content-Range", "bytes 5-8/100").header("ETag", "\"2\"")
                }
                _ => whole,
            }
        });
        world.fetch(&[&url]).succeeds();
        world.runs(&url).prints("version 2.0.0\n");
    }
}

#[test]
fn cache_control_saves_requests() {
    let world = needs!(World::new());
    let bytes = world.publish("1.0.0", AT);
    for (value, requests) in [("max-age=600", 0), ("max-age=0", 1), ("no-store, max-age=600", 1)] {
        let (bytes, etag) = (bytes.clone(), format!("\"{value}\""));
        world.net.site.route(AT, move |hit| {
            let answer = if hit.header("if-none-match") == Some(&etag) {
                Answer::status(304)
            } else {
                Answer::ok(bytes.clone())
            };
            answer.header("ETag", &etag).header("Cache-Control", value)
        });
        // Once with the old state, once with what the server says now.
        world.fetch(&[URL]).succeeds();
        if requests == 0 {
            world.urls();
        }
        world.urls();
        world.fetch(&[URL]).succeeds();
        assert_eq!(world.urls().len(), requests, "{value}");
        world.net.proa(&["image", "rm", "example.com/app"]).succeeds();
    }
}

#[test]
fn faults_of_servers() {
    let world = needs!(World::new());
    let fails = |what: &str| drop(world.net.proa(&["--insecure-options=image", "fetch", URL]).rejects(what));
    for (answer, what) in [
        (Answer::status(404), "bad HTTP status code: 404"),
        (Answer::status(403), "bad HTTP status code: 403"),
        (Answer::status(202), "asked later"),
        (Answer::ok(""), "empty"),
        (Answer::ok("<html>not found"), "not a tar archive"),
        (Answer::redirect("http://dist.example.com/x"), "refused a redirect"),
    ] {
        world.net.site.page(AT, answer);
        fails(what);
    }
    let plain = URL.replace("https", "http");
    world.net.proa(&["--insecure-options=image", "fetch", &plain]).refuses("plain http is not permitted");
    let untrusted = world.net.with(world.net.env.proa(["fetch", URL])).without_var("SSL_CERT_FILE");
    untrusted.outcome().rejects("certificate");
    // Good again right afterwards, and over plain HTTP on the operator's word.
    world.publish("1.0.0", AT);
    world.fetch(&[URL]).succeeds();
    world.net.proa(&["--insecure-options=http", "fetch", &plain]).succeeds();
}
