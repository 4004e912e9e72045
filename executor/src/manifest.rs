//! The reified pod manifest: what was asked for and what the images say, as one document that leaves nothing open.

mod command;
mod error;
mod mounts;
mod origin;
mod parts;
mod platform;

use std::collections::BTreeSet;
use std::path::Path;

use appc::{AcIdentifier, AcName, Annotations, Hash, ImageId, ImageManifest, PodManifest, RuntimeApp, RuntimeImage};
use stage1::limits::MAX_APPS;
use stage1::plan::{DOCKERS_RULES, FILLED, IMAGE_CONTENT, STOP_SIGNAL};
use stage1::signal;

use crate::environment::PodEnvironment;
use crate::request::AppRequest;

use mounts::Volumes;
use origin::is_dockers;
use parts::{asked, from_template};
use platform::check_platform;

pub(crate) use error::ReifyError;
pub(crate) use platform::HOST_ARCH;

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

/// Bytes of an app's name. Its log and its layer are files with a little more in their names, of which the kernel takes 255.
const MAX_APP_NAME: usize = 240;

/// Bytes of a volume's name. An empty one is a directory of that name.
const MAX_VOLUME_NAME: usize = 255;

/// A reified manifest and what the user should know about it.
#[derive(Debug)]
pub(crate) struct Reified {
    pub(crate) manifest: PodManifest,
    /// `APP-MOUNTPOINT (/path)` of each empty volume that nobody asked for and that hides what the image has.
    pub(crate) implicit_volumes: Vec<String>,
    /// Volumes that no app mounts.
    pub(crate) unused_volumes: Vec<AcName>,
}

impl Reified {
    /// What is to be said of stop signals that are none.
    pub(crate) fn odd_stop_signals(&self) -> impl Iterator<Item = String> {
        self.manifest.apps.iter().filter_map(|app| {
            let text = app.annotations.get(STOP_SIGNAL).filter(|text| signal::parse(text).is_none())?;
            Some(format!("app {:?}: its stop signal {text:?} is none: it is sent TERM instead", app.name.as_str()))
        })
    }
}

/// Whether a pod can have so many apps. Asked before images are opened, which takes descriptors for each.
///
/// # Errors
///
/// [`ReifyError::TooManyApps`].
pub(crate) fn check_count(apps: usize) -> Result<(), ReifyError> {
    if apps > MAX_APPS { Err(ReifyError::TooManyApps(apps)) } else { Ok(()) }
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
        check_length("app", &parts.name, MAX_APP_NAME)?;
        if !names.insert(parts.name.clone()) {
            return Err(ReifyError::DuplicateApp(parts.name));
        }
        let nested = parts.annotations.get(DOCKERS_RULES) == Some("true");
        // With docker's rules that is a program which is not there.
        if parts.app.exec.first().is_none_or(|program| program.is_empty() && !nested) {
            return Err(ReifyError::NoExec { app: parts.name });
        }
        let found = volumes.satisfy(&parts.name, &parts.app, parts.mounts, is_dockers(&image), nested)?;
        implicit_volumes.extend(found.implicit);
        add_paths(&mut parts.annotations, IMAGE_CONTENT, found.image_content);
        add_paths(&mut parts.annotations, FILLED, found.filled);
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
    volumes.iter().try_for_each(|volume| check_length("volume", &volume.name, MAX_VOLUME_NAME))?;
    let manifest = PodManifest { apps: runtime_apps, volumes, ..pod };
    Ok(Reified { manifest, implicit_volumes, unused_volumes })
}

fn check_length(what: &'static str, name: &AcName, limit: usize) -> Result<(), ReifyError> {
    match name.as_str() {
        name if name.len() > limit => Err(ReifyError::LongName { what, name: name.to_owned(), limit }),
        _ => Ok(()),
    }
}

/// Adds to an annotation whose value is a JSON array of paths.
fn add_paths(annotations: &mut Annotations, name: &str, more: Vec<String>) {
    if more.is_empty() {
        return;
    }
    let known = annotations.get(name).and_then(|paths| serde_json::from_str(paths).ok());
    let mut paths: Vec<String> = known.unwrap_or_default();
    let more: Vec<String> = more.into_iter().filter(|path| !paths.contains(path)).collect();
    paths.extend(more);
    annotations.set(ours(name), serde_json::Value::from(paths).to_string());
}

/// The name of an annotation of ours.
fn ours(name: &str) -> AcIdentifier {
    name.parse().expect("names of annotations of ours are identifiers")
}

#[cfg(test)]
mod tests;
