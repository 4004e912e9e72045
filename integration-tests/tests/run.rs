//! `proa run`: what an app is given, and what comes back from it.

use integration_tests::images::{Aci, busybox, with_probe};
use integration_tests::{Env, User, each_user};
use serde_json::Value;

/// The world of the probe as the only app, with more arguments to `run`.
fn world(env: &Env, more: &[&str]) -> Value {
    let image = Aci::new("probe", with_probe(busybox())).exec(["/probe", "world"]).build(env);
    let outcome = env.run(&image, more).outcome().succeeds();
    serde_json::from_str(outcome.line()).unwrap_or_else(|e| panic!("{e}: {outcome}"))
}

fn shell(env: &Env, script: &str) -> std::path::PathBuf {
    Aci::new("shell", busybox()).sh(script).build(env)
}

each_user! {
    exit_status_is_the_apps,
    death_by_signal_is_128_plus_its_number,
    missing_program_is_127,
    program_that_cannot_be_executed_is_126,
    arguments_are_passed_exactly,
    exec_replaces_the_images_and_keeps_arguments,
    environment_is_the_standards_and_nothing_of_the_callers,
    working_directory_is_the_images_or_the_callers,
    uid_and_gid_are_the_images_or_the_callers,
    user_that_does_not_exist_is_refused,
    digits_that_are_a_name_are_the_name,
    standard_streams_are_passed_through,
    streams_can_be_opened_by_name,
    closed_standard_input_is_no_error,
    standard_streams_can_be_regular_files,
    reader_that_goes_away_ends_the_app,
    much_output_arrives_whole,
    compressed_image_runs,
    several_apps_share_a_pod,
    first_failing_app_decides,
    app_names_in_a_pod_are_unique,
    children_of_the_app_end_with_it,
    stored_image_runs_by_id,
    debug_output_stays_on_stderr,
}

fn exit_status_is_the_apps(env: &Env) {
    for status in [0, 1, 3, 125, 126, 127, 200, 254, 255] {
        env.run(&shell(env, &format!("exit {status}")), &[]).outcome().exits(status).prints("");
    }
}

fn death_by_signal_is_128_plus_its_number(env: &Env) {
    for (signal, status) in [("TERM", 143), ("KILL", 137), ("SEGV", 139), ("USR1", 138)] {
        env.run(&shell(env, &format!("kill -{signal} $$; sleep 60")), &[]).outcome().exits(status);
    }
}

fn missing_program_is_127(env: &Env) {
    let image = Aci::new("missing", busybox()).exec(["/bin/nothing-here"]).build(env);
    env.run(&image, &[]).outcome().refuses_with(127, "/bin/nothing-here");
    let image = Aci::new("unfound", busybox()).exec(["nothing-here"]).build(env);
    env.run(&image, &[]).outcome().refuses_with(127, "nothing-here");
    // What has no name is none of the directories in PATH.
    let image = shell(env, "sleep 1000").to_string_lossy().into_owned();
    let pod = ["--insecure-options=image", "run", "--detach", "--net=none", "--name=nameless", &image];
    env.proa(pod).outcome().succeeds();
    env.proa(["enter", "nameless", ""]).outcome().refuses_with(127, "execute \"\": not in the image's PATH");
    env.proa(["stop", "--force", "nameless"]).outcome().succeeds();
    env.proa(["rm", "nameless"]).outcome().succeeds();
    // The file is there, its interpreter is not: 126, as a shell has it.
    let tree = busybox().file("orphan", "#!/no/such/interpreter\n", 0o755);
    let image = Aci::new("orphan", tree).exec(["/orphan"]).build(env);
    env.run(&image, &[]).outcome().refuses_with(126, "/orphan");
}

