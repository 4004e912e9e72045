//! Networks of pods: they find one another by name, nobody else finds them, and nothing is left of them.

use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use integration_tests::images::{Aci, busybox, with_probe};
use integration_tests::needs::{Place, place, tool};
use integration_tests::{Env, User, each_user, limit, needs, process};
use rustix::process::Signal;
use serde_json::Value;

each_user! {
    pods_find_each_other_by_name,
    a_pod_is_on_several_networks,
    the_last_pod_to_go_takes_the_network_along,
    a_pod_on_a_network_is_protected_as_any_other,
}

/// Defines a network of this user's that leads nowhere else: its pods start without pasta.
fn define(env: &Env, name: &str, more: &str) {
    let json = format!(r#"{{"rktKind":"network","rktVersion":"v1","name":"{name}","internal":true{more}}}"#);
    env.write(format!("home/.config/proa/network.d/{name}.json"), json);
}

/// An image that serves its pod's name at port 80.
fn server(env: &Env) -> PathBuf {
    let tree = busybox().dir("etc", 0o755).script("answer", "hostname; read line");
    Aci::new("server", tree).sh("nc -ll -p 80 -e /answer & echo up; wait").build(env)
}

/// Starts a detached pod of this name.
fn start(env: &Env, image: &Path, name: &str, net: &str) {
    let (name, net) = (format!("--name={name}"), format!("--net={net}"));
    let args = ["--insecure-options=image", "run", "--detach", &name, &net, image.to_str().expect("UTF-8")];
    env.proa(args).outcome().succeeds();
}

/// What a script in a pod prints.
fn within(env: &Env, pod: &str, script: &str) -> String {
    env.proa(["enter", pod, "/bin/sh", "-c", script]).outcome().succeeds().stdout
}

/// Asks until a pod's script prints this: what happens in one pod is seen in the others a moment later.
fn until(env: &Env, pod: &str, script: &str, expected: &str) {
    let deadline = Instant::now() + limit();
    loop {
        let printed = within(env, pod, script);
        if printed == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{pod}: {script}: {printed}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn status(env: &Env, pod: &str) -> Value {
    let status = env.proa(["status", "--format=json", pod]).outcome().succeeds();
    serde_json::from_str(&status.stdout).unwrap_or_else(|error| panic!("{error}: {status}"))
}

fn address(env: &Env, pod: &str) -> String {
    status(env, pod)["pod_networks"][0]["address"].as_str().expect("it has one").to_owned()
}

fn newer_address(env: &Env, pod: &str) -> Ipv6Addr {
    let status = status(env, pod);
    let address = status["pod_networks"][0]["address6"].as_str().expect("it has one");
    address.parse().unwrap_or_else(|error| panic!("{address}: {error}"))
}

/// Kills the pod's monitor.
fn kill_monitor(env: &Env, pod: &str) {
    let init = status(env, pod)["pid"].as_i64().expect("it runs");
    let monitor = process::read(i32::try_from(init).expect("a pid")).expect("it runs").parent;
    assert!(process::kill(monitor, Signal::KILL));
}

fn end(env: &Env, pods: &[&str]) {
    for pod in pods {
        env.proa(["stop", "--force", pod]).outcome().succeeds();
        env.proa(["rm", pod]).outcome().succeeds();
    }
}

/// A script that prints what a server answers, or nothing.
fn asks(server: &str) -> String {
    format!("nc -w 5 {server} 80 </dev/null 2>/dev/null; true")
}

/// Waits until the pod's own server listens.
fn until_up(env: &Env, pod: &str) {
    until(env, pod, &asks("127.0.0.1"), &format!("{pod}\n"));
}

fn pods_find_each_other_by_name(env: &Env) {
    define(env, "back", r#","subnet":"10.77.1.0/24""#);
    define(env, "front", r#","subnet":"10.77.1.0/24""#);
    let image = server(env);
    for (pod, net) in [("one", "back"), ("two", "back:IP=10.77.1.9"), ("stranger", "front"), ("hermit", "none")] {
        start(env, &image, pod, net);
    }
    // The first finds the one that came later, and the other way round.
    until(env, "one", &asks("two"), "two\n");
    until(env, "two", &asks("one"), "one\n");
    let (of_one, of_two) = (newer_address(env, "one"), newer_address(env, "two"));
    // Itself, too, by the address that it has there.
    until(env, "one", &asks("one"), "one\n");
    let hosts = format!("10.77.1.2 one\n10.77.1.9 two\n{of_two} two\n");
    assert_eq!(within(env, "one", "grep -v localhost /etc/hosts"), hosts);
    let networks = format!("networks=back:ip4=10.77.1.2, back:ip6={of_one}\n");
    env.proa(["status", "one"]).outcome().succeeds().shows(&networks);
    assert_eq!(address(env, "two"), "10.77.1.9");
    // By IPv6 as well, with addresses of one unique local prefix.
    assert!(of_one.is_unique_local() && of_one.segments()[..4] == of_two.segments()[..4], "{of_one} {of_two}");
    until(env, "one", &asks(&of_two.to_string()), "two\n");
    assert_ne!(newer_address(env, "stranger").segments()[..4], of_two.segments()[..4]);
    env.proa(["list", "--full"]).outcome().succeeds().shows("back:ip4=10.77.1.9");
    assert_eq!(within(env, "one", "ls /sys/class/net | tr '\\n' ' '").trim(), "eth1 lo");
    // Those who are not on it neither know nor reach them, though one has an address of the same range.
    for pod in ["stranger", "hermit"] {
        for server in ["two", "10.77.1.9", &of_two.to_string()] {
            assert_eq!(within(env, pod, &format!("nc -w 1 {server} 80 </dev/null 2>/dev/null; true")), "", "{pod}");
        }
        assert_eq!(within(env, pod, "grep -c two /etc/hosts; true"), "0\n");
    }
    // A name and an address go with their pod, however it ends.
    kill_monitor(env, "two");
    let hosts = format!("#0.77.1.9 two\n#{} two\n", &of_two.to_string()[1..]);
    until(env, "one", "grep two /etc/hosts; true", &hosts);
    env.proa(["rm", "two"]).outcome();
    let again = start_until_free(env, &image, "back:IP=10.77.1.9");
    until(env, "one", &asks(&again), "three\n");
    end(env, &["one", "three", "stranger", "hermit"]);
    env.proa(["gc", "--grace-period=0s"]).outcome().succeeds();
}

/// It finds the pods of each, and passes nothing on from one to the other.
fn a_pod_is_on_several_networks(env: &Env) {
    define(env, "back", r#","subnet":"10.77.1.0/24""#);
    define(env, "front", r#","subnet":"10.77.2.0/24""#);
    define(env, "side", r#","subnet":"10.77.3.0/24""#);
    let image = server(env);
    // Networks that are there, one that is not, and both orders.
    for (pod, net) in [("db", "back"), ("proxy", "front:IP=10.77.2.9"), ("web", "front,back:IP=10.77.1.7,side")] {
        start(env, &image, pod, net);
    }
    start(env, &image, "last", "side,back");
    for (from, to) in
        [("web", "db"), ("web", "proxy"), ("db", "web"), ("proxy", "web"), ("last", "web"), ("web", "last")]
    {
        until(env, from, &asks(to), &format!("{to}\n"));
    }
    let networks = status(env, "web")["pod_networks"].clone();
    let newer = |index: usize| networks[index]["address6"].as_str().expect("it has one").to_owned();
    let of_each = ["front:ip4=10.77.2.2", "back:ip4=10.77.1.7", "side:ip4=10.77.3.2"].into_iter().enumerate();
    let of_each = of_each.map(|(index, older)| {
        let network = older.split(':').next().unwrap_or_default();
        format!("{older}, {network}:ip6={}", newer(index))
    });
    let shown = format!("networks={}\n", of_each.collect::<Vec<_>>().join(", "));
    env.proa(["status", "web"]).outcome().succeeds().shows(&shown);
    assert_eq!((&networks[1]["name"], &networks[1]["address"]), (&"back".into(), &"10.77.1.7".into()));
    assert_eq!(within(env, "web", "ls /sys/class/net | tr '\\n' ' '").trim(), "eth1 eth2 eth3 lo");
    // Who is on one of them alone neither knows nor reaches the other one's, not even by the pod between.
    assert_eq!(within(env, "db", "grep -c proxy /etc/hosts; true"), "0\n");
    let by_web = "nc -w 1 10.77.2.9 80 </dev/null 2>/dev/null; nc -w 1 10.77.2.2 80 </dev/null 2>/dev/null; true";
    assert_eq!(within(env, "db", by_web), "");
    let args = ["--insecure-options=image", "run", "--dry-run", "--net=default", "--net=front,back:IP=10.77.1.8"];
    let line = env.proa(args.into_iter().chain([image.to_str().expect("UTF-8")])).outcome().succeeds().stdout;
    assert!(line.starts_with("proa run --net=default,front,back:IP=10.77.1.8 "), "{line}");
    // The pod between goes, and the networks that nobody else is on.
    end(env, &["web"]);
    until(env, "proxy", "grep '^1.*web' /etc/hosts; grep -c '^#.*web' /etc/hosts; true", "2\n");
    end(env, &["db", "proxy", "last"]);
    let left: Vec<_> = std::fs::read_dir(env.data().join("networks")).expect("it is there").collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Starts a pod at an address whose pod was killed just now: the kernel takes a moment to take that apart.
fn start_until_free(env: &Env, image: &Path, net: &str) -> String {
    let deadline = Instant::now() + limit();
    let net = format!("--net={net}");
    loop {
        let args =
            ["--insecure-options=image", "run", "--detach", "--name=three", &net, image.to_str().expect("UTF-8")];
        let outcome = env.proa(args).outcome();
        if outcome.status.success() {
            return "three".to_owned();
        }
        assert!(outcome.stderr.contains("another pod has the address"), "{outcome}");
        assert!(Instant::now() < deadline, "{outcome}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn the_last_pod_to_go_takes_the_network_along(env: &Env) {
    define(env, "back", "");
    let image = server(env);
    let networks = || std::fs::read_dir(env.data().join("networks")).map_or(0, Iterator::count);
    // One who made it goes first, and what it made stays for the other.
    start(env, &image, "one", "back");
    start(env, &image, "two", "back");
    end(env, &["one"]);
    assert_eq!(networks(), 1);
    start(env, &image, "one", "back");
    until(env, "two", &asks("one"), "one\n");
    end(env, &["two", "one"]);
    assert_eq!(networks(), 0);
    // After a kill it is gc that finds nobody there, or the next pod.
    start(env, &image, "one", "back");
    kill_monitor(env, "one");
    start(env, &image, "two", "back");
    assert!(within(env, "two", "hostname").contains("two"));
    kill_monitor(env, "two");
    // What the killed monitor's processes have open goes with them, a moment later.
    let deadline = Instant::now() + limit();
    let pods = || env.proa(["list", "--no-legend"]).outcome().succeeds().stdout;
    while networks() > 0 || !pods().is_empty() {
        assert!(Instant::now() < deadline, "gc does not remove the network, or {}", pods());
        env.proa(["gc", "--grace-period=0s"]).outcome().succeeds();
    }
}

fn a_pod_on_a_network_is_protected_as_any_other(env: &Env) {
    needs!(place(Place::Host));
    define(env, "back", "");
    let image = Aci::new("probe", with_probe(busybox())).exec(["/probe", "world"]).build(env);
    let world = |net: &str| {
        let args = ["--insecure-options=image", "run", "--hostname=here", net, image.to_str().expect("UTF-8")];
        let outcome = env.proa(args).outcome().succeeds();
        serde_json::from_str::<Value>(outcome.line()).unwrap_or_else(|error| panic!("{error}: {outcome}"))
    };
    let (alone, joined) = (world("--net=none"), world("--net=back"));
    assert_eq!(joined["interfaces"].as_array().expect("a list").len(), 2);
    // Ids, capabilities, filter, limits, settings. Each pod has streams, a token, mounts and namespaces of its own.
    for (key, value) in alone.as_object().expect("an object") {
        if !["env", "fds", "interfaces", "mounts", "namespaces"].contains(&key.as_str()) {
            assert_eq!(&joined[key], value, "{key}");
        }
    }
}

/// Pods that start at once make one network, each with an address of its own.
#[test]
fn pods_that_start_at_once_are_on_one_network() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    define(&env, "back", "");
    let image = server(&env);
    let names = ["a", "b", "c", "d"];
    env.store(&image);
    let starting = names.map(|name| {
        let name = format!("--name={name}");
        let args = ["--insecure-options=image", "run", "--detach", &name, "--net=back", image.to_str().expect("UTF-8")];
        env.proa(args).start()
    });
    starting.into_iter().for_each(|running| drop(running.wait().succeeds()));
    for name in names {
        for other in names.iter().filter(|other| **other != name) {
            until(&env, name, &asks(other), &format!("{other}\n"));
        }
    }
    end(&env, &names);
}

/// An app that is added later knows the pods that are there, and hears of those that come.
#[test]
fn apps_that_are_added_know_the_network() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    define(&env, "back", "");
    let image = server(&env);
    start(&env, &image, "one", "back");
    env.proa(["app", "sandbox", "--detach", "--name=box", "--net=back"]).outcome().succeeds();
    env.proa(["app", "add", "box", &env.store(&image)]).outcome().succeeds();
    env.proa(["app", "start", "box", "--app=server"]).outcome().succeeds();
    until(&env, "box", &asks("one"), "one\n");
    until(&env, "one", &asks("box"), "box\n");
    start(&env, &image, "two", "back");
    until(&env, "box", &asks("two"), "two\n");
    end(&env, &["one", "two", "box"]);
}

/// The one that is tried in the guest as well: on an older kernel, which loads its bridge for an ordinary user.
/// `--userns=single` takes some of the network's ids, and with `keep-id` others.
#[test]
fn pods_of_other_ids_are_on_the_same_network() {
    let env = needs!(Env::of(User::WithRange));
    define(&env, "back", "");
    let image = server(&env);
    start(&env, &image, "one", "back");
    until_up(&env, "one");
    for userns in ["single", "keep-id"] {
        let image = Aci::new("client", busybox()).sh(&asks("one")).user("0", "0").build(&env);
        let option = format!("--userns={userns}");
        let args = ["--insecure-options=image", "run", &option, "--net=back", image.to_str().expect("UTF-8")];
        env.proa(args).outcome().succeeds().prints("one\n");
    }
    end(&env, &["one"]);
}

/// The world, and the pods; neither the host's loopback nor another pod's.
#[test]
fn a_network_with_an_uplink_is_default_and_more() {
    needs!(place(Place::Host));
    needs!(tool("pasta"));
    let env = needs!(Env::of(User::WithRange));
    let json = r#"{"rktKind":"network","rktVersion":"v1","name":"open"}"#;
    env.write("home/.config/proa/network.d/open.json", json);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("it is a socket");
    let port = listener.local_addr().expect("bound").port();
    let tree = busybox().dir("etc", 0o755).script("answer", "hostname; read line");
    let script = "nc -ll -s 127.0.0.1 -p 81 -e /answer & nc -ll -p 80 -e /answer & echo up; wait";
    start(&env, &Aci::new("server", tree).sh(script).build(&env), "one", "open");
    until_up(&env, "one");
    let script = format!(
        "ls /sys/class/net | tr '\\n' ' '; {}; nc -w 1 one 81 </dev/null 2>/dev/null
         for ip in 127.0.0.1 169.254.169.254 169.254.170.2; do nc -w 1 $ip {port} </dev/null 2>/dev/null; done
         cat /proc/sys/net/ipv4/ip_forward; exit 0",
        asks("one")
    );
    let client = Aci::new("client", busybox().dir("etc", 0o755)).sh(&script).build(&env);
    let args = ["--insecure-options=image", "run", "--net=open", client.to_str().expect("UTF-8")];
    let printed = env.proa(args).outcome().succeeds().stdout;
    assert_eq!(printed, "eth0 eth1 lo one\n0\n");
    assert!(listener.accept().is_err(), "nobody came");
    let status = env.proa(["status", "one"]).outcome().succeeds();
    assert!(status.stdout.contains("networks=open:ip4=10.") && status.stdout.contains(", default:ip4="), "{status}");
    end(&env, &["one"]);
}

#[test]
fn what_cannot_be_is_refused() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    define(&env, "back", r#","subnet":"10.77.1.0/29""#);
    let image = server(&env);
    let image = image.to_str().expect("UTF-8");
    let run = |net: &str| env.proa(["--insecure-options=image", "run", net, image]).outcome();
    for wrong in ["--net=nowhere", "--net=back:IP=10.77.1.1", "--net=back:IP=10.78.1.2", "--net=back:MAC=1"] {
        run(wrong).rejects(wrong.split_once(':').map_or(wrong, |(net, _)| net));
    }
    run("--net=back,nowhere").rejects("--net=nowhere");
    run("--net=back,back").rejects("back is given twice");
    run("--net=none,back").rejects("none goes with no other network");
    define(&env, "same", r#","subnet":"10.77.1.0/24""#);
    run("--net=back,same").rejects("a pod cannot be on back (10.77.1.0/29) and same (10.77.1.0/24)");
    env.proa(["--insecure-options=image", "run", "--net=back", "--port=80:8080", image]).outcome().refuses("--port");
    // Five pods fit.
    for pod in 0..5 {
        start(&env, Path::new(image), &format!("p{pod}"), "back");
    }
    run("--net=back").refuses("all addresses of 10.77.1.0/29 are taken");
    run("--net=back:IP=10.77.1.3").refuses("another pod has the address 10.77.1.3");
    end(&env, &["p0", "p1", "p2", "p3", "p4"]);
}

/// NET-06: a network's type is no path of a program, and its name no path of a directory (CVE-2021-20206).
#[test]
fn net06_a_networks_type_and_name_are_no_paths() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    let image = server(&env);
    let said = |more: &str| format!(r#"{{"rktKind":"network","rktVersion":"v1",{more}}}"#);
    for (more, offending) in [
        (r#""name":"x","type":"../../bin/x""#, "../../bin/x"),
        (r#""name":"x","type":"/bin/sh""#, "/bin/sh"),
        (r#""name":"x","type":"""#, "unknown network type"),
        (r#""name":"../x""#, "../x"),
        (r#""name":"host""#, "host"),
        (r#""name":"x","subnet":"8.8.8.0/24""#, "8.8.8.0/24"),
        (r#""subnet":"10.1.1.0/24""#, "no name"),
    ] {
        env.write("home/.config/proa/network.d/wrong.json", said(more));
        let args = ["--insecure-options=image", "run", "--net=x", image.to_str().expect("UTF-8")];
        env.proa(args).outcome().refuses(offending);
    }
    env.write("home/.config/proa/network.d/wrong.json", said(r#""name":"x","type":"bridge","subnet":"10.1.1.0/24""#));
    env.proa(["config"]).outcome().succeeds().shows("\"subnet\": \"10.1.1.0/24\"");
}
