//! `docker events`: what happens to containers is told once, in its order, whoever makes it happen.

use integration_tests::images::{Layout, busybox};
use integration_tests::needs::{Place, place};
use integration_tests::{Env, Outcome, User, each_user, needs, process};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn docker(env: &Env, words: &[&str]) -> Outcome {
    env.proa(["docker"].iter().chain(words)).outcome()
}

fn image(env: &Env) -> &'static str {
    let layout = Layout::new("shell").layer(busybox()).config("Cmd", json!(["sh"]));
    let layout = layout.config("Labels", json!({"role": "front"}));
    let id =
        env.proa(["fetch", &format!("oci:{}", layout.build(env).display())]).outcome().succeeds().line().to_owned();
    docker(env, &["tag", &id, "shell"]).succeeds();
    "shell"
}

/// What is told of the past.
fn past(env: &Env, words: &[&str]) -> Outcome {
    docker(env, &[&["events", "--since=10m", "--until=0s"], words].concat()).succeeds().quietly()
}

const ACTIONS: &str = "{{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.exitCode}}";

each_user! {
    a_containers_life_is_told_as_it_happens,
}

fn a_containers_life_is_told_as_it_happens(env: &Env) {
    let image = image(env);
    docker(env, &["create", "--name=marker", image]).succeeds();
    // When it has told of what was, it watches.
    let mut told = env.proa(["docker", "events", "--since=10m", "--format", ACTIONS]).start();
    told.wait_for("create marker");
    docker(env, &["run", "--rm", "--name=short", image, "sh", "-c", "sleep 2; exit 3"]).exits(3);
    docker(env, &["run", "-d", "--name=web", image, "sleep", "1000"]).succeeds();
    docker(env, &["exec", "web", "true"]).succeeds();
    // Whom it did not know by the old name it cannot tell of a new one.
    told.wait_for("exec_start web");
    docker(env, &["rename", "web", "front"]).succeeds();
    // It is seen by looking, not told by the pod as its end is.
    told.wait_for("rename front");
    docker(env, &["stop", "-t", "0", "front"]).succeeds();
    // It stands where it stood.
    docker(env, &["start", "front"]).succeeds();
    let pid = docker(env, &["inspect", "-f", "{{.State.Pid}}", "front"]).succeeds();
    told.wait_for("start front");
    let monitor = process::read(pid.line().parse().expect("a number")).expect("it runs").parent;
    assert!(process::kill(monitor, Signal::KILL));
    // Nobody wrote down how that ended.
    told.wait_for("die front 255");
    docker(env, &["rm", "front", "marker"]).succeeds();
    told.wait_for("destroy marker");
    told.kill(Signal::TERM);
    let told = told.wait();
    let lines: Vec<&str> = told.stdout.lines().map(|line| line.trim_end_matches(" <no value>")).collect();
    let of = |name: &str| lines.iter().filter(|line| line.contains(name)).copied().collect::<Vec<_>>();
    assert_eq!(of("short"), ["create short", "start short", "die short 3", "destroy short"], "{told}");
    let web =
        ["create web", "start web", "exec_start web", "rename front", "die front 143", "stop front", "start front"];
    let web = [&web[..], &["die front 255", "destroy front"]].concat();
    assert_eq!(
        lines.iter().filter(|line| line.contains("web") || line.contains("front")).copied().collect::<Vec<_>>(),
        web,
        "{told}"
    );
    env.assert_nothing_left();
}

/// However short they are, and however many listen: none is missed.
#[test]
fn containers_at_once_have_one_beginning_and_one_end() {
    const COUNT: usize = 20;
    const FORMAT: &str = "{{.ID}} {{.Action}} {{.Actor.Attributes.name}}";
    let env = &needs!(Env::of(User::WithRange));
    let image = image(env);
    docker(env, &["create", "--name=marker", image]).succeeds();
    let listen = || {
        let mut told = env.proa(["docker", "events", "--since=10m", "--format", FORMAT]).start();
        told.wait_for("create marker");
        told
    };
    let listeners = [listen(), listen()];
    let names: Vec<String> = (0..COUNT).map(|index| format!("short-{index}")).collect();
    let runs: Vec<_> =
        names.iter().map(|name| env.proa(["docker", "run", "--rm", "--name", name, image, "true"]).start()).collect();
    runs.into_iter().for_each(|run| drop(run.wait().succeeds()));
    docker(env, &["rm", "marker"]).succeeds();
    for mut told in listeners {
        told.wait_for("destroy marker");
        told.kill(Signal::TERM);
        let told = told.wait();
        let mut lives: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        for line in told.stdout.lines().filter(|line| !line.ends_with("marker")) {
            let [id, action, name] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}: {told}") };
            lives.entry((id, name)).or_default().push(action);
        }
        assert_eq!(lives.len(), COUNT, "{told}");
        for ((id, name), actions) in lives {
            // One may be over before its supervisor can be asked; before its files are read, it has no other name than its id.
            let known: [&[&str]; 2] = [&["create", "start", "die", "destroy"], &["create", "die", "destroy"]];
            assert!(known.contains(&actions.as_slice()), "{name} {actions:?}: {told}");
            assert!(names.iter().any(|given| given == name) || id.starts_with(name), "{name}: {told}");
        }
    }
    env.assert_nothing_left();
}