fn program_that_cannot_be_executed_is_126(env: &Env) {
    let tree = busybox().file("plain", "not a program\n", 0o644).file("garbage", "\x7fELF but not really", 0o755);
    for program in ["/plain", "/garbage", "/etc"] {
        let image = Aci::new("unexecutable", tree.clone()).exec([program]).build(env);
        env.run(&image, &[]).outcome().refuses_with(126, program);
        let words = ["--insecure-options=image", "run", "--detach", "--net=none", image.to_str().expect("UTF-8")];
        env.proa(words).outcome().refuses_with(126, program);
        env.proa(["gc", "--grace-period=0s"]).outcome().succeeds();
    }
    let image = Aci::new("long", busybox()).exec(["/bin/true", &"x".repeat(140_000)]).build(env);
    let refused = env.run(&image, &[]).outcome().refuses_with(126, "Argument list too long");
    refused.stderr_shows("hint: shorten arguments and environment");
}

fn arguments_are_passed_exactly(env: &Env) {
    let arguments = ["", "a b", "$HOME", "*", "--", "-x", "--name", "ü", "new\nline", "quote'\""];
    let world = world(env, &[&["--"], &arguments[..]].concat());
    let expected: Vec<&str> = ["/probe", "world"].into_iter().chain(arguments).collect();
    assert_eq!(world["args"], serde_json::json!(expected));
}

fn exec_replaces_the_images_and_keeps_arguments(env: &Env) {
    let image = Aci::new("exec", with_probe(busybox())).exec(["/bin/false", "image's"]).build(env);
    let outcome = env.run(&image, &["--exec", "/bin/echo", "--", "one", "two"]).outcome();
    outcome.succeeds().prints("one two\n");
    // Without a slash it is looked for in PATH.
    env.run(&image, &["--exec", "echo", "--", "three"]).outcome().succeeds().prints("three\n");
}

