//! The variables of apps: which count, what files may say, and what is right for the app's user.

use integration_tests::images::{Aci, Layout, busybox, with_probe};
use integration_tests::{Env, Proa, each_user};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// An image that prints its world, with these variables of its own.
fn image(env: &Env, variables: Value) -> PathBuf {
    let image = Aci::new("env", with_probe(busybox())).exec(["/probe", "world"]);
    image.app("environment", variables).build(env)
}

fn run<'e>(env: &'e Env, pod: &[&str], image: &Path, app: &[&str]) -> Proa<'e> {
    let fixed = ["--insecure-options=image", "run"];
    env.proa(fixed.iter().chain(pod).chain(&[image.to_str().expect("UTF-8")]).chain(app))
}

/// The variables the app has.
fn variables(run: Proa<'_>) -> Value {
    let outcome = run.outcome().succeeds();
    let world: Value = serde_json::from_str(outcome.line()).unwrap_or_else(|e| panic!("{e}: {outcome}"));
    world["env"].clone()
}

each_user! {
    rkt_env_precedence,
    rkt_env_of_a_file,
    rkt_env_inherits_what_the_image_does_not_set,
    environment_of_the_command_line_overrides_and_ac_variables_cannot_be,
    environment_files_of_gateways_and_agents,
    environment_files_that_make_no_sense_are_refused,
    inj_01_an_image_cannot_take_the_hosts_variables,
    inj_02_the_hosts_environment_does_not_leak,
    inj_03_values_arrive_unchanged,
    home_and_names_are_those_of_the_apps_user,
}

fn rkt_env_precedence(env: &Env) {
    let image = image(env, json!([{"name": "VAR_FROM_MANIFEST", "value": "manifest"}]));
    let file = env.write("env_file_test.conf", "VAR_OTHER=file\nVAR_FROM_MANIFEST=file\n# comment\n; comment\n\n");
    let file = format!("--set-env-file={}", file.display());
    let (manifest, other) = ("VAR_FROM_MANIFEST", "VAR_OTHER");
    for (pod, app, name, expected) in [
        (&[][..], &[][..], manifest, json!("manifest")),
        (&["--set-env=VAR_OTHER=setenv"], &[], other, json!("setenv")),
        (&["--set-env=VAR_FROM_MANIFEST=setenv"], &[], manifest, json!("setenv")),
        (&["--inherit-env=true"], &[], other, json!("host")),
        (&["--inherit-env"], &[], manifest, json!("manifest")),
        (&["--inherit-env=false"], &[], other, Value::Null),
        (&["--inherit-env", "--set-env=VAR_OTHER=setenv"], &[], other, json!("setenv")),
        (&["--set-env=VAR_OTHER=setenv", &file], &[], other, json!("setenv")),
        (&[&file], &[], other, json!("file")),
        (&[&file], &[], manifest, json!("file")),
        (&["--inherit-env", &file], &[], other, json!("file")),
        (&["--set-env=TERM=dumb"], &[], "TERM", json!("dumb")),
        (&["--set-env=VAR_OTHER=setenv", &file], &["--environment=VAR_OTHER=app"], other, json!("app")),
    ] {
        let run = run(env, pod, &image, app).var("VAR_OTHER", "host").var("VAR_FROM_MANIFEST", "host");
        assert_eq!(variables(run)[name], expected, "{pod:?} {app:?}");
    }
    let twice = ["--set-env=A=1", "--set-env=A=2"];
    run(env, &twice, &image, &[]).outcome().refuses("--set-env=\"A=2\": this variable is given twice");
}

fn rkt_env_of_a_file(env: &Env) {
    let image = image(env, json!([]));
    let one = env.write("one", "PATH=/one:/bin\nA=1\nB=1\n");
    let two = env.write("two", "B=2");
    let files = [&one, &two].map(|file| format!("--set-env-file={}", file.display()));
    let found = variables(run(env, &[&files[0], &files[1]], &image, &[]));
    assert_eq!((&found["PATH"], &found["A"], &found["B"]), (&json!("/one:/bin"), &json!("1"), &json!("2")));
    let missing = format!("--set-env-file={}", env.path("none").display());
    run(env, &[&missing], &image, &[]).outcome().rejects("none: No such file or directory");
}

