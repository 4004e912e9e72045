//! What is wrong with the input gives one clear error, a hint, and leaves nothing.

use std::ffi::OsString;
use std::path::Path;

use integration_tests::images::{Aci, Layout, OciLayer, Packing, Tree, busybox};
use integration_tests::{Env, Outcome, each_user};

fn run(env: &Env, image: &Path) -> Outcome {
    env.run(image, &[]).outcome()
}

fn run_oci(env: &Env, dir: &Path) -> Outcome {
    env.proa(["run", "--net=none", &format!("oci:{}", dir.display())]).outcome()
}

/// Oracle O5: right after the refusal the good operation works.
fn still_works(env: &Env) {
    let image = Aci::new("good", busybox()).sh("echo good").build(env);
    run(env, &image).succeeds().prints("good\n");
}

each_user! {
    missing_file,
    unsigned_aci,
    not_an_archive,
    truncated_gzip,
    truncated_tar,
    digest_mismatch_in_the_layout,
    changed_manifest_in_the_layout,
    unknown_media_type,
    manifest_without_app,
    broken_manifests,
    escape_sequences_do_not_reach_the_terminal,
    entries_that_leave_the_root,
    missing_working_directory,
    working_directory_through_a_descriptor,
    foreign_architecture,
    usage_errors,
    filters_of_diagnostics,
    data_directory_not_writable,
    data_directory_from_the_future,
    home_is_not_set,
    no_user_namespaces,
}

fn missing_file(env: &Env) {
    run(env, &env.path("images/nothing.aci")).refuses("images/nothing.aci");
    run_oci(env, &env.path("images/nothing")).refuses("images/nothing");
    env.proa(["fetch", "oci:/no/such/layout"]).outcome().refuses("/no/such/layout");
    still_works(env);
}

fn unsigned_aci(env: &Env) {
    let image = Aci::new("unsigned", busybox()).build(env);
    for command in ["run", "fetch"] {
        let args = [OsString::from(command), image.clone().into()];
        env.proa(args).outcome().refuses("unsigned.aci");
    }
    still_works(env);
}

fn not_an_archive(env: &Env) {
    let random: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (name, bytes) in [("noise.aci", random), ("empty.aci", vec![]), ("text.aci", b"hello\n".to_vec())] {
        run(env, &env.write(format!("images/{name}"), bytes)).refuses(name);
    }
    run(env, &env.path("images")).refuses("images");
    still_works(env);
}

fn truncated_gzip(env: &Env) {
    let whole = Packing::Gzip.pack(&Aci::new("whole", busybox()).tar());
    for length in [whole.len() - 1, whole.len() / 2, 20] {
        let image = env.write("images/truncated.aci", &whole[..length]);
        run(env, &image).refuses("truncated.aci");
    }
    still_works(env);
}

fn truncated_tar(env: &Env) {
    let whole = Aci::new("whole", busybox()).tar();
    for length in [whole.len() / 2, 1000, 512, 511] {
        run(env, &env.write("images/cut.aci", &whole[..length])).refuses("cut.aci");
    }
    still_works(env);
}

fn digest_mismatch_in_the_layout(env: &Env) {
    let damaged = OciLayer::from(busybox()).packed(Packing::Tar).damaged();
    let dir = Layout::new("damaged").layer(damaged).sh("true").build(env);
    run_oci(env, &dir).refuses("sha256:");
    let dir = Layout::new("diff").layer(busybox()).sh("true").wrong_diff_id().build(env);
    run_oci(env, &dir).refuses("sha256:");
    still_works(env);
}

fn changed_manifest_in_the_layout(env: &Env) {
    let dir = Layout::new("changed").layer(busybox()).sh("true").build(env);
    let blobs = dir.join("blobs/sha256");
    let index = std::fs::read_to_string(dir.join("index.json")).expect("it was written");
    let index: serde_json::Value = serde_json::from_str(&index).expect("JSON");
    let digest = index["manifests"][0]["digest"].as_str().expect("text").to_owned();
    let blob = blobs.join(digest.trim_start_matches("sha256:"));
    let mut text = std::fs::read(&blob).expect("it was written");
    text.push(b' ');
    env.write(&blob, text);
    run_oci(env, &dir).refuses(&digest).stderr_shows("hint: the image is damaged where it is: copy or build it again");
    std::fs::remove_file(&blob).expect("it is ours");
    run_oci(env, &dir).refuses(&digest);
}