fn environment_is_the_standards_and_nothing_of_the_callers(env: &Env) {
    let image = Aci::new("env", with_probe(busybox()))
        .exec(["/probe", "world"])
        .app("environment", serde_json::json!([{"name": "A", "value": "image"}, {"name": "B", "value": "image"}]))
        .build(env);
    let run =
        env.run(&image, &["--environment", "B=caller", "--environment=C=a=b c", "--environment", "AC_APP_NAME=x"]);
    let outcome = run.var("CANARY", "secret").outcome();
    // AC_ variables belong to the executor: setting one is refused, or does nothing.
    let outcome = if outcome.status.success() {
        outcome
    } else {
        outcome.rejects("AC_APP_NAME");
        let run = env.run(&image, &["--environment", "B=caller", "--environment=C=a=b c"]);
        run.var("CANARY", "secret").outcome().succeeds()
    };
    let world: Value = serde_json::from_str(outcome.line()).expect("JSON");
    let variables = &world["env"];
    assert_eq!(variables["A"], "image");
    assert_eq!(variables["B"], "caller");
    assert_eq!(variables["C"], "a=b c");
    assert_eq!(variables["PATH"], "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    assert_eq!(variables["AC_APP_NAME"], "env", "{variables}");
    assert_eq!(variables["CANARY"], Value::Null);
    assert_eq!(variables["XDG_RUNTIME_DIR"], Value::Null);
    assert_ne!(variables["container"], Value::Null, "{variables}");
}

fn working_directory_is_the_images_or_the_callers(env: &Env) {
    let tree = with_probe(busybox()).dir("srv", 0o755).dir("srv/deep", 0o755).symlink("link", "srv/deep");
    let image = Aci::new("cwd", tree).exec(["pwd"]).app("workingDirectory", "/srv/deep".into()).build(env);
    env.run(&image, &[]).outcome().succeeds().prints("/srv/deep\n");
    env.run(&image, &["--working-dir", "/srv"]).outcome().succeeds().prints("/srv\n");
    env.run(&image, &["--working-dir=/link"]).outcome().succeeds().prints("/srv/deep\n");
    env.run(&image, &["--working-dir", "/"]).outcome().succeeds().prints("/\n");
}

fn uid_and_gid_are_the_images_or_the_callers(env: &Env) {
    let image = Aci::new("ids", busybox()).sh("id -u; id -g").user("1000", "1000").build(env);
    env.run(&image, &[]).outcome().succeeds().prints("1000\n1000\n");
    env.run(&image, &["--user", "0", "--group", "0"]).outcome().succeeds().prints("0\n0\n");
    env.run(&image, &["--user=root", "--group=root"]).outcome().succeeds().prints("0\n0\n");
    env.run(&image, &["--user", "user", "--group", "extra"]).outcome().succeeds().prints("1000\n2000\n");
    // The owner of a file in the image. With a single id every file has that one: root would be a guess.
    let owner = env.run(&image, &["--user", "/etc/passwd", "--group", "/etc/passwd"]).outcome();
    if env.user() == User::NoRange {
        owner.refuses("/etc/passwd");
    } else {
        owner.succeeds().prints("0\n0\n");
    }
}

fn user_that_does_not_exist_is_refused(env: &Env) {
    let image = Aci::new("nobody", busybox()).sh("id").build(env);
    for user in ["nosuch", "-1", "4294967295", "4294967296", "1e3", "+1", "0x1", "1000abc"] {
        env.run(&image, &[&format!("--user={user}")]).outcome().rejects(user);
    }
    env.run(&image, &["--group=nosuch"]).outcome().rejects("nosuch");
}

fn digits_that_are_a_name_are_the_name(env: &Env) {
    // 4294967296 is 0 in 32 bits: never root, but the named user's id.
    let passwd = "root:x:0:0::/:/bin/sh\n4294967296:x:1000:1000::/:/bin/sh\n77:x:1001:1001::/:/bin/sh\n";
    let tree = busybox().file("etc/passwd", passwd, 0o644);
    let image = Aci::new("digits", tree).sh("id -u").build(env);
    env.run(&image, &["--user=77"]).outcome().succeeds().prints("1001\n");
    env.run(&image, &["--user=4294967296"]).outcome().succeeds().prints("1000\n");
}

fn standard_streams_are_passed_through(env: &Env) {
    let image = shell(env, "cat; echo out; echo err >&2");
    let outcome = env.run(&image, &[]).outcome_with_input(b"in\0\xff\n").succeeds();
    assert_eq!(outcome.stdout, "in\0\u{fffd}\nout\n");
    assert_eq!(outcome.stderr, "err\n");
}

fn streams_can_be_opened_by_name(env: &Env) {
    if env.account().uid == 0 {
        return; // The pipes are host root's, whom no app is.
    }
    // What a web server's `error_log /dev/stderr` does.
    let image = shell(env, "echo out >/dev/stdout; echo err >/dev/stderr; cat /dev/stdin");
    let outcome = env.run(&image, &[]).outcome_with_input(b"in\n").succeeds();
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\nin\n", "err\n"));
}

fn closed_standard_input_is_no_error(env: &Env) {
    let image = shell(env, "cat; echo done");
    let through = ["sh", "-c", "exec \"$@\" <&-", "sh"];
    env.run(&image, &[]).through(through).outcome().succeeds().prints("done\n");
    let through = ["sh", "-c", "exec \"$@\" <&- >&- 2>&-", "sh"];
    env.run(&shell(env, "exit 9"), &[]).through(through).outcome().exits(9);
}

fn standard_streams_can_be_regular_files(env: &Env) {
    let image = shell(env, "cat; echo out; echo err >&2; [ $0 = 0 ] || echo again >>/dev/stdout");
    env.write("in", "from a file\n");
    env.write("out", "before\n");
    let through = ["sh", "-c", "exec \"$@\" <in >>out 2>err", "sh"];
    // Opened by name too, except host root's files, whom no app is.
    let uid = env.account().uid.to_string();
    env.run(&image, &["--", &uid]).through(through).outcome().succeeds();
    let again = if uid == "0" { "" } else { "again\n" };
    let expected = format!("before\nfrom a file\nout\n{again}");
    assert_eq!(std::fs::read_to_string(env.path("out")).expect("it is there"), expected);
    assert_eq!(std::fs::read_to_string(env.path("err")).expect("it is there"), "err\n");
}

fn reader_that_goes_away_ends_the_app(env: &Env) {
    let image = shell(env, "while :; do echo y; done");
    let outcome = env.run(&image, &[]).through(["sh", "-c", "\"$@\" | head -n 2", "sh"]).outcome();
    outcome.succeeds().prints("y\ny\n");
}

fn much_output_arrives_whole(env: &Env) {
    let outcome = env.run(&shell(env, "seq 1 200000"), &[]).outcome().succeeds().quietly();
    assert_eq!(outcome.stdout.lines().count(), 200_000);
    assert!(outcome.stdout.ends_with("\n200000\n"));
}

fn compressed_image_runs(env: &Env) {
    let packing = integration_tests::images::Packing::Gzip;
    let image = Aci::new("gz", busybox()).sh("echo gz").packed(packing).manifest_last().build(env);
    env.run(&image, &[]).outcome().succeeds().prints("gz\n");
}

fn several_apps_share_a_pod(env: &Env) {
    let one = Aci::new("one", busybox()).sh("echo one; hostname; exit 0").build(env);
    let two = Aci::new("two", busybox()).sh("echo $0 $AC_APP_NAME; hostname").build(env);
    let two = two.to_str().expect("test paths are UTF-8");
    let more = ["--name", "first", "--", "ignored", "---", two, "--name=second", "--", "zero"];
    let outcome = env.run(&one, &more).outcome().succeeds();
    let mut lines: Vec<&str> = outcome.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines.len(), 4, "{outcome}");
    assert!(lines.contains(&"one") && lines.contains(&"zero second"), "{outcome}");
    let hostnames: Vec<&&str> = lines.iter().filter(|it| !["one", "zero second"].contains(it)).collect();
    assert_eq!(hostnames[0], hostnames[1], "one UTS namespace: {outcome}");
}

