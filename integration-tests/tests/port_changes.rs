//! Ports of a pod that runs are added and removed: who comes by them, what is shown, what cannot be.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use integration_tests::images::{Aci, busybox, with_perl};
use integration_tests::needs::{Place, place, tool};
use integration_tests::{Env, User, each_user, limit, needs, process};
use rustix::process::Signal;
use serde_json::{Value, json};

each_user! {
    ports_of_a_running_pod_come_and_go,
}

/// Says to each client the port that it came to and the address it comes from, and then what it says, until it goes: at
/// ports 80 and 81, and once for each datagram at 53. 2 is AF_INET and SOCK_DGRAM, 1 is SOCK_STREAM.
const SERVER: &str = r#"
$SIG{CHLD} = "IGNORE";
sub here { pack("S n x4 x8", 2, shift) }
sub who { join(".", unpack("x4 C4", shift)) }
for my $port (80, 81) {
    socket(my $s, 2, 1, 0) or die; setsockopt($s, 1, 2, 1); bind($s, here($port)) or die "bind: $!"; listen($s, 10);
    next if fork;
    while (my $who = accept(my $c, $s)) {
        next if fork;
        syswrite($c, "$port for " . who($who) . "\n");
        while (sysread($c, my $line, 100)) { syswrite($c, $line) }
        exit;
    }
}
socket(my $u, 2, 2, 0) or die; bind($u, here(53)) or die "bind: $!";
syswrite(STDOUT, "up\n");
while (my $who = recv($u, my $line, 100, 0)) { send($u, "datagram for " . who($who) . "\n", 0, $who) }
"#;

fn image(env: &Env) -> Result<PathBuf, String> {
    tool("pasta")?;
    let tree = with_perl(busybox())?.dir("etc", 0o755).file("server.pl", SERVER, 0o644);
    let ports = json!([
        {"name": "http", "protocol": "tcp", "port": 80},
        {"name": "taken", "protocol": "tcp", "port": 82, "socketActivated": true}
    ]);
    Ok(Aci::new("web", tree).sh("exec /usr/bin/perl /server.pl").app("ports", ports).build(env))
}

fn start(env: &Env, image: &Path, name: &str, options: &[&str]) {
    let name = format!("--name={name}");
    let args = ["--insecure-options=image", "run", "--detach", &name].into_iter().chain(options.iter().copied());
    env.proa(args.chain([image.to_str().expect("UTF-8")])).outcome().succeeds();
}

fn end(env: &Env, pod: &str) {
    env.proa(["stop", "--force", pod]).outcome().succeeds();
    env.proa(["rm", pod]).outcome().succeeds();
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port()
}

