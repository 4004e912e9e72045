//! What `push` makes of files.

use super::*;

#[test]
fn push_artifacts() {
    // The golden files are in the checkout.
    needs!(place(Place::Host));
    let env = needs!(root_env());
    parts(&env);
    let fixed = ["--timestamp", "2001-09-09T01:46:40Z", "--OS", "linux", "--arch", "amd64"];
    let manifest = document(&env, &push(&env, "vm", &[&ALL[..], &fixed].concat()));
    let layers = manifest["layers"].as_array().expect("a list");
    let expected = [
        (KERNEL, "k", "kernel", "kernel"),
        (INITRD, "i", "initrd", "initrd"),
        (RAW, "root.raw", "disk-root", "disk-root-root.raw"),
        (QCOW2, "disk1.qcow2", "disk-additional", "disk-0-disk1.qcow2"),
    ];
    assert_eq!(layers.len(), expected.len());
    for (layer, (media_type, part, role, title)) in layers.iter().zip(expected) {
        let bytes = fs::read(env.path(part)).expect("it is ours");
        let whole = json!({"mediaType": media_type, "digest": digest(&bytes), "size": bytes.len(),
            "annotations": annotations(role, title, media_type)});
        assert_eq!(*layer, whole);
    }
    golden("artifacts", &env, &manifest);
}

#[test]
fn push_legacy() {
    // The golden files are in the checkout.
    needs!(place(Place::Host));
    let env = needs!(root_env());
    parts(&env);
    let fixed = ["--format=legacy", "--timestamp", "1000000000", "--OS", "linux", "--arch", "amd64"];
    let pushed = push(&env, "vm", &[&ALL[..], &fixed].concat());
    let manifest = document(&env, &pushed);
    assert_eq!(manifest["schemaVersion"], 2);
    let config = document(&env, manifest["config"]["digest"].as_str().expect("text"));
    let diff_ids = config["rootfs"]["diff_ids"].as_array().expect("a list");
    assert_eq!(diff_ids.len(), 4);
    let titles = ["kernel", "initrd", "disk-root-root.raw", "disk-0-disk1.qcow2"];
    let types = [KERNEL, INITRD, RAW, QCOW2];
    let layers = manifest["layers"].as_array().expect("a list");
    for ((layer, diff_id), (title, media_type)) in layers.iter().zip(diff_ids).zip(titles.iter().zip(types)) {
        assert_eq!(
            (&layer["mediaType"], &layer["annotations"]["org.lfedge.eci.mediaType"]),
            (&json!(TAR_GZIP), &json!(media_type))
        );
        let packed = blob(&env, layer["digest"].as_str().expect("text"));
        let mut tar_bytes = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut tar_bytes).expect("gzip");
        assert_eq!(*diff_id, json!(digest(&tar_bytes)));
        let mut archive = tar::Archive::new(&tar_bytes[..]);
        let names: Vec<_> = archive
            .entries()
            .expect("tar")
            .map(|it| {
                let it = it.expect("well-formed");
                let header = it.header();
                let facts = (header.mode().ok(), header.uid().ok(), header.gid().ok(), header.mtime().ok());
                assert_eq!(facts, (Some(0o644), Some(0), Some(0), Some(TIME)));
                it.path().expect("a path").display().to_string()
            })
            .collect();
        assert_eq!(names, [*title]);
    }
    golden("legacy", &env, &manifest);
    // Always the same image.
    assert_eq!(push(&env, "again", &[&ALL[..], &fixed].concat()), pushed);
    assert_ne!(push(&env, "later", &[&ALL[..], &["--format=legacy", "--timestamp", "1"]].concat()), pushed);
}

/// Compares manifest and config with those in fixtures/eci. What gzip makes of a file may differ from processor to
/// processor, so an archive's digest and size are left out (the test has checked them).
fn golden(name: &str, env: &Env, manifest: &Value) {
    let mut manifest = manifest.clone();
    let config = document(env, manifest["config"]["digest"].as_str().expect("text"));
    for layer in manifest["layers"].as_array_mut().expect("a list").iter_mut().filter(|it| it["mediaType"] == TAR_GZIP)
    {
        layer["digest"] = json!("of the archive");
        layer["size"] = json!(0);
    }
    let text = serde_json::to_string_pretty(&json!({"config": config, "manifest": manifest})).expect("JSON") + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/eci").join(format!("{name}.json"));
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(path.parent().expect("a folder"))
            .and_then(|()| fs::write(&path, &text))
            .expect("the checkout is ours");
    }
    let expected = fs::read_to_string(&path).expect("BLESS=1 writes it");
    assert_eq!(text, expected, "{} has changed", path.display());
}

