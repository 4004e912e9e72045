//! OCI configs as appc manifests, against golden files.

use appc::ImageManifest;
use fetch::{Platform, oci};
use serde_json::{Value, json};

use crate::fixture::{Fixture, host_config, named};

/// The manifest of an image with this `config` section, its architecture replaced by `ARCH`.
fn mapped(section: &Value, reference: &str) -> String {
    let fixture = Fixture::new();
    let mut config = host_config(1);
    config["config"] = section.clone();
    fixture.index(&[named(fixture.image(&config, 1), reference)]);
    let manifest = oci::to_app(&fixture.open(None).unwrap()).unwrap();
    let bytes = manifest.to_json_pretty().unwrap();
    assert_eq!(ImageManifest::from_json(&bytes).unwrap(), manifest, "what is written reads back");
    let (_, arch) = appc::platform::from_go("linux", &Platform::host().architecture, "").unwrap();
    String::from_utf8(bytes).unwrap().replace(&format!("\"value\": \"{arch}\""), "\"value\": \"ARCH\"")
}

#[test]
fn a_config_with_everything() {
    let section = json!({
        "User": "app:staff",
        "ExposedPorts": {"8080/tcp": {}, "53/udp": {}, "8080": {}},
        "Env": ["PATH=/bin:/usr/bin", "conf.mod=agent", "EMPTY="],
        "Entrypoint": ["/bin/app", "--flag=<x>"],
        "Cmd": ["serve", "a b", "\"q\""],
        "Volumes": {"/data": {}, "/var/../srv/": {}},
        "WorkingDir": "srv/app",
        "Labels": {"org.opencontainers.image.title": "App", "maintainer": "A. <a@b>"},
        "StopSignal": "SIGQUIT",
        "Healthcheck": {"Test": ["NONE"]},
        "ArgsEscaped": true,
    });
    assert_eq!(mapped(&section, "Example.com:5000/Team/App:1.2"), include_str!("../golden/everything.json").trim_end());
}

#[test]
fn a_config_with_nothing() {
    assert_eq!(mapped(&json!({}), "latest"), include_str!("../golden/nothing.json").trim_end());
}

#[test]
fn a_user_without_a_group_is_noted() {
    let text = mapped(&json!({"User": "1000", "Cmd": ["/bin/sh"]}), "latest");
    assert_eq!(text, include_str!("../golden/user-only.json").trim_end());
}

#[test]
fn names_that_are_none_still_give_a_manifest() {
    for reference in ["\u{540d}/\u{524d}", "///", &"x/".repeat(5000)] {
        assert!(mapped(&json!({}), reference).contains("\"acKind\": \"ImageManifest\""));
    }
    assert!(mapped(&json!({}), "\u{540d}/\u{524d}").contains("\"name\": \"image\""));
}

#[test]
fn nonsense_is_refused_by_field() {
    for (section, reason) in [
        (json!({"Env": ["NOVALUE"]}), "Env \"NOVALUE\""),
        (json!({"Entrypoint": ["/bin/a\0b"]}), "Entrypoint or Cmd \"/bin/a\\0b\" holds a NUL"),
        (json!({"WorkingDir": "/\0"}), "WorkingDir"),
        (json!({"User": "a\0"}), "User"),
        (json!({"Volumes": {"/..": {}}}), "volume \"/\""),
        (json!({"Volumes": {"/\0": {}}}), "volume \"/\\0\""),
        (json!({"ExposedPorts": {"80/\u{1b}[2J": {}}}), "exposed port \"80/\\u{1b}[2J\""),
    ] {
        let fixture = Fixture::new();
        let mut config = host_config(1);
        config["config"] = section.clone();
        fixture.index(&[fixture.image(&config, 1)]);
        let error = oci::to_app(&fixture.open(None).unwrap()).unwrap_err().to_string();
        assert!(error.contains(reason), "{section}: {error}");
    }
}
