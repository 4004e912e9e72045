//! The reified pod manifest: what was asked for and what the images say, as one document that leaves nothing open.

use std::collections::BTreeSet;

mod mounts;

use appc::{
    AcIdentifier, AcName, Annotations, App, Environment, Hash, ImageId, ImageManifest, PodManifest, RuntimeApp,
    RuntimeImage, Volume,
};
use fetch::oci;
use stage1::plan::IMAGE_CONTENT;

use crate::request::AppRequest;

use mounts::Volumes;

/// Annotations of an image that tell stage1 more than its app can say; the pod's app gets them too.
const PASSED_ON: [&str; 2] = [oci::USER, oci::STOP_SIGNAL];

/// This machine as image labels name it (appc aci.md, label os and arch).
const HOST_OS: &str = "linux";
const HOST_ARCH: &str = if cfg!(target_arch = "x86_64") { "amd64" } else { std::env::consts::ARCH };

/// An app to be: what was asked for, and its image.
#[derive(Debug)]
pub(crate) struct AppImage {
    pub(crate) request: AppRequest,
    pub(crate) id: ImageId,
    pub(crate) manifest: ImageManifest,
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
    /// The image was made for another kind of machine.
    #[error("image {image} is for {os}/{arch}, this machine is {HOST_OS}/{HOST_ARCH}")]
    ForeignPlatform { image: String, os: String, arch: String },
    /// The image is not meant to be run (it may be a dependency of others).
    #[error("image {image} has no app")]
    NoApp { image: String },
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

/// Makes the pod manifest: every image by its ID, every app complete, every mount point with a volume.
///
/// # Errors
///
/// [`ReifyError`]; nothing has been created then.
pub(crate) fn reify(volumes: Vec<Volume>, apps: Vec<AppImage>) -> Result<Reified, ReifyError> {
    let mut names = BTreeSet::new();
    let mut runtime_apps = Vec::with_capacity(apps.len());
    let mut volumes = Volumes::declared(volumes)?;
    let mut implicit_volumes = Vec::new();
    for AppImage { mut request, id, manifest } in apps {
        check_platform(&manifest)?;
        let name = app_name(&request, &manifest)?;
        if !names.insert(name.clone()) {
            return Err(ReifyError::DuplicateApp(name));
        }
        let image_name = manifest.name.clone();
        let labels = manifest.labels.clone();
        let mut annotations = passed_on(&request, &manifest);
        let keeps_content = is_dockers(&manifest);
        let asked = std::mem::take(&mut request.mounts);
        let read_only_root_fs = request.read_only_root;
        let app = app(&name, request, manifest)?;
        let found = volumes.satisfy(&name, &app, asked, keeps_content)?;
        implicit_volumes.extend(found.implicit);
        if !found.image_content.is_empty() {
            annotations.set(ours(IMAGE_CONTENT), serde_json::Value::from(found.image_content).to_string());
        }
        runtime_apps.push(RuntimeApp {
            name,
            image: RuntimeImage { name: Some(image_name), id: Some(Hash::from(id)), labels },
            app: Some(app),
            read_only_root_fs,
            mounts: found.mounts,
            annotations,
        });
    }
    let (volumes, unused_volumes) = volumes.finish();
    let manifest = PodManifest { apps: runtime_apps, volumes, ..PodManifest::blank() };
    Ok(Reified { manifest, implicit_volumes, unused_volumes })
}

/// docker2aci's mark on an ACI that it made; rkt gives such images docker's kind of volumes.
const DOCKER2ACI: &str = "appc.io/docker/repository";

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

/// Refuses an image whose labels name another system. A label that is not there promises nothing and is let pass.
fn check_platform(manifest: &ImageManifest) -> Result<(), ReifyError> {
    let os = manifest.labels.get("os").unwrap_or(HOST_OS);
    let arch = manifest.labels.get("arch").unwrap_or(HOST_ARCH);
    if os == HOST_OS && arch == HOST_ARCH {
        return Ok(());
    }
    Err(ReifyError::ForeignPlatform { image: manifest.name.to_string(), os: os.to_owned(), arch: arch.to_owned() })
}

/// The name asked for, or the last part of the image's.
fn app_name(request: &AppRequest, manifest: &ImageManifest) -> Result<AcName, ReifyError> {
    if let Some(name) = &request.name {
        return Ok(name.clone());
    }
    let image = manifest.name.as_str();
    let last = image.rsplit('/').next().unwrap_or(image);
    AcName::sanitize(last).map_err(|_| ReifyError::NoName { image: image.to_owned() })
}

/// The image's app with what was asked for in place of what the image says.
fn app(name: &AcName, request: AppRequest, manifest: ImageManifest) -> Result<App, ReifyError> {
    let exec = exec(&request, &manifest)?;
    let mut app = match manifest.app {
        Some(app) => app,
        // rkt's minimal app for an image without one: root, and the default directory.
        None => App { user: "0".into(), group: "0".into(), ..App::default() },
    };
    if exec.first().is_none_or(String::is_empty) {
        return Err(ReifyError::NoExec { app: name.clone() });
    }
    app.exec = exec;
    app.user = request.user.unwrap_or(app.user);
    app.group = request.group.unwrap_or(app.group);
    app.working_directory = request.working_directory.or(app.working_directory);
    merge(&mut app.environment, request.environment);
    Ok(app)
}

/// The command: `--exec` replaces the image's; the arguments are appended to what an ACI executes, and take the place
/// of an OCI image's CMD.
fn exec(request: &AppRequest, manifest: &ImageManifest) -> Result<Vec<String>, ReifyError> {
    let args = request.args.clone().unwrap_or_default();
    if let Some(exec) = &request.exec {
        return Ok(std::iter::once(exec.clone()).chain(args).collect());
    }
    let app = manifest.app.as_ref().ok_or_else(|| ReifyError::NoApp { image: manifest.name.to_string() })?;
    let part = |annotation: &'static str| -> Result<Option<Vec<String>>, ReifyError> {
        let bad = |source| ReifyError::BadCommand { image: manifest.name.to_string(), annotation, source };
        manifest.annotations.get(annotation).map(serde_json::from_str).transpose().map_err(bad)
    };
    let base = match (part(oci::ENTRYPOINT)?, part(oci::CMD)?) {
        (None, None) => app.exec.clone(),
        _ if request.args.is_none() => app.exec.clone(),
        (entrypoint, _) => entrypoint.unwrap_or_default(),
    };
    Ok(base.into_iter().chain(args).collect())
}

