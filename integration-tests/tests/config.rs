//! The configuration directories, and `proa config`, which prints what they come to.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use integration_tests::{Env, Outcome, each_user};
use serde_json::{Value, json};

/// Writes a file of one of the three directories (`system`, `local`, `user`).
fn configure(env: &Env, file: &str, content: &Value) {
    write(env, file, &content.to_string());
}

fn write(env: &Env, file: &str, content: &str) {
    env.make_dir(env.path(file).parent().expect("it is in a folder"));
    env.write(file, content);
}

/// `proa` with the three directories of this test and these arguments.
fn proa(env: &Env, args: &[&str]) -> Outcome {
    let dirs = ["system", "local", "user"].map(|it| format!("--{it}-config={}", env.path(it).display()));
    env.command(
        integration_tests::binaries::proa(),
        dirs.iter().map(Into::into).chain(args.iter().map(Into::into)).collect(),
    )
    .outcome()
}

/// The entries `proa config` prints.
fn entries(env: &Env) -> Vec<Value> {
    let outcome = proa(env, &["config"]).succeeds().quietly();
    let document: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    document["stage0"].as_array().expect("a list").clone()
}

fn basic(domains: &[&str], user: &str, password: &str) -> Value {
    json!({"rktKind": "auth", "rktVersion": "v1", "domains": domains, "type": "basic",
        "credentials": {"user": user, "password": password}})
}

fn docker(registries: &[&str], user: &str, password: &str) -> Value {
    json!({"rktKind": "dockerAuth", "rktVersion": "v1", "registries": registries,
        "credentials": {"user": user, "password": password}})
}

fn paths(content: Value) -> Value {
    kind("paths", content)
}

fn kind(kind: &str, mut content: Value) -> Value {
    content["rktKind"] = kind.into();
    content["rktVersion"] = "v1".into();
    content
}

each_user! {
    nothing_configured,
    every_kind_is_printed,
    later_directories_override_key_by_key,
    what_is_no_configuration_file_is_passed_over,
    empty_files_mask,
    duplicates_in_one_directory_are_an_error,
    mistakes_are_named,
    files_of_others_are_refused,
    configured_data_directory,
    the_users_own_directory,
}

fn nothing_configured(env: &Env) {
    assert_eq!(entries(env), Vec::<Value>::new());
    proa(env, &["config", "--pretty-print=false"]).succeeds().prints("{\"stage0\":[]}\n");
}

fn every_kind_is_printed(env: &Env) {
    let token = json!({"rktKind": "auth", "rktVersion": "v1", "domains": ["c.com:5000"], "type": "oauth",
        "credentials": {"token": "someToken"}});
    let aws = json!({"rktKind": "auth", "rktVersion": "v1", "domains": ["s3.amazonaws.com"], "type": "aws",
        "credentials": {"accessKeyID": "ID", "secretAccessKey": "SECRET", "awsRegion": "eu-west-1"}});
    let stage1 = kind("stage1", json!({"name": "example.com/s", "version": "1.2.3", "location": "http://a/s.aci"}));
    let places = paths(json!({"data": "/home/me/data", "stage1-images": "/home/me/images"}));
    configure(env, "local/auth.d/basic.json", &basic(&["b.com", "a.com"], "user", "userPassword"));
    configure(env, "local/auth.d/token.json", &token);
    configure(env, "local/auth.d/aws.json", &aws);
    configure(env, "local/auth.d/docker.json", &docker(&["quay.io", "gcr.io"], "docker", "dockerPassword"));
    configure(env, "local/paths.d/paths.json", &places);
    configure(env, "local/stage1.d/stage1.json", &stage1);
    let expected = vec![
        basic(&["a.com"], "user", "userPassword"),
        basic(&["b.com"], "user", "userPassword"),
        token,
        aws,
        docker(&["gcr.io"], "docker", "dockerPassword"),
        docker(&["quay.io"], "docker", "dockerPassword"),
        places,
        stage1,
    ];
    assert_eq!(entries(env), expected);
    // Version and kind come first, indented with tabs.
    proa(env, &["config"]).shows(
        "{\n\t\"stage0\": [\n\t\t{\n\t\t\t\"rktVersion\": \"v1\",\n\t\t\t\"rktKind\": \"auth\",\n\t\t\t\"domains\": [",
    );
}

