//! Ports that lead into pods: datagrams, ranges, addresses, several names for one; sockets that systemd hands on.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use integration_tests::images::{Aci, busybox, with_perl};
use integration_tests::needs::{Place, place, tool};
use integration_tests::{Env, User, each_user, limit, needs};
use rustix::process::Signal;
use serde_json::json;

each_user! {
    udp_ranges_addresses_and_names,
    rkt_socket_activation_sockets_are_handed_on,
}

/// Whether this machine has what pasta needs: a default route.
fn uplink() -> Result<PathBuf, String> {
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    if !routes.lines().any(|line| line.split_whitespace().nth(1) == Some("00000000")) {
        return Err("this machine has no default route".into());
    }
    tool("pasta")
}

/// A number of ports in sequence of which this host has none in use, for streams and datagrams.
fn free_ports(count: u16) -> u16 {
    let is_free =
        |port: u16| TcpListener::bind(("0.0.0.0", port)).is_ok() && UdpSocket::bind(("0.0.0.0", port)).is_ok();
    for _ in 0..1000 {
        let probe = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
        if probe < u16::MAX - count && (probe..probe + count).all(is_free) {
            return probe;
        }
    }
    panic!("there are no {count} free ports in sequence");
}

/// Asks until there is an answer.
#[track_caller]
fn patiently<T>(what: &str, mut ask: impl FnMut() -> std::io::Result<T>) -> T {
    let deadline = Instant::now() + limit();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(error) => assert!(Instant::now() < deadline, "{what}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a server of lines says at this address.
#[track_caller]
fn ask(address: SocketAddr) -> String {
    patiently(&address.to_string(), || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"hello\n")?;
        let mut answer = [0; 100];
        match stream.read(&mut answer)? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            length => Ok(String::from_utf8_lossy(&answer[..length]).into_owned()),
        }
    })
}

