//! Attacks on what pods have of a network, by the ids of the collection that they were taken from.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use integration_tests::images::{Aci, busybox, with_perl};
use integration_tests::needs::{Place, place, tool};
use integration_tests::{Env, User, limit, needs, process};
use rustix::process::Signal;

/// Asks the metadata service from within an app.
const ASK: &str = "wget -q -O - --header 'Metadata-Flavor: AppContainer' $AC_METADATA_URL/acMetadata/v1/pod/uuid";

fn path(image: &Path) -> &str {
    image.to_str().expect("UTF-8")
}

/// NET-01: an abstract socket could be reached from every pod with the host's network (CVE-2020-15257).
#[test]
fn net01_no_process_of_a_pod_has_an_abstract_socket() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    let image = Aci::new("pod", busybox()).sh("sleep 600").build(&env);
    let args = ["--insecure-options=image", "run", "--net=none", "--detach", "--name=pod", path(&image)];
    env.proa(args).outcome().succeeds();
    env.proa(["enter", "pod", "/bin/sh", "-c", ASK]).outcome().succeeds();
    let status = env.proa(["status", "pod"]).outcome().succeeds();
    let init: i32 = status.stdout.lines().find_map(|line| line.strip_prefix("pid=")?.parse().ok()).expect("a pid");
    let monitor = process::read(init).expect("it runs").parent;
    let service = env.metadata_service().expect("an app has asked");
    let mut sockets = BTreeSet::new();
    for pid in [init, monitor, service] {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("root may look");
        let links = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        let inode = |link: PathBuf| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
        sockets.extend(links.filter_map(inode));
    }
    let table = std::fs::read_to_string("/proc/net/unix").expect("there is one");
    let known: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    let own: Vec<&Vec<&str>> = known.iter().filter(|it| it.get(6).is_some_and(|it| sockets.contains(*it))).collect();
    assert!(own.iter().any(|it| it.get(7).is_some_and(|name| name.starts_with('/'))), "they have sockets with names");
    let is_abstract = |it: &&&Vec<&str>| it.get(7).is_some_and(|name| name.starts_with('@'));
    assert_eq!(own.iter().filter(is_abstract).count(), 0, "{own:?}");
    env.proa(["stop", "pod"]).outcome().succeeds();
    env.proa(["rm", "pod"]).outcome().succeeds();
}