fn later_directories_override_key_by_key(env: &Env) {
    let oauth = json!({"rktKind": "auth", "rktVersion": "v1", "domains": ["b.com"], "type": "oauth",
        "credentials": {"token": "t"}});
    configure(env, "system/auth.d/x.json", &basic(&["a.com", "b.com", "c.com"], "system", "1"));
    configure(env, "local/auth.d/y.json", &basic(&["b.com", "c.com"], "local", "2"));
    configure(env, "user/auth.d/z.json", &oauth);
    configure(env, "system/auth.d/docker.json", &docker(&["quay.io", "gcr.io"], "docker", "p"));
    configure(env, "user/auth.d/docker.json", &docker(&["gcr.io"], "over", "written"));
    configure(env, "system/paths.d/p.json", &paths(json!({"data": "/system", "stage1-images": "/images"})));
    configure(env, "user/paths.d/q.json", &paths(json!({"data": "/user"})));
    configure(env, "local/stage1.d/s.json", &kind("stage1", json!({"name": "n", "version": "v", "location": "l"})));
    configure(env, "user/stage1.d/s.json", &kind("stage1", json!({"location": "other"})));
    let expected = vec![
        basic(&["a.com"], "system", "1"),
        oauth,
        basic(&["c.com"], "local", "2"),
        docker(&["gcr.io"], "over", "written"),
        docker(&["quay.io"], "docker", "p"),
        paths(json!({"data": "/user", "stage1-images": "/images"})),
        kind("stage1", json!({"name": "n", "version": "v", "location": "other"})),
    ];
    assert_eq!(entries(env), expected);
}

fn what_is_no_configuration_file_is_passed_over(env: &Env) {
    configure(env, "local/auth.d/good.json", &basic(&["a.com"], "u", "p"));
    write(env, "local/auth.d/bogus.notjson", "not JSON");
    write(env, "local/auth.d/below/bogus.json", "not JSON");
    write(env, "local/elsewhere.d/bogus.json", "not JSON");
    env.make_dir(&env.path("local/auth.d/folder.json"));
    std::os::unix::fs::symlink("bogus.notjson", env.path("local/auth.d/link.json")).expect("the folder is ours");
    let fifo = std::process::Command::new("mkfifo").arg(env.path("local/auth.d/fifo.json")).status();
    assert!(fifo.expect("mkfifo runs").success());
    assert_eq!(entries(env), [basic(&["a.com"], "u", "p")]);
}

fn empty_files_mask(env: &Env) {
    configure(env, "system/auth.d/a.json", &basic(&["a.com"], "u", "p"));
    configure(env, "system/auth.d/b.json", &basic(&["b.com"], "u", "p"));
    write(env, "local/auth.d/a.json", "");
    assert_eq!(entries(env), [basic(&["b.com"], "u", "p")]);
}

fn duplicates_in_one_directory_are_an_error(env: &Env) {
    configure(env, "local/auth.d/1.json", &basic(&["a.com"], "u", "p"));
    configure(env, "local/auth.d/2.json", &basic(&["b.com", "A.com"], "u", "p"));
    proa(env, &["config"]).refuses("2.json").stderr_shows("\"a.com\" is already specified in this directory");
    configure(env, "local/auth.d/2.json", &basic(&["b.com", "b.com"], "u", "p"));
    proa(env, &["config"]).refuses("\"b.com\" is already specified");
    write(env, "local/auth.d/2.json", "");
    configure(env, "local/paths.d/1.json", &paths(json!({"data": "/a"})));
    configure(env, "local/paths.d/2.json", &paths(json!({"data": "/a"})));
    proa(env, &["config"]).refuses("\"data\" is already specified");
}

