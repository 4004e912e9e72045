//! Networks of pods: the loopback alone, the world by pasta, the host's; ports that lead in; what names resolve to.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use integration_tests::images::{Aci, Layout, Tree, busybox, with_perl};
use integration_tests::needs::{Place, place, tool};
use integration_tests::{Env, User, each_user, limit, needs, process};
use rustix::process::Signal;
use serde_json::json;

each_user! {
    net04_none_is_the_loopback_alone,
    rkt_etc_hosts,
    rkt_hostname_and_etc_hostname,
    rkt_dns,
    rkt_net_default_has_an_interface,
    rkt_net_host,
    rkt_net_ports,
    a_socket_activated_port_needs_no_port_of_the_host,
    a_socket_activated_port_is_taken_over,
}

/// A port of the host where nobody listens.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port").port()
}

/// Runs a script with these options of the pod and gives what it prints.
fn sh(env: &Env, options: &[&str], script: &str) -> String {
    let image = Aci::new("net", busybox().dir("etc", 0o755)).sh(script).build(env);
    let image = image.to_str().expect("UTF-8");
    let args = ["--insecure-options=image", "run"];
    env.proa(args.iter().chain(options).chain(&[image])).outcome().succeeds().stdout
}

const INTERFACES: &str = "ls /sys/class/net | tr '\\n' ' '";

fn net04_none_is_the_loopback_alone(env: &Env) {
    assert_eq!(sh(env, &["--net=none"], INTERFACES).trim(), "lo");
    // NET-04: no address but loopback ones, nobody to ask.
    let script = "grep -v ' lo$' /proc/net/if_inet6; ls /etc; echo done";
    assert_eq!(sh(env, &[], script), "group\nhostname\nhosts\nmtab\npasswd\ndone\n");
}

fn rkt_etc_hosts(env: &Env) {
    let made = sh(env, &["--hostname=here"], "cat /etc/hosts");
    assert!(
        made.starts_with("127.0.0.1 localhost localhost.localdomain localhost4 localhost4.localdomain4\n"),
        "{made}"
    );
    assert!(made.ends_with("\n127.0.0.1 here\n"), "{made}");
    assert_eq!(
        sh(env, &["--hostname=here.example"], "hostname -f; grep here /etc/hosts"),
        "here.example\n127.0.0.1 here.example here\n"
    );
    let with = sh(env, &["--hosts-entry=10.0.0.1=one,10.0.0.2=two", "--hosts-entry=fd00::1=six"], "cat /etc/hosts");
    assert!(with.ends_with("\n10.0.0.1 one\n10.0.0.2 two\nfd00::1 six\n"), "{with}");
    let hosts = std::fs::read_to_string("/etc/hosts").expect("the host has one");
    assert_eq!(sh(env, &["--hosts-entry=host"], "cat /etc/hosts"), hosts);
    // An app that could write there could fill what its pod is built in.
    assert_eq!(sh(env, &[], "{ echo x >>/etc/hosts; } 2>/dev/null || echo refused"), "refused\n");
    // One that the image has is left as it is, an empty one is none; a volume is what somebody wants.
    let of_image = |content: &str| busybox().dir("etc", 0o755).file("etc/hosts", content, 0o644);
    for (tree, expected) in [(of_image("1.2.3.4 mine\n"), "1.2.3.4 mine\n"), (of_image(""), "127.0.0.1 localhost ")] {
        let image = Aci::new("own", tree).sh("cat /etc/hosts").build(env);
        let out = env.run(&image, &[]).outcome().succeeds().stdout;
        assert!(out.starts_with(expected), "{out}");
        let args = ["--insecure-options=image", "run", "--hosts-entry=pod", image.to_str().expect("UTF-8")];
        env.proa(args).outcome().succeeds().shows("127.0.0.1 localhost ");
    }
    let file = env.write("my-hosts", "9.9.9.9 volume\n");
    let volume = format!("--volume=h,kind=host,source={}", file.display());
    let image = Aci::new("v", busybox()).sh("cat /etc/hosts").build(env);
    let args = ["--insecure-options=image", "run", &volume, "--mount=volume=h,target=/etc/hosts"];
    let args = args.iter().copied().chain([image.to_str().expect("UTF-8")]);
    env.proa(args).outcome().succeeds().prints("9.9.9.9 volume\n");
}

