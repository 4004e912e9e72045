//! The reified pod manifest: what was asked for and what the images say, as one document that leaves nothing open.

mod command;
mod mounts;

use std::collections::BTreeSet;
use std::path::Path;

use appc::{
    AcIdentifier, AcName, Annotations, App, Hash, ImageId, ImageManifest, Mount, PodManifest, RuntimeApp, RuntimeImage,
};
use fetch::oci;
use stage1::isolators::choices::{OPERATOR_ISOLATORS, SECCOMP_PROFILE};
use stage1::plan::IMAGE_CONTENT;

use crate::app_isolators;
use crate::environment::PodEnvironment;
use crate::request::AppRequest;

use mounts::Volumes;

/// Annotations of an image that tell stage1 more than its app can say; the pod's app gets them too.
const PASSED_ON: [&str; 2] = [oci::USER, oci::STOP_SIGNAL];

/// docker2aci's mark on an ACI that it made; rkt gives such images docker's kind of volumes.
const DOCKER2ACI: &str = "appc.io/docker/repository";

/// This machine as image labels name it (appc aci.md, label os and arch).
const HOST_OS: &str = "linux";
pub(crate) const HOST_ARCH: &str = if cfg!(target_arch = "x86_64") { "amd64" } else { std::env::consts::ARCH };

/// An app to be, and its image.
#[derive(Debug)]
pub(crate) struct AppImage {
    pub(crate) wanted: WantedApp,
    pub(crate) id: ImageId,
    pub(crate) manifest: ImageManifest,
}

/// What is wanted of an app.
#[derive(Debug)]
pub(crate) enum WantedApp {
    /// An image, and what was asked for on the command line.
    Asked(Box<AppRequest>),
    /// An app of a pod manifest.
    Template(Box<RuntimeApp>),
}

impl WantedApp {
    /// The signature that was named for its image.
    pub(crate) fn signature(&self) -> Option<&Path> {
        match self {
            Self::Asked(request) => request.signature.as_deref(),
            Self::Template(_) => None,
        }
    }
}

/// A reified manifest and what the user should know about it.
#[derive(Debug)]
pub(crate) struct Reified {
    pub(crate) manifest: PodManifest,
    /// `APP-MOUNTPOINT (/path)` of each empty volume that nobody asked for and that hides what the image has.
    pub(crate) implicit_volumes: Vec<String>,
    /// Volumes that no app mounts.
    pub(crate) unused_volumes: Vec<AcName>,
}

