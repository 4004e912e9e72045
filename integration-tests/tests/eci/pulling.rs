//! What `pull` and `pullfiles` make of images.

use super::*;

each_user! {
    round_trips,
}

fn round_trips(env: &Env) {
    parts(env);
    for format in ["artifacts", "legacy"] {
        push(env, format, &[&ALL[..], &["--format", format]].concat());
        let out = env.path(format);
        let pulled = proa(env, &["pull", "--remote", &layout(env), "--dir", out.to_str().expect("text"), format]);
        let pulled = pulled.succeeds().quietly();
        let lines: Vec<&str> = pulled.stdout.lines().collect();
        assert!(lines[0].starts_with(&format!("Pulled image {format} with digest sha256:")), "{pulled}");
        assert!(lines[0].ends_with(&format!(" to directory {}", out.display())), "{pulled}");
        let dir = out.display();
        let expected = [
            "file locations and types:".to_owned(),
            format!("\tkernel: {dir}/kernel"),
            format!("\tinitrd: {dir}/initrd"),
            format!("\troot: {dir}/disk-root-root.raw Raw"),
            format!("\tadditional disk 0: {dir}/disk-0-disk1.qcow2 Qcow2"),
        ];
        assert_eq!(lines[1..], expected);
        assert_files(env, &out, &PULLED);
        // Holes stay holes.
        let used = out.join("disk-root-root.raw").metadata().expect("it is there").blocks() * 512;
        assert!(used < 100_000, "{used} bytes are used by 1,200");
        for (path, mode) in [(out.join("kernel"), 0o644), (out, 0o755)] {
            let found = path.metadata().expect("it is there").permissions().mode();
            assert_eq!(found & 0o777, mode, "{}", path.display());
        }
    }
}

/// An image as docker builds it: labels tell the paths, and several layers make the file system.
#[test]
fn labels_alone() {
    let env = needs!(root_env());
    parts(&env);
    let [kernel, initrd, root, disk] =
        ["k", "i", "root.raw", "disk1.qcow2"].map(|it| fs::read(env.path(it)).expect("ours"));
    let layers = [
        // What later layers replace, remove, and link to.
        tarball(&[
            ("boot/vmlinuz", b"old"),
            ("disks/root.img", b"old"),
            ("srv/disk1.qcow2", b"old"),
            ("initrd", b"old"),
        ]),
        tarball(&[
            ("boot/vmlinuz-6", &kernel),
            ("boot/vmlinuz", b"->vmlinuz-6"),
            ("./initrd", &initrd),
            (".wh.disks", b""),
        ]),
        tarball(&[("disks/root.img", &root), ("vm", b"->/srv"), ("srv/.wh..wh..opq", b""), ("srv/disk1.qcow2", &disk)]),
    ];
    let mut made = Made::default();
    let packed = [gzip(&layers[0]), layers[1].clone(), zstd::encode_all(&layers[2][..], 1).expect("a vector")];
    let layers = packed.iter().zip([".tar+gzip", ".tar", ".tar+zstd"]);
    let layers = layers
        .map(|(bytes, kind)| made.descriptor(&format!("application/vnd.oci.image.layer.v1{kind}"), bytes, Value::Null));
    let layers = layers.collect();
    let label = |name: &str| format!("org.lfedge.eci.artifact.{name}");
    let labels = json!({label("kernel"): "/boot/vmlinuz", label("initrd"): "initrd", label("root"): "/disks/root.img",
        label("disk-0"): "/vm/disk1.qcow2", "maintainer": "me"});
    made.image("vm", layers, &json!({"os": "linux", "config": {"Labels": labels}})).write(&env);
    let pulled = pull(&env, "vm").succeeds();
    let named =
        [("kernel", "k"), ("initrd", "i"), ("disk-root-root.img", "root.raw"), ("disk-0-disk1.qcow2", "disk1.qcow2")];
    assert_files(&env, &env.path("out"), &named);
    pulled.shows("disk-root-root.img Raw\n").shows("disk-0-disk1.qcow2 Qcow2\n");
    let shown = proa(&env, &["inspect", "--remote", &layout(&env), "vm"]).succeeds();
    shown.shows("kind: labels").shows("/vm/disk1.qcow2");
}

/// Layers that have nothing to do with a machine are left out, and told.
#[test]
fn layers_of_other_types_are_told() {
    let env = needs!(root_env());
    parts(&env);
    let mut made = Made::default();
    let kernel = fs::read(env.path("k")).expect("ours");
    let layers = vec![
        made.descriptor(KERNEL, &kernel, annotations("kernel", "kernel", KERNEL)),
        made.descriptor("application/x-unknown", b"?", json!({TITLE: "foo"})),
    ];
    made.image("vm", layers, &json!({})).write(&env);
    pull(&env, "vm").succeeds().stderr_shows("layer application/x-unknown (sha256:");
    assert_files(&env, &env.path("out"), &[("kernel", "k")]);
}

