//! `docker inspect`: all that is known of containers and images, in docker's form.

use std::io::Read as _;

use appc::{App, VolumeKind};
use clap::{Args, ValueEnum};
use fetch::oci;
use pod::Pods;
use serde_json::{Map, Value, json};
use store::{BlobRole, ImageRecord, Store};

use super::container::Container;
use super::image;
use super::images::created_ns;
use super::template::Template;
use crate::client::Client;
use crate::context::Context;
use crate::error::CommandError;
use crate::setup::{Life, Setup};
use crate::{images, moment, output};
use stage1::protocol::{Call, Reply};

/// Return low-level information on containers and images
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Format output: json, or a template of fields such as '{{.State.Status}}'
    #[arg(long, short, value_name = "FORMAT")]
    format: Option<String>,

    /// Only inspect things of this type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<Thing>,

    /// The containers and images
    #[arg(value_name = "NAME|ID", required = true)]
    names: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Thing {
    Container,
    Image,
}

/// What docker writes for a time that there is none of.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

pub(crate) fn run(context: &Context, args: InspectArgs) -> Result<u8, CommandError> {
    let pods = Pods::ensure(context.create_data_dir()?)?;
    let store = images::store(context)?;
    let template = args.format.as_deref().filter(|format| *format != "json").map(Template::parse).transpose()?;
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for name in &args.names {
        let pod = if args.kind == Some(Thing::Image) { None } else { pods.find(name).ok() };
        let value = match pod {
            Some(entry) => Some(of_container(&pods, &store, &Container::read(&pods, entry)?)),
            None if args.kind == Some(Thing::Container) => None,
            None => image::stored(context, &store, name)?.map(|image| of_image(&store, &image)),
        };
        match value {
            Some(value) => found.push(value),
            None => missing.push(name),
        }
    }
    let text = match template {
        Some(template) => {
            let lines = found.iter().map(|value| Ok(template.render(value)? + "\n"));
            lines.collect::<Result<Vec<_>, CommandError>>()?.concat()
        }
        None => pretty(&found)?,
    };
    output::write(&text)?;
    for name in &missing {
        output::complain(&format!("Error: No such object: {name}\n"));
    }
    Ok(u8::from(!missing.is_empty()))
}

fn pretty(values: &[Value]) -> Result<String, CommandError> {
    use serde::Serialize as _;
    let mut json = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    values.serialize(&mut serde_json::Serializer::with_formatter(&mut json, indent))?;
    json.push(b'\n');
    Ok(String::from_utf8(json)?)
}

fn of_container(pods: &Pods, store: &Store, container: &Container) -> Value {
    let state = container.state();
    let pid = (state == "running").then(|| supervisor_pid(pods, container)).flatten().unwrap_or(0);
    let time = |ns: Option<u64>| ns.map_or_else(|| NO_TIME.to_owned(), moment::rfc3339);
    let app = container.app.as_ref();
    let exec = container.first().map(|(_, app)| app.exec.clone()).unwrap_or_default();
    let digits = container.image_id().map(|id| format!("sha256:{}", image::digits_of(&id))).unwrap_or_default();
    let network = container.network();
    let life = life(pods, container);
    let policy = life.as_ref().map(|life| life.restart.as_str()).filter(|policy| !policy.is_empty()).unwrap_or("no");
    let (policy, retries) = policy.split_once(':').unwrap_or((policy, ""));
    json!({
        "Id": container.id(),
        "Created": container.created_at(),
        "Path": exec.first().cloned().unwrap_or_default(),
        "Args": exec.get(1..).unwrap_or_default(),
        "State": {
            "Status": state,
            "Running": state == "running",
            "Paused": false,
            "Restarting": false,
            "OOMKilled": app.is_some_and(|app| app.oom_killed),
            "Dead": state == "dead",
            "Pid": pid,
            "ExitCode": container.exit_code(),
            "Error": app.and_then(|app| app.reason.clone()).unwrap_or_default(),
            "StartedAt": time(app.and_then(|app| app.started_ns).or(container.entry.started_ns)),
            "FinishedAt": time(container.end.map(|end| end.finished_ns).filter(|_| state != "running")),
        },
        "Image": digits,
        "Name": format!("/{}", container.name()),
        "RestartCount": 0,
        "Driver": "overlay",
        "Platform": "linux",
        "Mounts": mounts(container),
        "Config": config(container, store),
        "HostConfig": {
            "NetworkMode": network,
            "RestartPolicy": { "Name": policy, "MaximumRetryCount": retries.parse::<u32>().unwrap_or(0) },
            "AutoRemove": life.as_ref().is_none_or(|life| life.remove),
        },
        "NetworkSettings": { "Ports": {}, "IPAddress": "", "Networks": { (network.as_str()): { "IPAddress": "" } } },
    })
}

