//! Clients that are too many, too slow, or too fast (security MDS-13, table 4F row 103).

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use crate::harness::{PodSpec, Server, read_all, status};

#[test]
fn mds13_slow_clients_are_given_up_and_others_served() {
    let server = Server::start();
    let pod = PodSpec::new().registered(&server);
    let host = pod.spec.address();
    let mut head = pod.connect();
    let mut body = pod.connect();
    let sign = pod.target("/pod/hmac/sign");
    let form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000";
    body.write_all(format!("POST {sign} HTTP/1.1\r\nHost: {host}\r\n{form}\r\n\r\n").as_bytes()).unwrap();
    let started = Instant::now();
    let trickle = |stream: &mut std::net::TcpStream| {
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut answer = Vec::new();
        loop {
            let _ = stream.write_all(b"x");
            match stream.read_to_end(&mut answer) {
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {}
                _ => return String::from_utf8(answer).unwrap(),
            }
            assert!(started.elapsed() < Duration::from_secs(30), "still connected");
            let asked = Instant::now();
            assert_eq!(pod.service().get_path("/acMetadata/v1/pod/uuid").unwrap().status, 200);
            assert!(asked.elapsed() < Duration::from_secs(5));
        }
    };
    let answers = [trickle(&mut head), trickle(&mut body)];
    assert!(answers.iter().all(|answer| answer.is_empty() || status(answer) == 408), "{answers:?}");
    assert!(answers.iter().any(|answer| status(answer) == 408), "{answers:?}");
}

#[test]
fn mds13_a_client_that_never_reads_is_given_up() {
    let mut spec = PodSpec::new();
    let value = "x".repeat(1 << 20);
    spec.manifest = crate::harness::manifest(&["web", "side"], &format!(r#","userLabels":{{"x":"{value}"}}"#));
    let pod = spec.registered(Server::shared());
    let mut stream = pod.connect();
    let started = Instant::now();
    // Until the service stops reading, too.
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    while stream.write_all(pod.get("/pod/manifest", "").repeat(1000).as_bytes()).is_ok() {}
    let mut rest = pod.connect();
    rest.write_all(pod.get("/pod/uuid", "Connection: close\r\n").as_bytes()).unwrap();
    assert_eq!(status(&read_all(&mut rest)), 200, "others are served");
    loop {
        match stream.write(b"x") {
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {}
            Err(_) => break,
            Ok(_) => {}
        }
        assert!(started.elapsed() < Duration::from_secs(30), "still connected");
    }
}

#[test]
fn mds13_one_pods_idle_connections_keep_nobody_out() {
    let server = Server::start();
    let (pod, other) = (PodSpec::new().registered(&server), PodSpec::new().registered(&server));
    let idle: Vec<_> = (0..500).map(|_| pod.connect()).collect();
    assert_eq!(pod.service().get_path("/acMetadata/v1/pod/uuid").unwrap().status, 200);
    assert_eq!(other.service().get_path("/acMetadata/v1/pod/uuid").unwrap().status, 200);
    // The first ones made room for the last ones.
    let mut closed = 0;
    for stream in &idle {
        stream.set_nonblocking(true).unwrap();
        let mut stream = stream;
        match stream.read(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            _ => closed += 1,
        }
    }
    assert!((468..=480).contains(&closed), "{closed} of 500 are closed");
}

#[test]
fn mds13_when_all_are_busy_one_more_is_told_so() {
    let server = Server::start();
    let pod = PodSpec::new().registered(&server);
    let busy: Vec<_> = (0..32)
        .map(|_| {
            let mut stream = pod.connect();
            stream.write_all(b"GET /").unwrap();
            stream
        })
        .collect();
    // Their first bytes have to be read before they count as busy.
    std::thread::sleep(Duration::from_millis(200));
    let answer = read_all(&mut pod.connect());
    assert_eq!(status(&answer), 429, "{answer}");
    drop(busy);
    crate::harness::eventually("there is room again", || {
        pod.service().get_path("/acMetadata/v1/pod/uuid").is_ok_and(|answer| answer.status == 200)
    });
}

#[test]
fn mds13_pipelined_requests_are_answered_in_order_while_others_are() {
    let server = Server::start();
    let (pod, other) = (PodSpec::new().registered(&server), PodSpec::new().registered(&server));
    const PAIRS: usize = 10_000;
    let mut reading = pod.connect();
    let mut writing = reading.try_clone().unwrap();
    let pair = pod.get("/pod/uuid", "") + &pod.get("/apps/web/image/id", "");
    let last = pod.get("/nothing", "Connection: close\r\n");
    let sender = std::thread::spawn(move || {
        for _ in 0..PAIRS / 100 {
            writing.write_all(pair.repeat(100).as_bytes()).unwrap();
        }
        writing.write_all(last.as_bytes()).unwrap();
    });
    let reader = std::thread::spawn(move || read_all(&mut reading));
    for _ in 0..20 {
        assert_eq!(other.service().get_path("/acMetadata/v1/pod/uuid").unwrap().status, 200);
    }
    sender.join().unwrap();
    let answers = reader.join().unwrap();
    let (uuid, id) = (pod.spec.uuid.to_string(), crate::harness::IMAGE_ID);
    let mut rest = answers.as_str();
    for _ in 0..PAIRS {
        for expected in [&*uuid, id] {
            let at = rest.find("\r\n\r\n").expect("another answer") + 4;
            assert!(rest.starts_with("HTTP/1.1 200") && rest[at..].starts_with(expected));
            rest = &rest[at + expected.len()..];
        }
    }
    assert_eq!(status(rest), 404);
}
