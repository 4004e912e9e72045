//! `docker inspect`: all that is known of containers and images, in docker's form.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use appc::{App, VolumeKind};
use clap::{Args, ValueEnum};
use fetch::oci;
use pod::{Pods, State};
use serde_json::{Map, Value, json};
use store::{BlobRole, ImageRecord, Store};

use super::container::Container;
use super::image;
use super::images::created_ns;
use super::template::Template;
use crate::context::Context;
use crate::error::CommandError;
use crate::net::NetRequest;
use crate::setup::{Life, Setup};
use crate::{addresses, client, moment, named_volumes, output};
use stage1::protocol::PodReport;

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
    let pods = context.pods()?;
    let store = context.stored()?;
    let data_dir = context.data_dir()?;
    let volumes = std::fs::canonicalize(data_dir).unwrap_or_else(|_| data_dir.to_owned()).join(named_volumes::DIR);
    let template = args.format.as_deref().filter(|format| *format != "json").map(Template::parse).transpose()?;
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for name in &args.names {
        let pod = if args.kind == Some(Thing::Image) { None } else { pods.find(name).ok() };
        let value = match pod {
            Some(entry) => Some(of_container(&pods, &store, &volumes, &Container::read(&pods, entry)?)),
            None if args.kind == Some(Thing::Container) => None,
            None => image::stored(context, &store, name)?.map(|image| of_image(&store, &image)),
        };
        match value {
            Some(value) => found.push(value),
            None => missing.push(name),
        }
    }
    output::write(&rendered(template.as_ref(), &found)?)?;
    for name in &missing {
        output::complain(&format!("Error: No such object: {name}\n"));
    }
    Ok(u8::from(!missing.is_empty()))
}

/// What is printed of values: a line of the template for each, or all in JSON.
pub(super) fn rendered(template: Option<&Template>, values: &[Value]) -> Result<String, CommandError> {
    let Some(template) = template else { return pretty(values) };
    values.iter().map(|value| Ok(template.render(value)? + "\n")).collect()
}

/// Values in JSON, as docker lays it out.
fn pretty(values: &[Value]) -> Result<String, CommandError> {
    use serde::Serialize as _;
    let mut json = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    values.serialize(&mut serde_json::Serializer::with_formatter(&mut json, indent))?;
    json.push(b'\n');
    Ok(String::from_utf8(json)?)
}

fn of_container(pods: &Pods, store: &Store, volumes: &Path, container: &Container) -> Value {
    let state = container.state();
    let report = (state == "running").then(|| client::report(pods, &container.entry)).flatten();
    let pid = report.as_ref().map_or(0, |report| report.pid);
    let runs = container.entry.state == State::Running;
    let time = |ns: Option<u64>| ns.map_or_else(|| NO_TIME.to_owned(), moment::rfc3339);
    let app = container.app.as_ref();
    let finished = match state {
        "running" => None,
        "restarting" => app.and_then(|app| app.finished_ns),
        _ => container.end.map(|end| end.finished_ns),
    };
    let exec = container.first().map(|(_, app)| app.exec.clone()).unwrap_or_default();
    let digits = container.image_id().map(|id| format!("sha256:{}", image::digits_of(&id))).unwrap_or_default();
    let network = container.network();
    let mounts = mounts(container, volumes);
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
            "Running": runs,
            "Paused": false,
            "Restarting": state == "restarting",
            "OOMKilled": app.is_some_and(|app| app.oom_killed),
            "Dead": state == "dead",
            "Pid": pid,
            "ExitCode": container.exit_code(),
            "Error": app.and_then(|app| app.reason.clone()).unwrap_or_default(),
            "StartedAt": time(app.and_then(|app| app.started_ns).or(container.entry.started_ns)),
            "FinishedAt": time(finished),
        },
        "Image": digits,
        "Name": format!("/{}", container.name()),
        "RestartCount": container.restarts,
        "Driver": "overlay",
        "Platform": "linux",
        "LogPath": log_path(pods, container).unwrap_or_default(),
        "Mounts": mounts,
        "Config": config(container, store, life.as_ref()),
        "HostConfig": {
            "Binds": binds(&mounts),
            "NetworkMode": network,
            "Privileged": false,
            "ReadonlyRootfs": container.first().is_some_and(|(runtime, _)| runtime.read_only_root_fs),
            "RestartPolicy": { "Name": policy, "MaximumRetryCount": retries.parse::<u32>().unwrap_or(0) },
            "AutoRemove": life.as_ref().is_none_or(|life| life.remove),
        },
        "NetworkSettings": network_settings(pods, container, &network, report.as_ref()),
    })
}

/// How it is to be run, if that was said and is kept: a container that is removed at its end is not run again.
fn life(pods: &Pods, container: &Container) -> Option<Life> {
    let json = pods.open(&container.entry).ok()?.setup().ok()??;
    Setup::from_json(&json).ok()?.life
}

