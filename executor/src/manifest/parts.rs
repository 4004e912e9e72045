//! An app that is complete but for its volumes: what was asked for, and what its image says.

use appc::{AcName, Annotations, App, ImageManifest, Mount, RuntimeApp};
use fetch::oci;
use stage1::health::Healthcheck;
use stage1::isolators::choices::{OPERATOR_ISOLATORS, SECCOMP_PROFILE};
use stage1::plan::ENVIRONMENT;

use super::origin::is_oci;
use super::{ReifyError, command, ours};
use crate::app_isolators;
use crate::environment::PodEnvironment;
use crate::request::AppRequest;

/// Annotations of an image that tell stage1 more than its app can say; the pod's app gets them too.
const PASSED_ON: [&str; 4] = [oci::USER, oci::STOP_SIGNAL, oci::HEALTHCHECK, ENVIRONMENT];

/// An app, complete but for its volumes.
pub(super) struct Parts {
    pub(super) name: AcName,
    pub(super) app: App,
    pub(super) mounts: Vec<Mount>,
    pub(super) read_only_root_fs: bool,
    pub(super) annotations: Annotations,
}

/// The image's app with what was asked for in place of what the image says.
pub(super) fn asked(
    request: AppRequest,
    image: &ImageManifest,
    environment: &PodEnvironment,
) -> Result<Parts, ReifyError> {
    let name = request.name.clone().map_or_else(|| default_name(image), Ok)?;
    let exec = command::exec(&name, &request, image)?;
    let of_image = image_annotations(image, Some(&request));
    let mut annotations = of_image.overridden_by(&request.remarks.annotations);
    if let (Some(image), Some(own)) = (of_image.get(ENVIRONMENT), request.remarks.annotations.get(ENVIRONMENT)) {
        annotations.set(ours(ENVIRONMENT), joined(image, own));
    }
    if let (Some(image), Some(own)) =
        (of_image.get(oci::HEALTHCHECK), request.remarks.annotations.get(oci::HEALTHCHECK))
    {
        annotations.set(ours(oci::HEALTHCHECK), merged(own, image));
    }
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
pub(super) fn from_template(runtime: RuntimeApp, image: &ImageManifest) -> Result<Parts, ReifyError> {
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

/// The last part of an image's name as the name of an app.
fn default_name(image: &ImageManifest) -> Result<AcName, ReifyError> {
    let image = image.name.as_str();
    let last = image.rsplit('/').next().unwrap_or(image);
    AcName::sanitize(last).map_err(|_| ReifyError::NoName { image: image.to_owned() })
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

/// A health check with what it does not say from the image's, if that makes sense.
fn merged(own: &str, image: &str) -> String {
    match (Healthcheck::parse(own), Healthcheck::parse(image)) {
        (Ok(check), Ok(of_image)) => serde_json::to_string(&check.or(of_image)).unwrap_or_else(|_| own.to_owned()),
        _ => own.to_owned(),
    }
}

/// The strings of two JSON arrays in one: what comes later counts more.
fn joined(one: &str, other: &str) -> String {
    let strings = |json| serde_json::from_str::<Vec<String>>(json).unwrap_or_default();
    serde_json::Value::from([strings(one), strings(other)].concat()).to_string()
}
