//! Health checks: HEALTHCHECK of an image, `docker run --health-cmd`, and who is told of them.

use std::time::{Duration, Instant};

use integration_tests::images::{Layout, busybox};
use integration_tests::{Env, Outcome, User, each_user, limit};
use serde_json::{Value, json};

fn docker(env: &Env, words: &[&str]) -> Outcome {
    env.proa(["docker"].iter().chain(words)).outcome()
}

/// An image of a shell, stored as `shell`, with this health check.
fn image(env: &Env, check: Value) {
    let layout = Layout::new("shell").layer(busybox().dir("tmp", 0o1777)).config("Cmd", json!(["sleep", "1000"]));
    let layout = layout.config("Healthcheck", check).build(env);
    let id = env.proa(["fetch", &format!("oci:{}", layout.display())]).outcome().succeeds().line().to_owned();
    docker(env, &["tag", &id, "shell"]).succeeds();
}

/// The member `State.Health` of a container.
fn health(env: &Env, name: &str) -> Value {
    let shown = docker(env, &["inspect", "-f", "{{json .State.Health}}", name]).succeeds().line().to_owned();
    serde_json::from_str(&shown).expect("it is JSON")
}

/// Waits until a container's health is this, and returns the whole of it.
fn becomes(env: &Env, name: &str, status: &str) -> Value {
    let deadline = Instant::now() + limit();
    loop {
        let health = health(env, name);
        if health["Status"] == status {
            return health;
        }
        assert!(Instant::now() < deadline, "it is not {status}: {health}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What `ps` has between brackets.
fn shown(env: &Env, name: &str) -> String {
    let status = docker(env, &["ps", "--format", "{{.Status}}", "-f", &format!("name=^{name}$")]).succeeds().stdout;
    status.trim().rsplit_once(" (").map(|(_, shown)| shown.trim_end_matches(')').to_owned()).unwrap_or_default()
}

each_user! {
    a_container_is_healthy_while_its_check_succeeds,
    an_images_check_is_the_containers_unless_it_says_otherwise,
    a_check_that_takes_too_long_is_killed_with_what_it_started,
    a_check_that_cannot_be_executed_fails_and_says_why,
    checks_are_as_the_container_is,
    options_that_make_no_sense_are_refused,
    a_check_that_came_with_an_image_and_makes_no_sense_is_told,
    a_committed_image_runs_as_its_container_did,
    instructions_of_a_dockerfile_change_images,
}

/// Which container is named does not matter: no two of a test run at once.
const FAST: [&str; 4] = ["--health-interval=50ms", "--health-retries=2", "--network=none", "--name=web"];

fn run(env: &Env, options: &[&str], words: &[&str]) -> Outcome {
    docker(env, &[&["run", "-d"], &FAST[..], options, &["shell"], words].concat())
}

fn a_container_is_healthy_while_its_check_succeeds(env: &Env) {
    image(env, Value::Null);
    run(env, &["--health-cmd=echo looked; test -e /tmp/up"], &[]).succeeds().quietly();
    assert!(["health: starting", "unhealthy"].contains(&shown(env, "web").as_str()));
    let unhealthy = becomes(env, "web", "unhealthy");
    assert!(unhealthy["FailingStreak"].as_u64() >= Some(2), "{unhealthy}");
    let check = &unhealthy["Log"][0];
    assert_eq!((&check["ExitCode"], &check["Output"]), (&json!(1), &json!("looked\n")));
    let time = |field: &str| check[field].as_str().expect("it is text").to_owned();
    assert!(time("Start").ends_with('Z') && time("Start") < time("End"), "{check}");
    assert_eq!(shown(env, "web"), "unhealthy");
    docker(env, &["exec", "web", "touch", "/tmp/up"]).succeeds();
    let healthy = becomes(env, "web", "healthy");
    let checks = |health: &Value| health["Log"].as_array().map_or(0, Vec::len);
    assert_eq!(healthy["FailingStreak"], 0, "{healthy}");
    assert!((3..=5).contains(&checks(&healthy)), "two that failed at least, and one: {healthy}");
    assert_eq!(shown(env, "web"), "healthy");
    let listed = |health: &str| docker(env, &["ps", "--format={{.Names}}", "-f", health]).succeeds().stdout;
    assert_eq!((listed("health=healthy"), listed("health=none")), ("web\n".into(), String::new()));
    env.proa(["status", "web"]).outcome().succeeds().shows("health-shell=healthy\n");
    env.proa(["status", "--format=json", "web"]).outcome().succeeds().shows("\"health\":{\"status\":\"healthy\"");
    let events = ["events", "--since=1h", "--until=0s", "--filter=event=health_status", "--format={{.Action}}"];
    docker(env, &events).succeeds().prints("health_status: unhealthy\nhealth_status: healthy\n");
    // What has ended is not healthy, and what is started again begins anew.
    docker(env, &["stop", "-t", "0", "web"]).succeeds();
    let ended = health(env, "web");
    assert_eq!(ended["Status"], "unhealthy");
    assert!((3..=5).contains(&checks(&ended)), "{ended}");
    docker(env, &["start", "web"]).succeeds();
    becomes(env, "web", "healthy");
    docker(env, &["rm", "-f", "web"]).succeeds();
    env.assert_nothing_left();
}

fn an_images_check_is_the_containers_unless_it_says_otherwise(env: &Env) {
    image(env, json!({ "Test": ["CMD", "echo", "of the image"], "Interval": 40_000_000, "Retries": 7 }));
    let config = |name: &str| -> Value {
        let shown = docker(env, &["inspect", "-f", "{{json .Config.Healthcheck}}", name]).succeeds().line().to_owned();
        serde_json::from_str(&shown).expect("it is JSON")
    };
    assert_eq!(config("shell")["Test"], json!(["CMD", "echo", "of the image"]));
    let base = ["run", "-d", "--network=none", "--name=web"];
    docker(env, &[&base[..], &["shell"]].concat()).succeeds().quietly();
    assert_eq!(becomes(env, "web", "healthy")["Log"][0]["Output"], "of the image\n");
    assert_eq!(config("web")["Retries"], 7);
    docker(env, &["rm", "-f", "web"]).succeeds();
    // What an option does not say is the image's still.
    docker(env, &[&base[..], &["--health-cmd=echo own", "shell"]].concat()).succeeds();
    assert_eq!(becomes(env, "web", "healthy")["Log"][0]["Output"], "own\n");
    let own = json!({ "Test": ["CMD-SHELL", "echo own"], "Interval": 40_000_000, "Retries": 7 });
    assert_eq!(config("web"), own);
    docker(env, &["rm", "-f", "web"]).succeeds();
    docker(env, &[&base[..], &["--no-healthcheck", "shell"]].concat()).succeeds();
    assert_eq!(health(env, "web"), Value::Null);
    docker(env, &["ps", "-q", "-f", "health=none"]).succeeds().shows("\n");
    docker(env, &["rm", "-f", "web"]).succeeds();
    // A pod of rkt's command line likewise.
    env.proa(["run", "--detach", "--name=web", "--net=none", "shell"]).outcome().succeeds();
    becomes(env, "web", "healthy");
    docker(env, &["rm", "-f", "web"]).succeeds();
    let none = r#"--annotation=proa.local/oci/healthcheck={"Test":["NONE"]}"#;
    env.proa(["run", "--detach", "--name=web", "--net=none", "shell", none]).outcome().succeeds();
    assert_eq!(health(env, "web"), Value::Null);
    docker(env, &["rm", "-f", "web"]).succeeds();
    env.assert_nothing_left();
}

fn a_check_that_takes_too_long_is_killed_with_what_it_started(env: &Env) {
    image(env, Value::Null);
    let check = "--health-cmd=echo so far; sleep 777 & sleep 778";
    run(env, &[check, "--health-timeout=200ms"], &[]).succeeds();
    let unhealthy = becomes(env, "web", "unhealthy");
    let check = &unhealthy["Log"][0];
    assert_eq!(check["ExitCode"], -1);
    assert_eq!(check["Output"], "Health check exceeded timeout (200ms): so far\n");
    let sleeping = docker(env, &["exec", "web", "ps"]).succeeds().stdout;
    assert!(sleeping.matches("sleep 777").count() <= 1, "only of the check that runs: {sleeping}");
    docker(env, &["rm", "-f", "web"]).succeeds();
    // One that writes without end is heard to a bound.
    run(env, &["--health-cmd=yes", "--health-timeout=200ms"], &[]).succeeds();
    let output = becomes(env, "web", "unhealthy")["Log"][0]["Output"].as_str().map(str::to_owned).unwrap_or_default();
    assert!(output.ends_with("\ny\n...") && output.len() < 5000, "{} bytes", output.len());
    docker(env, &["rm", "-f", "web"]).succeeds();
    env.assert_nothing_left();
}

fn a_check_that_cannot_be_executed_fails_and_says_why(env: &Env) {
    image(env, json!({ "Test": ["CMD", "/no/such/probe"] }));
    run(env, &[], &[]).succeeds();
    let check = &becomes(env, "web", "unhealthy")["Log"][0];
    assert_eq!(check["ExitCode"], -1);
    let output = check["Output"].as_str().unwrap_or_default();
    assert!(output.contains("\"/no/such/probe\": not in the image"), "{output}");
    docker(env, &["rm", "-f", "web"]).succeeds();
    env.assert_nothing_left();
}

fn checks_are_as_the_container_is(env: &Env) {
    image(env, Value::Null);
    let probe = "id -u; pwd; echo $COLOUR; grep -E 'NoNewPrivs|Seccomp:|CapEff' /proc/self/status; ulimit -n";
    let check = format!("--health-cmd={probe}");
    let user = if env.user() == User::NoRange { "0" } else { "7" };
    let options = [&check, "-w", "/tmp", "-e", "COLOUR=red", "-u", user, "--ulimit=nofile=77"];
    run(env, &options, &[]).succeeds();
    let output = becomes(env, "web", "healthy")["Log"][0]["Output"].clone();
    let executed = docker(env, &["exec", "web", "sh", "-c", probe]).succeeds().stdout;
    assert_eq!(output, executed.as_str());
    assert!(executed.starts_with(&format!("{user}\n/tmp\nred\n")) && executed.ends_with("\n77\n"), "{executed}");
    docker(env, &["rm", "-f", "web"]).succeeds();
    env.assert_nothing_left();
}

fn options_that_make_no_sense_are_refused(env: &Env) {
    image(env, Value::Null);
    for (options, why) in [
        (&["--health-interval=1x"][..], "--health-interval 1x: not a duration such as 90s"),
        (&["--health-timeout=-1s"], "--health-timeout -1s: not a duration"),
        (&["--health-start-period=1us"], "health check: StartPeriod of 1µs is less than 1ms"),
        (&["--health-retries=-1"], "--health-retries -1: wanted a number from 0 to 4294967295"),
        (&["--health-cmd=true", "--no-healthcheck"], "--no-healthcheck conflicts with --health-* options"),
    ] {
        docker(env, &[&["run", "--rm"], options, &["shell", "true"]].concat()).exits(125).stderr_shows(why);
    }
    let annotation = r#"--annotation=proa.local/oci/healthcheck={"Test":["PING"]}"#;
    env.proa(["run", "shell", annotation]).outcome().exits(254).stderr_shows("[\"PING\"] is not [\"CMD\", PROGRAM");
    // What --dry-run prints of this and its like can be typed.
    let options = ["--health-cmd=echo own", "--ulimit=nofile=40", "--shm-size=1m", "--pids-limit=40", "--tmpfs=/x"];
    let options = [&["run", "--dry-run", "--rm", "--network=none", "--stop-signal=INT"], &options[..]].concat();
    let printed = docker(env, &[&options[..], &["shell", "sh", "-c", "ulimit -n"]].concat()).succeeds().stdout;
    let command = printed.lines().next().unwrap_or_default();
    let script = format!("a=$1 b=$2 c=$3; proa() {{ \"$a\" \"$b\" \"$c\" \"$@\"; }}; {command}");
    env.proa([""; 0]).through(["sh", "-c", &script, "sh"]).outcome().succeeds().prints("40\n");
    env.assert_nothing_left();
}

fn a_check_that_came_with_an_image_and_makes_no_sense_is_told(env: &Env) {
    image(env, json!({ "Test": "curl" }));
    docker(env, &["run", "--rm", "--network=none", "shell", "echo", "done"])
        .succeeds()
        .prints("done\n")
        .stderr_shows("it is not checked: health check {\"Test\":\"curl\"} is not as docker writes it");
    env.assert_nothing_left();
}

fn a_committed_image_runs_as_its_container_did(env: &Env) {
    image(env, Value::Null);
    let user = if env.user() == User::NoRange { "0" } else { "7" };
    let options = ["-w", "/tmp", "-u", user, "-l", "team=x", "--stop-signal=INT", "--health-cmd=echo own", "-e", "A=1"];
    let base = ["run", "--name=web", "--network=none"];
    docker(env, &[&base[..], &options, &["shell", "sh", "-c", "echo made >made; id -u"]].concat())
        .succeeds()
        .prints(&format!("{user}\n"));
    docker(env, &["commit", "--pause=false", "-c", "ENV B=\"$A 2\" C=3", "web", "made"]).succeeds();
    docker(env, &["rm", "web"]).succeeds();
    docker(env, &["run", "--rm", "--network=none", "made"]).succeeds().prints(&format!("{user}\n"));
    let script = "cat made; echo $A $B $C";
    docker(env, &["run", "--rm", "--network=none", "made", "sh", "-c", script]).succeeds().prints("made\n1 1 2 3\n");
    let format =
        "{{json .Config.Labels}} {{.Config.StopSignal}} {{json .Config.Healthcheck.Test}} {{json .Config.Cmd}}";
    let cmd = r#"["sh","-c","echo made >made; id -u"]"#;
    docker(env, &["inspect", "-f", format, "made"])
        .succeeds()
        .prints(&format!("{{\"team\":\"x\"}} INT [\"CMD-SHELL\",\"echo own\"] {cmd}\n"));
    docker(env, &["rmi", "made"]).succeeds();
    // Who it is is the container's as well, and what a manifest of appc has no place for.
    let options = ["-u", "0:0", "-e", "2X=3", "--expose=99", "-v", "/anonymous"];
    docker(env, &["create", "--name=of", "--network=none", "-u", user, "shell", "true"]).succeeds();
    docker(env, &["commit", "of", "theirs"]).succeeds();
    docker(env, &[&["run", "--name=mine", "--network=none"], &options[..], &["theirs", "true"]].concat()).succeeds();
    docker(env, &["commit", "mine", "made"]).succeeds();
    docker(env, &["rm", "of", "mine"]).succeeds();
    let shown = "{{json .Config.ExposedPorts}} {{json .Config.Volumes}}";
    docker(env, &["inspect", "-f", shown, "made"]).succeeds().prints("{\"99/tcp\":{}} {\"/anonymous\":{}}\n");
    docker(env, &["run", "--rm", "--network=none", "made", "id", "-u"]).succeeds().prints("0\n");
    docker(env, &["run", "--rm", "--network=none", "made", "env"]).succeeds().shows("\n2X=3\n");
    env.assert_nothing_left();
}

fn instructions_of_a_dockerfile_change_images(env: &Env) {
    image(env, Value::Null);
    docker(env, &["create", "--name=web", "shell"]).succeeds();
    docker(env, &["start", "web"]).succeeds();
    let changes = [
        "HEALTHCHECK --interval=50ms --retries=1 CMD echo changed",
        "STOPSIGNAL SIGUSR1",
        "EXPOSE 80 53/udp",
        "VOLUME /data",
    ];
    let changes = changes.iter().flat_map(|change| ["--change", change]);
    docker(env, &["commit"].into_iter().chain(changes).chain(["web", "changed"]).collect::<Vec<_>>()).succeeds();
    docker(env, &["rm", "-f", "web"]).succeeds();
    docker(env, &["run", "-d", "--name=web", "--network=none", "changed"]).succeeds();
    assert_eq!(becomes(env, "web", "healthy")["Log"][0]["Output"], "changed\n");
    let format = "{{json .Config.ExposedPorts}} {{.Config.StopSignal}} {{json .Config.Volumes}}";
    let expected = "{\"53/udp\":{},\"80/tcp\":{}} SIGUSR1 {\"/data\":{}}\n";
    docker(env, &["inspect", "-f", format, "web"]).succeeds().prints(expected);
    docker(env, &["rm", "-f", "web"]).succeeds();
    docker(env, &["create", "--name=web", "shell"]).succeeds();
    docker(env, &["commit", "--change", "HEALTHCHECK curl", "web", "no"])
        .exits(1)
        .stderr_shows("--change=\"HEALTHCHECK curl\": wanted CMD COMMAND or NONE");
    docker(env, &["rm", "web"]).succeeds();
    env.assert_nothing_left();
}