/// The file that what it writes is kept in.
fn log_path(pods: &Pods, container: &Container) -> Option<String> {
    let (runtime, _) = container.first()?;
    let file = pods.open(&container.entry).ok()?.log(&runtime.name, 0).ok()??;
    let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    path.into_os_string().into_string().ok()
}

/// Its addresses, and the ports that lead into it: docker's has one address of each family.
fn network_settings(pods: &Pods, container: &Container, network: &str, report: Option<&PodReport>) -> Value {
    let net = container.manifest.as_ref().and_then(|manifest| NetRequest::of(manifest).ok());
    let ips = net.zip(report).map_or_else(Vec::new, |(net, report)| addresses::of_pod(&net, report));
    let first = |wanted: fn(&IpAddr) -> bool| ips.iter().find(|ip| wanted(ip)).map(ToString::to_string);
    let (four, six) = (first(IpAddr::is_ipv4).unwrap_or_default(), first(IpAddr::is_ipv6).unwrap_or_default());
    let mut ports: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (inside, outside) in container.published(pods) {
        let (ip, port) = outside.rsplit_once(':').unwrap_or(("", &outside));
        let ip = ip.trim_start_matches('[').trim_end_matches(']');
        ports.entry(inside).or_default().push(json!({ "HostIp": ip, "HostPort": port }));
    }
    json!({
        "Ports": ports,
        "IPAddress": four,
        "GlobalIPv6Address": six,
        "Networks": { (network): { "IPAddress": four, "GlobalIPv6Address": six } },
    })
}

/// What of the host it mounts: `SOURCE:TARGET[:ro]`.
fn binds(mounts: &[Value]) -> Vec<String> {
    let of_mount = |mount: &Value| {
        let text = |field: &str| mount[field].as_str().unwrap_or_default().to_owned();
        let source = mount["Name"].as_str().map_or_else(|| text("Source"), str::to_owned);
        let mode = if mount["RW"] == false { ":ro" } else { "" };
        (!source.is_empty()).then(|| format!("{source}:{}{mode}", text("Destination")))
    };
    mounts.iter().filter_map(of_mount).collect()
}

fn config(container: &Container, store: &Store, life: Option<&Life>) -> Value {
    let Some((runtime, app)) = container.first() else { return Value::Null };
    let mut config = of_app(app);
    if let Some(user) = runtime.annotations.get(oci::USER) {
        // As the image or the command line has it: its group follows from it.
        config.insert("User".into(), user.into());
    }
    config.insert("Image".into(), container.image(store).into());
    let hostname = app.environment.get("HOSTNAME").map_or_else(|| container.name(), str::to_owned);
    config.insert("Hostname".into(), hostname.into());
    config.insert("Labels".into(), json!(container.labels()));
    config.insert("Tty".into(), life.is_some_and(|life| life.tty).into());
    config.insert("OpenStdin".into(), life.is_some_and(|life| life.stdin).into());
    if let Some(signal) = runtime.annotations.get(oci::STOP_SIGNAL) {
        config.insert("StopSignal".into(), signal.into());
    }
    let ports = app.ports.iter().map(|port| (format!("{}/{}", port.port, port.protocol), json!({})));
    config.insert("ExposedPorts".into(), Value::Object(ports.collect()));
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

/// What it mounts, some of it named volumes, which are in `volumes`.
fn mounts(container: &Container, volumes: &Path) -> Vec<Value> {
    let (Some(manifest), Some((runtime, _))) = (&container.manifest, container.first()) else { return Vec::new() };
    let mounted = runtime.mounts.iter().filter_map(|mount| Some((mount, manifest.volume(&mount.volume)?)));
    let shown = mounted.map(|(mount, volume)| {
        let writable = volume.read_only != Some(true);
        let (kind, source) = match &volume.kind {
            VolumeKind::Host { source, .. } => ("bind", source.as_str()),
            VolumeKind::Empty { .. } => ("volume", ""),
        };
        let mode = if writable { "" } else { "ro" };
        let mut shown =
            json!({ "Type": kind, "Source": source, "Destination": mount.path, "Mode": mode, "RW": writable });
        let named = Path::new(source).strip_prefix(volumes).ok().and_then(Path::to_str);
        if let Some(name) = named.filter(|name| !name.contains('/')) {
            shown["Type"] = "volume".into();
            shown["Name"] = name.into();
        }
        shown
    });
    shown.collect()
}

fn of_image(store: &Store, image: &ImageRecord) -> Value {
    let names = image::names(image);
    let document = |role| image::document(store, image, role);
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
        "Created": oci.get("created").and_then(Value::as_str).map_or_else(|| moment::rfc3339(created_ns(store, image)), str::to_owned),
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
