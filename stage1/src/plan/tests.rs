//! Plans of whole pods against reviewed listings, and what a manifest may not ask for.

use super::*;

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
    plan(&manifest, &PodOptions { hostname: "pod", mapping, layers: &[1, 3] }, host)
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
    assert_eq!(env, ["PATH=/opt", "AC_APP_NAME=web", "container=proa"]);
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
    for path in ["relative", "/a/../b", "/.."] {
        assert_eq!(refused(&mount(path)), PlanError::BadPath { app: "a".into(), path: path.into() });
    }
    let missing = app_with(&mount("/v"), "").expect_err("no volume");
    assert_eq!(missing, PlanError::NoVolume { app: "a".into(), volume: "v".into(), path: "/v".into() });
    let host = app_with(&mount("/v"), r#"{"name": "v", "kind": "host", "source": "/etc"}"#).expect_err("host volume");
    assert_eq!(host, PlanError::HostVolume("v".into()));
}