/// A connection, and what the server says first.
#[track_caller]
fn connect(address: SocketAddr) -> (BufReader<TcpStream>, String) {
    let deadline = Instant::now() + limit();
    let once = || -> std::io::Result<(BufReader<TcpStream>, String)> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let (mut stream, mut line) = (BufReader::new(stream), String::new());
        match stream.read_line(&mut line)? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok((stream, line.trim().to_owned())),
        }
    };
    loop {
        match once() {
            Ok(connected) => return connected,
            Err(error) => assert!(Instant::now() < deadline, "{address}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What is answered to a datagram.
#[track_caller]
fn datagram(address: SocketAddr) -> String {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("it is a socket");
    let deadline = Instant::now() + limit();
    loop {
        socket.send_to(b"x", address).expect("it can be sent");
        let mut answer = [0; 100];
        match socket.recv(&mut answer) {
            Ok(length) => return String::from_utf8_lossy(&answer[..length]).trim().to_owned(),
            Err(error) => assert!(Instant::now() < deadline, "{address}: {error}"),
        }
    }
}

/// An address of this machine that is not a loopback one.
fn other_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent.
    socket.connect("198.51.100.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback())
}

fn shown(env: &Env) -> String {
    let status = env.proa(["status", "web"]).outcome().succeeds().stdout;
    status.lines().find_map(|line| line.strip_prefix("ports=")).unwrap_or_default().to_owned()
}

fn ports_of_a_running_pod_come_and_go(env: &Env) {
    needs!(place(Place::Host));
    let other = needs!(other_address().ok_or_else(|| "this machine has no default route".to_owned()));
    let image = needs!(image(env));
    let at = |ip: &str, port| SocketAddr::new(ip.parse::<IpAddr>().expect("an address"), port);
    start(env, &image, "web", &["--net=default"]);
    let (local, open, udp) = (free_port(), free_port(), free_port());
    let ports = [format!("http:{local}"), format!("81:0.0.0.0:{open}"), format!("53/udp:0.0.0.0:{udp}")];
    let add = ["port", "add", "web"].into_iter().chain(ports.iter().map(String::as_str));
    env.proa(add).outcome().succeeds().quietly();
    // Of this host's loopback a client looks like a program of the pod.
    let (mut held, said) = connect(at("127.0.0.1", local));
    assert_eq!(said, "80 for 127.0.0.1");
    assert!(TcpStream::connect((other, local)).is_err(), "only the addresses that were given");
    // Nobody else does (NET-02).
    let own = connect(SocketAddr::new(other, open)).1;
    let own = own.strip_prefix("81 for ").unwrap_or_else(|| panic!("{own}"));
    assert!(!own.parse::<IpAddr>().expect("an address").is_loopback(), "{own}");
    let status: Value = {
        let status = env.proa(["status", "--format=json", "web"]).outcome().succeeds();
        serde_json::from_str(&status.stdout).expect("JSON")
    };
    let addresses = status["addresses"].as_array().expect("a list");
    assert!(addresses.iter().any(|it| it == own), "{own} is the pod's own: {status}");
    assert_eq!(connect(at("127.0.0.1", open)).1, format!("81 for {own}"));
    assert_eq!(datagram(SocketAddr::new(other, udp)), format!("datagram for {own}"));
    // They are shown wherever ports are.
    let everywhere = [
        format!("127.0.0.1:{local}->80/tcp"),
        format!("[::1]:{local}->80/tcp"),
        format!("0.0.0.0:{open}->81/tcp"),
        format!("0.0.0.0:{udp}->53/udp"),
    ];
    assert_eq!(shown(env), everywhere.join(", "));
    env.proa(["list"]).outcome().succeeds().shows(&everywhere.join(", "));
    env.proa(["docker", "ps", "--format={{.Ports}}"]).outcome().succeeds().shows(&everywhere[0]);
    env.proa(["docker", "port", "web", "81"]).outcome().succeeds().shows(&format!("0.0.0.0:{open}"));
    env.proa(["port", "list", "web"]).outcome().succeeds().shows(&format!("53/udp -> 0.0.0.0:{udp}\n"));
    let listed = env.proa(["port", "ls", "--format=json", "web"]).outcome().succeeds().stdout;
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(
        listed[0],
        json!({"name": "http", "protocol": "tcp", "host_ip": "127.0.0.1", "host_port": local,
        "pod_port": 80, "count": 1, "socket_activated": false})
    );
    // Gone, at both addresses and at once; who is connected stays so.
    env.proa(["port", "rm", "web", &local.to_string()]).outcome().succeeds().quietly();
    for ip in ["127.0.0.1", "::1"] {
        assert!(TcpListener::bind(at(ip, local)).is_ok(), "the port is free");
    }
    held.get_mut().write_all(b"still\n").expect("it is connected");
    let mut line = String::new();
    held.read_line(&mut line).expect("it is connected");
    assert_eq!(line, "still\n");
    env.proa(["port", "rm", "web", &format!("0.0.0.0:{udp}/udp"), &open.to_string()]).outcome().succeeds().quietly();
    assert!(UdpSocket::bind(at("0.0.0.0", udp)).is_ok() && TcpListener::bind(at("0.0.0.0", open)).is_ok());
    assert_eq!(shown(env), "");
    // And again.
    env.proa(["port", "add", "web", &format!("http:{local}")]).outcome().succeeds().quietly();
    assert_eq!(connect(at("127.0.0.1", local)).1, "80 for 127.0.0.1");
    end(env, "web");
    assert!(TcpListener::bind(at("127.0.0.1", local)).is_ok(), "it goes with the pod");
    let ended = held.read_to_string(&mut line);
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
}

/// Ports that the pod was started with can be removed, and added again, but for what pasta carries or an app has taken over.
#[test]
fn ports_from_the_start_are_removed_if_proa_carries_them() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    let image = needs!(image(&env));
    let (local, open, datagrams, taken) = (free_port(), free_port(), free_port(), free_port());
    let options = [
        format!("--port=80:127.0.0.1:{local}"),
        format!("--port=81:0.0.0.0:{open}"),
        format!("--port=53/udp:0.0.0.0:{datagrams}"),
        format!("--port=taken:127.0.0.1:{taken}"),
    ];
    start(&env, &image, "web", &options.each_ref().map(String::as_str));
    let address = SocketAddr::from(([127, 0, 0, 1], local));
    connect(address);
    let rm = |port: u16| env.proa(["port", "rm", "web", &port.to_string()]).outcome();
    rm(local).succeeds().quietly();
    assert!(TcpListener::bind(address).is_ok(), "the port is free");
    connect(SocketAddr::from(([127, 0, 0, 1], open)));
    rm(open).succeeds().quietly();
    assert!(TcpListener::bind(("0.0.0.0", open)).is_ok(), "the port is free");
    let left = format!("0.0.0.0:{datagrams}->53/udp, 127.0.0.1:{taken}->82/tcp");
    assert_eq!(shown(&env), left);
    let of_pasta = env.proa(["port", "rm", "web", &format!("{datagrams}/udp")]).outcome();
    of_pasta.refuses("pasta has it, which keeps its ports as long as it runs");
    rm(taken).refuses("an app has taken its socket over");
    rm(local)
        .refuses("does not lead into the pod")
        .stderr_shows(&format!("those that do: 0.0.0.0:{datagrams}/udp, 127.0.0.1:{taken}"));
    env.proa(["port", "add", "web", &format!("80:127.0.0.1:{local}")]).outcome().succeeds().quietly();
    connect(address);
    assert_eq!(shown(&env).matches("80/tcp").count(), 1);
    env.proa(["port", "add", "web", &format!("taken:{}", free_port())]).outcome().refuses("takes its socket over");
    end(&env, "web");
}

#[test]
fn ports_that_cannot_be_added_are_refused() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    let image = needs!(image(&env));
    start(&env, &image, "web", &["--net=default"]);
    let add = |ports: &[&str]| env.proa(["port", "add"].iter().chain(ports)).outcome();
    let used = TcpListener::bind("127.0.0.1:0").expect("a port");
    let used = used.local_addr().expect("bound").port();
    let free = free_port();
    // All or none.
    let listens = TcpListener::bind(("127.0.0.1", used));
    add(&["web", &format!("80:{free}"), &format!("81:{used}")]).refuses(&format!("listen on 127.0.0.1:{used}"));
    drop(listens);
    assert_eq!(shown(&env), "");
    assert!(TcpListener::bind(("127.0.0.1", free)).is_ok());
    add(&["web", "80:1-9999"]).rejects("port \"80:1-9999\"");
    add(&["web", "https:8443"]).refuses("no app has a port called \"https\"");
    add(&["web", "80"]).rejects("the port of the host is missing");
    add(&["web", "1-200:20001-20200"]).refuses("at most 128 ports");
    add(&["nobody", &format!("80:{free}")]).refuses("nobody");
    env.proa(["port", "rm", "web", "80/sctp"]).outcome().rejects("neither tcp nor udp");
    env.proa(["port", "rm", "web", "80"]).outcome().refuses("does not lead into the pod");
    let idle = Aci::new("idle", busybox()).sh("sleep 600").build(&env);
    for (name, net, why) in
        [("hermit", "--net=none", "--net=none"), ("guest", "--net=host", "the pod has the host's network")]
    {
        start(&env, &idle, name, &[net]);
        add(&[name, &format!("80:{free}")]).refuses(why);
        end(&env, name);
    }
    let json = r#"{"rktKind":"network","rktVersion":"v1","name":"back","internal":true}"#;
    env.write("home/.config/proa/network.d/back.json", json);
    start(&env, &idle, "inner", &["--net=back"]);
    add(&["inner", &format!("80:{free}")]).refuses("internal");
    end(&env, "inner");
    env.proa(["stop", "--force", "web"]).outcome().succeeds();
    add(&["web", &format!("80:{free}")]).refuses("is not running");
    env.proa(["rm", "web"]).outcome().succeeds();
}

/// On a network of pods with an uplink, ports lead in as everywhere: from the start, and later.
#[test]
fn ports_lead_into_a_pod_on_a_network() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    let image = needs!(image(&env));
    env.write("home/.config/proa/network.d/open.json", r#"{"rktKind":"network","rktVersion":"v1","name":"open"}"#);
    let (first, open, later) = (free_port(), free_port(), free_port());
    let options = [format!("--port=http:{first}"), format!("--port=81:0.0.0.0:{open}")];
    start(&env, &image, "web", &["--net=open", &options[0], &options[1]]);
    assert_eq!(connect(([127, 0, 0, 1], first).into()).1, "80 for 127.0.0.1");
    assert!(connect(([127, 0, 0, 1], open).into()).1.starts_with("81 for "));
    env.proa(["port", "add", "web", &format!("81:{later}")]).outcome().succeeds().quietly();
    assert_eq!(connect(([127, 0, 0, 1], later).into()).1, "81 for 127.0.0.1");
    end(&env, "web");
}

/// What carries ports is killed: the pod lives, and says so.
#[test]
fn what_carries_added_ports_is_killed() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    let image = needs!(image(&env));
    start(&env, &image, "web", &["--net=default"]);
    let port = free_port();
    env.proa(["port", "add", "web", &format!("80:{port}")]).outcome().succeeds().quietly();
    connect(([127, 0, 0, 1], port).into());
    let status: Value =
        serde_json::from_str(&env.proa(["status", "--format=json", "web"]).outcome().succeeds().stdout).expect("JSON");
    let init = i32::try_from(status["pid"].as_i64().expect("it runs")).expect("a pid");
    let monitor = process::read(init).expect("it runs").parent;
    let is_carrier = |it: &process::Process| process::command_line(it.pid).starts_with("proa-ports");
    let carrier = process::descendants(monitor).into_iter().find(is_carrier).expect("it runs");
    assert!(process::kill(carrier.pid, Signal::KILL));
    let deadline = Instant::now() + limit();
    while !env
        .proa(["status", "web"])
        .outcome()
        .succeeds()
        .stdout
        .contains("network-error=what carries its ports was killed")
    {
        assert!(Instant::now() < deadline);
    }
    env.proa(["port", "add", "web", &format!("81:{}", free_port())]).outcome().refuses("was killed by signal 9");
    env.proa(["enter", "web", "/bin/true"]).outcome().succeeds();
    end(&env, "web");
}
