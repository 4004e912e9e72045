//! Rights over the pod's network (EC OCI's privileged init container): who gets them, from whom, and where they end.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use integration_tests::elsewhere::{Elsewhere, ask};
use integration_tests::images::{Aci, busybox};
use integration_tests::needs::{Place, place, tool};
use integration_tests::{Env, Outcome, User, each_user, limit, needs};
use serde_json::{Value, json};

each_user! {
    ec_oci_a_step_before_the_apps_adds_addresses,
    ec_oci_three_containers,
    an_app_of_the_operators_choice_changes_the_network,
    neither_image_nor_manifest_gives_rights_over_the_network,
    rights_over_the_network_end_there,
    rights_over_the_network_that_cannot_be_given,
}

/// What the example's init container does.
const INIT: &str = "ip addr add 10.0.1.8 dev lo && ip a add 192.168.1.200/24 dev lo";

/// Waits for the second of those addresses, and shows it.
const LOOK: &str = "until ip -4 addr show lo | grep -o '192.168.1.200/24'; do sleep 0.1; done";

fn image(env: &Env, name: &str, script: &str) -> PathBuf {
    Aci::new(name, busybox().dir("etc", 0o755).dir("tmp", 0o1777)).sh(script).build(env)
}

/// An image whose pre-start handler is that init container.
fn with_init(env: &Env, name: &str, script: &str) -> PathBuf {
    let handlers = json!([{"name": "pre-start", "exec": ["/bin/sh", "-c", INIT]}]);
    Aci::new(name, busybox().dir("etc", 0o755)).sh(script).app("eventHandlers", handlers).build(env)
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn run(env: &Env, options: &[&str], images: &[&Path]) -> Outcome {
    let args = ["--insecure-options=image", "run"].iter().chain(options).copied();
    env.proa(args.chain(images.iter().map(|image| shown(image)))).outcome()
}

fn status(env: &Env, pod: &str) -> Value {
    let status = env.proa(["status", "--format=json", pod]).outcome().succeeds();
    serde_json::from_str(&status.stdout).unwrap_or_else(|error| panic!("{error}: {status}"))
}

fn ec_oci_a_step_before_the_apps_adds_addresses(env: &Env) {
    // The app itself has no rights, and the other one sees what was made.
    let script =
        "ip -4 addr show lo | grep -c -e 10.0.1.8 -e 192.168.1.200; ip addr add 10.9.9.9 dev lo && echo added; true";
    let (web, other) = (with_init(env, "web", script), image(env, "other", LOOK));
    let options = ["--net=none", "--keep", "--name=init", "--net-admin=web:pre-start"];
    let outcome = run(env, &options, &[&web, &other]).succeeds().shows("2\n").shows("192.168.1.200/24\n");
    assert!(!outcome.stdout.contains("added"), "{outcome}");
    let told = "--net-admin: web:pre-start can change the pod's network";
    assert_eq!(outcome.stderr.matches(told).count(), 1, "{outcome}");
    env.proa(["status", "init"]).outcome().succeeds().shows("net-admin=web:pre-start\n");
    assert_eq!(status(env, "init")["net_admin"], "web:pre-start");
    env.proa(["rm", "init"]).outcome().succeeds();
    let line =
        run(env, &["--dry-run", "--net=none", "--landlock=strict", "--net-admin=web:pre-start"], &[&web]).succeeds();
    line.shows(" --landlock=strict --net-admin=web:pre-start ");
    // What was prepared is run as it was prepared.
    let prepare = ["--insecure-options=image", "prepare", "--net=none", "--net-admin=web:pre-start", shown(&web)];
    let uuid = env.proa(prepare).outcome().succeeds().stdout.trim().to_owned();
    env.proa(["run-prepared", &uuid]).outcome().succeeds().shows("2\n");
    env.proa(["rm", &uuid]).outcome().succeeds();
    // Without the operator's word the step fails, and with it the app.
    let outcome = run(env, &["--net=none"], &[&web]);
    assert_ne!(outcome.status.code(), Some(0), "{outcome}");
    outcome.stderr_shows("Operation not permitted");
}

/// The pod of the example: an init container, and two others that start when it has ended.
fn ec_oci_three_containers(env: &Env) {
    let (init, plugin, hello) = (
        image(env, "init", INIT),
        image(env, "plugin", LOOK),
        image(env, "hello", "ip addr add 10.9.9.9 dev lo; true"),
    );
    env.proa(["app", "sandbox", "--detach", "--name=box", "--net=none", "--net-admin=init"]).outcome().succeeds();
    for (name, image) in [("init", &init), ("plugin", &plugin), ("hello", &hello)] {
        let name = format!("--name={name}");
        let add = ["--insecure-options=image", "app", "add", "box", shown(image), &name];
        env.proa(add).outcome().succeeds();
    }
    for app in ["init", "plugin", "hello"] {
        env.proa(["app", "start", "box", &format!("--app={app}")]).outcome().succeeds();
        let deadline = Instant::now() + limit();
        let apps = || status(env, "box")["apps"].as_array().cloned().unwrap_or_default();
        while !apps().iter().any(|shown| shown["name"] == app && shown["exit_status"] == 0) {
            assert!(Instant::now() < deadline, "{app}: {:?}", apps());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let logs = env.proa(["logs", "box"]).outcome().succeeds();
    assert!(logs.stdout.contains("192.168.1.200/24"), "{logs}");
    assert_eq!((logs.stdout.clone() + &logs.stderr).matches("Operation not permitted").count(), 1, "{logs}");
    env.proa(["stop", "box"]).outcome().succeeds();
    env.proa(["rm", "box"]).outcome().succeeds();
}

fn an_app_of_the_operators_choice_changes_the_network(env: &Env) {
    let script = "grep CapEff /proc/self/status; ip addr add 10.9.8.7/32 dev lo; ip link set lo mtu 900; ip addr show lo; \
        echo up; sleep 600";
    let image = image(env, "admin", script);
    let args = ["--insecure-options=image", "run", "--net=none", "--name=admin", "--net-admin=admin", shown(&image)];
    let mut running = env.proa(args).start();
    for line in ["CapEff:\t00000000a80435fb", "mtu 900", "10.9.8.7/32", "up"] {
        running.wait_for(line);
    }
    // What is executed in it has the same rights, and no others.
    let more = "ip addr del 10.9.8.7/32 dev lo && ip addr add 10.9.8.8/32 dev lo && grep CapBnd /proc/self/status";
    let entered = env.proa(["enter", "admin", "/bin/sh", "-c", more]).outcome().succeeds();
    entered.prints("CapBnd:\t00000000a80435fb\n");
    // Its files are reached as any app's.
    env.proa(["cp", "admin:/etc", shown(&env.path("copied"))]).outcome().succeeds();
    assert_eq!(status(env, "admin")["net_admin"], "admin");
    running.kill(rustix::process::Signal::TERM);
    running.wait();
    env.assert_nothing_left();
}

fn neither_image_nor_manifest_gives_rights_over_the_network(env: &Env) {
    let script = "ip addr add 10.9.8.7/32 dev lo && echo added; true";
    let note = json!([{"name": "proa.local/net-admin", "value": "greedy"}]);
    let isolator = json!([{"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_NET_ADMIN"]}}]);
    let tree = busybox().dir("etc", 0o755);
    let greedy = Aci::new("greedy", tree).sh(script).app("isolators", isolator.clone());
    let image = greedy.manifest(|manifest| manifest["annotations"] = note.clone()).build(env);
    run(env, &["--net=none"], &[&image]).succeeds().prints("").stderr_shows("an image is not granted CAP_NET_ADMIN");
    // A manifest that is somebody else's, to the letter as the operator's option would have it.
    let (id, note) = (env.store(&image), note.clone());
    let manifest = json!({
        "acVersion": "0.8.11", "acKind": "PodManifest", "volumes": [], "isolators": [], "annotations": note, "ports": [],
        "apps": [{"name": "greedy", "image": {"id": id}, "app": {
            "exec": ["/bin/sh", "-c", script], "user": "0", "group": "0", "isolators": isolator,
        }, "annotations": note}],
    });
    let file = env.write("pod.json", manifest.to_string());
    let manifest = format!("--pod-manifest={}", shown(&file));
    let outcome = run(env, &["--net=none", &manifest], &[]).succeeds().prints("");
    outcome.stderr_shows("annotation proa.local/net-admin=\"greedy\" of the pod manifest is left out");
    // With the operator's word it is what the operator says.
    let outcome = run(env, &["--net=none", "--net-admin=greedy", &manifest], &[]).succeeds();
    outcome.prints("added\n");
}

/// What such an app tries, and whether it comes about. Of the first three its own process is the control.
const ATTEMPTS: &str = r#"
try() { name=$1; shift; if "$@" >/dev/null 2>&1; then echo "$name yes"; else echo "$name no"; fi; }
pid() { for p in /proc/[0-9]*; do [ "$(tr '\0' ' ' <$p/cmdline 2>/dev/null)" = "sleep $1 " ] && echo ${p#/proc/}; done; }
until [ -n "$(pid 7001)" ] && [ -n "$(pid 7002)" ]; do sleep 0.1; done
for who in self 1 $(pid 7001) $(pid 7002); do
    try environ-$who cat /proc/$who/environ
    try root-$who ls /proc/$who/root/
    try descriptors-$who readlink /proc/$who/fd/0
    [ $who = self ] || try enter-$who nsenter -t $who -m true
    [ $who = self ] || try network-$who nsenter -t $who -n true
done
try address ip addr add 10.1.2.3/32 dev lo
try mount mount -t tmpfs none /tmp
try bind mount -o bind /etc /tmp
try writable mount -o remount,bind,rw /proc/sys
try unmount umount /proc/sys
try sysctl sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
try hostname hostname evil
try namespaces unshare -r true
try newnet unshare -n true
try packets arping -c 1 -w 1 -I lo 127.0.0.1
try netns sh -c 'mkdir -p /run/netns && touch /run/netns/x && mount -o bind /proc/self/ns/net /run/netns/x'
kill -9 1; try alive kill -0 1
grep Seccomp: /proc/self/status
for file in /proc/kcore /proc/keys /proc/timer_list; do [ -e $file ] && try masked-${file##*/} grep -q . $file; done
echo done
"#;

fn rights_over_the_network_end_there(env: &Env) {
    let image = |name: &str, script: &str| image(env, name, script);
    let (admin, other, plain) =
        (image("admin", ATTEMPTS), image("other", "exec sleep 7001"), image("plain", "exec sleep 7002"));
    let options = ["--net=none", "--net-admin=admin,other", "--exit-policy=any", "--hostname=pod"];
    let outcome = run(env, &options, &[&admin, &other, &plain]);
    let yes: Vec<&str> = outcome.stdout.lines().filter_map(|line| line.strip_suffix(" yes")).collect();
    assert_eq!(yes, ["environ-self", "root-self", "descriptors-self", "address", "alive"], "{outcome}");
    outcome.shows("Seccomp:\t2\n").shows("done\n");
}

fn rights_over_the_network_that_cannot_be_given(env: &Env) {
    let image = image(env, "plain", "true");
    run(env, &["--net=none", "--net-admin=nobody"], &[&image]).refuses("the pod has no such app");
    run(env, &["--net=none", "--net-admin=plain:pre-start"], &[&image]).refuses("the app has no pre-start handler");
    run(env, &["--net=host", "--net-admin=plain"], &[&image]).refuses("--net=host");
    for wrong in ["--net-admin=", "--net-admin=plain:post-stop", "--net-admin=plain,plain", "--net-admin=../x"] {
        run(env, &["--net=none", wrong], &[&image]).refuses("is no list of names of apps");
    }
    let user = Aci::new("user", busybox().dir("etc", 0o755)).user("7", "7").sh("true").build(env);
    let outcome = run(env, &["--net=none", "--net-admin=user"], &[&user]).exits(254);
    outcome.stderr_shows("rights over the pod's network are for 0:0, and its user is 7:7");
    env.assert_nothing_left();
}

/// What stands in the way to the host's loopback, and to where clouds keep secrets, is not in the pod's own network. Debian 12's
/// pasta, asked for an address of the host's loopback, would connect to it.
#[test]
fn f_net_an_app_with_rights_over_the_network_does_not_reach_the_hosts_loopback() {
    needs!(place(Place::Host));
    needs!(tool("pasta"));
    let env = needs!(Env::of(User::WithRange));
    let elsewhere = needs!(Elsewhere::new());
    let listen = |ip: Ipv4Addr| {
        let listener = TcpListener::bind((ip, 0)).expect("it is an address of this host");
        listener.set_nonblocking(true).expect("it is a socket");
        let port = listener.local_addr().expect("it is bound").port();
        (listener, port)
    };
    // Another address of the host can be reached as from anywhere: the control.
    let ((secret, loopback), (open, port)) = (listen(Ipv4Addr::LOCALHOST), listen(elsewhere.here));
    let taken_down = "ip addr del 169.254.169.254/32 dev lo; ip addr del 100.100.100.200/32 dev lo; \
        ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.0/8 dev eth0";
    let there = elsewhere.here;
    let script = format!(
        "{taken_down}; ip route get 169.254.169.254 | head -1; ip route get 127.0.0.1 | head -1; \
         for to in '127.0.0.1 {loopback}' '169.254.169.254 {loopback}' '{there} {port}'; do nc -w 1 $to </dev/null; done; \
         echo tried; nc -ll -p 80 -e echo served & wait"
    );
    let image = image(&env, "admin", &script);
    let entrance = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
    let forward = format!("--port=80:0.0.0.0:{entrance}");
    let args = ["--insecure-options=image", "run", "--net-admin=admin", "--name=admin", &forward, shown(&image)];
    let mut running = env.proa(args).start();
    // The guards of the pod's own network are gone.
    running.wait_for("169.254.169.254 via");
    running.wait_for("127.0.0.1 dev eth0");
    let deadline = Instant::now() + limit();
    // Another address of the host is reached.
    while open.accept().is_err() {
        assert!(Instant::now() < deadline, "nobody has come");
        std::thread::sleep(Duration::from_millis(20));
    }
    running.wait_for("tried");
    let refused = secret.accept().expect_err("nobody has come");
    assert_eq!(refused.kind(), std::io::ErrorKind::WouldBlock);
    // What leads into the pod passes both, and so do its addresses.
    assert_eq!(ask(SocketAddr::from((elsewhere.here, entrance))), "served");
    let shown = env.proa(["status", "admin"]).outcome().succeeds();
    shown.shows("networks=default:ip4=").shows("net-admin=admin\n");
    running.kill(rustix::process::Signal::TERM);
    running.wait();
    drop(elsewhere);
    env.assert_nothing_left();
}
