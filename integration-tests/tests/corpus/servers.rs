//! Servers, proxies, credential helpers and clocks that are not what a fetch needs.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::thread::JoinHandle;

use integration_tests::needs;
use integration_tests::registry::{Authority, Setup};
use integration_tests::site::{Answer, Internet};
use serde_json::json;

use crate::somebody;

/// A server that gives everybody the same answer, which makes nobody content.
struct Refusing {
    address: SocketAddr,
    thread: JoinHandle<Vec<String>>,
}

impl Refusing {
    /// Every connection is answered once, and then closed.
    fn with(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let thread = std::thread::spawn(move || {
            let mut heads = Vec::new();
            for mut client in listener.incoming().map_while(Result::ok) {
                let mut head = [0; 4096];
                match client.read(&mut head) {
                    Ok(length @ 1..) => heads.push(String::from_utf8_lossy(&head[..length]).into_owned()),
                    _ => break,
                }
                // A client that is gone wants no answer.
                let _ = client.write_all(answer.as_bytes());
            }
            heads
        });
        Self { address, thread }
    }

    /// Ends it; the heads of the requests that came.
    fn heads(self) -> Vec<String> {
        // Who connects and says nothing is the last one.
        drop(TcpStream::connect(self.address));
        self.thread.join().expect("it does not panic")
    }
}

