//! Registries: what is pushed there, what comes back, and what other clients make of it.

use super::*;

/// The manifest of an image in the registry.
fn manifest_of(registry: &Registry, name: &str, tag: &str) -> Vec<u8> {
    registry.get(&format!("{name}/manifests/{tag}"), &format!("{MANIFEST}, {INDEX}"))
}

#[track_caller]
fn push_to(env: &Env, image: &str, more: &[&str]) -> String {
    let outcome = proa(env, &[&["push"], more, &[image]].concat()).succeeds().quietly();
    let digest = outcome.line().rsplit(' ').next().expect("a word").to_owned();
    assert_eq!(outcome.line(), format!("Pushed image {image} with digest {digest}"));
    digest
}

#[track_caller]
fn pull_into(env: &Env, dir: &str, image: &str) -> Outcome {
    proa(env, &["pull", "--dir", env.path(dir).to_str().expect("text"), image])
}

#[test]
fn round_trips_through_a_registry() {
    let env = &needs!(root_env());
    let registry = needs!(Setup::plain().start(env, "registry"));
    parts(env);
    for format in ["artifacts", "legacy"] {
        let more = [&ALL[..], &["--format", format]].concat();
        let image = registry.name(&format!("team/vm:{format}"));
        let digest = push_to(env, &image, &more);
        // What is there is what a layout directory has, to the last byte.
        let manifest = manifest_of(&registry, "team/vm", format);
        assert_eq!(digest, push(env, format, &more));
        assert_eq!(blob(env, &digest), manifest);
        let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
        for part in manifest["layers"].as_array().expect("a list").iter().chain([&manifest["config"]]) {
            let of = part["digest"].as_str().expect("text");
            assert!(registry.get(&format!("team/vm/blobs/{of}"), "*/*") == blob(env, of), "{of} is another");
        }
        // Nothing is sent again but the manifest.
        let before = registry.uploads().len();
        assert_eq!(push_to(env, &image, &more), digest);
        assert_eq!(registry.uploads().len(), before + 1, "{:?}", registry.uploads());
        let pulled = pull_into(env, format, &image).succeeds().quietly();
        let dir = env.path(format);
        pulled.shows(&format!("Pulled image {image} with digest {digest} to directory {}\n", dir.display()));
        assert_files(env, &dir, &PULLED);
        let used = dir.join("disk-root-root.raw").metadata().expect("it is there").blocks() * 512;
        assert!(used < 100_000, "{used} bytes are used by 1,200");
        // By its digest too, and single files.
        let by_digest = registry.name(&format!("team/vm@{digest}"));
        proa(env, &["pullfiles", "--kernel", "one", "--config", "config", &by_digest]).succeeds().shows(&digest);
        assert!(fs::read(env.path("one")).expect("it is there") == fs::read(env.path("k")).expect("ours"));
        let config = manifest["config"]["digest"].as_str().expect("text");
        assert_eq!(self::digest(&fs::read(env.path("config")).expect("it is there")), config);
        let shown = proa(env, &["inspect", "--format=json", &by_digest]).outcome_of(&by_digest);
        assert_eq!(shown["digest"], digest.as_str());
        proa(env, &["push", "--kernel", "k", &by_digest]).refuses("pushed to a tag, not to a digest");
    }
}

/// The drop-in says what the original says.
#[test]
fn the_drop_in_speaks_with_registries() {
    let env = needs!(root_env());
    let registry = needs!(Setup::plain().start(&env, "registry"));
    parts(&env);
    let image = registry.name("vm:1");
    let pushed = eci(&env, &[&["push", "--verbose"], &ALL[..], &[&image]].concat()).succeeds().quietly();
    assert!(pushed.line().contains(&format!("Pushed image {image} with digest sha256:")), "{pushed}");
    assert_eq!(pushed.stdout.lines().filter(|line| line.starts_with("Downloaded ")).count(), 5, "{pushed}");
    eci(&env, &["pull", "--dir", "out", &image]).succeeds().quietly().shows("\tkernel: out/kernel\n");
    assert_files(&env, &env.path("out"), &PULLED);
    let missing = eci(&env, &["pull", "--dir", "none", &registry.name("other:1")]).exits(1);
    assert!(
        missing.stderr.contains("error pulling from registry: ") && missing.stderr.lines().count() == 1,
        "{missing}"
    );
    assert!(!env.path("none").exists());
}

