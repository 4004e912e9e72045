//! Values to try: valid manifests, and JSON that resembles them.

use appc::isolator::capabilities::CapabilitySet;
use appc::isolator::limit::Limit;
use appc::resource::{Format, Quantity};
use appc::{
    AcIdentifier, AcName, App, Dependency, EnvVar, Environment, Event, EventHandler, ExposedPort, ImageManifest,
    Isolator, IsolatorValue, Labels, Mount, MountPoint, PodManifest, Port, RuntimeApp, RuntimeImage, Volume,
    VolumeKind,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

/// JSON that resembles a manifest: the schema's keys and names with values of any type.
pub(crate) fn manifest_like() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<f64>()
            .prop_filter("JSON has no infinity", |value| value.is_finite())
            .prop_map(|value| format!("{value:?}")),
        "\"[ -!#-\\[\\]-~]{0,12}\"",
        proptest::sample::select(vec![
            "ImageManifest",
            "PodManifest",
            "0.8.11",
            "example.com/a",
            "a",
            "0",
            "/x",
            "sha512-a",
            "empty",
            "host",
            "linux",
            "amd64",
            "pre-start",
            "1Gi",
            "resource/cpu",
            "os/linux/seccomp-retain-set",
            "os/unix/sysctl",
            "EPERM",
            "10.0.0.1",
        ])
        .prop_map(|text| format!("\"{text}\"")),
    ];
    let key = proptest::sample::select(vec![
        "acKind",
        "acVersion",
        "name",
        "Name",
        "value",
        "labels",
        "app",
        "annotations",
        "dependencies",
        "pathWhitelist",
        "exec",
        "eventHandlers",
        "user",
        "group",
        "supplementaryGIDs",
        "workingDirectory",
        "environment",
        "mountPoints",
        "ports",
        "isolators",
        "userAnnotations",
        "userLabels",
        "apps",
        "volumes",
        "image",
        "id",
        "mounts",
        "volume",
        "path",
        "appVolume",
        "readOnlyRootFS",
        "kind",
        "source",
        "readOnly",
        "recursive",
        "mode",
        "uid",
        "gid",
        "protocol",
        "port",
        "count",
        "socketActivated",
        "hostPort",
        "hostIP",
        "podPort",
        "imageName",
        "imageID",
        "size",
        "set",
        "errno",
        "limit",
        "request",
        "default",
    ]);
    let value = scalar.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|list| format!("[{}]", list.join(" , "))),
            vec((key.clone(), inner), 0..6).prop_map(|members| object(&members)),
        ]
    });
    (any::<bool>(), vec((key_of_a_manifest(), value), 0..6)).prop_map(|(image, mut members)| {
        let kind = if image { "ImageManifest" } else { "PodManifest" };
        members.push(("acKind", format!("\"{kind}\"")));
        members.push(("acVersion", "\"0.8.11\"".to_owned()));
        members.push(("name", "\"a\"".to_owned()));
        members.reverse();
        object(&members)
    })
}

fn key_of_a_manifest() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "labels",
        "app",
        "annotations",
        "dependencies",
        "apps",
        "volumes",
        "isolators",
        "ports",
    ])
}

fn object(members: &[(&str, String)]) -> String {
    let members: Vec<_> = members.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
    format!("{{{}}}", members.join(","))
}

fn name() -> impl Strategy<Value = AcName> {
    "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?".prop_map(|text| text.parse().expect("an AC name"))
}

fn identifier() -> impl Strategy<Value = AcIdentifier> {
    "[a-z0-9]([a-z0-9._~/-]{0,12}[a-z0-9])?"
        .prop_filter("reserved or with a form of its own", |text| {
            !matches!(text.as_str(), "name" | "os" | "arch" | "created" | "homepage" | "documentation")
        })
        .prop_map(|text| text.parse().expect("an AC identifier"))
}

/// Any text a manifest may hold: everything but NUL.
fn text() -> impl Strategy<Value = String> {
    "[^\\x00]{0,16}"
}

fn identified() -> impl Strategy<Value = Vec<(AcIdentifier, String)>> {
    btree_map(identifier(), text(), 0..4).prop_map(|map| map.into_iter().collect())
}

fn event_handlers() -> impl Strategy<Value = Vec<EventHandler>> {
    (option::of(vec(text(), 0..3)), option::of(vec(text(), 0..3))).prop_map(|(before, after)| {
        let handler = |event, exec: Vec<String>| EventHandler { event, exec_written_empty: exec.is_empty(), exec };
        let before = before.map(|exec| handler(Event::PreStart, exec));
        before.into_iter().chain(after.map(|exec| handler(Event::PostStop, exec))).collect()
    })
}

fn isolator() -> impl Strategy<Value = Isolator> {
    prop_oneof![
        any::<bool>().prop_map(IsolatorValue::NoNewPrivileges),
        (1i64..i64::MAX).prop_map(|bytes| {
            let limit = Some(Quantity::new(bytes, Format::BinarySi));
            IsolatorValue::Memory(Limit { limit, ..Default::default() })
        }),
        vec(text(), 1..4)
            .prop_map(|names| { IsolatorValue::CapabilitiesRetain(CapabilitySet::new(names).expect("not empty"),) }),
    ]
    .prop_map(|value| Isolator::new(value).expect("a known kind"))
}

