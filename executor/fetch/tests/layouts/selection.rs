//! Which image of a good layout is opened, and what is then known of it.

use std::io::Read;

use crate::fixture::{CONFIG, Fixture, INDEX, LAYER, MANIFEST, annotated, host_config, named, on};
use fetch::{Algorithm, ImageRef, LayerBytes, LayerMediaType, Platform, Source};
use serde_json::json;

const OTHER_ARCH: &str = "riscv64";

fn host() -> Platform {
    Platform::host()
}

#[test]
fn one_image_is_opened_without_a_reference() {
    let fixture = Fixture::with_image();
    let reference = ImageRef::OciLayout { dir: fixture.dir(), reference: None };
    let Source::Oci(image) = fetch::open(&reference).unwrap() else { panic!("not an OCI image") };
    assert_eq!((image.name.as_str(), image.tag.as_deref()), ("layout", None));
    assert_eq!((image.os.as_str(), &image.architecture), ("linux", &host().architecture));
    assert_eq!(image.config_section.entrypoint, ["/bin/app"]);
    assert_eq!(image.config_section.env, ["A=b"]);
    assert_eq!(image.diff_ids.len(), 2);
    assert_eq!(image.config_digest, fetch::Digest::of(Algorithm::Sha256, &image.config));
    assert_eq!(image.manifest_digest, fetch::Digest::of(Algorithm::Sha256, &image.manifest));
    for (n, layer) in image.layers.into_iter().enumerate() {
        let mut text = String::new();
        let LayerBytes::File { mut file, start: 0 } = layer.bytes else { panic!("not a file of its own") };
        file.read_to_string(&mut text).unwrap();
        assert_eq!((text, layer.size, layer.media_type), (format!("layer {n}"), 7, LayerMediaType::TarGzip));
    }
}

#[test]
fn several_images_need_a_reference_and_the_error_lists_them() {
    let fixture = Fixture::new();
    let first = fixture.image(&host_config(1), 1);
    let second = fixture.image(&host_config(2), 2);
    fixture.index(&[named(first, "v1"), named(second.clone(), "v2"), second.clone()]);
    let refusal = fixture.refusal(None);
    let digest = second["digest"].as_str().unwrap();
    assert!(refusal.contains(&format!("(available: v1, v2, {digest})")), "{refusal}");
    assert!(fixture.refusal(Some("v3")).contains(r#"no image "v3" (available: v1, v2"#));

    let image = fixture.open(Some("v1")).unwrap();
    assert_eq!((image.layers.len(), image.name.as_str(), image.tag.as_deref()), (1, "layout", Some("v1")));
    assert_eq!(fixture.open(Some("v2")).unwrap().layers.len(), 2);
    assert_eq!(fixture.open(Some(digest)).unwrap().manifest_digest.to_string(), digest);
    let absent = format!("sha256:{}", "0".repeat(64));
    assert!(fixture.refusal(Some(&absent)).contains("no image"));
}

#[test]
fn the_list_in_an_error_is_bounded() {
    let fixture = Fixture::new();
    let entry = fixture.image(&host_config(1), 1);
    let entries: Vec<_> = (0..500).map(|n| named(entry.clone(), &format!("v{n}"))).collect();
    fixture.index(&entries);
    assert!(fixture.refusal(None).contains("v19 and 480 more"));
}

#[test]
fn the_platform_chooses_among_entries_of_one_name() {
    let fixture = Fixture::new();
    let ours = fixture.image(&host_config(2), 2);
    let theirs = fixture.image(&crate::fixture::config("linux", OTHER_ARCH, 1), 1);
    let attestation = on(fixture.document(MANIFEST, &json!({"not": "an image"})), "unknown", "unknown");
    let entries = [attestation, on(theirs.clone(), "linux", OTHER_ARCH), on(ours, "linux", &host().architecture)];

    fixture.index(&entries);
    assert_eq!(fixture.open(None).unwrap().layers.len(), 2);

    let nested = fixture.document(INDEX, &json!({"schemaVersion": 2, "manifests": entries}));
    fixture.index(&[named(nested, "latest")]);
    let image = fixture.open(Some("latest")).unwrap();
    assert_eq!((image.layers.len(), image.tag.as_deref()), (2, Some("latest")));

    let digest = theirs["digest"].as_str().unwrap();
    let expected = format!("the image is for linux/{OTHER_ARCH}, this machine is {}", host());
    assert_eq!(fixture.refusal(Some(digest)), expected, "a nested image is found by digest");

    fixture.index(&entries[..2]);
    let expected = format!("no image for {} (available: unknown/unknown, linux/{OTHER_ARCH})", host());
    assert_eq!(fixture.refusal(None), expected);
}

#[test]
fn full_names_win_over_the_directory() {
    let fixture = Fixture::new();
    let entry = fixture.image(&host_config(1), 1);
    let cases = [
        (named(entry.clone(), "localhost:5000/a/b:1.2"), "localhost:5000/a/b", Some("1.2")),
        (named(entry.clone(), "localhost:5000/a/b"), "localhost:5000/a/b", None),
        (
            annotated(named(entry.clone(), "12"), "io.containerd.image.name", "docker.io/library/debian:12"),
            "docker.io/library/debian",
            Some("12"),
        ),
        (named(entry, "latest"), "layout", Some("latest")),
    ];
    for (entry, name, tag) in cases {
        fixture.index(&[entry]);
        let image = fixture.open(None).unwrap();
        assert_eq!((image.name.as_str(), image.tag.as_deref()), (name, tag));
    }
}

#[test]
fn docker_types_and_sha512_are_understood() {
    let fixture = Fixture::new();
    let config = fixture.blob_as(
        Algorithm::Sha512,
        "application/vnd.docker.container.image.v1+json",
        host_config(3).to_string().as_bytes(),
    );
    let layers = [
        fixture.blob("application/vnd.docker.image.rootfs.diff.tar.gzip", b"a"),
        fixture.blob_as(Algorithm::Sha512, "application/vnd.docker.image.rootfs.diff.tar", b"b"),
        fixture.blob("application/vnd.oci.image.layer.v1.tar+zstd", b"c"),
    ];
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": docker, "config": config, "layers": layers});
    let list = "application/vnd.docker.distribution.manifest.list.v2+json";
    let entries = [on(fixture.document(docker, &manifest), "linux", &host().architecture)];
    fixture.index(&[fixture.document(list, &json!({"schemaVersion": 2, "mediaType": list, "manifests": entries}))]);
    let types: Vec<_> = fixture.open(None).unwrap().layers.iter().map(|layer| layer.media_type).collect();
    assert_eq!(types, [LayerMediaType::TarGzip, LayerMediaType::Tar, LayerMediaType::TarZstd]);
}

#[test]
fn an_index_that_uses_the_same_layer_twice_opens_it_twice() {
    let fixture = Fixture::new();
    let config = fixture.document(CONFIG, &host_config(2));
    let layer = fixture.blob(LAYER, b"same");
    fixture.index(&[fixture.manifest(&config, &[layer.clone(), layer])]);
    assert_eq!(fixture.open(None).unwrap().layers.len(), 2);
}