fn mistakes_are_named(env: &Env) {
    let canary = "canary-of-a-secret";
    let credentials = json!({"user": "u", "password": canary});
    let auth = |change: &dyn Fn(&mut Value)| {
        let mut file = basic(&["a.com"], "u", canary);
        change(&mut file);
        file.to_string()
    };
    let cases = [
        (
            "auth.d",
            auth(&|it| drop(it.as_object_mut().expect("object").remove("rktKind"))),
            "no rktKind specified in \"",
        ),
        ("auth.d", auth(&|it| it["rktVersion"] = "".into()), "no rktVersion specified in \""),
        ("auth.d", auth(&|it| it["rktVersion"] = "v2".into()), "kind \"auth\" and version \"v2\""),
        (
            "auth.d",
            auth(&|it| it["rktKind"] = "paths".into()),
            "of kinds \"auth\", \"dockerAuth\", but \"x.json\" has kind of \"paths\"",
        ),
        ("auth.d", auth(&|it| it["domains"] = json!([])), "no domains specified"),
        (
            "auth.d",
            auth(&|it| it["domains"] = json!(["https://a.com/x"])),
            "\"https://a.com/x\" is not HOST or HOST:PORT",
        ),
        ("auth.d", auth(&|it| it["type"] = "".into()), "no auth type specified"),
        ("auth.d", auth(&|it| it["type"] = "magic".into()), "unknown auth type: \"magic\""),
        ("auth.d", auth(&|it| it["credentials"]["user"] = "".into()), "user not specified"),
        ("auth.d", auth(&|it| it["type"] = "oauth".into()), "oauth bearer token not specified"),
        ("auth.d", auth(&|it| it["type"] = "aws".into()), "AWS Access Key ID not specified"),
        ("auth.d", auth(&|it| it["credentials"]["password"] = json!([canary])), "invalid type"),
        ("auth.d", kind("dockerAuth", json!({"credentials": credentials})).to_string(), "no registries specified"),
        ("auth.d", format!("{{\"credentials\": {credentials}"), "EOF"),
        ("auth.d", r#"{"rktKind": "auth", "rktKind": "auth", "rktVersion": "v1"}"#.to_owned(), "duplicate key"),
        ("auth.d", "[".repeat(100_000), "nested"),
        ("auth.d", " ".repeat((1 << 20) + 1), "larger than 1 MiB"),
        ("paths.d", paths(json!({"data": "relative"})).to_string(), "\"relative\" is not an absolute path"),
        ("stage1.d", kind("stage1", json!({"name": "n"})).to_string(), "no version specified"),
        ("stage1.d", kind("stage1", json!({"version": "1"})).to_string(), "no name specified"),
    ];
    for (folder, content, expected) in cases {
        let file = format!("local/{folder}/x.json");
        write(env, &file, &content);
        let outcome = proa(env, &["config"]).refuses(expected);
        assert!(!outcome.stderr.contains(canary), "a secret in {outcome}");
        std::fs::remove_file(env.path(file)).expect("the folder is ours");
    }
    assert_eq!(entries(env), Vec::<Value>::new());
    // Only commands that need a folder stop at a mistake in it.
    write(env, "local/auth.d/x.json", "{");
    proa(env, &["--dir", &env.data().display().to_string(), "list"]).succeeds();
}

fn files_of_others_are_refused(env: &Env) {
    configure(env, "local/auth.d/x.json", &basic(&["a.com"], "u", "p"));
    let file = env.path("local/auth.d/x.json");
    let mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("it is ours");
    mode(0o666);
    proa(env, &["config"]).refuses("can be written by everybody");
    mode(0o644);
    assert_eq!(entries(env).len(), 1);
    if rustix::process::geteuid().is_root() {
        // The administrator's files are everybody's; some other user's are nobody else's.
        for (owner, works) in [(0, true), (4242, false)] {
            std::os::unix::fs::chown(&file, Some(owner), None).expect("root may");
            match works {
                true => assert_eq!(entries(env).len(), 1),
                false => drop(proa(env, &["config"]).refuses("belongs to another user")),
            }
        }
    }
}

fn configured_data_directory(env: &Env) {
    let (data, other) = (env.path("data"), env.path("other"));
    let exists = |dir: &Path| dir.join("store").exists();
    configure(env, "user/paths.d/paths.json", &paths(json!({"data": data})));
    proa(env, &["list"]).succeeds();
    assert!(!data.exists(), "who only looks makes nothing");
    proa(env, &["fetch", "hello"]).succeeds();
    assert!(exists(&data), "the configured directory is used");
    std::fs::remove_dir_all(&data).expect("it is ours");
    proa(env, &["fetch", "hello", "--dir", other.to_str().expect("UTF-8")]).succeeds();
    assert!(exists(&other) && !exists(&data), "--dir counts more");
    // The configured place is shown, not the one in use.
    let outcome = proa(env, &["--dir=/elsewhere", "config"]).succeeds();
    assert!(outcome.stdout.contains(data.to_str().expect("UTF-8")), "{outcome}");
    std::fs::remove_dir_all(&other).expect("it is ours");
}

fn the_users_own_directory(env: &Env) {
    configure(env, "home/.config/proa/auth.d/a.json", &basic(&["home.com"], "u", "p"));
    configure(env, "xdg/proa/auth.d/a.json", &basic(&["xdg.com"], "u", "p"));
    let none = ["--system-config=/nonexistent", "--local-config=/nonexistent", "config"];
    env.proa(none).outcome().succeeds().shows("home.com");
    env.proa(none).var("XDG_CONFIG_HOME", env.path("xdg")).outcome().succeeds().shows("xdg.com");
    env.proa(none).var("XDG_CONFIG_HOME", "relative").outcome().succeeds().shows("home.com");
}
