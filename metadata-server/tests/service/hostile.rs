//! What a hostile app or whoever stands behind it may send (security MDS-01 to MDS-08, table 4F rows 99 to 101).

use std::io::{Read, Write};

use metadata_api::Token;

use crate::harness::{PodSpec, Server, TestPod, status};

#[test]
fn mds01_f99_every_wrong_token_gets_the_same_answer() {
    let (pod, other) = (TestPod::new(), TestPod::new());
    let good = pod.spec.token.expose();
    let guess = Token::generate().unwrap();
    let longer = format!("{good}0");
    let upper = good.to_uppercase();
    let mut tokens = vec![guess.expose(), other.spec.token.expose(), &longer, &upper, "x", "%2e%2e"];
    tokens.extend((1..good.len()).step_by(7).map(|length| &good[..length]));
    let of = |token: &str, route: &str| pod.service_with(token).get_path(route).unwrap();
    let expected = of(guess.expose(), "/acMetadata/v1/pod/uuid");
    assert_eq!((expected.status, expected.content_type.as_str()), (401, "application/json"));
    for token in tokens {
        for route in ["/acMetadata/v1/pod/uuid", "/acMetadata/v1/apps/none/image/id", ""] {
            assert_eq!(of(token, route), expected, "{token}{route}");
        }
    }
    assert_eq!(pod.status_of(pod.get("/pod/uuid", "").replace("GET /", "GET //")), 401);
    assert_eq!(of(good, "/acMetadata/v1/pod/uuid").status, 200);
}

#[test]
fn mds02_guessing_is_slowed_down_and_hurts_nobody_else() {
    let (pod, other) = (TestPod::new(), TestPod::new());
    let guess = Token::generate().unwrap();
    let statuses: Vec<u16> =
        (0..300).map(|_| pod.service_with(guess.expose()).get_path("/x").unwrap().status).collect();
    assert_eq!(statuses[0], 401);
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(other.service_with(guess.expose()).get_path("/x").unwrap().status, 401, "another pod's allowance");
    assert_eq!(pod.service().get_path("/acMetadata/v1/pod/uuid").unwrap().status, 200, "who knows the token");
}

#[test]
fn mds03_a_stolen_token_is_worth_nothing_at_another_pods_listener() {
    let (a, b) = (TestPod::new(), TestPod::new());
    assert_eq!(b.service_with(a.spec.token.expose()).get_path("/acMetadata/v1/pod/uuid").unwrap().status, 401);
}

#[test]
fn mds04_mds06_requests_from_proxies_and_browsers_are_refused() {
    let pod = TestPod::new();
    for (field, expected) in [
        ("Metadata-Flavor: AppContainer", 200),
        ("X-Forwarded-For: 1.2.3.4", 400),
        ("Forwarded: for=1.2.3.4", 400),
        ("X-Real-IP: 1.2.3.4", 400),
        ("Via: 1.1 x", 400),
        ("X-Forwarded-Host: x", 400),
        ("X-Original-URL: /x", 400),
        ("X-HTTP-Method-Override: POST", 400),
        ("Origin: http://x", 403),
        ("Sec-Fetch-Site: none", 403),
    ] {
        let answer = pod.exchange(pod.get("/pod/uuid", &format!("{field}\r\n")) + &pod.get("/pod/uuid", ""));
        assert_eq!(status(&answer), expected, "{field}");
        // Whatever came behind it on the connection is not looked at.
        assert_eq!(answer.matches("HTTP/1.1 ").count(), if expected == 200 { 2 } else { 1 }, "{answer}");
    }
    let request = pod.get("/pod/uuid", "");
    let host = pod.spec.address().to_string();
    for other in ["evil.example", "evil.example:80", "169.254.169.254", "localhost", &format!("{host}0"), ""] {
        assert_eq!(pod.status_of(request.replace(&host, other)), 421, "{other}");
    }
    assert_eq!(pod.status_of(request.replace(&format!("Host: {host}\r\n"), "")), 400, "no Host");
    assert_eq!(pod.status_of(pod.get("/pod/uuid", &format!("Host: {host}\r\n"))), 400, "two Hosts");
    // Before the token is looked at.
    let guess = request.replace(pod.spec.token.expose(), "x");
    assert_eq!(pod.status_of(guess.replace(&host, "evil.example")), 421);
}