/// How it is to be run, if that was said and is kept: a container that is removed at its end is not run again.
fn life(pods: &Pods, container: &Container) -> Option<Life> {
    let json = pods.open(&container.entry).ok()?.setup().ok()??;
    Setup::from_json(&json).ok()?.life
}

fn supervisor_pid(pods: &Pods, container: &Container) -> Option<i32> {
    match Client::connect(pods, &container.entry).ok()?.ask(Call::Status, &[]).ok()? {
        (Reply::Status(report), _) => Some(report.pid),
        _ => None,
    }
}

fn config(container: &Container, store: &Store) -> Value {
    let Some((runtime, app)) = container.first() else { return Value::Null };
    let mut config = of_app(app);
    if let Some(user) = runtime.annotations.get(oci::USER) {
        // As the image or the command line has it: its group follows from it.
        config.insert("User".into(), user.into());
    }
    config.insert("Image".into(), container.image(store).into());
    config.insert("Hostname".into(), container.name().into());
    config.insert("Labels".into(), json!(container.labels()));
    Value::Object(config)
}

/// What a manifest says of an app, in docker's words.
fn of_app(app: &App) -> Map<String, Value> {
    let environment = app.environment.iter().map(|variable| format!("{}={}", variable.name, variable.value));
    let user = if app.group.is_empty() { app.user.clone() } else { format!("{}:{}", app.user, app.group) };
    let config = json!({
        "User": user,
        "Env": environment.collect::<Vec<_>>(),
        "Cmd": app.exec,
        "WorkingDir": app.working_directory.clone().unwrap_or_default(),
        "Entrypoint": Value::Null,
    });
    match config {
        Value::Object(config) => config,
        _ => Map::new(),
    }
}

fn mounts(container: &Container) -> Vec<Value> {
    let (Some(manifest), Some((runtime, _))) = (&container.manifest, container.first()) else { return Vec::new() };
    let mounted = runtime.mounts.iter().filter_map(|mount| Some((mount, manifest.volume(&mount.volume)?)));
    let shown = mounted.map(|(mount, volume)| {
        let writable = volume.read_only != Some(true);
        let (kind, source) = match &volume.kind {
            VolumeKind::Host { source, .. } => ("bind", source.as_str()),
            VolumeKind::Empty { .. } => ("volume", ""),
        };
        let mode = if writable { "" } else { "ro" };
        json!({ "Type": kind, "Source": source, "Destination": mount.path, "Mode": mode, "RW": writable })
    });
    shown.collect()
}

fn of_image(store: &Store, image: &ImageRecord) -> Value {
    let names = image::names(image);
    let document = |role| -> Option<Value> {
        let blob = image.blobs.iter().find(|blob| blob.role == role)?;
        let mut json = Vec::new();
        store.blob(&blob.digest).ok()??.read_to_end(&mut json).ok()?;
        serde_json::from_slice(&json).ok()
    };
    let oci = document(BlobRole::Config).unwrap_or(Value::Null);
    let config = match oci.get("config") {
        Some(config) => config.clone(),
        None => image.manifest.app.as_ref().map_or(Value::Null, |app| Value::Object(of_app(app))),
    };
    let text = |name: &str, other: &str| oci.get(name).and_then(Value::as_str).unwrap_or(other).to_owned();
    let source = image.source.as_deref().and_then(|source| source.strip_prefix("docker://"));
    json!({
        "Id": format!("sha256:{}", image::digits(image)),
        "RepoTags": names.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "RepoDigests": source.into_iter().filter_map(digest_of).collect::<Vec<_>>(),
        "Created": oci.get("created").and_then(Value::as_str).map_or_else(|| moment::rfc3339(created_ns(image)), str::to_owned),
        "Architecture": text("architecture", image.manifest.labels.get("arch").unwrap_or_default()),
        "Os": text("os", "linux"),
        "Author": text("author", ""),
        "Size": image.size,
        "Config": config,
        "RootFS": {
            "Type": "layers",
            "Layers": image.layers.iter().map(|layer| layer.digest().to_string()).collect::<Vec<_>>(),
        },
    })
}

/// `NAME@DIGEST` of where an image came from.
fn digest_of(source: &str) -> Option<String> {
    let (name, digest) = source.split_once('@')?;
    Some(format!("{}@{digest}", image::Name::parse(name).repository))
}
