//! An appc image manifest as an OCI image's config: the way back from [`super::to_app`].

use std::collections::BTreeMap;

use appc::platform::PlatformError;
use appc::{App, ImageManifest};
use serde::Serialize;

use super::app::{CMD, ENTRYPOINT, HEALTHCHECK, STOP_SIGNAL, USER};
use crate::digest::Digest;
use crate::platform::Platform;

/// What stands in the place of a volume or port, whose name says it all.
#[derive(Debug, Serialize)]
struct Nothing {}

#[derive(Debug, Serialize)]
struct Document<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<&'a str>,
    architecture: String,
    os: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
    config: Section,
    rootfs: Rootfs,
    history: Vec<History>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Section {
    #[serde(skip_serializing_if = "String::is_empty")]
    user: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    exposed_ports: BTreeMap<String, Nothing>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    env: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    entrypoint: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cmd: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    volumes: BTreeMap<String, Nothing>,
    #[serde(skip_serializing_if = "String::is_empty")]
    working_dir: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    stop_signal: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthcheck: Option<serde_json::Value>,
}

#[derive(Debug, Serialize)]
struct Rootfs {
    #[serde(rename = "type")]
    kind: &'static str,
    diff_ids: Vec<String>,
}

#[derive(Debug, Serialize)]
struct History {
    created_by: &'static str,
}

/// A config, and what of the manifest has no place in it.
#[derive(Debug)]
pub struct FromApp {
    /// The document.
    pub config: Vec<u8>,
    /// The fields that were left out, as they are called in the manifest.
    pub lost: Vec<&'static str>,
}

/// Maps an appc manifest to a config with these layers, the lowest first. What [`super::to_app`] noted in annotations
/// comes back as it was.
///
/// # Errors
/// [`PlatformError`] if OCI has no name for the platform that the labels tell.
pub fn from_app(manifest: &ImageManifest, diff_ids: &[Digest]) -> Result<FromApp, PlatformError> {
    let mut lost = Vec::new();
    let (os, architecture, variant) = match (manifest.labels.get("os"), manifest.labels.get("arch")) {
        (Some(os), Some(arch)) => {
            let go = appc::platform::to_go(os, arch)?;
            let variant = (!go.variant.is_empty()).then(|| format!("v{}", go.variant));
            (go.os.to_owned(), go.arch.to_owned(), variant)
        }
        _ => {
            let host = Platform::host();
            (host.os, host.architecture, None)
        }
    };
    let section = manifest.app.as_ref().map(|app| section(manifest, app, &mut lost)).unwrap_or_default();
    let document = Document {
        created: manifest.annotations.get("created"),
        author: manifest.annotations.get("authors"),
        architecture,
        os,
        variant,
        config: section,
        rootfs: Rootfs { kind: "layers", diff_ids: diff_ids.iter().map(ToString::to_string).collect() },
        history: diff_ids.iter().map(|_| History { created_by: "proa image export" }).collect(),
    };
    let config = serde_json::to_vec(&document).expect("all keys are strings");
    Ok(FromApp { config, lost })
}

fn section(manifest: &ImageManifest, app: &App, lost: &mut Vec<&'static str>) -> Section {
    let words = |name| -> Option<Vec<String>> { serde_json::from_str(manifest.annotations.get(name)?).ok() };
    let (entrypoint, cmd) = match (words(ENTRYPOINT), words(CMD)) {
        (Some(entrypoint), Some(cmd)) if entrypoint.iter().chain(&cmd).eq(&app.exec) => (entrypoint, cmd),
        _ => (app.exec.clone(), Vec::new()),
    };
    if app.user.starts_with('/') || app.group.starts_with('/') {
        lost.push("user and group by the owner of a file");
    }
    for (is_there, what) in [
        (!app.event_handlers.is_empty(), "eventHandlers"),
        (!app.isolators.is_empty(), "isolators"),
        (!app.supplementary_gids.is_empty(), "supplementaryGIDs"),
        (app.mount_points.iter().any(|point| point.read_only), "readOnly of mountPoints"),
        (app.ports.iter().any(|port| port.socket_activated), "socketActivated of ports"),
    ] {
        lost.extend(is_there.then_some(what));
    }
    let ports = app.ports.iter().map(|port| {
        let numbers = match port.count {
            0 | 1 => port.port.to_string(),
            count => format!("{}-{}", port.port, u32::from(port.port) + u32::from(count) - 1),
        };
        (format!("{numbers}/{}", port.protocol), Nothing {})
    });
    let noted = [ENTRYPOINT, CMD, USER, STOP_SIGNAL, HEALTHCHECK, "created", "authors"];
    let others = manifest.annotations.iter().filter(|annotation| !noted.contains(&annotation.name.as_str()));
    let others = others.map(|annotation| (annotation.name.to_string(), annotation.value.clone()));
    Section {
        user: manifest.annotations.get(USER).map_or_else(|| user(app), str::to_owned),
        exposed_ports: ports.collect(),
        env: app.environment.iter().map(|variable| format!("{}={}", variable.name, variable.value)).collect(),
        entrypoint,
        cmd,
        volumes: app.mount_points.iter().map(|point| (point.path.clone(), Nothing {})).collect(),
        working_dir: app.working_directory.clone().unwrap_or_default(),
        labels: others.chain(app.user_labels.clone()).collect(),
        stop_signal: manifest.annotations.get(STOP_SIGNAL).unwrap_or_default().to_owned(),
        healthcheck: manifest.annotations.get(HEALTHCHECK).and_then(|check| serde_json::from_str(check).ok()),
    }
}

