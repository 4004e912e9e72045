//! A container in docker's form, as `docker inspect` shows it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use appc::resource::Quantity;
use appc::{Annotations, IsolatorValue, VolumeKind};
use fetch::oci;
use pod::{Pods, State};
use serde_json::{Map, Value, json};
use stage1::isolators::choices::{Choices, SHM_BYTES};
use stage1::isolators::ulimits::{self, Ulimit};
use stage1::plan::tmpfs::Tmpfs;
use stage1::protocol::{CheckReport, PodReport};
use store::Store;

use super::{NO_TIME, of_app, protections};
use crate::annotations::STOP_TIMEOUT;
use crate::docker::container::Container;
use crate::docker::image;
use crate::launch::TERM;
use crate::net::{Joins, NetRequest, Resolvers};
use crate::setup::{Life, Setup};
use crate::{addresses, client, devices, moment, ports};

/// What is known of it. Named volumes are in `volumes`.
pub(super) fn of_container(pods: &Pods, store: &Store, volumes: &Path, container: &Container) -> Value {
    let state = container.state();
    let report = ["running", "paused"].contains(&state).then(|| client::report(pods, &container.entry)).flatten();
    let pid = report.as_ref().map_or(0, |report| report.pid);
    let runs = container.entry.state == State::Running;
    let time = |ns: Option<u64>| ns.map_or_else(|| NO_TIME.to_owned(), moment::rfc3339);
    let app = container.app.as_ref();
    let finished = match state {
        "running" | "paused" | "created" => None,
        "restarting" => app.and_then(|app| app.finished_ns),
        _ => container.end.map(|end| end.finished_ns),
    };
    let exec = container.first().map(|(_, app)| app.exec.clone()).unwrap_or_default();
    let digits = container.image_id().map(|id| format!("sha256:{}", image::digits_of(&id))).unwrap_or_default();
    let networks = container.networks();
    let mounts = mounts(container, volumes);
    let setup = setup(pods, container);
    let life = setup.as_ref().and_then(|setup| setup.life.clone());
    json!({
        "Id": container.id(),
        "Created": container.created_at(),
        "Path": exec.first().cloned().unwrap_or_default(),
        "Args": exec.get(1..).unwrap_or_default(),
        "State": {
            "Status": state,
            "Running": runs,
            "Paused": container.paused,
            "Restarting": state == "restarting",
            "OOMKilled": app.is_some_and(|app| app.oom_killed),
            "Dead": state == "dead",
            "Health": health(container, report.as_ref()),
            "Pid": pid,
            "ExitCode": container.exit_code(),
            "Error": app.and_then(|app| app.reason.clone()).unwrap_or_default(),
            "StartedAt": time(app.and_then(|app| app.started_ns).or(container.entry.started_ns).filter(|_| state != "created")),
            "FinishedAt": time(finished),
        },
        "Image": digits,
        "Name": format!("/{}", container.name()),
        "RestartCount": container.restarts,
        "Driver": "overlay",
        "Platform": "linux",
        "GraphDriver": { "Name": "overlay", "Data": Value::Null },
        "LogPath": log_path(pods, container).unwrap_or_default(),
        "Mounts": mounts,
        "Config": config(container, store, setup.as_ref()),
        "HostConfig": host_config(container, &mounts, &networks[0], life.as_ref()),
        "NetworkSettings": network_settings(pods, container, &networks, report.as_ref()),
    })
}

/// What its health checks came to, with the last of them; null for a container without.
fn health(container: &Container, report: Option<&PodReport>) -> Value {
    let live = report.and_then(|report| report.apps.first()?.health.clone());
    let Some(health) = live.or_else(|| container.health()) else { return Value::Null };
    let check = |check: &CheckReport| {
        json!({
            "Start": moment::rfc3339(check.start_ns), "End": moment::rfc3339(check.end_ns),
            "ExitCode": check.exit_code, "Output": check.output,
        })
    };
    json!({
        "Status": health.status.as_str(),
        "FailingStreak": health.failing_streak,
        "Log": health.log.iter().map(check).collect::<Vec<_>>(),
    })
}