#[test]
fn pauses_are_told_whoever_makes_them() {
    needs!(place(Place::Vm));
    let env = &needs!(Env::of(User::WithRange));
    let image = image(env);
    docker(env, &["run", "-d", "-m", "64m", "--name=early", image, "sleep", "1000"]).succeeds();
    let mut told = env.proa(["docker", "events", "--since=10m", "--format", ACTIONS]).start();
    told.wait_for("start early");
    docker(env, &["run", "-d", "-m", "64m", "--name=late", image, "sleep", "1000"]).succeeds();
    told.wait_for("start late");
    for name in ["early", "late"] {
        docker(env, &["pause", name]).succeeds();
        told.wait_for(&format!("pause {name}"));
        docker(env, &["unpause", name]).succeeds();
        told.wait_for(&format!("unpause {name}"));
    }
    docker(env, &["rm", "-f", "early", "late"]).succeeds();
    told.wait_for("destroy late");
    told.kill(Signal::TERM);
    let told = told.wait();
    let of = |name: &str| -> Vec<&str> {
        told.stdout.lines().filter(|line| line.contains(name)).filter_map(|line| line.split(' ').next()).collect()
    };
    assert_eq!(of("early"), ["create", "start", "pause", "unpause", "die", "stop", "destroy"], "{told}");
    assert_eq!(of("late"), of("early"), "{told}");
    env.assert_nothing_left();
}

#[test]
fn events_of_the_past_are_those_of_containers_that_are_there() {
    let env = &needs!(Env::of(User::WithRange));
    let image = image(env);
    past(env, &[]).prints("");
    docker(env, &["run", "--name=one", image, "sh", "-c", "exit 4"]).exits(4);
    docker(env, &["run", "-d", "--name=two", "--label=role=back", image, "sleep", "1000"]).succeeds();
    let actions = past(env, &["--format", ACTIONS]);
    let lines: Vec<&str> = actions.stdout.lines().map(|line| line.trim_end_matches(" <no value>")).collect();
    assert_eq!(lines, ["create one", "start one", "die one 4", "create two", "start two"], "{actions}");
    for (filters, expected) in [
        (&["container=two", "event=start"][..], &["start two"][..]),
        (&["event=die", "event=create"], &["create one", "die one 4", "create two"]),
        (&["label=role=back"], &["create two", "start two"]),
        (&["image=shell", "container=one", "event=die"], &["die one 4"]),
        (&["type=network"], &[]),
    ] {
        let words: Vec<&str> = filters.iter().flat_map(|filter| ["--filter", filter]).collect();
        let told = past(env, &[&["--format", ACTIONS], &words[..]].concat());
        let lines: Vec<&str> = told.stdout.lines().map(|line| line.trim_end_matches(" <no value>")).collect();
        assert_eq!(lines, expected, "{filters:?}: {told}");
    }
    let text = past(env, &["-f", "event=die"]);
    let (_, shown) = text.line().split_once(' ').expect("a time");
    assert!(
        shown.starts_with("container die ") && shown.ends_with("(exitCode=4, image=shell, name=one, role=front)"),
        "{text}"
    );
    let json = past(env, &["-f", "event=die", "--format", "{{json .}}"]);
    let value: Value = serde_json::from_str(json.line()).unwrap_or_else(|error| panic!("{error}: {json}"));
    assert_eq!((&value["status"], &value["Actor"]["Attributes"]["exitCode"]), (&json!("die"), &json!("4")));
    assert_eq!(
        value["timeNano"].as_u64().expect("a number") / 1_000_000_000,
        value["time"].as_u64().expect("a number")
    );
    // Its end is a time to come, too; nothing happens until then.
    let soon = docker(env, &["events", "--until=2030-01-01", "--format={{nosuch .}}"]);
    soon.exits(1).stderr_shows("nosuch");
    for (words, text) in [
        (&["--since=yesterday"][..], "--since=\"yesterday\""),
        (&["--until=x"], "--until=\"x\""),
        (&["-f", "size=1"], "invalid filter 'size'"),
        (&["-f", "type=thing"], "invalid filter 'type=thing'"),
        (&["two"], "accepts no arguments"),
    ] {
        let refused = docker(env, &[&["events"], words].concat());
        assert!(!refused.status.success(), "{words:?}");
        refused.stderr_shows(text);
    }
    docker(env, &["rm", "-f", "one", "two"]).succeeds();
    env.assert_nothing_left();
}
