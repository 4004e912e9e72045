//! Signals to a pod, and the commands that look at pods: `list`, `rm`, `gc`, `version`.

use integration_tests::images::{Aci, busybox, with_probe};
use integration_tests::{Env, Running, each_user};
use rustix::process::Signal;

fn waiting(env: &Env, script: &str, more: &[&str]) -> Running {
    let image = Aci::new("waiting", busybox()).sh(script).build(env);
    let fixed = ["--insecure-options=image", "run", "--net=none"];
    let args = fixed.iter().chain(more).map(Into::into).chain([image.into_os_string()]);
    let args: Vec<std::ffi::OsString> = args.collect();
    let mut running = env.proa(args).start();
    running.wait_for("ready");
    running
}

/// The pods `list` shows: the first column of each line.
fn listed(env: &Env) -> Vec<String> {
    let outcome = env.proa(["list", "--no-legend"]).outcome().succeeds();
    outcome.stdout.lines().filter_map(|it| it.split_whitespace().next().map(str::to_owned)).collect()
}

each_user! {
    signals_are_forwarded,
    app_that_does_not_handle_a_signal_dies_of_it,
    app_starts_with_default_signal_dispositions,
    list_shows_a_running_pod,
    rm_refuses_a_running_pod,
    pod_name_is_unique_while_it_is_taken,
    rm_of_an_unknown_pod_is_refused,
    a_look_makes_no_data_directory,
    broken_pods_are_listed_as_far_as_they_can_be_read,
    gc_of_nothing_succeeds,
    version_names_the_program,
    concurrent_pods_do_not_disturb_each_other,
}

fn signals_are_forwarded(env: &Env) {
    let signals = [("INT", Signal::INT), ("TERM", Signal::TERM), ("HUP", Signal::HUP), ("QUIT", Signal::QUIT)];
    for (name, signal) in signals {
        let script = format!("trap 'echo got {name}; exit 7' {name}; echo ready; while :; do sleep 0.02; done");
        let mut running = waiting(env, &script, &[]);
        running.kill(signal);
        running.wait_for(&format!("got {name}"));
        running.wait().exits(7);
    }
}

fn app_that_does_not_handle_a_signal_dies_of_it(env: &Env) {
    let image = Aci::new("sleep", with_probe(busybox())).exec(["/probe", "sleep", "600"]).build(env);
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129), (Signal::QUIT, 131)] {
        let mut running = env.run(&image, &[]).start();
        running.wait_for("ready");
        running.kill(signal);
        running.wait().exits(status);
    }
}

fn app_starts_with_default_signal_dispositions(env: &Env) {
    // What a program is started with as ignored it keeps: nohup ignores HUP, shells in the background INT and QUIT,
    // Rust's runtime PIPE. (Not a shell in the image: busybox's ignores QUIT.)
    let image = Aci::new("signals", busybox()).exec(["grep", "-E", "Sig(Ign|Blk)", "/proc/self/status"]).build(env);
    let ignore = ["sh", "-c", "trap '' INT QUIT USR1; exec nohup \"$@\"", "sh"];
    let outcome = env.run(&image, &[]).through(ignore).outcome().succeeds();
    let set = |name: &str| {
        let line = outcome.stdout.lines().find_map(|it| it.strip_prefix(name)).expect("it is there");
        u64::from_str_radix(line.trim(), 16).expect("hexadecimal")
    };
    // 32 and 33 are the C library's, which lets nobody change them: a caller's stay ignored.
    assert_eq!(set("SigIgn:") & !(0b11 << 31), 0, "{outcome}");
    assert_eq!(set("SigBlk:"), 0, "{outcome}");
}

fn list_shows_a_running_pod(env: &Env) {
    env.proa(["list", "--no-legend"]).outcome().succeeds().prints("");
    let legend = env.proa(["list"]).outcome().succeeds();
    assert_eq!(legend.stdout.lines().count(), 1, "{legend}");
    let running = waiting(env, "echo ready; sleep 600", &["--name", "web"]);
    let outcome = env.proa(["list", "--no-legend"]).outcome().succeeds().quietly();
    assert_eq!(outcome.stdout.lines().count(), 1, "{outcome}");
    assert!(outcome.stdout.contains("running") && outcome.stdout.contains("waiting"), "{outcome}");
    running.kill(Signal::TERM);
    running.wait().exits(143);
    assert_eq!(listed(env), [""; 0], "a foreground run removes its pod");
}

fn rm_refuses_a_running_pod(env: &Env) {
    let running = waiting(env, "echo ready; sleep 600", &["--name", "web"]);
    let uuid = listed(env).remove(0);
    env.proa(["rm", &uuid]).outcome().rejects(&uuid);
    env.proa(["rm", "web"]).outcome().rejects("web");
    env.proa(["gc"]).outcome().succeeds();
    assert_eq!(listed(env), [uuid], "neither rm nor gc touches a running pod");
    running.kill(Signal::TERM);
    running.wait().exits(143);
}