fn rkt_env_inherits_what_the_image_does_not_set(env: &Env) {
    let image = image(env, json!([{"name": "LANG", "value": "C"}]));
    let odd =
        |run: Proa<'_>| variables(run.var("LANG", "xx").var("a.b", "dots").var("AC_APP_NAME", "no").var("%", "x"));
    let found = odd(run(env, &["--inherit-env"], &image, &[]));
    assert_eq!((&found["LANG"], &found["a.b"]), (&json!("C"), &json!("dots")));
    assert_eq!((&found["AC_APP_NAME"], &found["%"]), (&json!("env"), &Value::Null));
    // The caller's account is not the app's.
    assert_eq!((&found["HOME"], &found["USER"]), (&json!("/root"), &json!("root")));
    assert_eq!(found["XDG_RUNTIME_DIR"], json!(env.path("run").display().to_string()));
}

fn environment_of_the_command_line_overrides_and_ac_variables_cannot_be(env: &Env) {
    let image = image(env, json!([{"name": "A", "value": "image"}, {"name": "AC_APP_NAME", "value": "image"}]));
    let found = variables(run(env, &[], &image, &["--environment=A=caller", "--environment", "X="]));
    assert_eq!((&found["A"], &found["X"], &found["AC_APP_NAME"]), (&json!("caller"), &json!(""), &json!("env")));
    let file = env.write("ac.env", "AC_METADATA_URL=http://elsewhere\n");
    let file = format!("--set-env-file={}", file.display());
    for option in ["--set-env=AC_APP_NAME=x", &file] {
        run(env, &[option], &image, &[]).outcome().refuses("cannot be overridden");
    }
    run(env, &[], &image, &["--environment=AC_X=y"]).outcome().refuses("cannot be overridden");
}

fn environment_files_of_gateways_and_agents(env: &Env) {
    let gateway = "conf.mod=gateway\nconf.gpt=7990\nconf.zon=3cbb5a32-37c5-4a37-a5c9-9f7bbf5e9b2d\nconf.grp=\n\
                   # conf.tkn=not this\nconf.dbg=true\nconf.hst=wss://gateway.example/agent?a=b,c:d@e\nPORT=:17990";
    let agent = "  conf.pxy=\"http://proxy.example:8080\"\nplg.tls.scm={{scheme}}\nplg.vln.ips='10.0.1.8,10.0.1.9'\n\
                 EC_AID=spaces at the end  \nFROM_HOST\nNOT_THERE\nplg.tls.prt=443";
    let files = [("gateway.env", gateway), ("client+vln.env", agent)];
    let files = files.map(|(name, text)| format!("--set-env-file={}", env.write(name, text).display()));
    let image = image(env, json!([]));
    let run = run(env, &[&files[0], &files[1]], &image, &[]).var("FROM_HOST", "the host's");
    let found = variables(run);
    for (name, value) in [
        ("conf.mod", "gateway"),
        ("conf.gpt", "7990"),
        ("conf.grp", ""),
        ("conf.hst", "wss://gateway.example/agent?a=b,c:d@e"),
        ("PORT", ":17990"),
        ("conf.pxy", "\"http://proxy.example:8080\""),
        ("plg.tls.scm", "{{scheme}}"),
        ("plg.vln.ips", "'10.0.1.8,10.0.1.9'"),
        ("EC_AID", "spaces at the end  "),
        ("FROM_HOST", "the host's"),
        ("plg.tls.prt", "443"),
    ] {
        assert_eq!(found[name], json!(value), "{name}");
    }
    assert_eq!((&found["NOT_THERE"], &found["conf.tkn"]), (&Value::Null, &Value::Null));
}

