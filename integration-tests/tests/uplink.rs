//! The network that a pod has without `--net`, and what becomes of a pod when pasta is missing, hangs or is too old.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use integration_tests::images::{Aci, busybox};
use integration_tests::needs::{Place, place, tool};
use integration_tests::{Env, Proa, User, each_user, limit, needs, process};
use rustix::process::Signal;

each_user! {
    without_net_a_pod_reaches_the_world,
    another_default_is_configured,
    hello_needs_no_pasta,
}

const INTERFACES: &str = "ls /sys/class/net | tr '\\n' ' '";

/// An image that runs a script.
fn image(env: &Env, script: &str) -> PathBuf {
    Aci::new("net", busybox().dir("etc", 0o755)).sh(script).build(env)
}

/// `proa run` with these options, and nothing said about the network.
fn run<'e>(env: &'e Env, image: &Path, options: &[&str]) -> Proa<'e> {
    let args = ["--insecure-options=image", "run"].iter().chain(options).copied();
    env.proa(args.chain([image.to_str().expect("UTF-8")]))
}

/// Whether this machine has what pasta needs: a default route.
fn uplink() -> Result<PathBuf, String> {
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    if !routes.lines().any(|line| line.split_whitespace().nth(1) == Some("00000000")) {
        return Err("this machine has no default route".into());
    }
    tool("pasta")
}

fn without_net_a_pod_reaches_the_world(env: &Env) {
    needs!(place(Place::Host));
    needs!(uplink());
    env.configure_network(None);
    let image = image(env, &format!("{INTERFACES}; echo; grep -c eth0 /proc/net/route; echo up; sleep 600"));
    let mut running = run(env, &image, &["--name=web"]).start();
    running.wait_for("eth0");
    running.wait_for("up");
    // What the kernel says of the pod is what is shown.
    let status = env.proa(["status", "web"]).outcome().succeeds();
    let networks = status.stdout.lines().find_map(|line| line.strip_prefix("networks=")).unwrap_or_default();
    assert!(networks.starts_with("default:ip4="), "{status}");
    assert!(!networks.contains("127.0.0.1") && !networks.contains("169.254"), "{status}");
    let listed = env.proa(["list", "--no-legend"]).outcome().succeeds();
    assert!(listed.stdout.contains(networks), "{listed}");
    running.kill(Signal::TERM);
    running.wait();
    // So with every way to make a pod.
    let prepared = env.proa(["--insecure-options=image", "prepare", image.to_str().expect("UTF-8")]).outcome();
    let uuid = prepared.succeeds().stdout.trim().to_owned();
    env.proa(["cat-manifest", &uuid]).outcome().succeeds().shows(r#"{\"mode\":\"default\"}"#);
    env.proa(["rm", &uuid]).outcome().succeeds();
    env.proa(["app", "sandbox", "--detach", "--name=box"]).outcome().succeeds();
    env.proa(["status", "box"]).outcome().succeeds().shows("networks=default:ip4=");
    env.proa(["stop", "box"]).outcome().succeeds();
    env.proa(["rm", "box"]).outcome().succeeds();
}

fn another_default_is_configured(env: &Env) {
    let image = image(env, INTERFACES);
    env.configure_network(Some("none"));
    assert_eq!(run(env, &image, &[]).outcome().succeeds().quietly().stdout.trim(), "lo");
    let line = run(env, &image, &["--dry-run"]).outcome().succeeds().stdout;
    assert!(line.starts_with("proa run --net=none sha512-"), "{line}");
    env.configure_network(Some("host"));
    let hosts = std::fs::read_dir("/sys/class/net").expect("there is one").count();
    let seen = run(env, &image, &[]).outcome().succeeds().stdout;
    assert_eq!(seen.split_whitespace().count(), hosts, "{seen}");
    env.configure_network(Some("bridge"));
    run(env, &image, &[]).outcome().refuses("network \"bridge\" is not one of none, default, host");
    // Whoever chooses is not asked about the default.
    run(env, &image, &["--net=none"]).outcome().succeeds().quietly();
    env.configure_network(None);
}

fn hello_needs_no_pasta(env: &Env) {
    env.configure_network(None);
    env.proa(["run", "hello"]).outcome().succeeds().quietly();
    let args = ["run", "--detach", "--name=hello", "hello"];
    env.proa(args).outcome().succeeds().quietly();
    env.proa(["wait", "hello"]).outcome();
    env.proa(["status", "hello"]).outcome().succeeds().shows("networks=\n");
    env.proa(["rm", "hello"]).outcome().succeeds();
}

/// A run on a machine where something else is in pasta's place; nothing at all if there is no script.
fn with_pasta<'e>(env: &Env, run: Proa<'e>, script: Option<&str>) -> Proa<'e> {
    // In a mount namespace of this run's own: /usr/bin with one file replaced, or taken away.
    let change = match script {
        Some(script) => {
            let file = env.write("pasta", script);
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("it is ours");
            format!("mount --bind {} /usr/bin/pasta", file.display())
        }
        None => {
            let dir = env.path("without");
            env.make_dir(&dir);
            format!(
                "cd {} && mount -t tmpfs none $PWD && cd $PWD && mkdir u w && mknod u/pasta c 0 0 && \
                 mount -t overlay overlay -o lowerdir=/usr/bin,upperdir=$PWD/u,workdir=$PWD/w /usr/bin",
                dir.display()
            )
        }
    };
    let script = format!("{change} && exec \"$@\"");
    run.through_as_invoker(["unshare", "--mount", "sh", "-c", &script, "sh"])
}