fn pod_name_is_unique_while_it_is_taken(env: &Env) {
    let running = waiting(env, "echo ready; sleep 600", &["--name=web"]);
    let other = Aci::new("other", busybox()).build(env);
    let args = ["--insecure-options=image", "run", "--net=none", "--name=web"].map(Into::into);
    let again = |env: &Env| env.proa(args.clone().into_iter().chain([other.clone().into_os_string()])).outcome();
    again(env).rejects("web");
    running.kill(Signal::TERM);
    running.wait().exits(143);
    again(env).succeeds();
}

fn rm_of_an_unknown_pod_is_refused(env: &Env) {
    env.proa(["rm", "nosuchpod"]).outcome().rejects("nosuchpod");
    env.proa(["rm", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"]).outcome().rejects("6ba7b810");
    env.proa(["rm", "../../etc"]).outcome().rejects("../../etc");
    env.proa(["rm"]).outcome().refuses("which pod?");
    let file = env.write("uuid", "nosuchpod\n");
    let outcome = env.proa(["rm", "--uuid-file", file.to_str().expect("UTF-8")]).outcome().rejects("nosuchpod");
    outcome.stderr_shows("failed to remove one or more pods");
    let outcome = env.proa(["rm", "nosuchpod", "another"]).outcome().exits(254);
    assert!(outcome.stderr.ends_with("proa: rm: failed to remove one or more pods\n"), "{outcome}");
}

fn a_look_makes_no_data_directory(env: &Env) {
    env.proa(["list", "--no-legend"]).outcome().succeeds().quietly().prints("");
    env.proa(["list", "--format=json"]).outcome().succeeds().quietly().prints("[]\n");
    env.proa(["image", "list", "--no-legend"]).outcome().succeeds().quietly().prints("");
    assert!(!env.data().exists());
}

fn broken_pods_are_listed_as_far_as_they_can_be_read(env: &Env) {
    let uuid = env.proa(["prepare", "--user-label=tier=back", "hello"]).outcome().succeeds().line().to_owned();
    let listed = env.proa(["list", "--format=json"]).outcome().succeeds().quietly();
    let json: serde_json::Value = serde_json::from_str(listed.line()).expect("one line of JSON");
    assert_eq!(json[0]["app_names"].as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!((&json[0]["user_labels"]["tier"], &json[0]["created_at"]), (&"back".into(), &json[0]["created_ns"]));
    env.proa(["list", "--format=json-pretty"]).outcome().succeeds().shows("    \"app_names\": [\n");
    let file = env.data().join("pods/prepared").join(&uuid).join("pod");
    let manifest = std::fs::read_to_string(&file).expect("it is there");
    // Another file: this one is only read, and root is the only one whom that does not keep from writing.
    let replace = |text: &str| {
        std::fs::remove_file(&file).expect("it is ours");
        std::fs::write(&file, text).expect("it is ours");
    };
    replace(&manifest.replacen("\"name\":\"hello\"", "\"name\":\"A B\"", 1));
    let outcome = env.proa(["list", "--no-legend"]).outcome().refuses("ACName must contain only lower case");
    assert!(outcome.stdout.contains("\tA B\t") && outcome.stdout.contains("\tproa.local/hello\t"), "{outcome}");
    replace("{\n  x");
    let outcome = env.proa(["list"]).outcome().refuses("line 2, column ");
    assert!(!outcome.stderr.contains("\\x0a"), "{outcome}");
    std::fs::remove_file(&file).expect("it is ours");
    let outcome = env.proa(["list"]).outcome().refuses(&format!("openat(\"pods/prepared/{uuid}/pod\")"));
    outcome.stderr_shows("hint: the pod is damaged: `proa rm` removes it");
    env.proa(["rm", &uuid]).outcome().succeeds().prints(&format!("\"{uuid}\"\n"));
}

fn gc_of_nothing_succeeds(env: &Env) {
    env.proa(["gc"]).outcome().succeeds();
}

fn version_names_the_program(env: &Env) {
    let outcome = env.proa(["version"]).outcome().succeeds().quietly();
    assert!(outcome.stdout.contains("proa") && outcome.stdout.contains("0.8.11"), "its own and appc's: {outcome}");
}

fn concurrent_pods_do_not_disturb_each_other(env: &Env) {
    let image = Aci::new("many", busybox()).sh("echo $1; exit $1").build(env);
    let start = |n: usize| env.run(&image, &["--", "sh", &n.to_string()]).start();
    let running: Vec<Running> = (0..8).map(start).collect();
    for (n, running) in running.into_iter().enumerate() {
        running.wait().exits(n as i32).prints(&format!("{n}\n"));
    }
}