#[test]
fn unp_20_what_is_no_digest_reaches_no_server() {
    let env = needs!(somebody());
    let registry = needs!(Setup::plain().start(&env, "registry"));
    let before = registry.requests().len();
    let hex = "ab".repeat(32);
    let bad = ["sha256:../../x", "sha256:", "", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha512:abab", &hex];
    let bad = bad.map(str::to_owned).into_iter().chain([
        format!("sha256:{}", &hex[1..]),
        format!("sha256:{hex}a"),
        format!("sha256:{}", hex.to_uppercase()),
        format!("sha256:{hex}/../x"),
    ]);
    for digest in bad {
        let image = format!("docker://{}@{digest}", registry.name("app"));
        let outcome = env.proa(["--insecure-options=http", "fetch", &image]).outcome().exits(254);
        assert!(
            !env.data().join("store/tmp").exists()
                || fs::read_dir(env.data().join("store/tmp")).expect("ours").next().is_none(),
            "{outcome}"
        );
    }
    assert_eq!(registry.requests().len(), before);
}

/// A helper that is not there, that fails or talks nonsense is an error, and nobody is asked with what it said about another.
#[test]
fn reg_05_a_broken_helper_sends_nobody_anything() {
    let env = needs!(somebody());
    let theirs = needs!(Setup::plain().user("me", "canary").start(&env, "theirs"));
    // Another server, which counts what it is shown.
    let other = Refusing::with(
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    );
    for folder in ["home/.docker", "bin"] {
        env.make_dir(&env.path(folder));
    }
    env.write("home/.docker/config.json", json!({"credHelpers": {theirs.host(): "test"}}).to_string());
    let path = format!("{}:/usr/bin:/bin", env.path("bin").display());
    let fetch = |host: &str| {
        let image = format!("docker://{host}/app:v1");
        env.proa(["--insecure-options=http", "--debug", "fetch", &image]).var("PATH", &path).outcome()
    };
    fetch(&theirs.host()).exits(254).stderr_shows("docker-credential-test");
    let answers = [
        "exit 1",
        "echo; echo canary",
        "echo '{}'",
        "echo '{\"Username\":\"me\",\"Secret\":\"canary\"'",
        // Right in itself, and about somebody else.
        "echo '{\"ServerURL\":\"https://index.docker.io/v1/\",\"Username\":\"me\",\"Secret\":\"canary\"}'",
        "kill -9 $$",
    ];
    for answer in answers {
        let helper = env.write("bin/docker-credential-test", format!("#!/bin/sh\ncat >/dev/null\n{answer}\n"));
        fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let outcome = fetch(&theirs.host()).exits(254);
        assert!(!outcome.stderr.contains("canary"), "{answer}: the secret is told: {outcome}");
    }
    // With a helper that works, the other server is told nothing either: it is not the one that was asked about.
    let right = "cat >/dev/null\necho '{\"Username\":\"me\",\"Secret\":\"canary\"}'\n";
    env.write("bin/docker-credential-test", format!("#!/bin/sh\n{right}"));
    fetch(&other.address.to_string()).exits(254);
    fetch(&theirs.host()).exits(254).stderr_shows("has no image");
    let heads = other.heads();
    let shows = |head: &String| head.to_lowercase().contains("authorization");
    assert!(!heads.is_empty() && !heads.iter().any(shows), "{heads:?}");
}

#[test]
fn reg_13_no_cookies_and_no_netrc() {
    let net = needs!(Internet::new());
    let netrc = "machine example.com login user password canary\ndefault login user password canary\n";
    let file = net.env.write("home/.netrc", netrc);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("ours");
    let cookie = |answer: Answer| answer.header("Set-Cookie", "canary=1; Path=/; Domain=example.com");
    net.site.page("example.com/app.aci", cookie(Answer::redirect("https://example.com/there.aci")));
    net.site.page("example.com/there.aci", cookie(Answer::redirect("https://example.com/end.aci")));
    net.site.page("example.com/end.aci", cookie(Answer::status(401)).header("WWW-Authenticate", "Basic realm=x"));
    net.proa(&["--insecure-options=image", "fetch", "https://example.com/app.aci"]).exits(254);
    let hits = net.site.hits();
    assert_eq!(hits.len(), 3, "{hits:?}");
    assert!(hits.iter().all(|hit| hit.header("cookie").is_none() && hit.header("authorization").is_none()), "{hits:?}");
}

#[test]
fn table_66_proxies_that_do_not_help() {
    let env = needs!(somebody());
    let fetch = |proxy: &str| {
        let line = env.proa(["--debug", "fetch", "https://example.com/app.aci"]);
        let outcome = line.var("HTTPS_PROXY", proxy).outcome();
        assert!(!outcome.stderr.contains("canary"), "the password is told: {outcome}");
        outcome.exits(254)
    };
    // Nobody is there.
    fetch("http://user:canary@127.0.0.1:1").stderr_shows("hint: ");
    // It wants other credentials.
    let proxy = Refusing::with(
        "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n",
    );
    let outcome = fetch(&format!("http://user:canary@{}", proxy.address));
    let heads = proxy.heads();
    assert!(
        heads.iter().all(|head| head.starts_with("CONNECT example.com:443 ")) && !heads.is_empty(),
        "{heads:?}\n{outcome}"
    );
    assert!(heads.len() <= 6, "it is asked {} times", heads.len());
}

/// With a clock that is ten years off, every certificate is of the future or of the past: the message says what time it is here.
#[test]
fn table_67_a_clock_that_is_wrong() {
    let env = needs!(somebody());
    let authority = needs!(Authority::new(&env));
    let names = "DNS:localhost,IP:127.0.0.1";
    for (server, from, to, offending) in [
        ("future", "20960101000000Z", "20970101000000Z", "the certificate is not valid yet; local time is 20"),
        ("past", "20120101000000Z", "20130101000000Z", "the certificate is expired; local time is 20"),
    ] {
        let certificate = needs!(authority.issue_between(server, names, from, to));
        let registry = needs!(Setup::plain().tls(certificate).start(&env, server));
        let image = format!("docker://{}", registry.name("app:v1"));
        let outcome = env.proa(["fetch", &image]).var("SSL_CERT_FILE", authority.certificate()).outcome();
        outcome.exits(254).stderr_shows(offending);
        // It is the clock alone that is in the way.
        let outcome = env.proa(["--insecure-options=tls", "fetch", &image]).outcome();
        outcome.exits(254).stderr_shows("has no image");
    }
}