/// What was asked of the host for it.
fn host_config(container: &Container, mounts: &[Value], network: &str, life: Option<&Life>) -> Value {
    let policy = life.map(|life| life.restart.as_str()).filter(|policy| !policy.is_empty()).unwrap_or("no");
    let (policy, retries) = policy.split_once(':').unwrap_or((policy, ""));
    let (manifest, app) = (container.manifest.as_ref(), container.first().map(|(_, app)| app));
    let net = manifest.and_then(|manifest| NetRequest::of(manifest).ok()).unwrap_or_default();
    let mut bindings: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for port in manifest.into_iter().flat_map(ports::of) {
        let ip = port.address().map(|ip| ip.to_string()).unwrap_or_default();
        let (_, number) =
            port.outside().rsplit_once(':').map(|(ip, port)| (ip.to_owned(), port.to_owned())).unwrap_or_default();
        bindings.entry(port.inside()).or_default().push(json!({ "HostIp": ip, "HostPort": number }));
    }
    let choices = manifest.and_then(|manifest| Choices::of(&manifest.annotations).ok()).unwrap_or_default();
    let (mut memory, mut cpus, mut shares) = (0, 0, 0);
    for isolator in app.into_iter().flat_map(|app| &app.isolators) {
        match isolator.value() {
            IsolatorValue::Memory(of) => memory = of.limit.as_ref().map_or(0, Quantity::value),
            IsolatorValue::Cpu(of) => cpus = of.limit.as_ref().map_or(0, |cpus| cpus.milli_value() * 1_000_000),
            IsolatorValue::CpuShares(of) => shares = of.get(),
            _ => {}
        }
    }
    let mut shown = json!({
        "Binds": binds(mounts),
        "LogConfig": { "Type": "json-file", "Config": {} },
        "NetworkMode": network,
        "PortBindings": bindings,
        "RestartPolicy": { "Name": policy, "MaximumRetryCount": retries.parse::<u32>().unwrap_or(0) },
        "AutoRemove": life.is_none_or(|life| life.remove),
        "Dns": match &net.resolvers {
            Resolvers::These(servers) => servers.iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        },
        "DnsOptions": net.options,
        "DnsSearch": net.search,
        "ExtraHosts": net.hosts.iter().map(|(ip, name)| format!("{name}:{ip}")).collect::<Vec<_>>(),
        "Links": Value::Null,
        "PidMode": "",
        "IpcMode": "private",
        "Privileged": false,
        "ReadonlyRootfs": container.first().is_some_and(|(runtime, _)| runtime.read_only_root_fs),
        "Memory": memory,
        "NanoCpus": cpus,
        "CpuShares": shares,
        "Tmpfs": in_memory(container),
        "ShmSize": choices.shm_bytes.unwrap_or(SHM_BYTES),
        "PidsLimit": choices.processes,
        "Ulimits": manifest.map_or_else(Vec::new, |manifest| ulimits(&manifest.annotations)),
        "Init": true,
    });
    if let (Some(manifest), Some((runtime, app)), Value::Object(shown)) = (manifest, container.first(), &mut shown) {
        shown.extend(protections::of_container(manifest, runtime, app));
    }
    shown
}

/// The options of its file systems in memory, by their paths.
fn in_memory(container: &Container) -> Value {
    let options = |path: &str, tmpfs: String| match container.volume_at(path).map(|volume| &volume.kind) {
        Some(VolumeKind::Empty { mode, uid, gid })
            if mode.trim_start_matches('0') != "1777" || (*uid, *gid) != (0, 0) =>
        {
            format!("{tmpfs},mode={mode},uid={uid},gid={gid}")
        }
        _ => tmpfs,
    };
    let shown = |(path, tmpfs): (String, Tmpfs)| (path.clone(), options(&path, tmpfs.to_string()).into());
    let memory: Map<_, _> = container.memory().into_iter().map(shown).collect();
    if memory.is_empty() { Value::Null } else { Value::Object(memory) }
}