/// What is sent and received: the manifest and every blob, with what everybody has.
#[test]
fn curl_gets_what_is_pushed() {
    let curl = needs!(tool("curl"));
    let env = needs!(root_env());
    let registry = needs!(Setup::plain().start(&env, "registry"));
    parts(&env);
    push_to(&env, &registry.name("vm:1"), &ALL);
    let get = |path: &str| {
        let url = format!("http://{}/v2/vm/{path}", registry.host());
        let output = Command::new(&curl).args(["-fsS", "-H", &format!("Accept: {MANIFEST}"), &url]).output();
        output.expect("curl runs").stdout
    };
    // As an oras-shaped client does it: by the title of each layer.
    let manifest: Value = serde_json::from_slice(&get("manifests/1")).expect("JSON");
    for (title, part) in PULLED {
        let layers = manifest["layers"].as_array().expect("a list");
        let layer = layers.iter().find(|it| it["annotations"][TITLE] == title).expect(title);
        let bytes = get(&format!("blobs/{}", layer["digest"].as_str().expect("text")));
        assert!(bytes == fs::read(env.path(part)).expect("ours"), "{title} is another");
    }
}

/// skopeo takes both formats from one registry to another and into a directory, and they are what they were.
#[test]
fn skopeo_copies_what_is_pushed() {
    let skopeo = needs!(tool("skopeo"));
    let env = needs!(root_env());
    let registry = needs!(Setup::plain().start(&env, "registry"));
    let other = needs!(Setup::plain().start(&env, "other"));
    parts(&env);
    for format in ["artifacts", "legacy"] {
        let digest =
            push_to(&env, &registry.name(&format!("vm:{format}")), &[&ALL[..], &["--format", format]].concat());
        let run = |to: &str| {
            let mut command = Command::new(&skopeo);
            command.args(["copy", "--quiet", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false"]);
            let output = command.arg(format!("docker://{}", registry.name(&format!("vm:{format}")))).arg(to).output();
            let output = output.expect("skopeo runs");
            assert!(output.status.success(), "{to}: {}", String::from_utf8_lossy(&output.stderr));
        };
        run(&format!("docker://{}", other.name(&format!("copy:{format}"))));
        run(&format!("oci:{}:{format}", layout(&env)));
        pull_into(&env, format, &other.name(&format!("copy:{format}"))).succeeds().shows(&digest);
        assert_files(&env, &env.path(format), &PULLED);
        pull(&env, format).succeeds().shows(&digest);
        assert_files(&env, &env.path("out"), &PULLED);
    }
}

/// A container engine pulls a legacy image, and its files are where the labels say.
#[test]
fn podman_pulls_a_legacy_image() {
    needs!(place(Place::Host));
    let podman = needs!(tool("podman"));
    let env = needs!(Env::of(User::Root));
    let registry = needs!(Setup::plain().start(&env, "registry"));
    parts(&env);
    let image = registry.name("vm:1");
    push_to(&env, &image, &[&ALL[..], &["--format=legacy"]].concat());
    let run = |args: &[&str]| {
        let mut command = Command::new(&podman);
        for (option, dir) in [("--root", "storage"), ("--runroot", "runroot")] {
            command.arg(option).arg(env.path(dir));
        }
        let output = command.args(["--storage-driver=vfs", "--cgroup-manager=cgroupfs"]).args(args).output();
        let output = output.expect("podman runs");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    };
    run(&["pull", "--quiet", "--tls-verify=false", &image]);
    let label = run(&["image", "inspect", "--format", "{{index .Labels \"org.lfedge.eci.artifact.kernel\"}}", &image]);
    assert_eq!(label, "/kernel");
    let container = run(&["create", &image, "/none"]);
    let root = PathBuf::from(run(&["mount", &container]));
    for (file, part) in PULLED {
        assert!(fs::read(root.join(file)).expect(file) == fs::read(env.path(part)).expect("ours"), "{file}");
    }
    run(&["umount", &container]);
    run(&["rm", &container]);
    for dir in ["storage", "runroot"] {
        fs::remove_dir_all(env.path(dir)).expect("it is ours");
    }
}

/// Of an index in a registry the image for the machine is taken.
#[test]
fn indexes_of_registries_are_chosen_from() {
    let env = needs!(root_env());
    let registry = needs!(Setup::plain().start(&env, "registry"));
    let made = places::for_three_processors();
    made.upload(&registry, "vm");
    let image = registry.name("vm");
    let kernel = || fs::read_to_string(env.path("out/kernel")).expect("it is there");
    pull_into(&env, "out", &image).succeeds().shows(made.manifests[0]["digest"].as_str().expect("text"));
    assert_eq!(kernel(), if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" });
    let out = env.path("out");
    proa(&env, &["pull", "--arch=riscv64", "--dir", out.to_str().expect("text"), &image]).succeeds();
    assert_eq!(kernel(), "riscv64");
}

/// What an interrupted pull has left is not asked for again.
#[test]
fn a_pull_goes_on_where_it_was() {
    let env = needs!(root_env());
    let registry = needs!(Setup::plain().start(&env, "registry"));
    parts(&env);
    let image = registry.name("vm:1");
    push_to(&env, &image, &["--kernel", "k"]);
    let kernel = fs::read(env.path("k")).expect("ours");
    env.make_dir(&env.path("out"));
    let part = format!("out/.kernel.{}.part", &digest(&kernel)[7..23]);
    let ranges = || registry.requests().iter().filter(|it| it.ends_with(" 206")).count();
    env.write(&part, &kernel[..200_000]);
    pull_into(&env, "out", &image).succeeds();
    assert_files(&env, &env.path("out"), &[("kernel", "k")]);
    assert_eq!(ranges(), 1, "{:?}", registry.requests());
    // What it left is wrong: that is found out, and the next pull begins anew.
    env.write(&part, vec![9; 200_000]);
    pull_into(&env, "out", &image).refuses("has the digest sha256:");
    assert!(!env.path(&part).exists());
    pull_into(&env, "out", &image).succeeds();
}

/// The same credentials as those of `proa fetch`, which nobody gets to see.
#[test]
fn credentials_are_those_of_fetch() {
    let env = needs!(root_env());
    let registry = needs!(Setup::plain().user("me", "canary-secret").start(&env, "registry"));
    parts(&env);
    let image = registry.name("vm:1");
    let push = || env.proa(["--debug", "eci", "push", "--kernel", "k", &image]).outcome();
    push().exits(254).stderr_shows("wants credentials for vm");
    env.make_dir(&env.path("run/containers"));
    // `me:canary-secret`
    let auth = json!({"auths": {registry.host(): {"auth": "bWU6Y2FuYXJ5LXNlY3JldA=="}}}).to_string();
    env.write("run/containers/auth.json", auth);
    for outcome in [push().exits(0), env.proa(["--debug", "eci", "pull", "--dir", "out", &image]).outcome().exits(0)] {
        assert!(!outcome.stderr.contains("canary") && !outcome.stderr.contains("bWU6"), "{outcome}");
    }
    assert_files(&env, &env.path("out"), &[("kernel", "k")]);
}

/// A name without a host is one of docker.io, whatever its first part looks like; a registry on this machine may speak
/// plain HTTP, others may not.
#[test]
fn names_are_of_docker_io() {
    let env = needs!(root_env());
    let registry = needs!(Setup::plain().start(&env, "registry"));
    parts(&env);
    push_to(&env, &registry.name("lfedge/eci-nginx:1"), &["--kernel", "k"]);
    let by_name = registry.host().replace("127.0.0.1", "localhost");
    pull_into(&env, "local", &format!("{by_name}/lfedge/eci-nginx:1")).succeeds();
    env.make_dir(&env.path("config/registries.d"));
    let content = json!({"rktKind": "registry", "rktVersion": "v1", "registries": ["docker.io"],
        "mirrors": [registry.host()]});
    env.write("config/registries.d/one.json", content.to_string());
    let config = format!("--user-config={}", env.path("config").display());
    let pull = |more: &[&str]| {
        let args = [&[&*config], more, &["eci", "pull", "--dir", "out", "lfedge/eci-nginx:1"]].concat();
        env.proa(args).var("HTTPS_PROXY", "http://127.0.0.1:1").var("NO_PROXY", "127.0.0.1").outcome()
    };
    pull(&["--insecure-options=http"]).succeeds();
    assert_files(&env, &env.path("out"), &[("kernel", "k")]);
    // The mirror speaks no TLS and is not the host that was named: what is left is docker.io itself.
    pull(&[]).exits(254).stderr_shows("registry-1.docker.io");
}

/// The policies of `proa fetch` hold.
#[test]
fn policies_hold() {
    let env = needs!(root_env());
    let registry = needs!(Setup::plain().start(&env, "registry"));
    parts(&env);
    let image = registry.name("vm:1");
    let digest = push_to(&env, &image, &["--kernel", "k"]);
    env.make_dir(&env.path("config/policy.d"));
    let content =
        json!({"rktKind": "policy", "rktVersion": "v1", "prefixes": [registry.host()], "requireDigest": true});
    env.write("config/policy.d/one.json", content.to_string());
    let config = format!("--user-config={}", env.path("config").display());
    let pull = |image: &str| env.proa([&*config, "eci", "pull", "--dir", "out", image]).outcome();
    pull(&image).refuses("wants images named by digest");
    pull(&registry.name(&format!("vm@{digest}"))).succeeds();
    env.proa(["--require-signature", "eci", "pull", "--dir", "out", &image]).outcome().refuses("no policy says whose");
    let remote = layout(&env);
    push(&env, "vm", &["--kernel", "k"]);
    env.proa(["--require-signature", "eci", "pull", "--remote", &remote, "--dir", "out", "vm"])
        .outcome()
        .refuses("signature");
}

/// Disks of any size go through memory of a few pieces.
#[test]
fn memory_does_not_grow_with_the_disk() {
    needs!(place(Place::Host));
    let python = needs!(tool("python3"));
    let env = needs!(root_env());
    let registry = needs!(Setup::plain().start(&env, "registry"));
    let disk = env.write("disk.raw", b"");
    let file = fs::File::options().write(true).open(&disk).expect("it is ours");
    file.set_len(200 << 20).expect("it is ours");
    std::os::unix::fs::FileExt::write_all_at(&file, &[7; 4096], 100 << 20).expect("it is ours");
    let script = "import resource, subprocess, sys\nstatus = subprocess.call(sys.argv[1:])\n\
                  print('peak', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\nsys.exit(status)";
    for format in ["artifacts", "legacy"] {
        let image = registry.name(&format!("vm:{format}"));
        for args in [
            &["eci", "push", "--format", format, "--root", "disk.raw:raw", &image][..],
            &["eci", "pull", "--dir", "out", &image],
        ] {
            let wrapper = [python.to_str().expect("text"), "-c", script];
            let outcome = env.proa(args).through(wrapper).outcome().succeeds();
            // In KiB.
            let peak = outcome.stdout.lines().find_map(|line| line.strip_prefix("peak ")).expect("a number");
            let peak: u64 = peak.parse().expect("a number");
            assert!(peak < 64 << 10, "{peak} KiB: {outcome}");
        }
        let pulled = env.path("out/disk-root-disk.raw").metadata().expect("it is there");
        assert!(pulled.len() == 200 << 20 && pulled.blocks() * 512 < 100_000, "{} blocks", pulled.blocks());
    }
}
