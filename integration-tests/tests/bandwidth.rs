//! The bound of what passes between a pod and the world (appc ace.md, "resource/network-bandwidth").

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use integration_tests::images::{Aci, busybox, with_perl};
use integration_tests::needs::{Place, place, tool};
use integration_tests::{Env, User, each_user, limit, needs};
use serde_json::{Value, json};

each_user! {
    what_is_not_bounded_is_told,
}

/// Bytes a second.
const RATE: usize = 500_000;
/// Bytes that are sent.
const LENGTH: usize = 600_000;

/// An address of this machine at which pasta, and no program of proa's, takes connections.
fn address() -> Result<IpAddr, String> {
    let socket = UdpSocket::bind("0.0.0.0:0").map_err(|error| error.to_string())?;
    // Nothing is sent.
    let own = socket.connect("198.51.100.1:9").and_then(|()| socket.local_addr()).map(|address| address.ip());
    own.map_err(|_| "this machine has no default route".to_owned())
}

fn path(image: &Path) -> &str {
    image.to_str().expect("UTF-8")
}

/// What the app that serves below does with a connection: `o` has it send, `i` has it take and then answer.
fn transfer(address: (IpAddr, u16), what: u8) -> std::io::Result<usize> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(limit()))?;
    stream.write_all(&[what])?;
    if what == b'i' {
        stream.write_all(&vec![0; LENGTH])?;
    }
    // The server waits until the client has gone: Debian 12's pasta loses what one says that closes at once.
    let mut taken = vec![0; if what == b'o' { LENGTH } else { 1 }];
    stream.read_exact(&mut taken)?;
    Ok(taken.len())
}

#[test]
fn both_directions_are_bounded_and_the_app_cannot_change_that() {
    needs!(place(Place::Host));
    needs!(tool("pasta"));
    let address = needs!(address());
    let env = needs!(Env::of(User::WithRange));
    let tree = needs!(with_perl(busybox()));
    let serve = format!(
        r#"exec /usr/bin/perl -e '
        socket(my $s, 2, 1, 0) or die; bind($s, pack("S n x4 x8", 2, 80)) or die; listen($s, 8);
        while (accept(my $c, $s)) {{
            sysread($c, my $what, 1) or next;
            if ($what eq "o") {{ syswrite($c, "x" x {LENGTH}) }} else {{
                my $sum = 0; while ($sum < {LENGTH} and my $n = sysread($c, my $b, 65536)) {{ $sum += $n }} syswrite($c, "k");
            }}
            sysread($c, $what, 1);
        }}'"#
    );
    let image = Aci::new("server", tree).sh(&serve).build(&env);
    let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
    let (port_option, bound) = (format!("--port=80:0.0.0.0:{port}"), format!("--network-bandwidth={RATE}"));
    let args = ["--insecure-options=image", "run", "--strict", "--detach", "--name=pod", &port_option, &bound];
    env.proa(args.into_iter().chain([path(&image)])).outcome().succeeds().quietly();
    let status = env.proa(["status", "--format=json", "pod"]).outcome().succeeds();
    let status: Value = serde_json::from_str(status.line()).expect("JSON");
    assert_eq!(status["isolators"], json!([{"isolator": "resource/network-bandwidth", "outcome": "enforced"}]));
    for what in [b'o', b'i'] {
        let deadline = Instant::now() + limit();
        let took = loop {
            let begun = Instant::now();
            match transfer((address, port), what) {
                Ok(_) => break begun.elapsed(),
                // The server may not listen yet.
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        // What may go at once is a small part of it. A machine that is busy takes longer, and none less.
        let least = Duration::from_secs_f64((LENGTH - 50_000) as f64 / RATE as f64);
        assert!(took >= least, "{}: {took:?} for what takes {least:?}", char::from(what));
    }
    // Root of the app has no right over the pod's network.
    let script = "ip link set eth0-in down && echo down; ip link delete eth0-in && echo gone; ip link set lo mtu 1000 && echo set";
    let tried = env.proa(["enter", "pod", "/bin/sh", "-c", script]).outcome();
    assert_eq!(tried.stdout, "", "{tried}");
    // And what goes over the loopback interface passes no queue (appc: "MUST NOT apply to localhost communication").
    let queues = "cat /sys/class/net/lo/tx_queue_len /sys/class/net/eth0-in/operstate; ls /sys/class/net";
    let seen = env.proa(["enter", "pod", "/bin/sh", "-c", queues]).outcome().succeeds();
    assert!(seen.stdout.contains("eth0-in"), "{seen}");
    env.proa(["stop", "pod"]).outcome().succeeds();
    env.proa(["rm", "pod"]).outcome().succeeds();
}

fn what_is_not_bounded_is_told(env: &Env) {
    let isolators = json!([{"name": "resource/network-bandwidth", "value": {"default": true, "limit": "1M"}}]);
    let image = Aci::new("bounded", busybox()).sh("echo ran").app("isolators", isolators).build(env);
    let image = path(&image);
    let run = |options: &[&str], images: &[&str]| {
        let args = ["--insecure-options=image", "run"];
        env.proa(args.iter().chain(options).chain(images).copied()).outcome()
    };
    // Nothing passes there at all.
    run(&["--net=none"], &[image]).succeeds().prints("ran\n").quietly();
    let of_host = "resource/network-bandwidth: ignored: the pod has the host's network";
    run(&["--net=host"], &[image]).succeeds().stderr_shows(of_host);
    run(&["--net=host", "--strict"], &[image]).exits(254).stderr_shows(of_host);
    run(&["--net=host", "--network-bandwidth=1M"], &[image])
        .succeeds()
        .stderr_shows(&format!("pod: isolator {of_host}"));
    let two = [image, "--name=one", "---", image, "--name=two"];
    run(&["--net=none"], &two).succeeds().stderr_shows("the apps of a pod share its network: give it to the pod");
    for wrong in ["0", "-1", "x", "1M2", "0.0"] {
        run(&["--net=none", &format!("--network-bandwidth={wrong}")], &[image]).exits(254).stderr_shows(wrong);
    }
    let again = run(&["--net=none", "--dry-run", "--network-bandwidth=2M"], &[image]).succeeds();
    again.shows("--network-bandwidth=2M");
}