/// Its resource limits, as far as they were given; -1 is none.
fn ulimits(annotations: &Annotations) -> Vec<Value> {
    let bound = |bound: Option<u64>| bound.map_or(json!(-1), Value::from);
    let shown = |it: Ulimit| json!({ "Name": it.name, "Soft": bound(it.soft), "Hard": bound(it.hard) });
    ulimits::of(annotations).unwrap_or_default().into_iter().map(shown).collect()
}

/// What it takes to run it again, if that is kept: a container that is removed at its end is not run again.
fn setup(pods: &Pods, container: &Container) -> Option<Setup> {
    let json = pods.open(&container.entry).ok()?.setup().ok()??;
    Setup::from_json(&json).ok()
}

/// The file that what it writes is kept in.
fn log_path(pods: &Pods, container: &Container) -> Option<String> {
    let (runtime, _) = container.first()?;
    let file = pods.open(&container.entry).ok()?.log(&runtime.name, 0).ok()??;
    let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    path.into_os_string().into_string().ok()
}

/// Its addresses, and the ports that lead into it. Docker's has one address of each family on each network.
fn network_settings(pods: &Pods, container: &Container, networks: &[String], report: Option<&PodReport>) -> Value {
    let net = container.manifest.as_ref().and_then(|manifest| NetRequest::of(manifest).ok());
    let ips = net.as_ref().zip(report).map_or_else(Vec::new, |(net, report)| addresses::of_pod(net, report));
    let exposed = if report.is_some() { container.exposed() } else { Vec::new() };
    let mut ports: BTreeMap<String, Option<Vec<Value>>> = exposed.into_iter().map(|port| (port, None)).collect();
    for (inside, outside) in container.published(pods) {
        let (ip, port) = outside.rsplit_once(':').unwrap_or(("", &outside));
        let ip = ip.trim_start_matches('[').trim_end_matches(']');
        ports.entry(inside).or_default().get_or_insert_default().push(json!({ "HostIp": ip, "HostPort": port }));
    }
    let joins = net.map(|net| net.joins).unwrap_or_default();
    let of_network =
        |name: &String| (name.clone(), endpoint(joins.iter().find(|it| it.network == *name), &ips, report));
    let (four, six) = first_of_each(&ips);
    json!({
        "Ports": ports,
        "IPAddress": four.unwrap_or_default(),
        "GlobalIPv6Address": six.unwrap_or_default(),
        "Gateway": "",
        "MacAddress": "",
        "Networks": networks.iter().map(of_network).collect::<Map<_, _>>(),
    })
}

/// Its place on a network: of pods, if it joins one, else the one that all its addresses are of.
fn endpoint(joins: Option<&Joins>, ips: &[IpAddr], report: Option<&PodReport>) -> Value {
    let joined = |joins: &Joins| report?.network.joined.iter().find(|it| it.name == joins.network);
    let (four, six) = match joins {
        Some(joins) => {
            let place = joined(joins);
            let four = place.and_then(|place| place.address).map(|ip| ip.to_string());
            (four, place.and_then(|place| place.newer_address).map(|ip| ip.to_string()))
        }
        None => first_of_each(ips),
    };
    let length = joins.filter(|_| four.is_some()).map_or(0, |joins| joins.subnet.length());
    json!({
        "IPAddress": four.unwrap_or_default(),
        "IPPrefixLen": length,
        "GlobalIPv6Address": six.unwrap_or_default(),
        "Gateway": "",
        "MacAddress": "",
        "Aliases": joins.map(|joins| joins.aliases.clone()).unwrap_or_default(),
    })
}