fn rkt_hostname_and_etc_hostname(env: &Env) {
    let script = "stat -c %a /etc/hostname; cat /etc/hostname; hostname";
    assert_eq!(sh(env, &["--hostname=chosen"], script), "644\nchosen\nchosen\n");
    let default = sh(env, &[], script);
    let lines: Vec<&str> = default.lines().collect();
    assert!(lines[1].starts_with("proa-") && lines[1] == lines[2], "{default}");
}

fn rkt_dns(env: &Env) {
    let dns = |options: &[&str]| sh(env, options, "cat /etc/resolv.conf 2>/dev/null || echo none");
    assert_eq!(dns(&[]), "none\n");
    assert_eq!(dns(&["--dns=10.0.0.1"]), "nameserver 10.0.0.1\n");
    assert_eq!(dns(&["--dns=10.0.0.1", "--dns=fd00::1"]), "nameserver 10.0.0.1\nnameserver fd00::1\n");
    let all = ["--dns=10.0.0.1", "--dns-search=a.example", "--dns-opt=debug", "--dns-domain=b.example"];
    assert_eq!(dns(&all), "nameserver 10.0.0.1\ndomain b.example\nsearch a.example\noptions debug\n");
    let hosts = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    assert_eq!(dns(&["--dns=host"]), hosts);
    assert_eq!(dns(&["--dns=none"]), "none\n");
    let image = Aci::new("none", busybox()).sh("true").build(env);
    for wrong in
        ["--dns=nobody", "--dns=host --dns=10.0.0.1", "--hosts-entry=x", "--hosts-entry=10.0.0.1=a/b", "--net=x"]
    {
        let args = ["--insecure-options=image", "run"].into_iter().chain(wrong.split(' '));
        env.proa(args.chain([image.to_str().expect("UTF-8")])).outcome().rejects("--");
    }
}

/// Whether this machine has what pasta needs: a default route.
fn uplink() -> Result<PathBuf, String> {
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    if !routes.lines().any(|line| line.split_whitespace().nth(1) == Some("00000000")) {
        return Err("this machine has no default route".into());
    }
    tool("pasta")
}

fn rkt_net_default_has_an_interface(env: &Env) {
    needs!(place(Place::Host));
    needs!(uplink());
    let script = format!("{INTERFACES}; echo; cat /etc/resolv.conf");
    let out = sh(env, &["--net"], &script);
    assert!(out.starts_with("eth0 lo \n") || out.starts_with("lo eth0 \n"), "{out}");
    let image = Aci::new("web", busybox()).sh("sleep 600").build(env);
    let args = ["--insecure-options=image", "run", "--detach", "--name=web", "--net=default"];
    env.proa(args.iter().copied().chain([image.to_str().expect("UTF-8")])).outcome().succeeds();
    env.proa(["status", "web"]).outcome().succeeds().shows("networks=default:ip4=");
    env.proa(["stop", "web"]).outcome().succeeds();
    env.proa(["rm", "web"]).outcome().succeeds();
}

fn rkt_net_host(env: &Env) {
    needs!(place(Place::Host));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let server = std::thread::spawn(move || listener.accept().and_then(|(mut it, _)| it.write_all(b"host\n")));
    let script =
        format!("nc 127.0.0.1 {port} </dev/null; (echo 1 >/sys/class/net/lo/mtu) 2>/dev/null || echo read-only");
    assert_eq!(sh(env, &["--net=host"], &script), "host\nread-only\n");
    server.join().expect("it ends").expect("it was asked");
}