/// Why images and request make no pod.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ReifyError {
    /// The image does not say what it was made for; the text is rkt's.
    #[error("image {image}: missing {label} label in the image manifest")]
    NoPlatform { image: String, label: &'static str },
    /// The image was made for another kind of machine.
    #[error("image {image}: bad {label} {value:?}, this machine is {HOST_OS}/{HOST_ARCH}")]
    ForeignPlatform { image: String, label: &'static str, value: String },
    /// The image is not the one that a pod manifest describes.
    #[error("app {app}: the label {label} of image {image} is {found:?}, the pod manifest wants {wanted:?}")]
    OtherLabel { app: AcName, image: String, label: AcIdentifier, wanted: String, found: String },
    /// The image is not meant to be run (it may be a dependency of others), and nothing else says what to execute.
    #[error("app {:?}: image has no app section and the pod manifest gives none", .0.as_str())]
    NoApp(AcName),
    /// Neither image nor command line says what to execute.
    #[error("app {app} has nothing to execute")]
    NoExec { app: AcName },
    /// No app name can be made of the image's.
    #[error("no app name can be made of the image name {image:?}")]
    NoName { image: String },
    /// Two apps of one name.
    #[error("two apps are named {0}")]
    DuplicateApp(AcName),
    /// A mount point that no volume can be mounted at.
    #[error("mount point {name} of app {app} has the path {path:?}, which is not an absolute path without `..`")]
    BadMountPoint { app: AcName, name: AcName, path: String },
    /// A mount point that no volume can be told to belong to.
    #[error("app {app}: the mount point at {path:?} has no name")]
    NamelessMountPoint { app: AcName, path: String },
    /// A mount of a pod manifest without an absolute path.
    #[error("app {app}: the mount of volume {volume} has the path {path:?}, which is not absolute")]
    BadMount { app: AcName, volume: AcName, path: String },
    /// Two mount points of one name or path.
    #[error("app {app} has two mount points {what}")]
    DuplicateMountPoint { app: AcName, what: String },
    /// Two volumes of one name; the text is rkt's.
    #[error("duplicate volume name {:?}", .0.as_str())]
    DuplicateVolume(AcName),
    /// The mode of an empty volume is no octal number of permissions.
    #[error("volume {volume} has the mode {mode:?}, which is not an octal number up to 7777")]
    BadMode { volume: AcName, mode: String },
    /// A mount of a volume that was not declared.
    #[error("app {app}: there is no volume {volume} for the mount at {path}")]
    NoVolume { app: AcName, volume: AcName, path: String },
    /// Two mounts of an app, one of which would hide the other.
    #[error("app {app}: the mounts at {one} and {other} overlap")]
    Overlap { app: AcName, one: String, other: String },
    /// No volume name can be made of app and mount point.
    #[error("no volume name can be made of app {app} and mount point {name}")]
    NoVolumeName { app: AcName, name: AcName },
    /// An annotation of ours that is not a JSON array of strings.
    #[error("annotation {annotation} of image {image} is not a JSON array of strings")]
    BadCommand { image: String, annotation: &'static str, source: serde_json::Error },
}

/// Makes the pod manifest: every image by its ID, every app complete, every mount point with a volume. `pod` holds what
/// is said of the pod as a whole; its apps are not looked at.
///
/// # Errors
///
/// [`ReifyError`]; nothing has been created then.
pub(crate) fn reify(
    pod: PodManifest,
    environment: &PodEnvironment,
    apps: Vec<AppImage>,
) -> Result<Reified, ReifyError> {
    let mut names = BTreeSet::new();
    let mut runtime_apps = Vec::with_capacity(apps.len());
    let mut volumes = Volumes::declared(pod.volumes)?;
    let mut implicit_volumes = Vec::new();
    for AppImage { wanted, id, manifest: image } in apps {
        check_platform(&image)?;
        let mut parts = match wanted {
            WantedApp::Asked(request) => asked(*request, &image, environment)?,
            WantedApp::Template(runtime) => from_template(*runtime, &image)?,
        };
        if !names.insert(parts.name.clone()) {
            return Err(ReifyError::DuplicateApp(parts.name));
        }
        if parts.app.exec.first().is_none_or(String::is_empty) {
            return Err(ReifyError::NoExec { app: parts.name });
        }
        let found = volumes.satisfy(&parts.name, &parts.app, parts.mounts, is_dockers(&image))?;
        implicit_volumes.extend(found.implicit);
        if !found.image_content.is_empty() {
            let paths = serde_json::Value::from(found.image_content).to_string();
            parts.annotations.set(ours(IMAGE_CONTENT), paths);
        }
        runtime_apps.push(RuntimeApp {
            name: parts.name,
            image: RuntimeImage { name: Some(image.name), id: Some(Hash::from(id)), labels: image.labels },
            app: Some(parts.app),
            read_only_root_fs: parts.read_only_root_fs,
            mounts: found.mounts,
            annotations: parts.annotations,
        });
    }
    let (volumes, unused_volumes) = volumes.finish();
    let manifest = PodManifest { apps: runtime_apps, volumes, ..pod };
    Ok(Reified { manifest, implicit_volumes, unused_volumes })
}

/// An app, complete but for its volumes.
struct Parts {
    name: AcName,
    app: App,
    mounts: Vec<Mount>,
    read_only_root_fs: bool,
    annotations: Annotations,
}

/// Refuses an image whose labels do not say that it is for this kind of machine.
fn check_platform(manifest: &ImageManifest) -> Result<(), ReifyError> {
    for (label, own) in [("os", HOST_OS), ("arch", HOST_ARCH)] {
        let image = || manifest.name.to_string();
        match manifest.labels.get(label) {
            None => return Err(ReifyError::NoPlatform { image: image(), label }),
            Some(value) if value != own => {
                return Err(ReifyError::ForeignPlatform { image: image(), label, value: value.to_owned() });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Whether the image is one of docker's kind: OCI, or converted from that.
fn is_dockers(manifest: &ImageManifest) -> bool {
    is_oci(manifest) || manifest.annotations.get(DOCKER2ACI).is_some()
}

fn is_oci(manifest: &ImageManifest) -> bool {
    [oci::ENTRYPOINT, oci::CMD, oci::USER].iter().any(|name| manifest.annotations.get(name).is_some())
}

/// The name of an annotation of ours.
fn ours(name: &str) -> AcIdentifier {
    name.parse().expect("names of annotations of ours are identifiers")
}

/// The last part of an image's name as the name of an app.
fn default_name(image: &ImageManifest) -> Result<AcName, ReifyError> {
    let image = image.name.as_str();
    let last = image.rsplit('/').next().unwrap_or(image);
    AcName::sanitize(last).map_err(|_| ReifyError::NoName { image: image.to_owned() })
}

/// The image's app with what was asked for in place of what the image says.
fn asked(request: AppRequest, image: &ImageManifest, environment: &PodEnvironment) -> Result<Parts, ReifyError> {
    let name = request.name.clone().map_or_else(|| default_name(image), Ok)?;
    let exec = command::exec(&name, &request, image)?;
    let mut annotations = image_annotations(image, Some(&request)).overridden_by(&request.remarks.annotations);
    // rkt's minimal app for an image without one: root, and the default directory.
    let minimal = || App { user: "0".into(), group: "0".into(), ..App::default() };
    let mut app = image.app.clone().unwrap_or_else(minimal);
    app.exec = exec;
    app.user = request.user.unwrap_or(app.user);
    app.group = request.group.unwrap_or(app.group);
    app.supplementary_gids = request.supplementary_gids.unwrap_or(app.supplementary_gids);
    app.working_directory = request.working_directory.or(app.working_directory);
    app.environment = environment.around(&app.environment, &request.environment);
    app_isolators::put(&mut app.isolators, request.isolators, &mut annotations);
    if let Some(profile) = request.seccomp_profile {
        annotations.set(ours(SECCOMP_PROFILE), profile.text);
    }
    app.user_annotations.extend(request.remarks.user_annotations);
    app.user_labels.extend(request.remarks.user_labels);
    Ok(Parts { name, app, mounts: request.mounts, read_only_root_fs: request.read_only_root, annotations })
}

/// An app of a pod manifest. Its `app`, where it has one, takes the place of the image's as a whole (appc pods.md).
fn from_template(runtime: RuntimeApp, image: &ImageManifest) -> Result<Parts, ReifyError> {
    let name = if runtime.name.is_empty() { default_name(image)? } else { runtime.name };
    for label in &runtime.image.labels {
        let found = image.labels.get(label.name.as_str()).unwrap_or_default();
        if found != label.value {
            let (wanted, found) = (label.value.clone(), found.to_owned());
            let image = image.name.to_string();
            return Err(ReifyError::OtherLabel { app: name, image, label: label.name.clone(), wanted, found });
        }
    }
    for Mount { volume, path, .. } in &runtime.mounts {
        if !path.starts_with('/') {
            return Err(ReifyError::BadMount { app: name, volume: volume.clone(), path: path.clone() });
        }
    }
    let mut annotations = runtime.annotations;
    for annotation in &image_annotations(image, None) {
        let (known, of_user) = (annotations.get(annotation.name.as_str()), annotation.name == oci::USER);
        // The group of an app that the manifest gives is the one that stands there.
        if known.is_none() && !(of_user && runtime.app.is_some()) {
            annotations.set(annotation.name.clone(), annotation.value.clone());
        }
    }
    let app = match runtime.app {
        Some(app) => {
            app_isolators::approve_all(&app.isolators, &mut annotations);
            app
        }
        None => {
            let app = image.app.clone().ok_or_else(|| ReifyError::NoApp(name.clone()))?;
            annotations.remove(OPERATOR_ISOLATORS);
            app
        }
    };
    Ok(Parts { name, app, mounts: runtime.mounts, read_only_root_fs: runtime.read_only_root_fs, annotations })
}

/// The annotations of an image that stage1 is to see. With OCI images a user brings a group along, whether the image or
/// the command line names the user, unless the command line names a group too.
fn image_annotations(image: &ImageManifest, request: Option<&AppRequest>) -> Annotations {
    let (user, group) = request.map_or((None, None), |request| (request.user.as_ref(), request.group.as_ref()));
    let own_user = user.is_none() && group.is_none();
    let wanted = |name: &str| PASSED_ON.contains(&name) && (name != oci::USER || own_user);
    let mut annotations: Annotations = image
        .annotations
        .iter()
        .filter(|annotation| wanted(annotation.name.as_str()))
        .map(|annotation| (annotation.name.clone(), annotation.value.clone()))
        .collect();
    if let (true, Some(user), None) = (is_oci(image), user, group) {
        annotations.set(ours(oci::USER), user.clone());
    }
    annotations
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACI: &str = include_str!("../tests/golden/image-aci.json");
    const OCI: &str = include_str!("../tests/golden/image-oci.json");

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
        let apps = apps
            .map(|(app, image)| AppImage { wanted: WantedApp::Template(Box::new(app)), ..app_image(image, request()) });
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
}
