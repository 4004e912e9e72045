//! Which address an app sees as its client's: the table in docs/guides/networking.md.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use integration_tests::elsewhere::{Elsewhere, ask};
use integration_tests::images::{Aci, busybox, with_perl};
use integration_tests::needs::{Place, place, tool};
use integration_tests::{Env, User, needs};
use serde_json::{Value, json};

/// Says to each client where it comes from, at a port of its own or at a socket that it was given, before the client has said
/// anything, and closes at once: Debian 12's pasta does neither. 2 is AF_INET, 1 is SOCK_STREAM.
const SERVER: &str = r#"
my $s;
if ($ENV{LISTEN_FDS}) { open($s, "+<&=", 3) or die } else {
    socket($s, 2, 1, 0) or die; bind($s, pack("S n x4 x8", 2, 80)) or die "bind: $!"; listen($s, 10) or die;
}
while (my $who = accept(my $c, $s)) {
    syswrite($c, join(".", unpack("x4 C4", $who)) . "\n"); close($c);
}
"#;

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port()
}

#[test]
fn apps_see_the_addresses_that_are_documented() {
    needs!(place(Place::Host));
    needs!(tool("pasta"));
    let env = needs!(Env::of(User::WithRange));
    let tree = needs!(with_perl(busybox())).file("server.pl", SERVER, 0o644);
    let elsewhere = needs!(Elsewhere::new());
    let ports = json!([{"name": "www", "protocol": "tcp", "port": 80, "socketActivated": true}]);
    let image = Aci::new("web", tree).sh("exec /usr/bin/perl /server.pl").app("ports", ports).build(&env);
    let [local, open, added, taken] = [free_port(), free_port(), free_port(), free_port()];
    let start = |name: &str, options: &[String]| {
        let name = format!("--name={name}");
        let args = ["--insecure-options=image", "run", "--detach", &name].into_iter();
        let args = args.chain(options.iter().map(String::as_str)).chain([image.to_str().expect("UTF-8")]);
        env.proa(args).outcome().succeeds();
    };
    start("web", &[format!("--port=80:{local}"), format!("--port=80:0.0.0.0:{open}")]);
    start("taken", &["--net=none".into(), format!("--port=www:0.0.0.0:{taken}")]);
    env.proa(["port", "add", "web", &format!("80:0.0.0.0:{added}")]).outcome().succeeds();
    let here = |port: u16| ask(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let there = elsewhere.there.to_string();
    // On a loopback address: the loopback address of the pod.
    assert_eq!(here(local), "127.0.0.1");
    // The server listens in one family only, and is found by the other one.
    assert_eq!(ask(SocketAddr::from((Ipv6Addr::LOCALHOST, local))), "127.0.0.1");
    let status = env.proa(["status", "--format=json", "web"]).outcome().succeeds();
    let status: Value = serde_json::from_str(&status.stdout).expect("JSON");
    let addresses = status["addresses"].as_array().expect("a list");
    let own = addresses.iter().filter_map(Value::as_str).find(|it| it.parse::<Ipv4Addr>().is_ok()).expect("it has one");
    assert!(!own.parse::<IpAddr>().expect("an address").is_loopback());
    // On any other, there from the start or added to a running pod: the client's own, and the pod's if that is a loopback one.
    for port in [open, added] {
        assert_eq!(elsewhere.ask(port), there);
        assert_eq!(here(port), own);
        assert_eq!(ask(SocketAddr::from((elsewhere.here, port))), elsewhere.here.to_string());
    }
    // Taken over: the client's own, even without a network.
    assert_eq!(elsewhere.ask(taken), there);
    assert_eq!(here(taken), "127.0.0.1");
    for pod in ["web", "taken"] {
        env.proa(["stop", "--force", pod]).outcome().succeeds();
        env.proa(["rm", pod]).outcome().succeeds();
    }
}
