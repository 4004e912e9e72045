//! An image in docker's form, as `docker inspect` shows it.

use serde_json::{Value, json};
use store::{BlobRole, ImageRecord, Store};

use super::{NO_TIME, of_app};
use crate::docker::image;
use crate::docker::images::created_ns;
use crate::moment;

/// What is known of it.
pub(super) fn of_image(store: &Store, image: &ImageRecord) -> Value {
    let names = image::names(image);
    let document = |role| image::document(store, image, role);
    let oci = document(BlobRole::Config).unwrap_or(Value::Null);
    let config = match oci.get("config") {
        Some(config) => whole(config.clone()),
        None => image.manifest.app.as_ref().map_or(Value::Null, |app| Value::Object(of_app(app))),
    };
    let text = |name: &str, other: &str| oci.get(name).and_then(Value::as_str).unwrap_or(other).to_owned();
    let source = image.source.as_deref().and_then(|source| source.strip_prefix("docker://"));
    let named = image.names.iter().map(|claim| claim.claimed_ns).max();
    json!({
        "Id": format!("sha256:{}", image::digits(image)),
        "RepoTags": names.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "RepoDigests": source.into_iter().filter_map(digest_of).collect::<Vec<_>>(),
        "Created": oci.get("created").and_then(Value::as_str).map_or_else(|| moment::rfc3339(created_ns(store, image)), str::to_owned),
        "Architecture": text("architecture", image.manifest.labels.get("arch").unwrap_or_default()),
        "Os": text("os", "linux"),
        "Author": text("author", ""),
        "Parent": "",
        "Comment": comment(&oci),
        "Container": "",
        "DockerVersion": "",
        "Metadata": { "LastTagTime": named.map_or_else(|| NO_TIME.to_owned(), moment::rfc3339) },
        "VirtualSize": image.size,
        "GraphDriver": { "Name": "overlay", "Data": Value::Null },
        "Size": image.size,
        "Config": config,
        "RootFS": {
            "Type": "layers",
            "Layers": image.layers.iter().map(|layer| layer.digest().to_string()).collect::<Vec<_>>(),
        },
    })
}

/// What its last layer's history says.
fn comment(oci: &Value) -> &str {
    let last = oci["history"].as_array().and_then(|all| all.last());
    last.and_then(|last| last["comment"].as_str()).unwrap_or_default()
}

/// `NAME@DIGEST` of where an image came from.
fn digest_of(source: &str) -> Option<String> {
    let (name, digest) = source.split_once('@')?;
    Some(format!("{}@{digest}", image::Name::parse(name).repository))
}

/// A configuration with what it says nothing of: that is empty, and no mistake in a template.
fn whole(mut config: Value) -> Value {
    if let Some(fields) = config.as_object_mut() {
        for name in ["Cmd", "Entrypoint", "Env", "ExposedPorts", "Healthcheck", "Labels", "Volumes"] {
            fields.entry(name).or_insert(Value::Null);
        }
        for name in ["User", "WorkingDir"] {
            fields.entry(name).or_insert_with(|| "".into());
        }
    }
    config
}