/// NET-02: who comes from elsewhere does not look like a program of the pod (CVE-2021-20199).
#[test]
fn net02_a_client_at_another_address_is_no_loopback_peer() {
    needs!(place(Place::Host));
    needs!(tool("pasta"));
    let env = needs!(Env::of(User::WithRange));
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
    // Nothing is sent.
    let other = socket.connect("198.51.100.1:9").and_then(|()| socket.local_addr()).map(|address| address.ip());
    let other: IpAddr = needs!(other.map_err(|_| "this machine has no default route".to_owned()));
    let tree = needs!(with_perl(busybox()));
    let serve = r#"exec /usr/bin/perl -e '
        socket(my $s, 2, 1, 0) or die; bind($s, pack("S n x4 x8", 2, 80)) or die; listen($s, 8);
        while (my $who = accept(my $c, $s)) {
            sysread($c, my $line, 10); syswrite($c, join(".", unpack("x4 C4", $who)) . "\n"); sysread($c, $line, 10);
        }'"#;
    let image = Aci::new("pod", tree).sh(serve).build(&env);
    let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
    let option = format!("--port=80:0.0.0.0:{port}");
    let args = ["--insecure-options=image", "run", "--detach", "--name=pod", &option, path(&image)];
    env.proa(args).outcome().succeeds();
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(SocketAddr::new(other, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"who")?;
        let mut answer = [0; 100];
        let length = stream.read(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    };
    let deadline = Instant::now() + limit();
    let peer = loop {
        match ask() {
            Ok(answer) if !answer.is_empty() => break answer,
            asked => assert!(Instant::now() < deadline, "{asked:?}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let peer: IpAddr = peer.trim().parse().expect("an address");
    assert!(!peer.is_loopback(), "{peer}");
    env.proa(["stop", "pod"]).outcome().succeeds();
    env.proa(["rm", "pod"]).outcome().succeeds();
}

/// Whether a text is in a file below a directory.
fn is_in_a_file(dir: &Path, text: &str) -> Option<PathBuf> {
    for entry in std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok) {
        let (path, kind) = (entry.path(), entry.file_type().expect("it has one"));
        let found = if kind.is_dir() {
            is_in_a_file(&path, text)
        } else {
            let holds = |bytes: Vec<u8>| bytes.windows(text.len()).any(|it| it == text.as_bytes());
            let small = kind.is_file() && entry.metadata().is_ok_and(|it| it.len() < 1 << 20);
            (small && std::fs::read(&path).is_ok_and(holds)).then_some(path)
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// MDS-12, table 4F 107: the token is in the environment of the pod's apps and nowhere else.
#[test]
fn mds12_the_token_is_nowhere_but_with_the_apps() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    let image = Aci::new("pod", busybox()).sh("echo $AC_METADATA_URL; sleep 600").build(&env);
    let args = ["--debug", "--insecure-options=image", "run", "--net=none", "--name=pod", path(&image)];
    let mut running = env.proa(args).start();
    let url = running.wait_for("http://");
    let token = url.rsplit('/').next().expect("it has parts").to_owned();
    assert!(token.len() >= 32, "128 bits at least: {token:?}");
    env.proa(["enter", "pod", "/bin/sh", "-c", ASK]).outcome().succeeds();
    let wrong = "wget -q -O - http://169.254.169.254:18112/wrong/acMetadata/v1/pod/uuid";
    env.proa(["enter", "pod", "/bin/sh", "-c", wrong]).outcome();
    for shown in [
        vec!["--debug", "status", "--format=json", "pod"],
        vec!["--debug", "list", "--format=json", "--full"],
        vec!["--debug", "cat-manifest", "pod"],
    ] {
        let outcome = env.proa(shown).outcome().succeeds();
        assert!(!outcome.stdout.contains(&token) && !outcome.stderr.contains(&token), "{outcome}");
    }
    let told: Vec<i32> = process::all().iter().map(|it| it.pid).collect();
    let told = told.into_iter().find(|pid| process::command_line(*pid).contains(&token));
    assert_eq!(told, None, "a process has it in its arguments");
    assert_eq!(is_in_a_file(&env.data(), &token), None);
    running.kill(Signal::TERM);
    let outcome = running.wait();
    assert!(!outcome.stderr.contains(&token), "{outcome}");
}

/// The rights that a process has: its sets of capabilities, no_new_privs and its filter.
fn rights(pid: i32) -> Vec<(String, String)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let wanted = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"];
    let lines = status.lines().filter_map(|line| line.split_once(":\t"));
    lines.filter(|(name, _)| wanted.contains(name)).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// CAP-05: what strangers talk to has given its rights up: what carries ports, and the metadata service.
#[test]
fn cap_05_helpers_have_no_rights() {
    needs!(place(Place::Host));
    needs!(tool("pasta"));
    let env = needs!(Env::of(User::WithRange));
    let image = Aci::new("pod", busybox()).sh("echo up; sleep 600").build(&env);
    let port = || TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
    let (tcp, udp) = (format!("--port=80:{}", port()), format!("--port=53/udp:{}", port()));
    let args = ["--insecure-options=image", "run", "--name=pod", &tcp, &udp, path(&image)];
    let mut running = env.proa(args).start();
    running.wait_for("up");
    env.proa(["enter", "pod", "/bin/sh", "-c", ASK]).outcome().succeeds();
    let children = process::descendants(running.pid());
    let relays: Vec<i32> =
        children.iter().map(|it| it.pid).filter(|pid| process::command_line(*pid).starts_with("proa-ports")).collect();
    assert_eq!(relays.len(), 2, "one for connections, one for datagrams");
    // What carries connections may say in the pod's network who the client is (CAP_NET_ADMIN), and has no socket for
    // anything else of that.
    let (none, over_network) = ("0000000000000000", "0000000000001000");
    let mut kept = Vec::new();
    for pid in relays {
        for (name, value) in rights(pid) {
            match name.as_str() {
                "NoNewPrivs" => assert_eq!(value, "1"),
                "Seccomp" => assert_eq!(value, "2"),
                "CapPrm" | "CapEff" => kept.push(value),
                _ => assert_eq!(value, none, "{name} of {}", process::command_line(pid)),
            }
        }
    }
    kept.sort();
    assert_eq!(kept, [none, none, over_network, over_network]);
    // pasta sees to itself: it keeps what it needs in the pod's network and has a filter.
    let pasta = children.iter().find(|it| it.name.starts_with("passt")).expect("pasta runs");
    assert!(rights(pasta.pid).contains(&("Seccomp".to_owned(), "2".to_owned())), "{:?}", rights(pasta.pid));
    let service = rights(env.metadata_service().expect("an app has asked"));
    for expected in [("CapEff", none), ("CapPrm", none), ("NoNewPrivs", "1"), ("Seccomp", "2")] {
        assert!(
            service.iter().any(|(name, value)| (name.as_str(), value.as_str()) == expected),
            "{expected:?}: {service:?}"
        );
    }
    running.kill(Signal::TERM);
    running.wait();
}

/// NET-06: networks are three names; a name that is a path to a plugin (CVE-2021-20206) is none of them, wherever it stands.
#[test]
fn net06_a_network_is_no_path_to_a_program() {
    let env = needs!(Env::of(User::WithRange));
    let canary = env.write("plugin", "#!/bin/sh\ntouch \"$(dirname \"$0\")/executed\"\n");
    std::fs::set_permissions(&canary, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
    let image = Aci::new("pod", busybox()).sh("echo ran").build(&env);
    for name in ["../../bin/x", "/bin/true", "", "../plugin", path(&canary), "default:x", "-x"] {
        let option = format!("--net={name}");
        let outcome = env.proa(["--insecure-options=image", "run", &option, path(&image)]).outcome().exits(254);
        assert!(outcome.stdout.is_empty() && !outcome.stderr.is_empty(), "{name:?}: {outcome}");
        let noted = serde_json::json!({"acKind": "PodManifest", "acVersion": "0.8.11", "apps": [],
            "userAnnotations": {"proa.local/network": serde_json::json!({"mode": name}).to_string()}});
        let file = env.write("pod.json", noted.to_string());
        let outcome = env.proa(["run", "--pod-manifest", path(&file)]).outcome().exits(254);
        assert!(!outcome.stderr.is_empty(), "{name:?}: {outcome}");
    }
    assert!(!env.path("executed").exists());
}

/// Table 4F 104: where pods register is no place that an app sees, not even with the host's network.
#[test]
fn an_app_does_not_see_where_pods_register() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    let image = Aci::new("pod", busybox()).sh("echo up; sleep 600").build(&env);
    let args = ["--insecure-options=image", "run", "--net=host", "--name=pod", path(&image)];
    let mut running = env.proa(args).start();
    running.wait_for("up");
    // By AC_METADATA_URL it asks, and the service is there.
    env.proa(["enter", "pod", "/bin/sh", "-c", ASK]).outcome().succeeds();
    let socket = env.data().join("run/metadata.sock");
    assert!(socket.exists());
    let look = format!(
        "for s in {0} /proc/1/root{0} /run/metadata.sock; do [ -e $s ] && echo seen; done; \
         grep -c metadata.sock /proc/self/mountinfo; echo done",
        socket.display()
    );
    env.proa(["enter", "pod", "/bin/sh", "-c", &look]).outcome().prints("0\ndone\n");
    running.kill(Signal::TERM);
    running.wait();
}

/// Table 4F 105: a pod's control socket bears clients that say too much, nothing sensible, half of something, or listen
/// and never read.
#[test]
fn the_control_socket_bears_bad_clients() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    let image = Aci::new("pod", busybox()).sh("sleep 600").build(&env);
    let args = ["--insecure-options=image", "run", "--net=none", "--detach", "--name=pod", path(&image)];
    let uuid = env.proa(args).outcome().succeeds().line().to_owned();
    let status = || env.proa(["status", "pod"]).outcome().succeeds().shows("state=running");
    let init: i32 = status().stdout.lines().find_map(|line| line.strip_prefix("pid=")?.parse().ok()).expect("a pid");
    let monitor = process::read(init).expect("it runs").parent;
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{monitor}/status")).expect("it runs");
        let high = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
        high.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
    };
    let dir = std::fs::File::open(env.data().join("pods/run").join(&uuid)).expect("the pod's directory");
    let control = format!("/proc/self/fd/{}/control", std::os::fd::AsRawFd::as_raw_fd(&dir));
    let connect = || {
        let stream = UnixStream::connect(&control).expect("it listens");
        stream.set_read_timeout(Some(limit())).expect("a socket");
        stream
    };
    let before = memory();
    let say = |bytes: &[u8]| {
        let mut stream = connect();
        // It may be closed while this is being written.
        let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    assert!(say(b"{\"version\":99,\"call\":\"status\"}\n").contains("error"), "a version that nobody knows");
    for nonsense in [
        &b"\n"[..],
        b"{}\n",
        b"{\"version\":1,\"call\":\"nothing\"}\n",
        b"\xff\xfe\n",
        b"{\"version\":1,\"call\":\"attach\"}\n",
    ] {
        let answer = say(nonsense);
        assert!(answer.contains("{\"error\":{\"kind\":\"request\""), "{nonsense:?}: {answer}");
    }
    assert!(!say(&[&b"["[..]; 100_000].concat()).contains("done"), "nesting");
    let long = [b"{\"version\":1,\"call\":\"".to_vec(), vec![b'x'; 8 << 20], b"\"}\n".to_vec()].concat();
    assert!(!say(&long).contains("done"), "8 MiB in a line");
    // Half a request each, and clients that listen and do not read.
    let mut open: Vec<UnixStream> = (0..25).map(|_| connect()).collect();
    open.iter_mut().for_each(|stream| stream.write_all(b"{\"version\":1,").expect("it reads"));
    let mut watchers: Vec<UnixStream> = (0..25).map(|_| connect()).collect();
    let events = b"{\"version\":1,\"call\":\"events\"}\n";
    watchers.iter_mut().for_each(|stream| stream.write_all(events).expect("it reads"));
    for _ in 0..20 {
        env.proa(["enter", "pod", "/bin/true"]).outcome().succeeds();
    }
    status();
    let after = memory();
    assert!(after < before + (16 << 10), "{before} kB, then {after} kB");
    drop((open, watchers));
    env.proa(["stop", "pod"]).outcome().succeeds();
    env.proa(["rm", "pod"]).outcome().succeeds();
}
