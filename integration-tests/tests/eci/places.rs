//! Layout directories and archives, and what else reads them.

use super::*;

each_user! {
    directories_are_layouts,
    archives,
}

fn directories_are_layouts(env: &Env) {
    parts(env);
    let one = push(env, "lfedge/vm:1", &["--kernel", "k"]);
    let two = push(env, "lfedge/vm:2", &["--kernel", "i"]);
    assert_ne!(one, two);
    let dir = env.path("layout");
    assert_eq!(fs::read_to_string(dir.join("oci-layout")).expect("it is there"), r#"{"imageLayoutVersion":"1.0.0"}"#);
    let index: Value = serde_json::from_slice(&fs::read(dir.join("index.json")).expect("it is there")).expect("JSON");
    assert_eq!(index["schemaVersion"], 2);
    let names = index["manifests"].as_array().expect("a list").iter();
    let names: Vec<_> = names.map(|it| it["annotations"]["org.opencontainers.image.ref.name"].clone()).collect();
    assert_eq!(names, ["lfedge/vm:1", "lfedge/vm:2"]);
    // Others may read it, as the user's umask has it.
    for (path, mode) in [("index.json", 0o644), ("oci-layout", 0o644), ("blobs/sha256", 0o755), ("", 0o755)] {
        let found = dir.join(path).metadata().expect("it is there").permissions().mode();
        assert_eq!(found & 0o777, mode, "{path:?}");
    }
    // The same place in both forms, and the same image by its complete name.
    for (remote, image) in [
        (dir.display().to_string(), "lfedge/vm:1"),
        (format!("file://{}", dir.display()), "lfedge/vm:1"),
        (dir.display().to_string(), "docker.io/lfedge/vm:1"),
    ] {
        let shown = proa(env, &["inspect", "--format=json", "--remote", &remote, image]).outcome_of(image);
        assert_eq!(shown["digest"], one.as_str());
    }
    // Again under a name that is taken: the other image stays.
    let three = push(env, "lfedge/vm:1", &["--kernel", "disk1.qcow2"]);
    let of = |image: &str| proa(env, &["inspect", "--format=json", "--remote", &layout(env), image]).outcome_of(image);
    assert_eq!(
        (of("lfedge/vm:1")["digest"].as_str(), of("lfedge/vm:2")["digest"].as_str()),
        (Some(&*three), Some(&*two))
    );
    for remote in ["p", "http://x", "oci-archive:"] {
        let refused = proa(env, &["pull", "--remote", remote, "x"]);
        refused.refuses(&format!("unknown remote: {remote}"));
    }
    // As an image of containers is named.
    for image in [format!("oci:{}:1", dir.display()), format!("oci-archive:{}", dir.display())] {
        proa(env, &["pull", &image]).refuses(&image[..4]).stderr_shows("hint: the place is an option: --remote=/PATH");
    }
    proa(env, &["pull", "--remote", "containerd:/run/c.sock", "x"])
        .refuses("unsupported remote: containerd:/run/c.sock");
    let eci = eci(env, &["--remote", "p", "pull", "x"]).exits(1);
    assert!(eci.stderr.ends_with(" unknown remote: p\n"), "{eci}");
}

/// The name that was typed comes before others that mean the same, whatever came first into the layout.
#[test]
fn an_image_is_found_by_its_own_name() {
    let env = needs!(root_env());
    parts(&env);
    let by_tag = push(&env, "1", &["--kernel", "i"]);
    let complete = push(&env, "docker.io/lfedge/vm:1", &["--kernel", "root.raw"]);
    let typed = push(&env, "lfedge/vm:1", &["--kernel", "k"]);
    let of =
        |image: &str| proa(&env, &["inspect", "--format=json", "--remote", &layout(&env), image]).outcome_of(image);
    for (image, digest) in [
        ("lfedge/vm:1", &typed),
        ("docker.io/lfedge/vm:1", &complete),
        ("1", &by_tag),
        // By its tag alone, as other tools name images.
        ("lfedge/other:1", &by_tag),
    ] {
        assert_eq!(of(image)["digest"], digest.as_str(), "{image}");
    }
}

/// The original puts the digest behind the name.
#[test]
fn layouts_of_the_original_are_read_by_name() {
    let env = needs!(root_env());
    parts(&env);
    let digest = push(&env, "lfedge/vm:1", &["--kernel", "k"]);
    let dir = env.path("layout");
    let index = fs::read_to_string(dir.join("index.json")).expect("it is there");
    let named = |name: &str| {
        fs::write(dir.join("index.json"), index.replace("lfedge/vm:1", name)).expect("it is ours");
    };
    named(&format!("lfedge/vm:1@{digest}"));
    fs::remove_file(dir.join("oci-layout")).expect("it is ours");
    pull(&env, "lfedge/vm:1").succeeds();
    assert_files(&env, &env.path("out"), &[("kernel", "k")]);
    // What is pushed under the name takes its place.
    let second = push(&env, "lfedge/vm:1", &["--kernel", "i"]);
    let index: Value = serde_json::from_slice(&fs::read(dir.join("index.json")).expect("it is there")).expect("JSON");
    let digests: Vec<_> = index["manifests"].as_array().expect("a list").iter().map(|it| &it["digest"]).collect();
    assert_eq!(digests, [second.as_str()]);
    // Another image's digest is a part of a name like any other.
    named(&format!("lfedge/vm:1@sha256:{}", "0".repeat(64)));
    pull(&env, "lfedge/vm:1").refuses("no image \"lfedge/vm:1\"");
}

fn archives(env: &Env) {
    parts(env);
    let remote = format!("oci-archive:{}", env.path("vm.tar").display());
    proa(env, &[&["push", "--remote", &remote], &ALL[..], &["vm:1"]].concat()).succeeds();
    let out = env.path("out");
    proa(env, &["pull", "--remote", &remote, "--dir", out.to_str().expect("text"), "vm:1"]).succeeds();
    assert_files(env, &out, &PULLED);
    proa(env, &["pull", "--remote", &remote, "--dir", out.to_str().expect("text"), "vm:2"])
        .refuses("no image \"vm:2\"; there is vm:1");
    // The same image again takes its place; another one does not, and neither does it take that of anything else.
    let archive = || fs::read(env.path("vm.tar")).expect("it is there");
    let push_as =
        |remote: &str, image: &str| proa(env, &["push", "--remote", remote, "--kernel", "disk1.qcow2", image]);
    let before = archive();
    push_as(&remote, "vm:2").refuses("vm.tar is not replaced: it has vm:1");
    assert!(archive() == before, "it is as it was");
    push_as(&remote, "vm:1").succeeds();
    assert!(archive() != before, "it was replaced");
    proa(env, &[&["push", "--remote", &remote], &ALL[..], &["vm:1"]].concat()).succeeds();
    assert!(archive() == before);
    env.write("notes", "my notes, not an archive");
    env.write("empty", "");
    let at = |name: &str| format!("oci-archive:{}", env.path(name).display());
    push_as(&at("notes"), "vm:1").refuses("notes is not replaced: it is no archive of images");
    assert_eq!(fs::read(env.path("notes")).expect("it is there"), b"my notes, not an archive");
    push_as(&at("empty"), "vm:1").succeeds();
    push_as(&at("."), "vm:1").refuses("");
    push_as("oci-archive:/dev/null", "vm:1").refuses("/dev/null is not replaced: it is no file");
    let left = fs::read_dir(env.root()).expect("it is ours").filter_map(Result::ok);
    assert!(!left.into_iter().any(|it| it.file_name().to_string_lossy().ends_with(".part")), "nothing is left");
    // What has no directories in it other tools unpack for root alone.
    if let Ok(skopeo) = tool("skopeo") {
        let args = ["inspect", "--raw", &remote].map(Into::into).to_vec();
        let shown = env.command(skopeo, args).var("TMPDIR", "/var/tmp").outcome().succeeds();
        assert_eq!(
            serde_json::from_str::<Value>(&shown.stdout).expect("JSON")["layers"].as_array().map(Vec::len),
            Some(4)
        );
    }
}

/// An index has images for several platforms.
#[test]
fn indexes_are_chosen_from() {
    let env = needs!(root_env());
    for_three_processors().write(&env);
    let kernel = || fs::read_to_string(env.path("out/kernel")).expect("it is there");
    pull(&env, "vm").succeeds();
    assert_eq!(kernel(), if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" });
    proa(
        &env,
        &["pull", "--arch=riscv64", "--remote", &layout(&env), "--dir", env.path("out").to_str().expect("text"), "vm"],
    )
    .succeeds();
    assert_eq!(kernel(), "riscv64");
}

#[test]
fn other_tools_read_what_is_pushed() {
    needs!(place(Place::Host));
    let skopeo = needs!(tool("skopeo"));
    let env = needs!(root_env());
    parts(&env);
    for format in ["artifacts", "legacy"] {
        let digest = push(&env, format, &[&ALL[..], &["--format", format]].concat());
        // There and back through another program's hands.
        let copy = env.path(format!("copy-{format}"));
        let from = format!("oci:{}:{format}", layout(&env));
        let mut command = Command::new(&skopeo);
        command.args(["copy", "--quiet", "--insecure-policy", &from]).arg(format!("oci:{}:{format}", copy.display()));
        let output = command.output().expect("skopeo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let copy = copy.display().to_string();
        let out = env.path(format!("out-{format}"));
        let pulled = proa(&env, &["pull", "--remote", &copy, "--dir", out.to_str().expect("text"), format]).succeeds();
        pulled.shows(&digest);
        assert_files(&env, &out, &PULLED);
    }
}

/// An index of three images, whose kernels are the names of their processors.
pub(crate) fn for_three_processors() -> Made {
    let mut made = Made::default();
    let mut entries = Vec::new();
    for arch in ["amd64", "arm64", "riscv64"] {
        let layer = made.descriptor(KERNEL, arch.as_bytes(), annotations("kernel", "kernel", KERNEL));
        let config = made.descriptor("application/vnd.oci.image.config.v1+json", b"{}", Value::Null);
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}).to_string();
        let mut entry = made.descriptor(MANIFEST, manifest.as_bytes(), Value::Null);
        made.inner.push(entry.clone());
        entry["platform"] = json!({"os": "linux", "architecture": arch});
        entries.push(entry);
    }
    made.document("vm", INDEX, &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}))
}
