//! Plans of whole pods against reviewed listings, and what a manifest may not ask for.

use appc::{Volume, VolumeKind};

use super::*;
use crate::environment;

/// Where the apps find the metadata service.
const URL: &str = "http://169.254.169.254:18112/token";

const TWO_APPS: &str = r#"{
    "acKind": "PodManifest", "acVersion": "0.8.11",
    "apps": [
        {"name": "web", "image": {"id": "sha512-aa"}, "readOnlyRootFS": true,
         "app": {"exec": ["/bin/web", "-v"], "user": "www", "group": "www", "supplementaryGIDs": [5, 6],
                 "workingDirectory": "/srv", "environment": [{"name": "PATH", "value": "/opt"}, {"name": "AC_APP_NAME", "value": "x"}],
                 "mountPoints": [{"name": "data", "path": "/srv/data/", "readOnly": true}]}},
        {"name": "log", "image": {"id": "sha512-bb"}, "mounts": [{"volume": "data", "path": "/in"}],
         "app": {"exec": ["log"], "user": "0", "group": "0"}}
    ],
    "volumes": [{"name": "data", "kind": "empty"}]
}"#;

fn plan_of(json: &str, mapping: &IdMapping, host: &Host) -> Result<Plan, PlanError> {
    let manifest = PodManifest::from_json(json.as_bytes()).expect("a valid manifest");
    let source = |volume: &Volume| match &volume.kind {
        VolumeKind::Empty { .. } => None,
        VolumeKind::Host { source, .. } if source.starts_with("/dev/") => Some(SourceKind::Device),
        VolumeKind::Host { source, .. } if source.ends_with("file") => Some(SourceKind::File),
        VolumeKind::Host { .. } => Some(SourceKind::Directory),
    };
    let sources: Vec<_> = manifest.volumes.iter().map(source).collect();
    plan(
        &manifest,
        &PodOptions {
            hostname: "pod",
            mapping,
            layers: &[1, 3],
            sources: &sources,
            metadata_url: Some(URL),
            net: Net::Loopback,
            uplink: None,
            etc: &[],
            cgroup: false,
        },
        host,
    )
}

/// One app whose manifest has this JSON in its `app`, and these volumes in the pod.
fn app_with(app: &str, volumes: &str) -> Result<Plan, PlanError> {
    let json = format!(
        r#"{{"acKind": "PodManifest", "acVersion": "0.8.11", "volumes": [{volumes}], "apps": [
            {{"name": "a", "image": {{"id": "sha512-aa"}}, "app": {{"user": "0", "group": "0", {app}}}}}]}}"#
    );
    plan_of(&json, &IdMapping::single(1000, 1000), &Host::default())
}

fn listing(plan: &Plan) -> String {
    let mut text = String::new();
    let list = |ops: &[Op]| ops.iter().fold(String::new(), |text, op| format!("{text}  {op}\n"));
    text.push_str(&format!("early\n{}sandbox\n{}", list(&plan.early), list(&plan.sandbox)));
    for app in &plan.apps {
        text.push_str(&format!("build {}\n{}enter {}\n{}", app.name, list(&app.build), app.name, list(&app.enter)));
    }
    text
}

/// The listing must be the reviewed one; `BLESS=1 cargo test` writes it anew.
fn assert_golden(name: &str, text: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, text).expect("write the golden file");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{path} differs; look at the change, then BLESS=1");
}

#[test]
fn plans_are_the_reviewed_ones() {
    let range = IdMapping::range(1000, 1000, (100_000, 65_536), (100_000, 65_536));
    let v2 = Host { throttled_cpus: 2, unified_cgroups: true };
    assert_golden("plan-range.txt", &listing(&plan_of(TWO_APPS, &range, &v2).unwrap()));
    let single = IdMapping::single(1000, 1000);
    assert_golden("plan-single.txt", &listing(&plan_of(TWO_APPS, &single, &Host::default()).unwrap()));
}

#[test]
fn what_an_app_starts_with_is_its_manifests() {
    let plan = plan_of(TWO_APPS, &IdMapping::single(1, 1), &Host::default()).unwrap();
    let [web, log] = &plan.apps[..] else { panic!("two apps") };
    assert_eq!((web.user.as_str(), web.group.as_str(), &web.supplementary_gids[..]), ("www", "www", &[5, 6][..]));
    assert_eq!((web.working_directory.as_str(), log.working_directory.as_str()), ("/srv", "/"));
    let env: Vec<_> = web.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let url = format!("AC_METADATA_URL={URL}");
    assert_eq!(env, ["PATH=/opt", "AC_APP_NAME=web", &url, "container=proa"]);
    assert_eq!(log.environment[0].1, environment::DEFAULT_PATH);
}

