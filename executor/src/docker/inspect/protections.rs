//! What a container may do beside others, in docker's form, and what of docker's form no container has.

use std::collections::BTreeSet;

use appc::isolator::{capabilities, seccomp};
use appc::{App, IsolatorValue, PodManifest, RuntimeApp, VolumeKind};
use serde_json::{Map, Value, json};
use stage1::isolators::choices::approved;

use crate::devices;

/// Members of `HostConfig`. What the image asks for narrows, and nobody asked for it on the command line.
pub(super) fn of_container(manifest: &PodManifest, runtime: &RuntimeApp, app: &App) -> Map<String, Value> {
    let approved = approved(&runtime.annotations).unwrap_or_default();
    let own = app.isolators.iter().filter(|it| approved.iter().any(|name| it.name().as_str() == name));
    let (mut add, mut drop, mut options, mut score) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for isolator in own {
        match isolator.value() {
            IsolatorValue::CapabilitiesRetain(set) => {
                let kept: BTreeSet<&str> = set.names().iter().map(String::as_str).collect();
                let usual = BTreeSet::from(capabilities::DEFAULT);
                add = kept.difference(&usual).map(|name| (*name).to_owned()).collect();
                drop = dropped(usual.difference(&kept).map(|name| (*name).to_owned()).collect());
            }
            IsolatorValue::CapabilitiesRemove(set) => drop = dropped(set.names().to_vec()),
            IsolatorValue::NoNewPrivileges(true) => options.push("no-new-privileges".to_owned()),
            IsolatorValue::SeccompRetain(set) if set.entries() == [seccomp::ALL] => {
                options.push("seccomp=unconfined".to_owned());
            }
            IsolatorValue::ApparmorProfile(profile) => options.push(format!("apparmor={}", profile.as_str())),
            IsolatorValue::OomScoreAdj(of) => score = of.get(),
            _ => {}
        }
    }
    let devices: Vec<Value> = devices(manifest, runtime).collect();
    let members = json!({
        "CapAdd": add,
        "CapDrop": drop,
        "SecurityOpt": options,
        "OomScoreAdj": score,
        "Devices": devices,
    });
    let mut members = match members {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    members.extend(nowhere());
    members
}

/// All of them have a name of their own.
fn dropped(names: Vec<String>) -> Vec<String> {
    if names.len() == capabilities::DEFAULT.len() { vec!["ALL".to_owned()] } else { names }
}

fn devices(manifest: &PodManifest, runtime: &RuntimeApp) -> impl Iterator<Item = Value> {
    runtime.mounts.iter().filter(|mount| devices::is_one(&mount.volume)).filter_map(|mount| {
        match &manifest.volume(&mount.volume)?.kind {
            VolumeKind::Host { source, .. } => Some(json!({
                "PathOnHost": source, "PathInContainer": mount.path, "CgroupPermissions": "rwm",
            })),
            VolumeKind::Empty { .. } => None,
        }
    })
}

/// What is docker's default with every container: who asks for it gets that instead of an error.
fn nowhere() -> Map<String, Value> {
    let none = json!({
        "BlkioWeight": 0, "Cgroup": "", "CgroupParent": "", "CgroupnsMode": "private", "ContainerIDFile": "",
        "CpuPeriod": 0, "CpuQuota": 0, "CpusetCpus": "", "CpusetMems": "", "DeviceCgroupRules": [],
        "DeviceRequests": [], "GroupAdd": [], "Isolation": "", "MemoryReservation": 0, "MemorySwap": 0,
        "MemorySwappiness": null, "OomKillDisable": null, "PublishAllPorts": false, "Runtime": "proa",
        "UTSMode": "", "UsernsMode": "", "VolumeDriver": "", "VolumesFrom": [],
    });
    match none {
        Value::Object(none) => none,
        _ => Map::new(),
    }
}