/// What a server of datagrams answers.
#[track_caller]
fn ask_udp(address: SocketAddr) -> String {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("it is a socket");
    patiently(&address.to_string(), || {
        socket.send_to(b"hello\n", address)?;
        let mut answer = [0; 100];
        let length = socket.recv(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    })
}

/// Serves lines at ports 80, 81 and 82, and answers datagrams at 53: one process, which says the port it was asked at.
/// The image has no modules of perl: 2 is AF_INET and SOCK_DGRAM, 1 is SOCK_STREAM.
const SERVER: &str = r#"
my ($set, %of) = ("");
sub here { pack("S n x4 x8", 2, shift) }
for my $port (80, 81, 82) {
    socket(my $s, 2, 1, 0) or die; bind($s, here($port)) or die "bind: $!"; listen($s, 10) or die;
    vec($set, fileno($s), 1) = 1; $of{$port} = $s;
}
socket(my $u, 2, 2, 0) or die; bind($u, here(53)) or die "bind: $!";
vec($set, fileno($u), 1) = 1;
while (select(my $ready = $set, undef, undef, undef) > 0) {
    for my $port (keys %of) {
        next unless vec($ready, fileno($of{$port}), 1);
        accept(my $c, $of{$port}) or next; sysread($c, my $line, 100); syswrite($c, "from $port\n");
        sysread($c, $line, 1);
    }
    if (vec($ready, fileno($u), 1)) { my $who = recv($u, my $line, 100, 0); send($u, "datagram\n", 0, $who); }
}
"#;

fn udp_ranges_addresses_and_names(env: &Env) {
    needs!(place(Place::Host));
    needs!(uplink());
    let tree = needs!(with_perl(busybox())).file("server.pl", SERVER, 0o644);
    let ports = json!([
        {"name": "http", "protocol": "tcp", "port": 80},
        {"name": "alias", "protocol": "tcp", "port": 80},
        {"name": "dns", "protocol": "udp", "port": 53}
    ]);
    let image = Aci::new("web", tree).sh("exec /usr/bin/perl /server.pl").app("ports", ports).build(env);
    let (range, first, second, udp) = (free_ports(3), free_ports(1), free_ports(1), free_ports(2));
    let options = [
        format!("--port=80-82:127.0.0.1:{range}-{}", range + 2),
        format!("--port=http:{first}"),
        format!("--port=alias:{second}"),
        format!("--port=dns:127.0.0.1:{udp}"),
        format!("--port=53/udp:0.0.0.0:{}", udp + 1),
    ];
    let args = ["--insecure-options=image", "run", "--detach", "--name=web"].into_iter();
    let args = args.chain(options.iter().map(String::as_str)).chain([image.to_str().expect("UTF-8")]);
    env.proa(args).outcome().succeeds();
    let at = |ip: &str, port| SocketAddr::new(ip.parse::<IpAddr>().expect("an address"), port);
    for offset in 0..3 {
        assert_eq!(ask(at("127.0.0.1", range + offset)), format!("from {}\n", 80 + offset));
    }
    assert_eq!(ask(at("127.0.0.1", first)), "from 80\n");
    assert_eq!(ask(at("127.0.0.1", second)), "from 80\n", "the same port under another name");
    // Several clients at a time, and each gets its own.
    assert_eq!(ask_udp(at("127.0.0.1", udp)), "datagram\n");
    assert_eq!(ask_udp(at("127.0.0.1", udp)), "datagram\n");
    let status = env.proa(["status", "web"]).outcome().succeeds();
    let shown = status.stdout.lines().find_map(|line| line.strip_prefix("ports=")).expect("ports are shown");
    for port in [
        format!("127.0.0.1:{range}-{}->80-82/tcp", range + 2),
        format!("[::1]:{first}->80/tcp"),
        format!("127.0.0.1:{udp}->53/udp"),
        format!("0.0.0.0:{}->53/udp", udp + 1),
    ] {
        assert!(shown.split(", ").any(|it| it == port), "{port}: {status}");
    }
    let listed = env.proa(["list"]).outcome().succeeds();
    assert!(listed.stdout.lines().next().is_some_and(|line| line.ends_with("PORTS")), "{listed}");
    assert!(listed.stdout.contains(shown), "{listed}");
    env.proa(["stop", "web"]).outcome().succeeds();
    env.proa(["rm", "web"]).outcome().succeeds();
    assert!(UdpSocket::bind(at("127.0.0.1", udp)).is_ok(), "the port is free again");
}

/// Accepts on each socket that it was given, and says its name.
const TAKES_OVER: &str = r#"exec /usr/bin/perl -e '
    my @names = split /:/, $ENV{LISTEN_FDNAMES};
    print "$ENV{LISTEN_FDS} @names\n"; $| = 1; print "up\n";
    for (my $n = 0; $n < $ENV{LISTEN_FDS}; $n++) {
        open(my $l, "+<&=", 3 + $n) or die; accept(my $c, $l) or die; syswrite($c, "$names[$n]\n"); sysread($c, my $end, 1);
    }'"#;

/// As systemd starts a service with a socket unit: the connection waits in the socket before the pod is there.
fn rkt_socket_activation_sockets_are_handed_on(env: &Env) {
    needs!(place(Place::Host));
    let activate = needs!(tool("systemd-socket-activate"));
    let tree = needs!(with_perl(busybox()));
    let ports = json!([
        {"name": "www", "protocol": "tcp", "port": 80, "socketActivated": true},
        {"name": "api", "protocol": "tcp", "port": 81, "socketActivated": true}
    ]);
    let image = Aci::new("serve", tree).sh(TAKES_OVER).app("ports", ports).build(env);
    let image = image.to_str().expect("UTF-8");
    let (www, api) = (free_ports(1), free_ports(1));
    let listen = [format!("--listen=127.0.0.1:{www}"), format!("--listen=127.0.0.1:{api}")];
    // One port is known by its name, the other by the number of the host's port, as in rkt.
    let option = format!("--port=www:{www}");
    let mut activate: Vec<String> = vec![activate.display().to_string()];
    activate.extend(listen);
    activate.push("--fdname=socket:api".to_owned());
    let args = ["--insecure-options=image", "run", "--net=none", &option, image];
    let mut running = env.proa(args).through(&activate).start();
    // The activator starts proa when somebody comes: that one is served, though nobody listened in the pod.
    assert_eq!(ask(SocketAddr::from(([127, 0, 0, 1], www))), "www\n");
    running.wait_for("2 www api");
    assert_eq!(ask(SocketAddr::from(([127, 0, 0, 1], api))), "api\n");
    running.wait().succeeds();
    // A pod of its own, too: its monitor is not the process that they were handed to.
    let mut detached = env.proa(["--insecure-options=image", "run", "--net=none", "--detach", "--rm", &option, image]);
    detached = detached.through(&activate);
    let running = detached.start();
    assert_eq!(ask(SocketAddr::from(([127, 0, 0, 1], www))), "www\n");
    let uuid = running.wait().succeeds().stdout.trim().to_owned();
    assert_eq!(ask(SocketAddr::from(([127, 0, 0, 1], api))), "api\n");
    env.proa(["wait", &uuid]).outcome();
}

/// What cannot be taken over is told, and what was meant for another process is left alone.
#[test]
fn sockets_that_are_none_are_refused() {
    let env = needs!(Env::of(User::WithRange));
    let image = Aci::new("none", busybox()).sh("echo ${LISTEN_FDS:-none}").build(&env);
    let run = || env.run(&image, &[]);
    let with =
        |count: &str| run().through(["sh", "-c", &format!("LISTEN_PID=$$ LISTEN_FDS={count} exec \"$@\""), "sh"]);
    with("x").outcome().refuses("LISTEN_FDS=x: that is no number up to 256");
    with("100000").outcome().refuses("LISTEN_FDS=100000");
    with("200").outcome().refuses("LISTEN_FDS=200: descriptor ");
    let other = run().var("LISTEN_PID", "1").var("LISTEN_FDS", "1").outcome().succeeds().quietly();
    assert_eq!(other.stdout, "none\n");
}

/// A pod with a socket that it was handed ends as others do.
#[test]
fn a_socket_nobody_takes_is_told() {
    needs!(place(Place::Host));
    let activate = needs!(tool("systemd-socket-activate"));
    let env = needs!(Env::of(User::WithRange));
    let image = Aci::new("none", busybox()).sh("echo ${LISTEN_FDS:-none}; sleep 600").build(&env);
    let port = free_ports(1);
    let listen = format!("--listen=127.0.0.1:{port}");
    let wrapper = [activate.to_str().expect("UTF-8"), &listen];
    let mut running = env.run(&image, &[]).through(wrapper).start();
    drop(patiently("the socket", || TcpStream::connect(("127.0.0.1", port))));
    running.wait_for("none");
    running.kill(Signal::TERM);
    let outcome = running.wait();
    assert!(outcome.stderr.contains(&format!("at 127.0.0.1:{port} that proa was handed is for no")), "{outcome}");
}