/// The annotations that stage1 is to see. With OCI images a user brings a group along, whether the image or the command
/// line names the user, unless the command line names a group too.
fn passed_on(request: &AppRequest, manifest: &ImageManifest) -> Annotations {
    let mut annotations = Annotations::default();
    let wanted = |name: &str| PASSED_ON.contains(&name) && (name != oci::USER || names_own_user(request));
    for annotation in manifest.annotations.iter().filter(|annotation| wanted(annotation.name.as_str())) {
        annotations.set(annotation.name.clone(), annotation.value.clone());
    }
    if let (true, Some(user), None) = (is_oci(manifest), &request.user, &request.group) {
        annotations.set(ours(oci::USER), user.clone());
    }
    annotations
}

/// Whether user and group are the image's.
fn names_own_user(request: &AppRequest) -> bool {
    request.user.is_none() && request.group.is_none()
}

/// Sets the variables that were asked for. The image may not set those that say who the app is (`AC_*`): stage1 does.
fn merge(environment: &mut Environment, requested: Vec<(String, String)>) {
    for (name, value) in requested {
        environment.set(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACI: &str = include_str!("../tests/golden/image-aci.json");
    const OCI: &str = include_str!("../tests/golden/image-oci.json");

    fn request() -> AppRequest {
        AppRequest {
            image: fetch::ImageRef::Hello,
            name: None,
            exec: None,
            args: None,
            environment: Vec::new(),
            user: None,
            group: None,
            working_directory: None,
            read_only_root: false,
            mounts: Vec::new(),
            signature: None,
        }
    }

    fn app_image(image: &str, request: AppRequest) -> AppImage {
        AppImage {
            request,
            id: ImageId::sha256([7; 32]),
            manifest: ImageManifest::from_json(image.as_bytes()).unwrap(),
        }
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// What is executed for an image, `--exec` and arguments.
    fn exec_of(image: &str, exec: Option<&str>, args: Option<&[&str]>) -> Vec<String> {
        let request = AppRequest { exec: exec.map(str::to_owned), args: args.map(words), ..request() };
        let reified = reify(vec![], vec![app_image(image, request)]).unwrap();
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
        let reified = reify(vec![], vec![app_image(ACI, asked), app_image(OCI, request())]).unwrap();
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
            let reified = reify(vec![], vec![app_image(image, asked)]).unwrap();
            assert_eq!(reified.manifest.apps[0].annotations.get(oci::USER), told);
        }
    }

    #[test]
    fn a_reified_manifest_can_be_read_again() {
        let reified = reify(vec![], vec![app_image(ACI, request())]).unwrap();
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
        let image = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/base"}"#;
        let error = reify(vec![], vec![app_image(image, request())]).unwrap_err();
        assert_eq!(error.to_string(), "image example.com/base has no app");

        let asked = AppRequest { exec: Some("/bin/ls".into()), ..request() };
        let app = reify(vec![], vec![app_image(image, asked)]).unwrap().manifest.apps.remove(0).app.unwrap();
        assert_eq!(
            (app.exec, app.user, app.group, app.working_directory),
            (words(&["/bin/ls"]), "0".into(), "0".into(), None)
        );
    }

    #[test]
    fn an_app_without_a_command_is_refused() {
        let image = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/base",
                        "app":{"exec":[],"user":"0","group":"0"}}"#;
        let error = reify(vec![], vec![app_image(image, request())]).unwrap_err();
        assert_eq!(error.to_string(), "app base has nothing to execute");
    }

    #[test]
    fn images_for_other_machines_are_refused_with_both_named() {
        for (label, value, platform) in [("arch", "armv7l", "linux/armv7l"), ("os", "freebsd", "freebsd/amd64")] {
            let mut image = app_image(ACI, request());
            image.manifest.labels.set(label.parse().unwrap(), value);
            let error = reify(vec![], vec![image]).unwrap_err().to_string();
            assert!(error.starts_with("image example.com/redis is for ") && error.contains(platform), "{error}");
            assert!(error.ends_with(&format!("this machine is linux/{HOST_ARCH}")), "{error}");
        }
        let mut image = app_image(ACI, request());
        image.manifest.labels = appc::Labels::default();
        assert!(reify(vec![], vec![image]).is_ok(), "no label promises nothing");
    }

    #[test]
    fn app_names_come_from_the_last_part_of_the_image_name() {
        for (image, name) in [("example.com/redis", "redis"), ("a/b_c.d", "b-c-d"), ("plain", "plain")] {
            let mut app = app_image(ACI, request());
            app.manifest.name = image.parse().unwrap();
            assert_eq!(reify(vec![], vec![app]).unwrap().manifest.apps[0].name.as_str(), name);
        }
    }

    #[test]
    fn two_apps_of_one_name_are_refused() {
        let error = reify(vec![], vec![app_image(ACI, request()), app_image(ACI, request())]).unwrap_err();
        assert_eq!(error.to_string(), "two apps are named redis");
    }
}