fn environment_files_that_make_no_sense_are_refused(env: &Env) {
    let image = image(env, json!([]));
    for (text, why) in [
        (&b"A=1\nB C=2\n"[..], "line 2: \"B C\": the name holds a blank"),
        (b"=x", "line 1: \"\": the name is missing"),
        (b"A=\xff\xfe", "line 1: not UTF-8"),
        (b"9A=1", "line 1: \"9A\": the name must be letters"),
    ] {
        let file = format!("--set-env-file={}", env.write("bad.env", text).display());
        run(env, &[&file], &image, &[]).outcome().refuses(why);
    }
    let file = std::fs::File::create(env.path("large.env")).expect("it is ours");
    file.set_len(1 << 30).expect("sparse");
    let option = format!("--set-env-file={}", env.path("large.env").display());
    run(env, &[&option], &image, &[]).outcome().rejects("large.env");
    run(env, &["--set-env-file=/dev/zero"], &image, &[]).outcome().rejects("/dev/zero");
}

fn inj_01_an_image_cannot_take_the_hosts_variables(env: &Env) {
    // One with a value is a variable, whatever its name.
    for (variable, is_taken) in [("SECRET", false), ("PATH*", false), ("SEC*", false), ("SEC*=", true)] {
        let image = Layout::new("inj").layer(with_probe(busybox())).config("Env", json!([variable]));
        let image = format!("oci:{}", image.config("Cmd", json!(["/probe", "world"])).build(env).display());
        let outcome = run(env, &[], Path::new(&image), &[]).var("SECRET", "canary").outcome();
        assert_eq!(outcome.status.success(), is_taken, "{outcome}");
        assert!(!outcome.stdout.contains("canary"), "{outcome}");
    }
}

fn inj_02_the_hosts_environment_does_not_leak(env: &Env) {
    let image = image(env, json!([]));
    let canaries: Vec<String> = (0..30).map(|n| format!("CANARY_{n}")).collect();
    let run = canaries.iter().fold(run(env, &[], &image, &[]), |run, name| run.var(name, "secret"));
    let found = variables(run);
    let mut names: Vec<&str> = found.as_object().expect("an object").keys().map(String::as_str).collect();
    names.sort_unstable();
    let expected = ["AC_APP_NAME", "HOME", "LOGNAME", "PATH", "SHELL", "USER", "container"];
    let others: Vec<&&str> = names.iter().filter(|name| !expected.contains(name) && !name.starts_with("AC_")).collect();
    assert!(others.is_empty(), "{others:?}");
    assert!(expected.iter().all(|name| names.contains(name)), "{names:?}");
}

fn inj_03_values_arrive_unchanged(env: &Env) {
    let odd = "new\nline\r\ttab:colon=equals \"quotes' $HOME `id` \\n \u{202e}ü";
    let image = image(env, json!([{"name": "IMAGE", "value": odd}]));
    let set = [format!("--set-env=SET={odd}"), format!("--environment=OWN={odd}")];
    let found = variables(run(env, &[&set[0]], &image, &[&set[1]]));
    for name in ["IMAGE", "SET", "OWN"] {
        assert_eq!(found[name], json!(odd), "{name}");
    }
}

/// rkt gave every app root's (issue 2569).
fn home_and_names_are_those_of_the_apps_user(env: &Env) {
    let passwd = "root:x:0:0:root:/root:/bin/ash\nanna:x:1000:1000::/home/anna:/bin/zsh\nbare:x:1001:1001:::\n";
    let tree = with_probe(busybox()).file("etc/passwd", passwd, 0o644);
    let image = Aci::new("home", tree).exec(["/probe", "world"]).build(env);
    let of = |user: &str| variables(run(env, &[], &image, &[&format!("--user={user}"), "--group=0"]));
    let pick = |found: &Value| ["HOME", "USER", "LOGNAME", "SHELL"].map(|name| found[name].clone());
    assert_eq!(pick(&of("root")), ["/root", "root", "root", "/bin/ash"].map(|text| json!(text)));
    assert_eq!(pick(&of("1000")), ["/home/anna", "anna", "anna", "/bin/zsh"].map(|text| json!(text)));
    assert_eq!(pick(&of("bare")), [json!("/"), json!("bare"), json!("bare"), Value::Null]);
    assert_eq!(pick(&of("4711")), [json!("/"), Value::Null, Value::Null, Value::Null]);
    let given = ["--user=anna", "--group=0", "--environment=HOME=/data", "--environment=USER=other"];
    let found = variables(run(env, &[], &image, &given));
    assert_eq!((&found["HOME"], &found["USER"]), (&json!("/data"), &json!("other")));
}
