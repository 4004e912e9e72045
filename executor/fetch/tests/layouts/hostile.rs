//! Layouts that were damaged or made to deceive: each is refused with its reason, quickly, and without a look at any
//! file outside.

use std::fs::{self, File};
use std::os::unix::fs::symlink;

use crate::fixture::{CONFIG, Fixture, INDEX, LAYER, MANIFEST, config, host_config};
use fetch::{Algorithm, Digest, ImageRef};
use rustix::fs::{CWD, FileType, Mode};
use serde_json::{Value, json};

fn digest_of(entry: &Value) -> String {
    entry["digest"].as_str().unwrap().to_owned()
}

#[test]
fn what_every_layout_has_must_be_there() {
    let fixture = Fixture::new();
    assert_eq!(fixture.refusal(None), "not an OCI layout: index.json is missing");
    fs::remove_file(fixture.dir().join("oci-layout")).unwrap();
    assert_eq!(fixture.refusal(None), "not an OCI layout: oci-layout is missing");
    fs::write(fixture.dir().join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0\u001b"}"#).unwrap();
    assert!(fixture.refusal(None).starts_with(r#"layout version "2.0.0\u{1b}" is not supported"#));

    let fixture = Fixture::new();
    fixture.index(&[]);
    assert_eq!(fixture.refusal(None), "the layout holds no image");
    assert_eq!(fixture.refusal(Some("x")), "the layout holds no image");

    for dir in [fixture.outside().join("absent"), fixture.dir().join("oci-layout")] {
        let error = fetch::open(&ImageRef::OciLayout { dir: dir.clone(), reference: None }).unwrap_err();
        assert_eq!(error.to_string(), format!("OCI layout {}", dir.display()));
    }
}

#[test]
fn digests_that_are_paths_are_refused_before_anything_is_opened() {
    // Each of these would find a good blob if the digest were joined to a path.
    let fixture = Fixture::with_image();
    fs::write(fixture.outside().join("canary"), "{}").unwrap();
    let bad = ["sha256:../../../canary", "sha256:../../index.json", "../../canary:x", "sha256:/etc/passwd", "sha256:"];
    for digest in bad {
        let entry = json!({"mediaType": MANIFEST, "digest": digest, "size": 2});
        fixture.index(std::slice::from_ref(&entry));
        assert_refused_as_digest(&fixture, digest);

        let config = fixture.document(CONFIG, &host_config(1));
        let layer = fixture.blob(LAYER, b"x");
        fixture.index(&[fixture.manifest(&entry, &[layer])]);
        assert_refused_as_digest(&fixture, digest);
        fixture.index(&[fixture.manifest(&config, &[json!({"mediaType": LAYER, "digest": digest, "size": 2})])]);
        assert_refused_as_digest(&fixture, digest);
    }
}

fn assert_refused_as_digest(fixture: &Fixture, digest: &str) {
    let refusal = fixture.refusal(None);
    let reasons = ["digest", "encoded value", "algorithm"];
    assert!(reasons.iter().any(|reason| refusal.contains(reason)), "{digest}: {refusal}");
}

#[test]
fn well_formed_digests_of_other_algorithms_are_refused_by_name() {
    let fixture = Fixture::new();
    for digest in [format!("md5:{}", "a".repeat(32)), format!("sha384:{}", "a".repeat(96)), "blake3:xyz".to_owned()] {
        fixture.index(&[json!({"mediaType": MANIFEST, "digest": digest, "size": 2})]);
        let refusal = fixture.refusal(None);
        assert!(refusal.contains(&format!("{digest:?} uses an unsupported algorithm")), "{refusal}");
    }
    let mut wrong = host_config(1);
    wrong["rootfs"]["diff_ids"][0] = json!("sha256:../../x");
    fixture.index(&[fixture.image(&wrong, 1)]);
    assert!(fixture.refusal(None).starts_with("bad diff_id in the image: digest \"sha256:../../x\""));
}

#[test]
fn symbolic_links_are_not_followed_even_to_good_blobs() {
    let fixture = Fixture::with_image();
    fixture.open(None).expect("the control: without links the layout is good");
    for name in ["blobs", "blobs/sha256", "index.json", "oci-layout"] {
        let (inside, moved) = (fixture.dir().join(name), fixture.outside().join("moved"));
        fs::rename(&inside, &moved).unwrap();
        symlink(&moved, &inside).unwrap();
        assert!(fixture.refusal(None).contains("symbolic link"), "{name}");
        fs::remove_file(&inside).unwrap();
        fs::rename(&moved, &inside).unwrap();
    }
    let image = fixture.open(None).unwrap();
    for digest in [&image.manifest_digest, &image.config_digest, &image.layers[1].digest] {
        let inside = fixture.dir().join(digest.blob_path());
        let moved = fixture.dir().join("blobs/sha256/moved");
        fs::rename(&inside, &moved).unwrap();
        symlink("moved", &inside).unwrap();
        assert!(fixture.refusal(None).contains(&digest.blob_path()));
        fs::remove_file(&inside).unwrap();
        fs::rename(&moved, &inside).unwrap();
    }
}

#[test]
fn special_files_neither_block_nor_pass() {
    let fixture = Fixture::with_image();
    let image = fixture.open(None).unwrap();
    for digest in [&image.manifest_digest, &image.config_digest, &image.layers[0].digest] {
        let path = fixture.dir().join(digest.blob_path());
        let content = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(fixture.refusal(None).contains("is not a regular file"));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(fixture.refusal(None).contains("is not a regular file"));
        fs::remove_dir(&path).unwrap();
        assert_eq!(fixture.refusal(None), format!("blob {digest} is missing from the layout"));
        fs::write(&path, content).unwrap();
    }
    fixture.open(None).expect("restored, it opens");
}

#[test]
fn nesting_is_bounded() {
    for (depth, good) in [(1, true), (4, true), (5, false), (100, false)] {
        let fixture = Fixture::new();
        let mut entry = fixture.image(&host_config(1), 1);
        let innermost = digest_of(&entry);
        for _ in 0..depth {
            entry = fixture.document(INDEX, &json!({"schemaVersion": 2, "manifests": [entry]}));
        }
        fixture.index(&[entry]);
        for reference in [None, Some(innermost.as_str())] {
            if good {
                fixture.open(reference).unwrap();
            } else {
                assert_eq!(fixture.refusal(reference), "indexes are nested more than 4 deep");
            }
        }
    }
}

#[test]
fn a_wide_search_for_a_digest_ends() {
    let fixture = Fixture::new();
    let leaf = fixture.image(&host_config(1), 1);
    let indexes: Vec<Value> = (0..200)
        .map(|n| {
            fixture
                .document(INDEX, &json!({"schemaVersion": 2, "manifests": [leaf], "annotations": {"n": n.to_string()}}))
        })
        .collect();
    fixture.index(&indexes);
    let absent = format!("sha256:{}", "0".repeat(64));
    assert!(fixture.refusal(Some(&absent)).contains("nested"));
}

#[test]
fn sizes_that_are_no_sizes_are_refused() {
    let fixture = Fixture::with_image();
    let index = fs::read_to_string(fixture.dir().join("index.json")).unwrap();
    let entry: Value = serde_json::from_str(&index).unwrap();
    let size = format!("\"size\":{}", entry["manifests"][0]["size"]);
    for bad in ["-1", "-9223372036854775809", "18446744073709551616", "1.5", "\"12\"", "null", "1e3"] {
        fixture.raw_index(index.replace(&size, &format!("\"size\":{bad}")).as_bytes());
        assert!(fixture.refusal(None).starts_with("parse index.json: "), "{bad}");
    }
    for (lie, reason) in [("0", "its descriptor says 0"), ("9223372036854775808", "limit for a document is 4194304")] {
        fixture.raw_index(index.replace(&size, &format!("\"size\":{lie}")).as_bytes());
        assert!(fixture.refusal(None).contains(reason), "{lie}");
    }
}

#[test]
fn a_layer_of_another_size_is_refused_before_it_is_read() {
    let fixture = Fixture::with_image();
    let layer = fixture.open(None).unwrap().layers.remove(1);
    fs::write(fixture.dir().join(layer.digest.blob_path()), b"longer than it was").unwrap();
    assert_eq!(fixture.refusal(None), format!("blob {} has 18 bytes, its descriptor says 7", layer.digest));
}

#[test]
fn documents_must_have_their_digest() {
    let fixture = Fixture::with_image();
    let image = fixture.open(None).unwrap();
    for (digest, bytes) in [(&image.manifest_digest, &image.manifest), (&image.config_digest, &image.config)] {
        let path = fixture.dir().join(digest.blob_path());
        let mut changed = bytes.clone();
        *changed.last_mut().unwrap() = b' ';
        fs::write(&path, &changed).unwrap();
        let computed = Digest::of(Algorithm::Sha256, &changed);
        assert!(fixture.refusal(None).starts_with(&format!("content of {digest} has the digest {computed}")));
        fs::write(&path, bytes).unwrap();
    }
    fixture.open(None).expect("restored, it opens");
}

#[test]
fn huge_documents_are_refused_by_their_size() {
    let fixture = Fixture::with_image();
    let giant = 1 << 30;
    File::create(fixture.dir().join("index.json")).unwrap().set_len(giant).unwrap();
    assert_eq!(fixture.refusal(None), "index.json has 1073741824 bytes, the limit for a document is 4194304");
    File::create(fixture.dir().join("oci-layout")).unwrap().set_len(giant).unwrap();
    assert!(fixture.refusal(None).starts_with("oci-layout has 1073741824 bytes"));

    let fixture = Fixture::new();
    let digest = format!("sha256:{}", "a".repeat(64));
    File::create(fixture.path(&digest)).unwrap().set_len(giant).unwrap();
    for (size, reason) in [(giant, "limit for a document"), (100, "its descriptor says 100")] {
        fixture.index(&[json!({"mediaType": MANIFEST, "digest": digest, "size": size})]);
        assert!(fixture.refusal(None).contains(reason));
    }
}

#[test]
fn duplicate_keys_are_refused_in_every_document() {
    let fixture = Fixture::new();
    fixture.raw_index(br#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#);
    assert!(fixture.refusal(None).starts_with("parse index.json: duplicate key \"manifests\""));
    fixture.raw_index(br#"{"schemaVersion":2,"manifests":[],"unknown":{"a":1,"a":2}}"#);
    assert!(fixture.refusal(None).starts_with("parse index.json: duplicate key \"a\""));

    let config = host_config(1).to_string().replacen("\"os\"", "\"os\":\"plan9\",\"os\"", 1);
    let layer = fixture.blob(LAYER, b"x");
    fixture.index(&[fixture.manifest(&fixture.blob(CONFIG, config.as_bytes()), &[layer])]);
    assert!(fixture.refusal(None).contains("duplicate key \"os\""));

    let config = fixture.document(CONFIG, &host_config(1));
    let manifest = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"layers":[]}}"#);
    fixture.index(&[fixture.blob(MANIFEST, manifest.as_bytes())]);
    assert!(fixture.refusal(None).contains("duplicate key \"layers\""));
}

#[test]
fn documents_that_could_be_two_things_are_refused() {
    let fixture = Fixture::new();
    let config = fixture.document(CONFIG, &host_config(0));
    let both = json!({"schemaVersion": 2, "config": config, "layers": [], "manifests": []});
    let schema1 = json!({"schemaVersion": 1, "fsLayers": [], "history": []});
    let not_2 = json!({"schemaVersion": 3, "config": config, "layers": []});
    let own_type = json!({"schemaVersion": 2, "mediaType": INDEX, "config": config, "layers": []});
    let index_body = json!({"schemaVersion": 2, "manifests": []});
    let manifest_body = json!({"schemaVersion": 2, "config": config, "layers": []});
    let cases = [
        (MANIFEST, &both, "mixes the fields"),
        (INDEX, &both, "mixes the fields"),
        (MANIFEST, &index_body, "mixes the fields"),
        (INDEX, &manifest_body, "mixes the fields"),
        (MANIFEST, &schema1, "schema version 1"),
        (MANIFEST, &not_2, "schema version 3"),
        (MANIFEST, &own_type, "calls itself"),
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", &schema1, "unsupported media type"),
        ("application/vnd.docker.distribution.manifest.v2+json", &manifest_body, "no layers"),
        ("text/html", &manifest_body, "media type \"text/html\""),
    ];
    for (media_type, document, reason) in cases {
        fixture.index(&[fixture.document(media_type, document)]);
        let refusal = fixture.refusal(None);
        assert!(refusal.contains(reason), "{media_type} {document}: {refusal}");
    }
    fixture.raw_index(both.to_string().as_bytes());
    assert!(fixture.refusal(None).starts_with("index.json mixes the fields"));
}

#[test]
fn layer_lists_must_agree_and_be_of_known_types() {
    let fixture = Fixture::new();
    fixture.index(&[fixture.image(&host_config(3), 2)]);
    assert_eq!(fixture.refusal(None), "the manifest lists 2 layers, the config 3");
    fixture.index(&[fixture.image(&host_config(0), 0)]);
    assert_eq!(fixture.refusal(None), "the image has no layers");
    fixture.index(&[fixture.image(&host_config(129), 129)]);
    assert_eq!(fixture.refusal(None), "the image has 129 layers, the limit is 128");
    fixture.index(&[fixture.image(&host_config(128), 128)]);
    assert_eq!(fixture.open(None).unwrap().layers.len(), 128);

    let good = fixture.document(CONFIG, &host_config(1));
    for media_type in [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/x-\u{1b}[2J",
    ] {
        let layer = json!({"mediaType": media_type, "digest": format!("sha256:{}", "e".repeat(64)), "size": 9});
        fixture.index(&[fixture.manifest(&good, &[layer])]);
        let refusal = fixture.refusal(None);
        assert!(refusal.contains(&format!("unsupported media type {media_type:?}")), "{refusal}");
    }
    let layer = fixture.blob(LAYER, b"x");
    let artifact = fixture.blob("application/vnd.oci.empty.v1+json", b"{}");
    fixture.index(&[fixture.manifest(&artifact, &[layer])]);
    assert!(fixture.refusal(None).starts_with("config \"sha256:"));

    let mut wrong = host_config(1);
    wrong["rootfs"]["type"] = json!("layers+base");
    fixture.index(&[fixture.image(&wrong, 1)]);
    assert!(fixture.refusal(None).contains("root file system type \"layers+base\""));
}

#[test]
fn images_for_other_machines_name_both() {
    let fixture = Fixture::new();
    for (os, architecture, shown) in [
        ("windows", "amd64", "windows/amd64"),
        ("linux", "s390x", "linux/s390x"),
        ("", "", "/"),
        ("l\nx", "y", r"l\nx/y"),
    ] {
        fixture.index(&[fixture.image(&config(os, architecture, 1), 1)]);
        let expected = format!("the image is for {shown}, this machine is {}", fetch::Platform::host());
        assert_eq!(fixture.refusal(None), expected);
    }
}

#[test]
fn wrong_types_in_any_field_are_errors_with_a_place() {
    let fixture = Fixture::new();
    for field in ["os", "architecture", "rootfs"] {
        for value in [None, Some(json!(null)), Some(json!(7)), Some(json!([]))] {
            let mut config = host_config(1);
            match value {
                Some(value) => config[field] = value,
                None => drop(config.as_object_mut().unwrap().remove(field)),
            }
            fixture.index(&[fixture.image(&config, 1)]);
            let refusal = fixture.refusal(None);
            assert!(refusal.starts_with("parse sha256:") && refusal.contains("line 1"), "{field}: {refusal}");
        }
    }
    for field in ["Entrypoint", "Cmd", "Env", "User", "WorkingDir", "Volumes", "ExposedPorts", "Labels"] {
        let mut config = host_config(1);
        config["config"][field] = json!(7);
        fixture.index(&[fixture.image(&config, 1)]);
        assert!(fixture.refusal(None).starts_with("parse sha256:"), "{field}");
        config["config"][field] = json!(null);
        fixture.index(&[fixture.image(&config, 1)]);
        fixture.open(None).unwrap();
    }
}