fn app() -> impl Strategy<Value = App> {
    let programs = (vec(text(), 0..4), any::<bool>(), event_handlers(), vec(isolator(), 0..3));
    let identity = ("[^\\x00]{1,8}", "[^\\x00]{1,8}", vec(any::<i64>(), 0..3), option::of("/[^\\x00]{0,8}"));
    let environment = btree_map("[A-Za-z_][A-Za-z0-9_.-]{0,8}", text(), 0..4);
    let mount_point =
        (name(), text(), any::<bool>()).prop_map(|(name, path, read_only)| MountPoint { name, path, read_only });
    let port = (name(), text(), 1u16..30000, 1u16..30000, any::<bool>()).prop_map(
        |(name, protocol, port, count, socket_activated)| Port { name, protocol, port, count, socket_activated },
    );
    let user = btree_map(text(), text(), 0..3);
    (programs, identity, environment, vec(mount_point, 0..3), vec(port, 0..3), user).prop_map(
        |(
            (exec, written, event_handlers, isolators),
            (user, group, gids, directory),
            environment,
            mount_points,
            ports,
            labels,
        )| App {
            exec_written_empty: written && exec.is_empty(),
            exec,
            event_handlers,
            user,
            group,
            supplementary_gids: gids,
            working_directory: directory,
            environment: Environment::from(
                environment.into_iter().map(|(name, value)| EnvVar { name, value }).collect::<Vec<_>>(),
            ),
            mount_points,
            ports,
            isolators,
            user_annotations: labels.clone(),
            user_labels: labels,
        },
    )
}

pub(crate) fn image() -> impl Strategy<Value = ImageManifest> {
    let dependency = (identifier(), option::of("[^\\x00:-]{1,9}"), identified(), any::<u64>()).prop_map(
        |(image_name, id, labels, size)| Dependency {
            image_name,
            image_id: id.map(|id| format!("sha512-{id}").parse().expect("lenient")),
            labels: labels.into_iter().collect(),
            size,
        },
    );
    (identifier(), identified(), option::of(app()), identified(), vec(dependency, 0..3), vec(text(), 0..3)).prop_map(
        |(name, labels, app, annotations, dependencies, path_whitelist)| ImageManifest {
            labels: labels.into_iter().collect::<Labels>(),
            app,
            annotations: annotations.into_iter().collect(),
            dependencies,
            path_whitelist,
            ..ImageManifest::new(name)
        },
    )
}

pub(crate) fn volume() -> impl Strategy<Value = Volume> {
    let kind = prop_oneof![
        ("[0-9a-z]{0,4}", any::<i64>(), any::<i64>()).prop_map(|(mode, uid, gid)| VolumeKind::Empty { mode, uid, gid }),
        ("/[^,\\x00]{0,12}", option::of(any::<bool>()))
            .prop_map(|(source, recursive)| VolumeKind::Host { source, recursive }),
    ];
    (name(), kind, option::of(any::<bool>())).prop_map(|(name, kind, read_only)| Volume { name, kind, read_only })
}

fn runtime_app() -> impl Strategy<Value = RuntimeApp> {
    let mount = (name(), text(), option::of(volume()));
    let mount = mount.prop_map(|(volume, path, app_volume)| Mount { volume, path, app_volume });
    let image = (option::of(identifier()), "[a-f0-9]{1,9}", identified()).prop_map(|(name, id, labels)| RuntimeImage {
        name,
        id: Some(format!("sha512-{id}").parse().expect("lenient")),
        labels: labels.into_iter().collect(),
    });
    (name(), image, option::of(app()), any::<bool>(), vec(mount, 0..3), identified()).prop_map(
        |(name, image, app, read_only_root_fs, mounts, annotations)| RuntimeApp {
            name,
            image,
            app,
            read_only_root_fs,
            mounts,
            annotations: annotations.into_iter().collect(),
        },
    )
}

pub(crate) fn pod() -> impl Strategy<Value = PodManifest> {
    let port =
        (name(), any::<u64>(), option::of(any::<std::net::Ipv4Addr>())).prop_map(|(name, host_port, host_ip)| {
            ExposedPort { name, host_port, host_ip: host_ip.map(Into::into), pod_port: None }
        });
    let lists = (vec(runtime_app(), 0..3), vec(volume(), 0..3), vec(isolator(), 0..3), vec(port, 0..3));
    (lists, identified(), btree_map(text(), text(), 0..3)).prop_map(
        |((mut apps, mut volumes, isolators, ports), annotations, labels)| {
            apps.sort_by(|one, other| one.name.cmp(&other.name));
            apps.dedup_by(|one, other| one.name == other.name);
            volumes.sort_by(|one, other| one.name.cmp(&other.name));
            volumes.dedup_by(|one, other| one.name == other.name);
            let annotations = annotations.into_iter().collect();
            PodManifest { apps, volumes, isolators, ports, annotations, user_labels: labels, ..PodManifest::blank() }
        },
    )
}
