//! Commands that are executed in a running app.

use integration_tests::images::{Aci, busybox};
use integration_tests::{Env, each_user};
use serde_json::json;

use crate::{detach, remove, status, stop, wait_for};

each_user! {
    enter_has_what_the_app_has,
    enter_gives_the_status_and_the_streams,
    enter_refuses_what_it_cannot_execute,
    enter_needs_to_know_which_app,
}

/// What a process sees of itself, but for numbers of processes.
const IDENTITY: &str = "id; pwd; umask; env | sort; ulimit -a; cat /proc/self/cgroup /proc/self/attr/current; \
    grep -E '^(Uid|Gid|Groups|Cap|NoNew|Seccomp|Sig|Cpus|Mems)' /proc/self/status; \
    for n in user mnt pid net ipc uts cgroup; do readlink /proc/self/ns/$n; done; \
    cat /proc/self/oom_score_adj /proc/self/limits /proc/self/uid_map; ls /proc/self/fd | wc -l";

fn enter_has_what_the_app_has(env: &Env) {
    let user = if env.user() == integration_tests::User::NoRange { "0" } else { "33" };
    let script = format!("{{ {IDENTITY}; }} > /tmp/app 2>&1; echo ready; sleep 600");
    let tree = busybox().dir("tmp", 0o1777).dir("work", 0o755);
    let environment = json!([{"name": "COLOUR", "value": "green"}]);
    let image = Aci::new("identity", tree).sh(&script).user(user, user).app("environment", environment);
    let image = image.app("workingDirectory", json!("/work")).build(env);
    let args = ["--insecure-options=image", "run", "--detach", image.to_str().unwrap()];
    let uuid = env.proa(args).outcome().succeeds().stdout.trim().to_owned();
    wait_for(env, &uuid, "ready");
    let of_app = env.proa(["enter", &uuid, "cat", "/tmp/app"]).outcome().succeeds().stdout;
    let entered = env.proa(["enter", &uuid, "sh", "-c", &format!("{{ {IDENTITY}; }} 2>&1")]).outcome().succeeds();
    // The shell's own variables differ: how deep it is.
    let comparable = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with("SHLVL=") && !line.starts_with("_=")).map(str::to_owned).collect()
    };
    assert_eq!(comparable(&entered.stdout), comparable(&of_app));
    assert!(of_app.contains("COLOUR=green") && of_app.contains("Seccomp:\t2"), "{of_app}");
    stop(env, &uuid);
    remove(env, &uuid);
}

fn enter_gives_the_status_and_the_streams(env: &Env) {
    let uuid = detach(env, "host", "echo ready; sleep 600", &[]);
    wait_for(env, &uuid, "ready");
    let script = "cat; echo error >&2; exit 42";
    let entered = env.proa(["exec", &uuid, "sh", "-c", script]).outcome_with_input(b"input\n");
    entered.exits(42).prints("input\n").stderr_shows("error");
    env.proa(["exec", &uuid, "--", "sh", "-c", "echo $0 $1; exit 3", "--", "--"]).outcome().exits(3).prints("-- --\n");
    env.proa(["enter", &uuid, "sh", "-c", "kill -KILL $$"]).outcome().exits(137);
    env.proa(["enter", "-e", "X=a b", "--working-dir", "/proc", &uuid, "sh", "-c", "echo $X; pwd"])
        .outcome()
        .succeeds()
        .prints("a b\n/proc\n");
    // A terminal of its own, of the right size and with the right name.
    let terminal = env.proa(["enter", "--tty", &uuid, "sh", "-c", "tty; stty size; exit 3"]).outcome().exits(3);
    assert_eq!(terminal.stdout, "/dev/pts/0\r\n24 80\r\n");
    stop(env, &uuid);
    env.proa(["enter", &uuid, "true"]).outcome().rejects("is not running");
    remove(env, &uuid);
}

fn enter_refuses_what_it_cannot_execute(env: &Env) {
    let uuid = detach(env, "host", "echo ready; sleep 600", &[]);
    wait_for(env, &uuid, "ready");
    env.proa(["enter", &uuid, "/nothing/here"]).outcome().refuses_with(127, "/nothing/here");
    env.proa(["enter", &uuid, "/bin"]).outcome().refuses_with(126, "/bin");
    env.proa(["enter", "--user", "nobody-here", &uuid, "true"]).outcome().rejects("nobody-here");
    env.proa(["enter", "--working-dir", "/none", &uuid, "true"]).outcome().rejects("/none");
    env.proa(["enter", "--app", "other", &uuid, "true"]).outcome().rejects("other");
    assert_eq!(status(env, &uuid)["state"], json!("running"), "the pod does not mind");
    stop(env, &uuid);
    remove(env, &uuid);
}

fn enter_needs_to_know_which_app(env: &Env) {
    let image = Aci::new("two", busybox()).sh("echo ready; sleep 600").build(env);
    let image = image.to_str().unwrap();
    let args = ["--insecure-options=image", "run", "--detach", image, "--name", "one", image, "--name", "two"];
    let uuid = env.proa(args).outcome().succeeds().stdout.trim().to_owned();
    for command in
        [&["enter", &uuid, "true"][..], &["attach", &uuid], &["commit", &uuid], &["cp", &format!("{uuid}:x"), "."]]
    {
        env.proa(command).outcome().rejects("pod contains multiple apps: one, two");
    }
    env.proa(["enter", "--app", "two", &uuid, "sh", "-c", "echo $AC_APP_NAME"]).outcome().succeeds().prints("two\n");
    stop(env, &uuid);
    remove(env, &uuid);
}