fn first_failing_app_decides(env: &Env) {
    let good = Aci::new("good", busybox()).sh("sleep 60").build(env);
    let bad = Aci::new("bad", busybox()).sh("exit 7").build(env);
    let bad = bad.to_str().expect("test paths are UTF-8");
    let started = std::time::Instant::now();
    env.run(&good, &["---", bad]).outcome().exits(7);
    assert!(started.elapsed() < integration_tests::limit() / 2, "siblings of a failed app are stopped");
}

fn app_names_in_a_pod_are_unique(env: &Env) {
    let image = shell(env, "true");
    let same = image.to_str().expect("test paths are UTF-8");
    env.run(&image, &["---", same]).outcome().rejects("shell");
    env.run(&image, &["--name=a", "---", same, "--name=b"]).outcome().succeeds();
}

fn children_of_the_app_end_with_it(env: &Env) {
    env.run(&shell(env, "sleep 600 & sleep 600 & (sleep 600 &) ; exit 4"), &[]).outcome().exits(4);
}

fn stored_image_runs_by_id(env: &Env) {
    let image = shell(env, "echo stored");
    let outcome = env.proa(
        ["--insecure-options=image", "fetch"].map(Into::into).into_iter().chain([image.clone().into_os_string()]),
    );
    let id = outcome.outcome().succeeds().line().to_owned();
    assert!(id.starts_with("sha512-") && id.len() == 7 + 128, "an image ID: {id}");
    assert_eq!(id[7..], hex::encode(<sha2::Sha512 as sha2::Digest>::digest(std::fs::read(&image).expect("readable"))));
    std::fs::remove_file(&image).expect("it is ours");
    env.proa(["run", "--net=none", &id]).outcome().succeeds().prints("stored\n");
    env.proa(["run", "--net=none", &id[..20]]).outcome().succeeds().prints("stored\n");
}

fn debug_output_stays_on_stderr(env: &Env) {
    let image = shell(env, "echo out");
    let with = |options: &[&str]| {
        let all = options.iter().chain(&["--insecure-options=image", "run", "--net=none"]);
        env.proa(all.map(Into::into).chain([image.clone().into_os_string()])).outcome().succeeds().prints("out\n")
    };
    assert_eq!(with(&[]).stderr, "");
    let debug = with(&["--debug"]);
    assert_ne!(debug.stderr, "");
    let json = with(&["--debug", "--log-format=json"]);
    for line in json.stderr.lines() {
        let parsed: Result<Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok(), "not JSON: {line}");
    }
}