/// The same from a real builder.
#[test]
fn buildah_image() {
    needs!(place(Place::Host));
    let buildah = needs!(tool("buildah"));
    let env = needs!(Env::of(User::Root));
    parts(&env);
    let storage = env.path("storage");
    let run = |args: &[&str]| {
        let mut command = Command::new(&buildah);
        command
            .arg("--storage-driver=vfs")
            .arg("--root")
            .arg(storage.join("root"))
            .arg("--runroot")
            .arg(storage.join("run"));
        let output = command.args(args).output().expect("buildah runs");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    };
    let container = run(&["from", "scratch"]);
    for (part, to) in [("k", "/kernel"), ("i", "/initrd"), ("root.raw", "/root.img"), ("disk1.qcow2", "/disk1.qcow2")] {
        run(&["copy", &container, env.path(part).to_str().expect("text"), to]);
    }
    for (label, path) in
        [("kernel", "/kernel"), ("initrd", "/initrd"), ("root", "/root.img"), ("disk-1", "/disk1.qcow2")]
    {
        run(&["config", "--label", &format!("org.lfedge.eci.artifact.{label}={path}"), &container]);
    }
    let registry = needs!(Setup::plain().start(&env, "registry"));
    let name = registry.name("built:vm");
    run(&["commit", "--rm", "--tls-verify=false", &container, &format!("docker://{name}")]);
    let out = env.path("out");
    let pulled = proa(&env, &["pull", "--dir", out.to_str().expect("text"), &name]).succeeds();
    pulled.shows("additional disk 0: ");
    let named =
        [("kernel", "k"), ("initrd", "i"), ("disk-root-root.img", "root.raw"), ("disk-1-disk1.qcow2", "disk1.qcow2")];
    assert_files(&env, &out, &named);
    proa(&env, &["inspect", &name]).succeeds().shows("kind: labels");
    fs::remove_dir_all(&storage).expect("it is ours");
}

#[test]
fn regular_images_are_told() {
    let env = needs!(root_env());
    let mut made = Made::default();
    let layer = made.descriptor(TAR_GZIP, &gzip(&tarball(&[("kernel", b"x")])), Value::Null);
    made.image("vm", vec![layer], &json!({"config": {"Labels": {"a": "b"}}})).write(&env);
    pull(&env, "vm").refuses("vm is a regular OCI image");
    assert!(!env.path("out").exists());
    proa(&env, &["inspect", "--remote", &layout(&env), "vm"]).succeeds().shows("kind: regular OCI image\n");
}

#[test]
fn missing_roles_are_empty_lines() {
    let env = needs!(root_env());
    parts(&env);
    push(&env, "vm", &["--disk", "disk1.qcow2:iso"]);
    let dir = env.path("out").display().to_string();
    let pulled = pull(&env, "vm").succeeds().quietly();
    let rest = pulled.stdout.split_once('\n').expect("lines").1;
    let lines = format!("\tkernel: \n\tinitrd: \n\troot: \n\tadditional disk 0: {dir}/disk-0-disk1.qcow2 ISO\n");
    assert_eq!(rest, format!("file locations and types:\n{lines}"));
}

#[test]
fn pullfiles_name_what_is_pulled() {
    let env = needs!(root_env());
    parts(&env);
    let remote = layout(&env);
    for format in ["artifacts", "legacy"] {
        push(&env, "vm", &[&ALL[..], &["--format", format]].concat());
        // Longer than what comes: nothing of it stays.
        env.write("kernel.out", vec![9; 400_000]);
        let args = [
            "pullfiles",
            "--remote",
            &remote,
            "--kernel",
            "kernel.out",
            "--root",
            "root.out",
            "--config",
            "c.out",
            "vm",
        ];
        for _ in 0..2 {
            let outcome = proa(&env, &args).succeeds().quietly();
            let rest = outcome.stdout.split_once('\n').expect("lines").1;
            assert_eq!(rest, "file locations and types:\n\tkernel: kernel\n\troot: disk-root-root.raw Raw\n");
            for (file, part) in [("kernel.out", "k"), ("root.out", "root.raw")] {
                assert!(
                    fs::read(env.path(file)).expect("it is there") == fs::read(env.path(part)).expect("ours"),
                    "{file}"
                );
            }
            let config: Value =
                serde_json::from_slice(&fs::read(env.path("c.out")).expect("it is there")).expect("JSON");
            assert_eq!(config["author"], "lf-edge/edge-containers");
        }
        for file in ["kernel.out", "root.out", "c.out"] {
            fs::remove_file(env.path(file)).expect("it is ours");
        }
    }
    proa(&env, &["pullfiles", "--remote", &remote, "--kernel", "/dev/null", "vm"])
        .refuses("failed to open kernel file /dev/null for writing: it is not a regular file");
    // One wrong byte: no file, and the one that was there stays.
    let mut victim =
        fs::read_dir(env.path("layout/blobs/sha256")).expect("it is there").map(|it| it.expect("a name").path());
    let victim: PathBuf = victim.find(|it| it.metadata().is_ok_and(|it| it.len() == 300_000)).expect("the kernel");
    let mut bytes = fs::read(&victim).expect("it is ours");
    bytes[1000] ^= 1;
    fs::write(&victim, bytes).expect("it is ours");
    push(&env, "vm", &["--kernel", "k"]);
    env.write("was-there", b"as it was");
    for file in ["was-there", "new"] {
        proa(&env, &["pullfiles", "--remote", &remote, "--kernel", file, "vm"]).refuses("has the digest sha256:");
    }
    assert_eq!(fs::read(env.path("was-there")).expect("it is ours"), b"as it was");
    assert!(!env.path("new").exists());
    let left = fs::read_dir(env.root())
        .expect("it is ours")
        .filter(|it| it.as_ref().is_ok_and(|it| it.file_name().to_string_lossy().ends_with(".part")));
    assert_eq!(left.count(), 0);
}