/// What the pod answers on a port of the host, once it does.
fn ask(address: SocketAddr) -> String {
    let deadline = Instant::now() + limit();
    loop {
        let mut answer = String::new();
        let asked = TcpStream::connect(address).and_then(|mut it| {
            it.set_read_timeout(Some(limit()))?;
            it.write_all(b"hello\n")?;
            BufReader::new(it).read_line(&mut answer)
        });
        if asked.is_ok() && !answer.is_empty() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{address} does not answer: {asked:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A server that answers each client with a line.
fn server(port: u16) -> String {
    format!("nc -ll -p {port} -e /answer {port} &")
}

fn rkt_net_ports(env: &Env) {
    needs!(place(Place::Host));
    needs!(uplink());
    let [named, numbered, everybody] = [free_port(), free_port(), free_port()];
    let script = format!("{} {} wait", server(80), server(81));
    let ports =
        json!([{"name": "http", "protocol": "tcp", "port": 80}, {"name": "alias", "protocol": "tcp", "port": 80}]);
    let tree = busybox().script("answer", "read line; echo from-$1; read line");
    let image = Aci::new("web", tree).sh(&script).app("ports", ports).build(env);
    let options = [
        format!("--port=http:{named}"),
        format!("--port=81:127.0.0.1:{numbered}"),
        format!("--port=alias:0.0.0.0:{everybody}"),
    ];
    let args = ["--insecure-options=image", "run", "--detach", "--name=web"].into_iter();
    let args = args.chain(options.iter().map(String::as_str)).chain([image.to_str().expect("UTF-8")]);
    env.proa(args).outcome().succeeds();
    let at = |ip: &str, port| SocketAddr::new(ip.parse::<IpAddr>().expect("an address"), port);
    let listed = env.proa(["docker", "ps", "--format", "{{.Ports}}"]).outcome().succeeds();
    assert!(listed.stdout.contains(&format!("0.0.0.0:{everybody}->80/tcp")), "{listed}");
    assert!(listed.stdout.contains(&format!("127.0.0.1:{numbered}->81/tcp")), "{listed}");
    assert_eq!(ask(at("127.0.0.1", named)), "from-80\n");
    assert_eq!(ask(at("::1", named)), "from-80\n");
    assert_eq!(ask(at("127.0.0.1", numbered)), "from-81\n");
    assert!(TcpStream::connect(at("::1", numbered)).is_err(), "only the address that was given");
    assert_eq!(ask(at("127.0.0.1", everybody)), "from-80\n");
    // NET-05: another address of this machine does not lead in.
    if let Some(other) = other_address() {
        assert!(TcpStream::connect((other, named)).is_err(), "{other}");
        assert_eq!(ask(SocketAddr::new(other, everybody)), "from-80\n");
    }
    env.proa(["stop", "web"]).outcome().succeeds();
    env.proa(["rm", "web"]).outcome().succeeds();
    assert!(TcpListener::bind(at("127.0.0.1", named)).is_ok(), "the port is free again");
}

/// An address of this machine that is not a loopback one.
fn other_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent.
    socket.connect("198.51.100.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback())
}

#[test]
fn ports_that_cannot_be_are_refused() {
    let env = needs!(Env::of(User::WithRange));
    let image = Aci::new("none", busybox()).sh("true").build(&env);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("bound").port().to_string();
    for (options, offending) in [
        (vec!["--port=http:8080".to_owned()], "\"http\""),
        (vec![format!("--port=80:{taken}")], taken.as_str()),
        (vec!["--port=80:192.0.2.250:8080".to_owned()], "192.0.2.250:8080"),
        (vec!["--net=none".to_owned(), "--port=80:8080".to_owned()], "--net=none"),
        (vec!["--port=80".to_owned()], "\"80\""),
        (vec!["--port=80:70000".to_owned()], "70000"),
    ] {
        let args = ["--insecure-options=image".to_owned(), "run".to_owned()].into_iter().chain(options);
        env.proa(args.chain([image.to_str().expect("UTF-8").to_owned()])).outcome().refuses(offending);
    }
}

/// NET-03, NET-09: neither the host's loopback nor where clouds keep their secrets can be reached.
#[test]
fn net03_net09_the_hosts_loopback_and_cloud_metadata_are_out_of_reach() {
    needs!(place(Place::Host));
    needs!(uplink());
    let env = needs!(Env::of(User::WithRange));
    let listener = TcpListener::bind("[::]:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    listener.set_nonblocking(true).expect("it is a socket");
    let gateway = "$(sed -n 's/.*//; 2p' /dev/null; ip route 2>/dev/null | sed -n 's/default via \\([^ ]*\\).*/\\1/p')";
    let script = format!(
        "for ip in 127.0.0.1 ::1 10.0.2.2 {gateway}; do nc -w 2 $ip {port} </dev/null && echo reached $ip; done
         for ip in 169.254.169.254 169.254.170.2 100.100.100.200 fd00:ec2::254; do
             nc -w 2 $ip 80 </dev/null && echo reached $ip
         done; echo done"
    );
    assert_eq!(sh(&env, &["--net=default"], &script), "done\n");
    assert!(listener.accept().is_err(), "nobody came");
}

/// NET-08: the pod lives on without it, and says so.
#[test]
fn net08_pasta_is_killed() {
    needs!(place(Place::Host));
    needs!(uplink());
    let env = needs!(Env::of(User::WithRange));
    let image = Aci::new("web", busybox()).sh("sleep 600").build(&env);
    let port = format!("--port=80:{}", free_port());
    let args = ["--insecure-options=image", "run", "--detach", "--name=web", &port, image.to_str().expect("UTF-8")];
    env.proa(args).outcome().succeeds();
    let status = env.proa(["status", "web"]).outcome().succeeds();
    let init: i32 = status.stdout.lines().find_map(|line| line.strip_prefix("pid=")?.parse().ok()).expect("a pid");
    // Other tests have theirs: this pod's is a child of its monitor, as pid 1 is.
    let monitor = process::read(init).expect("it runs").parent;
    let ours = |it: &process::Process| it.parent == monitor && it.name.starts_with("passt") && it.state != 'Z';
    process::kill(process::all().into_iter().find(ours).expect("pasta runs").pid, Signal::KILL);
    let deadline = Instant::now() + limit();
    loop {
        let status = env.proa(["status", "web"]).outcome().succeeds();
        if status.stdout.contains("network-error=pasta was killed by signal 9\n") {
            status.shows("state=running").shows("networks=default");
            break;
        }
        assert!(Instant::now() < deadline, "{status}");
    }
    env.proa(["enter", "web", "/bin/true"]).outcome().succeeds();
    env.proa(["stop", "web"]).outcome().succeeds();
    env.proa(["rm", "web"]).outcome().succeeds();
}

/// A monitor that is killed takes pasta and the forwarded ports along.
#[test]
fn a_killed_monitor_leaves_no_process_of_the_network() {
    needs!(place(Place::Host));
    needs!(uplink());
    let env = needs!(Env::of(User::WithRange));
    let image = Aci::new("web", busybox()).sh("echo up; sleep 600").build(&env);
    let port = free_port();
    let port_option = format!("--port=80:{port}");
    let args = ["--insecure-options=image", "run", &port_option, image.to_str().expect("UTF-8")];
    let mut running = env.proa(args).start();
    running.wait_for("up");
    let helpers = || -> Vec<i32> {
        process::descendants(running.pid())
            .into_iter()
            .filter(|it| it.name.starts_with("passt") || process::command_line(it.pid).starts_with("proa-ports"))
            .map(|it| it.pid)
            .collect()
    };
    // Pasta, and what carries the port, which says so a moment after it was made.
    let deadline = Instant::now() + limit();
    let helpers = loop {
        let found = helpers();
        if found.len() == 2 {
            break found;
        }
        assert!(Instant::now() < deadline, "{found:?}");
    };
    running.kill(Signal::KILL);
    running.wait();
    let deadline = Instant::now() + limit();
    while helpers.iter().any(|pid| process::read(*pid).is_some_and(|it| it.state != 'Z')) {
        assert!(Instant::now() < deadline, "{helpers:?} live on");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(TcpListener::bind(("127.0.0.1", port)).is_ok(), "the port is free again");
    env.proa(["gc", "--grace-period=0s", "--expire-prepared=0s"]).outcome().succeeds();
}

/// Debian's nginx in an OCI image serves 100 MB to curl, by IPv4 and IPv6.
#[test]
fn nginx_serves_a_large_file_on_a_forwarded_port() {
    needs!(place(Place::Host));
    needs!(uplink());
    needs!(tool("curl"));
    let nginx = needs!(tool("nginx"));
    let env = needs!(Env::of(User::WithRange));
    let linked = Command::new("ldd").arg(&nginx).output().expect("ldd runs");
    let linked = String::from_utf8_lossy(&linked.stdout).into_owned();
    let mut tree = Tree::new();
    for library in linked.split_whitespace().filter(|it| it.starts_with('/')) {
        tree = tree.file(library.trim_start_matches('/'), std::fs::read(library).expect("it is there"), 0o755);
    }
    let config = "daemon off; master_process off; pid /tmp/pid; error_log stderr; events {}
        http { access_log off; client_body_temp_path /tmp/1; proxy_temp_path /tmp/2; fastcgi_temp_path /tmp/3;
               uwsgi_temp_path /tmp/4; scgi_temp_path /tmp/5; sendfile on;
               server { listen 80; listen [::]:80; root /srv; } }";
    let large: Vec<u8> = (0..100_u32 << 20).map(|it| (it.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let tree = tree
        .file("usr/sbin/nginx", std::fs::read(nginx).expect("it is there"), 0o755)
        .file("nginx.conf", config, 0o644)
        .file("etc/passwd", "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n", 0o644)
        .file("etc/group", "root:x:0:\nnogroup:x:65534:\n", 0o644)
        .file("srv/large", &large, 0o644)
        .dir("tmp", 0o1777)
        .dir("var/log/nginx", 0o755)
        .dir("var/lib/nginx", 0o755);
    let image = Layout::new("nginx")
        .layer(tree)
        .config("Cmd", json!(["/usr/sbin/nginx", "-c", "/nginx.conf"]))
        .config("ExposedPorts", json!({"80/tcp": {}}))
        .build(&env);
    let port = free_port();
    let port_option = format!("--port=80:{port}");
    let image = format!("oci:{}", image.display());
    env.proa(["run", "--detach", "--name=nginx", &port_option, &image]).outcome().succeeds();
    let digest = integration_tests::images::sha256(&large);
    for host in ["127.0.0.1", "[::1]"] {
        let url = format!("http://{host}:{port}/large");
        let args = ["-sS", "--retry", "20", "--retry-connrefused", "--retry-delay", "1", "--retry-all-errors", &url];
        let got = Command::new("curl").args(args).output().expect("curl runs");
        assert!(got.status.success(), "{url}: {}", String::from_utf8_lossy(&got.stderr));
        assert_eq!(integration_tests::images::sha256(&got.stdout), digest, "{url}");
    }
    env.proa(["stop", "nginx"]).outcome().succeeds();
    env.proa(["rm", "nginx"]).outcome().succeeds();
}

/// Without a port of the host the socket is in the pod, and its apps meet there; also when the app starts again.
fn a_socket_activated_port_needs_no_port_of_the_host(env: &Env) {
    let ports = json!([{"name": "www", "protocol": "tcp", "port": 80, "count": 2, "socketActivated": true},
        {"name": "dns", "protocol": "udp", "port": 53, "socketActivated": true}]);
    let script = "[ $LISTEN_PID = $$ ] && echo mine; echo $LISTEN_FDS $LISTEN_FDNAMES
        readlink /proc/$$/fd/3 | cut -c1-7; grep -c '00000000:005[01] 00000000:0000 0A' /proc/net/tcp; exit 3";
    let image = Aci::new("web", busybox()).sh(script).app("ports", ports.clone()).build(env);
    let image = image.to_str().expect("UTF-8");
    for more in [&["--net=none"][..], &["--net=none", "--restart=on-failure:1"]] {
        let outcome =
            env.proa(["--insecure-options=image", "run"].iter().chain(more).chain([&image])).outcome().exits(3);
        assert_eq!(outcome.stdout.matches("mine\n2 www:www\nsocket:\n2\n").count(), more.len(), "{outcome}");
    }
    // Two apps cannot listen at one port.
    let args = ["--insecure-options=image", "run", "--net=none", image, "--name=one", "---", image, "--name=two"];
    env.proa(args).outcome().refuses("app \"two\": listen for the port \"www\" at 0.0.0.0:80");
    let tree = needs!(with_perl(busybox()));
    let serve = r#"exec /usr/bin/perl -e 'open(L, "+<&=3") or die; accept(C, L) or die; syswrite(C, "served\n")'"#;
    let serving = Aci::new("serve", tree).sh(serve).app("ports", ports).build(env);
    let asking = Aci::new("ask", busybox()).sh("nc 127.0.0.1 80").build(env);
    let (serving, asking) = (serving.to_str().expect("UTF-8"), asking.to_str().expect("UTF-8"));
    env.proa(["--insecure-options=image", "run", "--net=none", serving, "---", asking])
        .outcome()
        .succeeds()
        .prints("served\n");
}

/// A socket that was opened on the host, with no network in the pod; also when the app is started again.
fn a_socket_activated_port_is_taken_over(env: &Env) {
    needs!(place(Place::Host));
    let port = free_port();
    let ports = json!([{"name": "www", "protocol": "tcp", "port": 80, "socketActivated": true}]);
    // The shell's number is the program's: exec does not change it.
    let script =
        "[ $LISTEN_PID = $$ ] && echo mine; echo $LISTEN_FDS $LISTEN_FDNAMES; readlink /proc/self/fd/3 | cut -c1-7
        ls /proc/$$/fd | tr '\\n' ' '; echo; ls /sys/class/net; tail -n +2 /proc/net/tcp | wc -l; exit 3";
    let image = Aci::new("web", busybox()).sh(script).app("ports", ports).build(env);
    let image = image.to_str().expect("UTF-8");
    let option = format!("--port=www:{port}");
    let args = ["--insecure-options=image", "run", "--net=none", &option, image];
    let outcome = env.proa(args).outcome().exits(3);
    // Its own script is no descriptor; the last one is the directory that ls reads.
    let mut lines = outcome.stdout.lines();
    assert_eq!([lines.next(), lines.next(), lines.next()], [Some("mine"), Some("1 www"), Some("socket:")], "{outcome}");
    assert!(lines.next().is_some_and(|line| line.starts_with("0 1 2 3")), "{outcome}");
    assert_eq!(lines.next(), Some("lo"), "{outcome}");
    let restarted = ["--insecure-options=image", "run", "--net=none", "--restart=on-failure:1", &option, image];
    let outcome = env.proa(restarted).outcome().exits(3);
    assert_eq!(outcome.stdout.matches("mine\n1 www\nsocket:").count(), 2, "{outcome}");
    assert!(TcpListener::bind(("127.0.0.1", port)).is_ok(), "the port is free again");
    // Whoever connects is served, though the pod has no network.
    let tree = needs!(with_perl(busybox()));
    let serve = r#"exec /usr/bin/perl -e 'open(L, "+<&=3") or die; accept(C, L) or die; syswrite(C, "served\n")'"#;
    let ports = json!([{"name": "www", "protocol": "tcp", "port": 80, "socketActivated": true}]);
    let image = Aci::new("serve", tree).sh(serve).app("ports", ports).build(env);
    let args = ["--insecure-options=image", "run", "--detach", "--rm", "--name=serve", "--net=none", &option];
    env.proa(args.iter().copied().chain([image.to_str().expect("UTF-8")])).outcome().succeeds();
    assert_eq!(ask(SocketAddr::from(([127, 0, 0, 1], port))), "served\n");
    env.proa(["wait", "serve"]).outcome();
}