#[test]
fn an_oci_user_brings_its_group() {
    let json = TWO_APPS.replace(
        r#""name": "log","#,
        r#""name": "log", "annotations": [{"name": "proa.local/oci/user", "value": "0"}],"#,
    );
    let plan = plan_of(&json, &IdMapping::single(1, 1), &Host::default()).unwrap();
    assert_eq!([plan.apps[0].group.as_str(), plan.apps[1].group.as_str()], ["www", ""]);
}

#[test]
fn masks_cover_every_listed_path_once() {
    let plan = plan_of(TWO_APPS, &IdMapping::single(1, 1), &Host::default()).unwrap();
    let masked: Vec<_> =
        plan.sandbox.iter().filter(|op| matches!(op, Op::MaskFile { .. } | Op::MaskDir { .. })).collect();
    let expected = paths::MASKED_PROC_FILES.len() + paths::MASKED_PROC_DIRS.len() + paths::MASKED_SYS_DIRS.len();
    assert_eq!(masked.len(), expected + 1, "the lists, and /sys/fs/cgroup");
    assert!(masked.iter().enumerate().all(|(index, op)| !masked[..index].contains(op)));
}

#[test]
fn what_cannot_be_is_refused() {
    let volume = r#"{"name": "v", "kind": "empty"}"#;
    let mount = |path: &str| format!(r#""exec": ["x"], "mountPoints": [{{"name": "v", "path": "{path}"}}]"#);
    let refused = |app: &str| app_with(app, volume).expect_err(app);
    assert_eq!(refused(r#""exec": []"#), PlanError::NoExec("a".into()));
    assert_eq!(refused(r#""exec": [""]"#), PlanError::NoExec("a".into()));
    let gid = refused(r#""exec": ["x"], "supplementaryGIDs": [-1]"#);
    assert_eq!(gid, PlanError::BadGroup { app: "a".into(), gid: -1 });
    for path in ["/", "//", "/.", "/proc", "/proc/self", "/sys", "/dev", "/dev/pts", "//dev/./shm"] {
        assert_eq!(refused(&mount(path)), PlanError::ReservedPath { app: "a".into(), path: path.into() });
    }
    for path in ["relative", "a", ""] {
        assert_eq!(refused(&mount(path)), PlanError::BadPath { app: "a".into(), path: path.into() });
    }
    let missing = app_with(&mount("/v"), "").expect_err("no volume");
    assert_eq!(missing, PlanError::NoVolume { app: "a".into(), volume: "v".into(), path: "/v".into() });
    let owner = app_with(&mount("/v"), r#"{"name": "v", "kind": "empty", "uid": -1}"#).expect_err("no id");
    assert_eq!(owner, PlanError::BadOwner { volume: "v".into(), uid: -1, gid: 0 });
    let owner = app_with(&mount("/v"), r#"{"name": "v", "kind": "empty", "uid": 5}"#).expect_err("not mapped");
    let text = "volume \"v\": its owner 5:0 is not one of the pod's ids, which are 0";
    assert_eq!(owner.to_string(), text);
}

/// What is done for an app's volumes: the operations that bind and attach them.
fn volume_ops(mounts: &str, volumes: &str) -> Result<Vec<String>, PlanError> {
    let json = format!(
        r#"{{"acKind": "PodManifest", "acVersion": "0.8.11", "volumes": [{volumes}], "apps": [
            {{"name": "a", "image": {{"id": "sha512-aa"}}, "mounts": [{mounts}],
              "annotations": [{{"name": "proa.local/image-content", "value": "[\"/var/lib/db\"]"}},
                              {{"name": "proa.local/tmpfs", "value": "{{\"/m\": \"noexec,size=64k\"}}"}}],
              "app": {{"exec": ["x"], "user": "0", "group": "0",
                       "mountPoints": [{{"name": "ro", "path": "/ro", "readOnly": true}}]}}}}]}}"#
    );
    let range = IdMapping::range(1000, 1000, (100_000, 65_536), (100_000, 65_536));
    let plan = plan_of(&json, &range, &Host::default())?;
    let ops = plan.apps[0].build.iter().chain(&plan.apps[0].enter);
    let shown = |op: &Op| match op {
        Op::BindVolume { attr, .. } | Op::KeepContent { attr, .. } => Some(format!("{op} {:#x}", attr.bits())),
        Op::NewFs { slot: Slot::Volume(_), attr, .. } => Some(format!("{op} {:#x}", attr.bits())),
        Op::OwnVolume { .. } | Op::AttachVolume { .. } | Op::AttachDevice { .. } => Some(op.to_string()),
        _ => None,
    };
    Ok(ops.filter_map(shown).collect())
}

#[test]
fn volumes_are_bound_and_attached_as_they_are() {
    let ro = r#"{"name": "ro", "kind": "empty"}"#;
    let ops = |mounts: &str, volumes: &str| volume_ops(mounts, &format!("{ro},{volumes}")).unwrap();
    let plain = ops(r#"{"volume": "h", "path": "/h/../i"}"#, r#"{"name": "h", "kind": "host", "source": "/srv"}"#);
    let expected = [
        "bind volume 1 recursively for mount 0 0x6",
        "bind volume 0 for mount 1 0x7",
        "attach volume \"h\", mount 0, at <rootfs>/h/../i",
        "attach volume \"ro\", mount 1, at <rootfs>/ro",
    ];
    assert_eq!(plain, expected);
    let file = ops(r#"{"volume": "f", "path": "/f"}"#, r#"{"name": "f", "kind": "host", "source": "/a/file"}"#);
    assert_eq!(file[0], "bind volume 1 for mount 0 0x6");
    let alone = r#"{"name": "h", "kind": "host", "source": "/srv", "recursive": false, "readOnly": true}"#;
    assert_eq!(ops(r#"{"volume": "h", "path": "/h"}"#, alone)[0], "bind volume 1 for mount 0 0x7");
    let owned = r#"{"name": "e", "kind": "empty", "mode": "0700", "uid": 5, "gid": 6}"#;
    assert_eq!(ops(r#"{"volume": "e", "path": "/e"}"#, owned)[0], "give volume 1 to 5:6");
    let device = r#"{"name": "d", "kind": "host", "source": "/dev/fuse"}"#;
    let device = ops(r#"{"volume": "d", "path": "/dev/net/x"}"#, device);
    assert_eq!((&*device[0], &*device[2]), ("bind volume 1 for mount 0 0xa", "attach mount 0 at <rootfs/dev/net/x>"));
    let content = ops(r#"{"volume": "c", "path": "/var/lib/db/"}"#, r#"{"name": "c", "kind": "empty"}"#);
    assert_eq!(content[1], "make <rootfs>/var/lib/db a volume 0x6");
    let memory =
        ops(r#"{"volume": "m", "path": "/m/"}"#, r#"{"name": "m", "kind": "empty", "mode": "1777", "uid": 5}"#);
    assert_eq!(memory[0], "make tmpfs for <mount 0> with mode=1777,uid=5,gid=0,size=64k 0xe");
    assert_eq!(memory[2], "attach volume \"m\", mount 0, at <rootfs>/m");
}

#[test]
fn a_volumes_word_on_writing_counts_more_than_the_mount_points() {
    for (volume, bits) in [("", "0x7"), (r#", "readOnly": false"#, "0x6"), (r#", "readOnly": true"#, "0x7")] {
        let volume = format!(r#"{{"name": "ro", "kind": "empty"{volume}}}"#);
        let here = volume_ops("", &volume).unwrap();
        let there = volume_ops(r#"{"volume": "ro", "path": "/ro/"}"#, &volume).unwrap();
        assert!(here[0].ends_with(bits) && there[0].ends_with(bits), "{volume}: {here:?} {there:?}");
    }
}

#[test]
fn overlapping_mounts_are_refused() {
    let volumes = r#"{"name": "ro", "kind": "empty"}, {"name": "v", "kind": "empty"}, {"name": "w", "kind": "empty"}"#;
    let two = |one: &str, other: &str| {
        volume_ops(&format!(r#"{{"volume": "v", "path": "{one}"}}, {{"volume": "w", "path": "{other}"}}"#), volumes)
    };
    assert!(two("/a/b", "/a/c").is_ok() && two("/a", "/a-b").is_ok());
    for (one, other, outer, inner) in [
        ("/a", "/a", "/a", "/a"),
        ("/a/b/", "/a", "/a", "/a/b"),
        ("/a", "/a/./b//c", "/a", "/a/b/c"),
        ("/ro/x", "/a", "/ro", "/ro/x"),
    ] {
        let expected = PlanError::Overlap { app: "a".into(), outer: outer.into(), inner: inner.into() };
        assert_eq!(two(one, other), Err(expected));
    }
}