/// The first address of each family.
fn first_of_each(ips: &[IpAddr]) -> (Option<String>, Option<String>) {
    let first = |wanted: fn(&IpAddr) -> bool| ips.iter().find(|ip| wanted(ip)).map(ToString::to_string);
    (first(IpAddr::is_ipv4), first(IpAddr::is_ipv6))
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

fn config(container: &Container, store: &Store, setup: Option<&Setup>) -> Value {
    let Some((runtime, app)) = container.first() else { return Value::Null };
    let life = setup.and_then(|setup| setup.life.as_ref());
    let mut config = of_app(app);
    if let Some(user) = runtime.annotations.get(oci::USER) {
        // As the image or the command line has it: its group follows from it.
        config.insert("User".into(), user.into());
    } else if (app.user.as_str(), app.group.as_str()) == ("0", "0") && !image_has_user(container, setup) {
        // Nobody said so.
        config.insert("User".into(), "".into());
    }
    config.insert("Image".into(), container.image(store).into());
    let of_variable = || app.environment.get("HOSTNAME").map(str::to_owned);
    let hostname = setup.map(|setup| setup.hostname.clone()).or_else(of_variable).unwrap_or_else(|| container.name());
    if let Some(Value::Array(environment)) = config.get_mut("Env") {
        // docker's containers have them without being asked, and its inspect does not tell.
        let own = [format!("HOSTNAME={hostname}"), format!("TERM={TERM}")];
        environment.retain(|variable| !own.iter().any(|own| variable == own));
    }
    config.insert("Hostname".into(), hostname.into());
    for (name, value) in [("AttachStdin", json!(false)), ("Domainname", json!("")), ("OnBuild", Value::Null)] {
        config.insert(name.into(), value);
    }
    config.insert("Labels".into(), json!(container.labels()));
    config.insert("Tty".into(), life.is_some_and(|life| life.tty).into());
    config.insert("OpenStdin".into(), life.is_some_and(|life| life.stdin).into());
    if let Some(signal) = runtime.annotations.get(oci::STOP_SIGNAL) {
        config.insert("StopSignal".into(), signal.into());
    }
    let annotations = container.manifest.as_ref().map(|manifest| &manifest.annotations);
    if let Some(seconds) = annotations.and_then(|all| all.get(STOP_TIMEOUT)?.parse::<i64>().ok()) {
        config.insert("StopTimeout".into(), seconds.into());
    }
    let check = runtime.annotations.get(oci::HEALTHCHECK).and_then(|check| serde_json::from_str(check).ok());
    config.insert("Healthcheck".into(), check.unwrap_or(Value::Null));
    let ports = container.exposed().into_iter().map(|port| (port, json!({})));
    config.insert("ExposedPorts".into(), Value::Object(ports.collect()));
    let volumes =
        container.mounts().filter(|(source, _)| source.is_none()).map(|(_, path)| (path.to_owned(), json!({})));
    config.insert("Volumes".into(), Value::Object(volumes.collect()));
    Value::Object(config)
}

/// Whether its image says who it is to be; then root was asked for.
fn image_has_user(container: &Container, setup: Option<&Setup>) -> bool {
    let images = container.manifest.as_ref().zip(setup).and_then(|(manifest, setup)| setup.images(manifest).ok());
    images.is_some_and(|images| images.iter().any(|image| image.annotations.get(oci::USER).is_some()))
}

/// What it mounts, some of it named volumes, which are in `volumes`.
fn mounts(container: &Container, volumes: &Path) -> Vec<Value> {
    let (Some(manifest), Some((runtime, _))) = (&container.manifest, container.first()) else { return Vec::new() };
    let memory = container.memory();
    let mounts = runtime.mounts.iter().filter(|mount| !devices::is_one(&mount.volume));
    let mounted = mounts.filter_map(|mount| Some((mount, manifest.volume(&mount.volume)?)));
    let shown = mounted.map(|(mount, volume)| {
        let writable = volume.read_only != Some(true);
        let (kind, source) = match &volume.kind {
            VolumeKind::Host { source, .. } => ("bind", source.as_str()),
            VolumeKind::Empty { .. } if memory.contains_key(&mount.path) => ("tmpfs", ""),
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
