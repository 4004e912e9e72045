//! What apps have written: kept in order, however fast it comes, and followed.

use integration_tests::images::{Aci, busybox};
use integration_tests::{Env, each_user};

each_user! {
    logs_are_kept_apart_and_in_order,
    an_error_is_logged_after_what_came_before_it,
    a_burst_is_kept_to_the_last_byte,
    logs_follow_until_the_end,
    an_app_is_told_where_its_log_is,
}

/// Starts a detached pod of this script and gives its UUID.
fn detach(env: &Env, name: &str, script: &str) -> String {
    let image = Aci::new(name, busybox()).sh(script).build(env);
    let args = ["--insecure-options=image", "run", "--net=none", "--detach", image.to_str().expect("UTF-8")];
    env.proa(args).outcome().succeeds().quietly().stdout.trim().to_owned()
}

fn remove(env: &Env, uuid: &str) {
    env.proa(["rm", uuid]).outcome().succeeds();
    env.assert_nothing_left();
}

fn logs_are_kept_apart_and_in_order(env: &Env) {
    let script = "for i in 1 2 3; do echo out $i; echo err $i >&2; done; printf 'no end'";
    let uuid = detach(env, "talker", script);
    env.proa(["status", "--wait", &uuid]).outcome().succeeds();
    let logs = env.proa(["logs", &uuid]).outcome().succeeds();
    assert_eq!(
        (logs.stdout.as_str(), logs.stderr.as_str()),
        ("out 1\nout 2\nout 3\nno end\n", "err 1\nerr 2\nerr 3\n")
    );
    env.proa(["logs", "--tail", "1", &uuid]).outcome().succeeds().prints("no end\n");
    let stamped = env.proa(["logs", "--timestamps", "--tail=1", &uuid]).outcome().succeeds();
    assert!(stamped.stdout.as_bytes()[4] == b'-' && stamped.stdout.ends_with("Z no end\n"), "{stamped}");
    env.proa(["logs", "--since", "2100-01-01T00:00:00Z", &uuid]).outcome().succeeds().prints("").quietly();
    env.proa(["logs", "--since", "1h", &uuid]).outcome().succeeds().shows("out 1");
    env.proa(["logs", "--since", "yesterday", &uuid]).outcome().rejects("yesterday");
    env.proa(["logs", "--app", "nobody", &uuid]).outcome().rejects("nobody");
    remove(env, &uuid);
}

fn logs_follow_until_the_end(env: &Env) {
    let uuid = detach(env, "counter", "i=0; while [ $i -lt 20 ]; do echo $i; i=$((i+1)); sleep 0.02; done");
    let followed = env.proa(["logs", "-f", &uuid]).outcome().succeeds();
    let expected: String = (0..20).map(|i| format!("{i}\n")).collect();
    assert_eq!(followed.stdout, expected);
    remove(env, &uuid);
}

fn an_app_is_told_where_its_log_is(env: &Env) {
    let ask = "wget -q -O - $AC_METADATA_URL/acMetadata/v1/apps/$AC_APP_NAME/log 2>&1";
    let uuid = detach(env, "told", ask);
    env.proa(["status", "--wait", &uuid]).outcome().succeeds();
    let answer = env.proa(["logs", &uuid]).outcome().succeeds().stdout;
    let told: serde_json::Value = serde_json::from_str(&answer).expect(&answer);
    assert_eq!(told, serde_json::json!({"driver": "k8s-file", "location": format!("{uuid}/log.told")}));
    let log = env.data().join("pods/run").join(told["location"].as_str().expect("text"));
    assert!(std::fs::read_to_string(&log).expect("it is there").contains("k8s-file"), "{}", log.display());
    env.end_metadata_service();
    // What is passed through is kept nowhere.
    let image = Aci::new("seen", busybox()).sh(&format!("{ask} | grep -o 404")).build(env);
    let args = ["--insecure-options=image", "run", "--net=none", image.to_str().expect("UTF-8")];
    env.proa(args).outcome().succeeds().prints("404\n");
    env.end_metadata_service();
    remove(env, &uuid);
}

/// A busy stream is read at a pace; another one of the app does not overtake it.
fn an_error_is_logged_after_what_came_before_it(env: &Env) {
    const BURSTS: usize = 8;
    let burst = "i=0; while [ $i -lt 200 ]; do echo line $n $i; i=$((i+1)); done; echo error $n >&2; sleep 0.3";
    let script = format!("n=0; while [ $n -lt {BURSTS} ]; do {burst}; n=$((n+1)); done");
    let uuid = detach(env, "bursts", &script);
    env.proa(["status", "--wait", &uuid]).outcome().succeeds();
    let none: [&str; 0] = [];
    let script = format!("\"$@\" logs {uuid} 2>&1");
    let logs = env.proa(none).through_as_invoker(["sh", "-c", &script, "sh"]).outcome().succeeds().stdout;
    let lines: Vec<&str> = logs.lines().collect();
    let expected =
        |burst: usize| (0..200).map(move |line| format!("line {burst} {line}")).chain([format!("error {burst}")]);
    assert_eq!(lines, (0..BURSTS).flat_map(expected).collect::<Vec<_>>());
    remove(env, &uuid);
}

/// More than a pipe holds is written in small pieces, and the app is gone at once.
fn a_burst_is_kept_to_the_last_byte(env: &Env) {
    const LINES: usize = 60_000;
    let uuid = detach(env, "burst", &format!("seq 1 {LINES}"));
    env.proa(["status", "--wait", &uuid]).outcome().succeeds();
    let logs = env.proa(["logs", &uuid]).outcome().succeeds().stdout;
    assert!(logs.lines().eq((1..=LINES).map(|line| line.to_string())), "{} lines", logs.lines().count());
    remove(env, &uuid);
}