/// `user:group`; nothing for root, which is what a config without a user means.
fn user(app: &App) -> String {
    match (app.user.as_str(), app.group.as_str()) {
        ("0" | "root", "0" | "root") => String::new(),
        (user, _) if user.starts_with('/') => String::new(),
        (user, group) if group.starts_with('/') => user.to_owned(),
        (user, group) => format!("{user}:{group}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(app: &str, annotations: &str) -> (serde_json::Value, Vec<&'static str>) {
        let manifest = format!(
            r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/app",
            "labels":[{{"name":"os","value":"linux"}},{{"name":"arch","value":"armv7l"}}],
            "annotations":[{annotations}],"app":{app}}}"#
        );
        let manifest = ImageManifest::from_json(manifest.as_bytes()).unwrap();
        let diff_id = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        let mapped = from_app(&manifest, &[diff_id]).unwrap();
        (serde_json::from_slice(&mapped.config).unwrap(), mapped.lost)
    }

    #[test]
    fn everything_that_has_a_place() {
        let app = r#"{"exec":["/bin/app","-x"],"user":"1000","group":"staff","workingDirectory":"/work",
            "environment":[{"name":"A","value":"b=c"}],"mountPoints":[{"name":"data","path":"/data"}],
            "ports":[{"name":"web","protocol":"tcp","port":80},{"name":"many","protocol":"udp","port":5000,"count":10}],
            "userLabels":{"team":"x"}}"#;
        let annotations =
            r#"{"name":"created","value":"2020-01-02T03:04:05Z"},{"name":"homepage","value":"https://e.com"}"#;
        let (config, lost) = mapped(app, annotations);
        let expected = serde_json::json!({
            "created": "2020-01-02T03:04:05Z",
            "architecture": "arm", "os": "linux", "variant": "v7",
            "config": {
                "User": "1000:staff",
                "ExposedPorts": {"80/tcp": {}, "5000-5009/udp": {}},
                "Env": ["A=b=c"],
                "Entrypoint": ["/bin/app", "-x"],
                "Volumes": {"/data": {}},
                "WorkingDir": "/work",
                "Labels": {"homepage": "https://e.com", "team": "x"},
            },
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", "ab".repeat(32))]},
            "history": [{"created_by": "proa image export"}],
        });
        assert_eq!(config, expected);
        assert!(lost.is_empty());
    }

    #[test]
    fn what_came_from_a_config_goes_back_as_it_was() {
        let app = r#"{"exec":["/entry","cmd"],"user":"app","group":"0"}"#;
        let annotations = r#"{"name":"appc.io/docker/entrypoint","value":"[\"/entry\"]"},
            {"name":"appc.io/docker/cmd","value":"[\"cmd\"]"},{"name":"proa.local/oci/user","value":"app"},
            {"name":"proa.local/oci/stop-signal","value":"SIGQUIT"},
            {"name":"proa.local/oci/healthcheck","value":"{\"Test\":[\"CMD\",\"/probe\"],\"Retries\":2}"}"#;
        let (config, _) = mapped(app, annotations);
        let expected = serde_json::json!({
            "User": "app", "Entrypoint": ["/entry"], "Cmd": ["cmd"], "StopSignal": "SIGQUIT",
            "Healthcheck": {"Test": ["CMD", "/probe"], "Retries": 2},
        });
        assert_eq!(config["config"], expected);
    }

    #[test]
    fn what_has_no_place_is_told() {
        let app = r#"{"exec":["/x"],"user":"/x","group":"0","eventHandlers":[{"name":"pre-start","exec":["/y"]}],
            "isolators":[{"name":"os/linux/no-new-privileges","value":true}],
            "mountPoints":[{"name":"a","path":"/a","readOnly":true}]}"#;
        let (config, lost) = mapped(app, "");
        assert_eq!(config["config"].get("User"), None);
        let expected =
            ["user and group by the owner of a file", "eventHandlers", "isolators", "readOnly of mountPoints"];
        assert_eq!(lost, expected);
    }
}