#[test]
fn mds07_ambiguous_requests_are_refused_and_nothing_behind_them_is_read() {
    let pod = TestPod::new();
    let host = pod.spec.address();
    let get = |more: &str| pod.get("/pod/uuid", more);
    let sign = pod.target("/pod/hmac/sign");
    let post = |fields: &str, body: &str| {
        let kind = "Content-Type: application/x-www-form-urlencoded";
        format!("POST {sign} HTTP/1.1\r\nHost: {host}\r\n{kind}\r\n{fields}\r\n{body}")
    };
    let smuggled = pod.get("/pod/manifest", "");
    for request in [
        post("Content-Length: 9\r\nContent-Length: 9\r\n", "content=x"),
        post("Content-Length: 9\r\nContent-Length: 1\r\n", "content=x"),
        post("Content-Length: 9\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\n", "9\r\ncontent=x\r\n0\r\n\r\n"),
        post("Transfer-Encoding: xchunked\r\n", "9\r\ncontent=x\r\n0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\ncontent=x\r\n0\r\n\r\n"),
        post("Content-Length: +9\r\n", "content=x"),
        post("Content-Length: 0x9\r\n", "content=x"),
        post("Content-Length: -1\r\n", "content=x"),
        post("Content-Length : 9\r\n", "content=x"),
        get("Content-Length: 5\r\n") + "hello",
        get("X: a\r\n b\r\n"),
        get("X: a\n"),
        get("").replacen("\r\n", "\n", 1),
        get("").replace("\r\n", "\n"),
        get("X\0: a\r\n"),
        get("X: a\rb\r\n"),
        format!("GET {}\r\n\r\n", pod.target("/pod/uuid")),
        format!("GET http://{host}{} HTTP/1.1\r\nHost: {host}\r\n\r\n", pod.target("/pod/uuid")),
        format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
    ] {
        let answer = pod.exchange(request.clone() + &smuggled);
        assert_eq!(status(&answer), 400, "{request:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{request:?}: {answer}");
    }
    assert_eq!(pod.exchange("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned() + &smuggled), "", "HTTP/2 is not spoken");
}

#[test]
fn mds08_tricks_with_paths_find_nothing() {
    let pod = TestPod::new();
    let token = pod.spec.token.expose();
    for (path, expected) in [
        (format!("/{token}/acMetadata/v1/apps/%00/image/id"), 404),
        (format!("/{token}/acMetadata/v1/apps/web/../web/image/id"), 404),
        (format!("/{token}/acMetadata/v1/apps/web%2fimage/id"), 404),
        (format!("/{token}/acMetadata/v1/apps/web;x/image/id"), 404),
        (format!("/{token}/%61cMetadata/v1/pod/uuid"), 404),
        (format!("/{token}/%2e%2e/{token}/acMetadata/v1/pod/uuid"), 404),
        (format!("//{token}/acMetadata/v1/pod/uuid"), 401),
        (format!("/./{token}/acMetadata/v1/pod/uuid"), 401),
        (format!("/%{:x}{}/acMetadata/v1/pod/uuid", token.as_bytes()[0], &token[1..]), 401),
        (format!("/{token}/acMetadata/v1/pod/uuid?x=/../.."), 200),
        ("*".to_owned(), 401),
    ] {
        assert_eq!(
            pod.status_of(format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", pod.spec.address())),
            expected,
            "{path}"
        );
    }
    let long = pod.exchange(pod.get(&format!("/{}", "a".repeat(64 * 1024)), ""));
    assert!([414, 431].contains(&status(&long)), "{long}");
}

#[test]
fn mds13_heads_are_limited() {
    let pod = TestPod::new();
    let fields: String = (0..1000).map(|n| format!("X-{n}: x\r\n")).collect();
    assert_eq!(pod.status_of(pod.get("/pod/uuid", &fields)), 431);
    assert_eq!(pod.status_of(pod.get("/pod/uuid", &format!("X: {}\r\n", "x".repeat(1 << 20)))), 431);
    assert_eq!(pod.status_of(pod.get("/pod/uuid", &format!("X: {}\r\n", "x".repeat(8 << 10)))), 200);
}

#[test]
fn mds13_a_huge_body_is_refused_before_it_is_sent() {
    let pod = TestPod::new();
    let (target, host) = (pod.target("/pod/hmac/sign"), pod.spec.address());
    let head =
        format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1073741824\r\nExpect: 100-continue\r\n\r\n");
    let mut stream = pod.connect();
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[test]
fn mds10_f99_a_token_dies_with_its_registration() {
    let server = Server::start();
    let spec = PodSpec::new();
    let address = spec.address();
    let uuid = spec.uuid;
    let pod = spec.registered(&server);
    let old = pod.service();
    assert_eq!(old.get_path("/acMetadata/v1/pod/uuid").unwrap().status, 200);
    let mut idle = pod.connect();
    // The same pod with another token: as after a monitor that was started again.
    let mut again = PodSpec::new();
    again.uuid = uuid;
    again.listener = pod.spec.listener.try_clone().unwrap();
    let again = again.registered(&server);
    assert_eq!(again.spec.address(), address);
    assert_eq!(old.get_path("/acMetadata/v1/pod/uuid").unwrap().status, 401);
    assert_eq!(again.service().get_path("/acMetadata/v1/pod/uuid").unwrap().status, 200);
    assert_eq!(crate::harness::read_all(&mut idle), "", "a connection of the old registration");
}

#[test]
fn mds05_an_app_that_fetches_what_strangers_name_gives_no_token_away() {
    let pod = TestPod::new();
    let token = pod.spec.token.expose();
    let host = pod.spec.address();
    // Without the token a URL gets nothing, whatever else it says; no answer redirects, names the token, or lets one be
    // made: there is no way to it but the app's own environment.
    for request in [
        format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET /acMetadata/v1/pod/uuid HTTP/1.1\r\nHost: {host}\r\nMetadata-Flavor: AppContainer\r\n\r\n"),
        format!("GET /latest/meta-data/ HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!(
            "PUT /latest/api/token HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nX-aws-ec2-metadata-token-ttl-seconds: 9\r\n\r\n"
        ),
        format!("GET /{token} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        pod.get("/nothing", ""),
        pod.get("/pod/uuid", "Referer: http://x/\r\n"),
        pod.get("/pod/manifest", ""),
    ] {
        let answer = pod.exchange(request.clone());
        let lower = answer.to_lowercase();
        assert!(
            !answer.contains(token) && !lower.contains("\r\nlocation:") && !lower.contains("\r\nset-cookie:"),
            "{answer}"
        );
        assert!(lower.contains("\r\nreferrer-policy: no-referrer\r\n"), "{answer}");
        let knows = request.contains(&format!("/{token}/acMetadata/v1/pod"));
        assert_eq!(status(&answer) == 200, knows && !request.contains("/nothing"), "{request}: {answer}");
        assert!(knows || request.contains(token) || status(&answer) == 401, "{request}: {answer}");
    }
}

#[test]
fn mds14_a_pod_is_told_of_itself_alone() {
    let server = Server::start();
    let with = |mark: &str| {
        let mut spec = PodSpec::new();
        let more = format!(r#","annotations":[{{"name":"mark","value":"{mark}"}}],"userLabels":{{"mark":"{mark}"}}"#);
        spec.manifest = crate::harness::manifest(&["web", "side"], &more);
        spec.registered(&server)
    };
    let (a, b) = (with("of-a"), with("of-b"));
    let routes = [
        "/pod/uuid",
        "/pod/manifest",
        "/pod/annotations",
        "/apps/web/image/id",
        "/apps/web/image/manifest",
        "/apps/web/annotations",
        "/apps/web/log",
        "/pod",
        "/apps",
        "/apps/other/image/id",
        "/",
    ];
    for (pod, other) in [(&a, &b), (&b, &a)] {
        let (uuid, token) = (other.spec.uuid.to_string(), other.spec.token.expose());
        let mark = if std::ptr::eq(pod, &a) { "of-b" } else { "of-a" };
        // What the service reads and keeps is no business of any pod either.
        let paths = [server.data().to_str().unwrap().to_owned(), "hmac.key".to_owned()];
        for route in routes {
            let answer = pod.exchange(pod.get(route, ""));
            for foreign in [mark, &uuid, token, &paths[0], &paths[1]] {
                assert!(!answer.contains(foreign), "{route} tells {foreign}: {answer}");
            }
        }
    }
    // The control: what is a pod's own is told.
    assert!(a.exchange(a.get("/pod/manifest", "")).contains("of-a"));
}