fn unknown_media_type(env: &Env) {
    let layer = OciLayer::from(busybox()).media_type("application/vnd.example.layer.v1.tar+lzma");
    run_oci(env, &Layout::new("lzma").layer(layer).sh("true").build(env)).refuses("tar+lzma");
}

fn manifest_without_app(env: &Env) {
    let image = Aci::new("appless", busybox()).manifest(|it| drop(it.as_object_mut().expect("object").remove("app")));
    let image = image.build(env);
    run(env, &image).refuses("app");
    env.run(&image, &["--exec", "/bin/echo", "--", "made one"]).outcome().succeeds().prints("made one\n");
    let dir = Layout::new("commandless").layer(busybox()).build(env);
    run_oci(env, &dir).refuses("commandless");
}

fn broken_manifests(env: &Env) {
    let with = |text: &str| {
        let tar = Tree::new().file("manifest", text, 0o644).dir("rootfs", 0o755).tar();
        run(env, &env.write("images/broken.aci", tar)).refuses("manifest");
    };
    with("");
    with("{");
    with("[]");
    with(r#"{"acKind": "PodManifest", "acVersion": "0.8.11", "name": "example.com/x"}"#);
    with(r#"{"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "NOT A NAME"}"#);
    with(r#"{"acKind": "ImageManifest", "acVersion": "one", "name": "example.com/x"}"#);
    with(&"[".repeat(100_000));
    let none = Tree::new().dir("rootfs", 0o755).file("rootfs/x", "", 0o644).tar();
    run(env, &env.write("images/without.aci", none)).refuses("manifest");
    still_works(env);
}

fn escape_sequences_do_not_reach_the_terminal(env: &Env) {
    let tree = busybox().file("x\x1b]0;owned\x07y/../../z", "", 0o644);
    let outcome = run(env, &Aci::new("escape", tree).build(env));
    outcome.refuses("owned");
}

fn entries_that_leave_the_root(env: &Env) {
    let canary = env.write("canary", "untouched");
    let up = format!("../../../../../../../../../..{}", canary.display());
    let trees = [
        ("dots", busybox().file("../../escape", "x", 0o644)),
        ("link", busybox().symlink("out", "/").file("out/canary-by-link", "x", 0o644)),
        ("hard", busybox().hardlink("hard", &up)),
    ];
    for (name, tree) in trees {
        let outcome = run(env, &Aci::new(name, tree).sh("true").build(env));
        // A link within the image may also be replaced by a folder within it; nothing outside in any case.
        if !outcome.status.success() {
            outcome.refuses(name);
        }
        assert_eq!(std::fs::read(&canary).expect("it is there"), b"untouched");
        assert!(!Path::new("/canary-by-link").exists() && !env.path("escape").exists());
    }
    still_works(env);
}

fn missing_working_directory(env: &Env) {
    let image = Aci::new("cwd", busybox()).app("workingDirectory", "/no/such/dir".into()).build(env);
    run(env, &image).refuses("/no/such/dir");
    let image = Aci::new("cwd2", busybox()).build(env);
    env.run(&image, &["--working-dir=/etc/passwd"]).outcome().refuses("/etc/passwd");
}

fn working_directory_through_a_descriptor(env: &Env) {
    // CVE-2024-21626: a descriptor of a host folder that leaked, used as the working directory.
    for n in [3, 4, 7, 8, 9, 16, 33] {
        let path = format!("/proc/self/fd/{n}");
        let image = Aci::new("leak", busybox().symlink("link", &path)).sh("pwd; ls").build(env);
        env.run(&image, &[&format!("--working-dir={path}")]).outcome().refuses(&path);
        env.run(&image, &["--working-dir=/link"]).outcome().refuses("/link");
    }
}

fn foreign_architecture(env: &Env) {
    let foreign = if cfg!(target_arch = "x86_64") { ("aarch64", "arm64") } else { ("amd64", "amd64") };
    let image = Aci::new("foreign", busybox()).manifest(|it| it["labels"][1]["value"] = foreign.0.into()).build(env);
    run(env, &image).refuses(foreign.0);
    run_oci(env, &Layout::new("foreign-oci").layer(busybox()).sh("true").architecture(foreign.1).build(env))
        .refuses(foreign.1);
    let image = Aci::new("os", busybox()).manifest(|it| it["labels"][0]["value"] = "freebsd".into()).build(env);
    run(env, &image).refuses("freebsd");
}

fn usage_errors(env: &Env) {
    let image = Aci::new("usage", busybox()).build(env);
    let image = image.to_str().expect("UTF-8");
    env.proa(["run"]).outcome().refuses("proa: run: the following required arguments were not provided: <IMAGE>...");
    env.proa(["no-such-command"]).outcome().refuses("proa: unrecognized subcommand 'no-such-command'");
    env.proa(["run", "--no-such-flag", image]).outcome().refuses("proa: run: unexpected argument '--no-such-flag'");
    let refused = env.proa(["list", "--format=nonsense"]).outcome().refuses("proa: list: invalid value 'nonsense'");
    refused.stderr_shows("hint: see `proa list --help`\n");
    env.proa(["--insecure-options=image", "run", image, "--environment=NOVALUE"]).outcome().refuses("NOVALUE");
    env.proa(["--insecure-options=nonsense", "run", image]).outcome().refuses("nonsense");
    env.proa(["--insecure-options=image", "run", "--net=nonsense", image]).outcome().refuses("nonsense");
    env.proa(["run", "--net=none", "sha512-00000000"]).outcome().refuses("sha512-00000000");
    env.proa(["run", "--net=none", "not-in-the-store"]).outcome().refuses("not-in-the-store");
}

fn filters_of_diagnostics(env: &Env) {
    let list = |filter: &str| env.proa(["list"]).var("PROA_LOG", filter).outcome();
    for filter in ["debug", "proa=debug,warn", "store::layout=off"] {
        list(filter).succeeds();
    }
    for filter in ["store=loud", "a=b=c"] {
        list(filter).refuses(filter).stderr_shows("hint: try PROA_LOG=debug");
    }
    let image = Aci::new("told", busybox()).sh("echo good").build(env);
    let told = |filter: &str| env.run(&image, &[]).var("PROA_LOG", filter).outcome().succeeds().prints("good\n").stderr;
    assert!(told("proa=debug,warn").contains("pod directory is ready"));
    assert!(!told("proa=warn,debug").contains("pod directory is ready"));
}

fn data_directory_not_writable(env: &Env) {
    env.write("file", "");
    let under_a_file = env.path("file").join("data");
    let args = [OsString::from("--dir"), under_a_file.into(), "run".into(), "hello".into()];
    env.command(integration_tests::binaries::proa(), args.to_vec()).outcome().refuses("file/data");
    // A folder of another's: /proc is not even root's to write.
    let args = ["--dir", "/proc/1/data", "run", "hello"].map(OsString::from);
    env.command(integration_tests::binaries::proa(), args.to_vec()).outcome().refuses("/proc/1/data");
}

fn data_directory_from_the_future(env: &Env) {
    still_works(env);
    // What is stored may be read all the same; something new may not be written.
    let new = Aci::new("new", busybox()).sh("echo new").build(env);
    for format in ["data/store/format", "data/pods/format"] {
        let current = std::fs::read(env.path(format)).expect("store and pods each have one");
        env.write(format, "999\n");
        run(env, &new).refuses("999");
        env.write(format, current);
        still_works(env);
    }
}

fn home_is_not_set(env: &Env) {
    let args = ["run", "hello"].map(OsString::from).to_vec();
    let run = env.command(integration_tests::binaries::proa(), args).without_var("HOME");
    if env.account().uid == 0 {
        return; // Root's data directory does not depend on it, and the tests leave that one alone.
    }
    run.outcome().refuses("HOME");
}

fn no_user_namespaces(env: &Env) {
    // In a user namespace of the test's own: the limit of the host stays as it is.
    let keep_uid = [format!("--map-user={}", env.account().uid), format!("--map-group={}", env.account().gid)];
    let none = "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$@\"";
    let wrapper = ["unshare", "--user", "--keep-caps"].into_iter().chain(keep_uid.iter().map(String::as_str));
    let wrapper = wrapper.chain(["sh", "-c", none, "sh"]);
    let outcome = env.proa(["run", "hello"]).through(wrapper).outcome();
    let outcome = outcome.refuses("user namespace");
    assert!(outcome.stderr.contains("max_user_namespaces"), "what forbids it must be named: {outcome}");
}