/// The pod runs, with its loopback alone, and one line says why; with a port it does not run.
fn lives_without_pasta(env: &Env, script: Option<&str>, why: &str) {
    env.configure_network(None);
    let image = image(env, INTERFACES);
    let outcome = with_pasta(env, run(env, &image, &[]), script).outcome().succeeds();
    assert_eq!(outcome.stdout.trim(), "lo");
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    let [line] = lines.as_slice() else { panic!("one line of warning: {outcome}") };
    assert!(line.starts_with("proa: warning: the pod has no network but its own loopback: "), "{outcome}");
    assert!(line.contains(why), "{outcome}");
    with_pasta(env, run(env, &image, &["--port=80:18080"]), script).outcome().refuses("pasta");
}

/// Whether this test may put something in pasta's place.
fn in_its_place() -> Result<(), String> {
    if rustix::process::geteuid().is_root() { uplink().map(drop) } else { Err("needs root".into()) }
}

#[test]
fn net08_pasta_is_missing() {
    needs!(place(Place::Host));
    needs!(in_its_place());
    let env = needs!(Env::of(User::WithRange));
    lives_without_pasta(&env, None, "pasta is not installed (it is in the package passt; --net=none does without)");
    // Nobody misses it who does not need it.
    let image = image(&env, "true");
    for option in ["--net=none", "--net=host"] {
        with_pasta(&env, run(&env, &image, &[option]), None).outcome().succeeds().quietly();
    }
    with_pasta(&env, env.proa(["run", "hello"]), None).outcome().succeeds().quietly();
}

#[test]
fn net08_pasta_is_too_old() {
    needs!(place(Place::Host));
    needs!(in_its_place());
    let env = needs!(Env::of(User::WithRange));
    // pasta itself (/usr/bin/pasta leads to passt, which is covered), refusing an option as a version does that lacks it.
    let script = "#!/bin/sh\nexec /usr/bin/passt.avx2 --no-such-option \"$@\"\n";
    lives_without_pasta(&env, Some(script), "no-such-option");
}

#[test]
fn net08_pasta_hangs() {
    needs!(place(Place::Host));
    needs!(in_its_place());
    let env = needs!(Env::of(User::WithRange));
    env.configure_network(None);
    let image = image(&env, &format!("{INTERFACES}; echo; sleep 600"));
    let script = "#!/bin/sh\nexec sleep 600\n";
    let mut running = with_pasta(&env, run(&env, &image, &["--name=web"]), Some(script)).start();
    running.wait_for("lo");
    env.proa(["status", "web"]).outcome().succeeds().shows("network-error=pasta was not ready after 10 seconds\n");
    let sleeps = |it: &process::Process| it.name == "sleep" && process::command_line(it.pid).contains("600");
    let sleeping = || process::descendants(running.pid()).into_iter().filter(sleeps).count();
    // The app may be about to.
    let deadline = Instant::now() + limit();
    while sleeping() == 0 {
        assert!(Instant::now() < deadline, "the app does not go on");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(sleeping(), 1, "the app's alone");
    running.kill(Signal::TERM);
    running.wait();
}

/// A pod that is ended while pasta prepares itself leaves nothing of it.
#[test]
fn a_pod_ends_before_its_network_is_there() {
    needs!(place(Place::Host));
    needs!(in_its_place());
    let env = needs!(Env::of(User::WithRange));
    env.configure_network(None);
    let image = image(&env, "echo up; sleep 600");
    let running = with_pasta(&env, run(&env, &image, &["--name=web"]), Some("#!/bin/sh\nexec sleep 600\n")).start();
    let deadline = Instant::now() + limit();
    while !env.proa(["status", "web"]).outcome().stdout.contains("state=running") {
        assert!(Instant::now() < deadline, "the pod is not there");
        std::thread::sleep(Duration::from_millis(20));
    }
    running.kill(Signal::KILL);
    running.wait();
    env.proa(["gc", "--grace-period=0s", "--expire-prepared=0s"]).outcome().succeeds();
}
