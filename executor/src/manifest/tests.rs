//! What requests and images come to, and what they cannot come to.

use appc::{ImageManifest, PodManifest};
use fetch::oci;

use super::*;

const ACI: &str = include_str!("../../tests/golden/image-aci.json");
const OCI: &str = include_str!("../../tests/golden/image-oci.json");

const BASE: &str = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/base","labels":[
    {"name":"os","value":"linux"},{"name":"arch","value":"amd64"}],"app":{"exec":[],"user":"0","group":"0"}}"#;

fn request() -> AppRequest {
    AppRequest::of(fetch::ImageRef::Hello)
}

fn app_image(image: &str, request: AppRequest) -> AppImage {
    AppImage {
        wanted: WantedApp::Asked(Box::new(request)),
        id: ImageId::sha256([7; 32]),
        manifest: ImageManifest::from_json(image.as_bytes()).unwrap(),
    }
}

fn reified(apps: Vec<AppImage>) -> Result<Reified, ReifyError> {
    reify(PodManifest::blank(), &PodEnvironment::default(), apps)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// What is executed for an image, `--exec` and arguments.
fn exec_of(image: &str, exec: Option<&str>, args: Option<&[&str]>) -> Vec<String> {
    let request = AppRequest { exec: exec.map(str::to_owned), args: args.map(words), ..request() };
    let reified = reified(vec![app_image(image, request)]).unwrap();
    reified.manifest.apps[0].app.as_ref().unwrap().exec.clone()
}

#[test]
fn what_was_asked_for_replaces_what_the_image_says() {
    let asked = AppRequest {
        name: Some("web".parse().unwrap()),
        exec: Some("/bin/sh".into()),
        args: Some(words(&["-c", "true"])),
        environment: vec![("LANG".into(), "C".into()), ("NEW".into(), "1".into())],
        user: Some("33".into()),
        group: Some("www-data".into()),
        working_directory: Some("/srv".into()),
        ..request()
    };
    let reified = reified(vec![app_image(ACI, asked), app_image(OCI, request())]).unwrap();
    let json = String::from_utf8(reified.manifest.to_json_pretty().unwrap()).unwrap();
    crate::golden::check("pod.json", &format!("{json}\n"));
    assert_eq!(reified.implicit_volumes, ["web-data (/var/lib/redis)"], "the other hides nothing");
}

#[test]
fn an_oci_user_brings_its_group_unless_one_is_named() {
    let (user, group) = (|| Some("anna".to_owned()), || Some("staff".to_owned()));
    for (image, user, group, told) in [
        (OCI, user(), None, Some("anna")),
        (OCI, user(), group(), None),
        (OCI, None, group(), None),
        (ACI, user(), None, None),
    ] {
        let asked = AppRequest { user, group, ..request() };
        let reified = reified(vec![app_image(image, asked)]).unwrap();
        assert_eq!(reified.manifest.apps[0].annotations.get(oci::USER), told);
    }
}

#[test]
fn a_reified_manifest_can_be_read_again() {
    let reified = reified(vec![app_image(ACI, request())]).unwrap();
    let json = reified.manifest.to_json().unwrap();
    assert_eq!(PodManifest::from_json(&json).unwrap().to_json().unwrap(), json);
}

#[test]
fn arguments_are_appended_to_an_aci_and_replace_the_cmd_of_an_oci_image() {
    for (image, exec, args, expected) in [
        (ACI, None, None, &["/usr/bin/redis-server", "--daemonize", "no"][..]),
        (ACI, None, Some(&["-v"][..]), &["/usr/bin/redis-server", "--daemonize", "no", "-v"]),
        (ACI, Some("/bin/sh"), None, &["/bin/sh"]),
        (ACI, Some("/bin/sh"), Some(&["-c", "x"]), &["/bin/sh", "-c", "x"]),
        (OCI, None, None, &["entry.sh", "postgres"]),
        (OCI, None, Some(&[]), &["entry.sh"]),
        (OCI, None, Some(&["psql", "-l"]), &["entry.sh", "psql", "-l"]),
        (OCI, Some("/bin/sh"), None, &["/bin/sh"]),
        (OCI, Some("/bin/sh"), Some(&["-i"]), &["/bin/sh", "-i"]),
    ] {
        assert_eq!(exec_of(image, exec, args), expected, "{exec:?} {args:?}");
    }
}

#[test]
fn an_image_without_an_app_runs_what_exec_names_as_root() {
    let image = &BASE.replace(r#","app":{"exec":[],"user":"0","group":"0"}"#, "");
    let error = reified(vec![app_image(image, request())]).unwrap_err();
    assert_eq!(error.to_string(), "app \"base\": image has no app section and the pod manifest gives none");

    let asked = AppRequest { exec: Some("/bin/ls".into()), ..request() };
    let app = reified(vec![app_image(image, asked)]).unwrap().manifest.apps.remove(0).app.unwrap();
    assert_eq!(
        (app.exec, app.user, app.group, app.working_directory),
        (words(&["/bin/ls"]), "0".into(), "0".into(), None)
    );
}

#[test]
fn an_app_without_a_command_is_refused() {
    let error = reified(vec![app_image(BASE, request())]).unwrap_err();
    assert_eq!(error.to_string(), "app base has nothing to execute");
}

#[test]
fn images_must_say_that_they_are_for_this_machine() {
    for (label, value) in [("arch", "armv7l"), ("os", "freebsd")] {
        let mut image = app_image(ACI, request());
        image.manifest.labels.set(label.parse().unwrap(), value);
        let error = reified(vec![image]).unwrap_err().to_string();
        let expected = format!("bad {label} {value:?}, this machine is linux/{HOST_ARCH}");
        assert_eq!(error, format!("image example.com/redis: {expected}"));
        let mut image = app_image(ACI, request());
        image.manifest.labels.remove(label);
        let error = reified(vec![image]).unwrap_err().to_string();
        assert_eq!(error, format!("image example.com/redis: missing {label} label in the image manifest"));
    }
}

#[test]
fn app_names_come_from_the_last_part_of_the_image_name() {
    for (image, name) in [("example.com/redis", "redis"), ("a/b_c.d", "b-c-d"), ("plain", "plain")] {
        let mut app = app_image(ACI, request());
        app.manifest.name = image.parse().unwrap();
        assert_eq!(reified(vec![app]).unwrap().manifest.apps[0].name.as_str(), name);
    }
}

#[test]
fn two_apps_of_one_name_are_refused() {
    let error = reified(vec![app_image(ACI, request()), app_image(ACI, request())]).unwrap_err();
    assert_eq!(error.to_string(), "two apps are named redis");
}

/// What a pod manifest's apps come to, each with the image of the same place.
fn from_manifest(json: &str, images: &[&str]) -> Result<Reified, ReifyError> {
    let mut pod = PodManifest::from_json(json.as_bytes()).unwrap();
    let apps = std::mem::take(&mut pod.apps).into_iter().zip(images);
    let apps =
        apps.map(|(app, image)| AppImage { wanted: WantedApp::Template(Box::new(app)), ..app_image(image, request()) });
    reify(pod, &PodEnvironment::default(), apps.collect())
}

fn pod(apps: &str) -> String {
    format!(r#"{{"acKind":"PodManifest","acVersion":"0.8.11","apps":[{apps}]}}"#)
}

#[test]
fn a_pod_manifests_app_takes_the_place_of_the_images_as_a_whole() {
    let own = r#"{"name":"a","app":{"exec":["/bin/x"],"user":"1","group":"2"},
                 "annotations":[{"name":"n","value":"v"}],"readOnlyRootFS":true}"#;
    let app = from_manifest(&pod(own), &[OCI]).unwrap().manifest.apps.remove(0);
    assert_eq!(app.image.name.unwrap().as_str(), "registry.example/library/postgres");
    assert_eq!((app.annotations.get("n"), app.annotations.get(oci::USER)), (Some("v"), None));
    assert!(app.annotations.get(oci::STOP_SIGNAL).is_some() && app.read_only_root_fs);
    let app = app.app.unwrap();
    assert_eq!((app.exec, app.environment.len(), app.mount_points.len()), (words(&["/bin/x"]), 0, 0));

    let app = from_manifest(&pod(r#"{"name":"a"}"#), &[OCI]).unwrap().manifest.apps.remove(0);
    assert_eq!(app.annotations.get(oci::USER), Some("postgres"));
    assert_eq!(app.app.unwrap().exec, words(&["entry.sh", "postgres"]));
    let nameless = from_manifest(&pod("{}"), &[ACI]).unwrap();
    assert_eq!(nameless.manifest.apps[0].name.as_str(), "redis");
}

#[test]
fn a_reified_manifest_reified_again_is_the_same() {
    let once = reified(vec![app_image(ACI, request()), app_image(OCI, request())]).unwrap().manifest;
    let json = String::from_utf8(once.to_json().unwrap()).unwrap();
    let again = from_manifest(&json, &[ACI, OCI]).unwrap();
    assert_eq!(String::from_utf8(again.manifest.to_json().unwrap()).unwrap(), json);
    assert!(again.implicit_volumes.is_empty() && again.unused_volumes.is_empty());
}

#[test]
fn pod_manifests_that_make_no_pod_are_refused() {
    let mount = r#"{"name":"a","mounts":[{"volume":"v","path":"v"}]}"#;
    let label = r#"{"name":"a","image":{"labels":[{"name":"version","value":"8"}]}}"#;
    let base = BASE.replace(r#","app":{"exec":[],"user":"0","group":"0"}"#, "");
    for (apps, image, why) in [
        (mount, ACI, "app a: the mount of volume v has the path \"v\", which is not absolute"),
        (label, ACI, "app a: the label version of image example.com/redis is \"7\", the pod manifest wants \"8\""),
        (r#"{"name":"a"}"#, &base, "app \"a\": image has no app section and the pod manifest gives none"),
        (r#"{"name":"a"}"#, BASE, "app a has nothing to execute"),
    ] {
        assert_eq!(from_manifest(&pod(apps), &[image]).unwrap_err().to_string(), why);
    }
}