#[test]
fn parts_are_optional() {
    let env = needs!(root_env());
    parts(&env);
    for (part, args) in
        [("kernel", ["--kernel", "k"]), ("initrd", ["--initrd", "i"]), ("root", ["--root", "root.raw:raw"])]
    {
        for format in ["artifacts", "legacy"] {
            let manifest = document(&env, &push(&env, part, &[&args[..], &["--format", format]].concat()));
            assert_eq!(manifest["layers"].as_array().expect("a list").len(), 1);
        }
    }
    // As with the original, an empty value is none.
    let none = ["push", "--remote", &layout(&env), "--kernel", "", "--root=", "none"];
    proa(&env, &none).refuses("no kernel, initrd or disk is given");
}

#[test]
fn missing_files_and_bad_words() {
    let env = needs!(root_env());
    parts(&env);
    let remote = layout(&env);
    for (args, message) in [
        (
            &["--kernel", "none"][..],
            "error pushing to registry: could not build manifest: error adding kernel: none: No such file",
        ),
        (&["--initrd", "none"], "could not build manifest: error adding initrd: none: "),
        (&["--kernel", "k", "--config", "none"], "could not build manifest: error adding config.json: none: "),
        (&["--config", "none"], "could not build manifest: error adding config.json: none: "),
        (&["--root", "none:raw"], "could not build manifest: error adding disk-root-none disk: none: "),
        (&["--disk", "none:raw"], "could not build manifest: error adding disk-0-none disk: none: "),
        (&["--kernel", "/dev/null"], "/dev/null: not a regular file"),
        (&["--kernel", "k", "--config", "k"], "k is not JSON"),
        (&["--root", "root.raw"], "unable to read root disk root.raw: expected structure <path>:<type>"),
        (&["--root", "root.raw:floppy"], "unable to read root disk root.raw:floppy: unknown disk type: floppy"),
        (&["--disk", "root.raw:RAW"], "unknown disk type: RAW"),
        (&["--kernel", "k", "--format", "oci"], "unknown format: oci"),
        (&["--kernel", "k", "second"], "must be exactly one arg, run help"),
    ] {
        let args = [&["push", "--remote", &remote], args, &["vm"]].concat();
        proa(&env, &args).refuses(message);
        let eci = eci(&env, &args).exits(1);
        assert!(eci.stdout.is_empty() && eci.stderr.contains(message) && eci.stderr.lines().count() == 1, "{eci}");
        // 2026/11/22 03:40:13 message
        let stamp = eci.stderr.as_bytes();
        assert!(stamp[4] == b'/' && stamp[10] == b' ' && stamp[13] == b':' && stamp[19] == b' ', "{eci}");
    }
    assert!(!env.path("layout/index.json").exists());
}

#[test]
fn disks_are_numbered() {
    let env = needs!(root_env());
    parts(&env);
    fs::copy(env.path("k"), env.path("b")).expect("it is ours");
    for more in [&["--disk", "disk1.qcow2:qcow2", "--disk", "b:vmdk"][..], &["--disk", "disk1.qcow2:qcow2,b:vmdk"]] {
        let manifest = document(&env, &push(&env, "vm", more));
        let titles: Vec<_> = (0..2).map(|it| manifest["layers"][it]["annotations"][TITLE].clone()).collect();
        assert_eq!(titles, ["disk-0-disk1.qcow2", "disk-1-b"]);
        let config = document(&env, manifest["config"]["digest"].as_str().expect("text"));
        let labels = json!({"org.lfedge.eci.artifact.disk-0": "/disk-0-disk1.qcow2", "org.lfedge.eci.artifact.disk-1": "/disk-1-b"});
        assert_eq!(config["config"]["Labels"], labels);
    }
}
