//! Options of `docker run` that come from elsewhere: ports of the image, volumes of another container, keys of a terminal.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Instant;

use integration_tests::images::{Layout, busybox};
use integration_tests::needs::{Place, place, tool};
use integration_tests::{Env, Outcome, User, each_user, limit, needs};
use serde_json::json;

fn docker(env: &Env, words: &[&str]) -> Outcome {
    env.proa(["docker"].iter().chain(words)).outcome()
}

/// An image that names two ports.
fn image(env: &Env) -> String {
    let layout = Layout::new("shell").layer(busybox()).config("Cmd", json!(["sh"]));
    let layout = layout.config("ExposedPorts", json!({"80/tcp": {}, "53/udp": {}}));
    format!("oci:{}", layout.build(env).display())
}

/// Whether this machine has what pasta needs: a default route.
fn uplink() -> Result<PathBuf, String> {
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    if !routes.lines().any(|line| line.split_whitespace().nth(1) == Some("00000000")) {
        return Err("this machine has no default route".into());
    }
    tool("pasta")
}

each_user! {
    volumes_are_another_containers,
    a_volume_waits_for_the_container_that_is_being_made,
}

/// What answers at a port of this host, asked until somebody does.
fn answer(port: u16) -> String {
    let deadline = Instant::now() + limit();
    loop {
        let mut text = String::new();
        let asked = TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| stream.read_to_string(&mut text));
        if asked.is_ok() && !text.is_empty() {
            return text;
        }
        assert!(Instant::now() < deadline, "{port}: {asked:?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// What `docker port` says: after the last colon of each line.
fn numbers(env: &Env, inside: &str) -> Vec<u16> {
    let shown = docker(env, &["port", "web", inside]).succeeds();
    let number = |line: &str| line.rsplit(':').next().and_then(|it| it.parse().ok());
    shown.stdout.lines().map(|line| number(line).unwrap_or_else(|| panic!("{shown}"))).collect()
}

#[test]
fn ports_that_nobody_chose_are_free_ones() {
    needs!(uplink());
    let env = &needs!(Env::of(User::WithRange));
    let image = image(env);
    let serves = ["nc", "-ll", "-p", "80", "-e", "echo", "served"];
    docker(env, &[&["run", "-d", "--name=web", &image][..], &serves].concat()).succeeds();
    // Those that the image names are told, and lead nowhere.
    docker(env, &["ps", "--format", "{{.Ports}}"]).succeeds().prints("53/udp, 80/tcp\n");
    let named = ["inspect", "-f", "{{json .NetworkSettings.Ports}} {{json .Config.ExposedPorts}}", "web"];
    docker(env, &named).succeeds().prints("{\"53/udp\":null,\"80/tcp\":null} {\"53/udp\":{},\"80/tcp\":{}}\n");
    docker(env, &["port", "web"]).succeeds().prints("");
    docker(env, &["rm", "-f", "web"]).succeeds();
    docker(env, &[&["run", "-d", "-P", "--expose=81-82", "--name=web", &image][..], &serves].concat()).succeeds();
    let chosen = [numbers(env, "80"), numbers(env, "81"), numbers(env, "82/tcp"), numbers(env, "53/udp")];
    assert!(chosen.iter().flatten().all(|port| *port > 1023), "{chosen:?}");
    assert!(chosen[0][0] != chosen[1][0] && chosen[1][0] != chosen[2][0], "{chosen:?}");
    assert_eq!(answer(chosen[0][0]), "served\n");
    let mapped = ["inspect", "-f", "{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}", "web"];
    docker(env, &mapped).succeeds().prints(&format!("{}\n", chosen[0][0]));
    docker(env, &["rm", "-f", "web"]).succeeds();
    // What is published by hand is left at that, and what has no number of the host's is given one.
    let port = chosen[0][0];
    let by_hand = [format!("-p=127.0.0.1:{port}:80"), "-p=127.0.0.1::81".to_owned(), "-p=82".to_owned()];
    let by_hand: Vec<&str> = by_hand.iter().map(String::as_str).collect();
    docker(env, &[&["run", "-d", "-P", "--name=web"], &by_hand[..], &[&image], &serves].concat()).succeeds();
    assert_eq!(numbers(env, "80"), [port]);
    assert_eq!(answer(port), "served\n");
    docker(env, &["port", "web", "81"]).succeeds().shows("127.0.0.1:");
    docker(env, &["port", "web", "82"]).succeeds().shows("0.0.0.0:");
    docker(env, &["rm", "-f", "web"]).succeeds();
    for (option, text) in [
        ("-p=80:80/icmp", "\"icmp\" is neither tcp nor udp"),
        ("-p=1-2:80-83", "4 ports cannot be 2"),
        ("-p=x:80", "\"x\" is no port"),
        ("--expose=x", "invalid range format for --expose: x"),
    ] {
        docker(env, &["run", "--rm", option, &image, "true"]).exits(125).stderr_shows(text);
    }
    // Where nothing leads in, nothing is published.
    docker(env, &["run", "--rm", "-P", "--network=none", &image, "true"]).succeeds().quietly();
    env.assert_nothing_left();
}

fn volumes_are_another_containers(env: &Env) {
    let image = image(env);
    env.make_dir(&env.path("shared"));
    env.write("shared/seen", "x");
    let bind = format!("{}:/bound:ro", env.path("shared").display());
    let mounts = ["-v", &bind, "-v", "data:/data"];
    docker(env, &[&["create", "--name=store"], &mounts[..], &[&image, "true"]].concat()).succeeds();
    let run = |options: &[&str], script: &str| {
        docker(env, &[&["run", "--rm"], options, &[&image, "sh", "-c", script]].concat())
    };
    run(&["--volumes-from=store"], "echo kept >/data/file; cat /bound/seen; touch /bound/x 2>/dev/null || echo ro")
        .succeeds()
        .prints("xro\n");
    // Of what is said twice, that of this container counts, and then that of the last one.
    run(&["--volumes-from", "store:ro"], "cat /data/file; touch /data/x 2>/dev/null || echo ro")
        .succeeds()
        .prints("kept\nro\n");
    run(&["--volumes-from", "store", "-v", "other:/data"], "ls /data; ls /bound").succeeds().prints("seen\n");
    docker(env, &["create", "--name=later", "-v", "other:/data", &image, "true"]).succeeds();
    run(&["--volumes-from=store", "--volumes-from=later"], "ls /data /bound")
        .succeeds()
        .prints("/bound:\nseen\n\n/data:\n");
    docker(env, &["create", "--name=own", "-v", "/data", &image, "true"]).succeeds();
    for (from, text) in [
        ("own", "the volume at /data has no name, and goes with container own"),
        ("nosuch", "No such container: nosuch"),
        ("store:rx", "invalid mode: rx"),
    ] {
        run(&["--volumes-from", from], "true").exits(125).stderr_shows(text);
    }
    // The volume that is made for it has labels; one that is there keeps its own.
    for label in ["tier=db", "tier=web"] {
        let mount = format!("type=volume,src=labelled,dst=/data,volume-driver=local,volume-label={label}");
        run(&["--mount", &mount], "ls /data").succeeds().prints("").quietly();
    }
    docker(env, &["volume", "ls", "-q", "-f", "label=tier=db"]).succeeds().prints("labelled\n");
    docker(env, &["volume", "rm", "labelled"]).succeeds();
    let bind = format!("{}:/bound:ro,rslave", env.path("shared").display());
    run(&["-v", &bind], "cat /bound/seen").succeeds().prints("x").stderr_shows("rslave is not held");
    docker(env, &["rm", "store", "later", "own"]).succeeds();
    docker(env, &["volume", "rm", "data", "other"]).succeeds();
    env.assert_nothing_left();
}

/// Types words at a terminal, a moment apart.
fn at_a_terminal(env: &Env, words: &[&str], typed: &[&str]) -> Outcome {
    let proa = integration_tests::binaries::proa();
    let line = format!("{} --dir {} docker {}", proa.display(), env.data().display(), words.join(" "));
    let typed: Vec<String> = typed.iter().map(|keys| format!("sleep 0.5; printf '{keys}'")).collect();
    let script = format!("({}; sleep 1) | script -qec '{line}' /dev/null", typed.join("; "));
    env.command("/bin/sh", vec!["-c".into(), script.into()]).outcome()
}

#[test]
fn what_takes_root_is_refused_with_the_reason() {
    let env = &needs!(Env::of(User::WithRange));
    let image = image(env);
    for (option, text) in [
        ("--privileged", "a container cannot have more rights than you have"),
        ("--gpus=all", "--gpus all: there is no runtime that adds drivers"),
        ("--volume-driver=nfs", "--volume-driver nfs: there is local"),
    ] {
        docker(env, &["run", "--rm", option, &image, "true"]).exits(125).stderr_shows(text).stderr_shows("hint: ");
    }
    docker(env, &["run", "--rm", "--privileged=false", "--cpu-quota=5000", "--network=none", &image, "true"])
        .succeeds()
        .stderr_shows("--cpu-quota 5000 is not held");
    env.assert_nothing_left();
}

#[test]
fn other_keys_let_go_of_a_terminal() {
    // Keys are typed a moment apart, which in the guest is too short for what they are about.
    needs!(place(Place::Host));
    needs!(tool("script"));
    let env = &needs!(Env::of(User::WithRange));
    let image = image(env);
    // The usual keys are the container's then.
    let words = ["run", "-it", "--name=web", "--detach-keys=ctrl-x,x", &image, "sh"];
    at_a_terminal(env, &words, &["echo a$((1+1))\\r", "\\020\\021", "\\030x"]).succeeds().shows("a2");
    docker(env, &["ps", "--format", "{{.Names}} {{.State}}"]).succeeds().prints("web running\n");
    at_a_terminal(env, &["attach", "--detach-keys", "q", "web"], &["echo b$((1+1))\\r", "q"]).succeeds().shows("b2");
    docker(env, &["ps", "--format", "{{.Names}} {{.State}}"]).succeeds().prints("web running\n");
    let file = env.write("file", "put\n").display().to_string();
    at_a_terminal(env, &["cp", &file, "web:/put"], &[""]).succeeds().shows("Successfully copied 4B to web:/put");
    // What was executed is not let go of: it has these keys, too.
    at_a_terminal(env, &["exec", "-it", "web", "sh"], &["\\020\\021", "\\003", "echo c$((1+1)); exit\\r"])
        .succeeds()
        .shows("c2");
    docker(env, &["attach", "--detach-keys=ctrl-", "web"]).exits(1).stderr_shows("\"ctrl-\" is no key");
    docker(env, &["exec", "--privileged", "web", "true"]).exits(1).stderr_shows("container's rights and no more");
    // The end of the terminal is the end of the container, whose status is told.
    at_a_terminal(env, &["attach", "web"], &["exit 4\\r"]).exits(4);
    docker(env, &["rm", "web"]).succeeds();
    env.assert_nothing_left();
}

/// Whoever waits for an image has the volumes that it will have.
fn a_volume_waits_for_the_container_that_is_being_made(env: &Env) {
    let registry = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let name = format!("127.0.0.1:{}/slow", registry.local_addr().expect("an address").port());
    let running = env.proa(["docker", "run", "--rm", "-v", "data:/data", "-v", "more:/more", &name]).start();
    let (asks, _) = registry.accept().expect("it asks the registry");
    for volume in ["data", "more"] {
        docker(env, &["volume", "rm", volume])
            .exits(1)
            .stderr_shows(&format!("remove {volume}: volume is in use - [a container that is being made]"));
    }
    docker(env, &["volume", "prune", "-a", "-f"]).succeeds().prints("Total reclaimed space: 0B\n");
    docker(env, &["volume", "ls", "-q"]).succeeds().prints("data\nmore\n");
    drop((asks, registry));
    running.wait().exits(125);
    docker(env, &["volume", "rm", "data", "more"]).succeeds().prints("data\nmore\n");
    // With the container it is free, at once.
    let image = image(env);
    for options in [&["--rm"][..], &["-d", "--name=kept"]] {
        docker(env, &[&["run", "--network=none", "-v=data:/data"], options, &[&image, "true"]].concat()).succeeds();
        if options.len() > 1 {
            docker(env, &["volume", "rm", "data"]).exits(1).stderr_shows("volume is in use - [");
            docker(env, &["rm", "-f", "kept"]).succeeds();
        }
        docker(env, &["volume", "rm", "data"]).succeeds();
    }
    env.assert_nothing_left();
}
