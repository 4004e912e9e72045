//! Pod manifests that somebody wrote, in JSON or YAML: read from a file, bounded, and checked as far as one document
//! can be.

use std::path::PathBuf;

use appc::{MAX_MANIFEST_BYTES, ManifestError, PodManifest, RuntimeApp, SemVer};
use executor::aci::{YamlError, yaml_to_json};
use fetch::ImageRef;

use crate::diagnostics::{warn, warn_of_version};
use crate::error::{CommandError, Explain as _};
use crate::manifest::WantedApp;
use crate::request::Template;
use crate::{small_file, unknown_keys};

/// Reads the pod manifest in `file`.
///
/// # Errors
///
/// It cannot be read, is larger than a manifest may be, or is none.
pub(crate) fn read(file: PathBuf) -> Result<Template, CommandError> {
    let shown = format!("--pod-manifest={}", file.display());
    let mut bytes = small_file::read(&file, MAX_MANIFEST_BYTES as u64).during(|| shown.clone())?;
    if file.extension().is_some_and(|it| it == "yaml" || it == "yml") {
        let wrong = |error: YamlError| {
            let picture = error.picture().map(str::to_owned);
            let error = CommandError::from(error).hint("correct the pod manifest");
            match picture {
                Some(picture) => error.picture(picture),
                None => error,
            }
        };
        bytes = yaml_to_json(&bytes).map_err(wrong).during(|| shown.clone())?.into_bytes();
    }
    let manifest = PodManifest::from_json(&bytes).map_err(|error| explain(&error).during(shown.clone()))?;
    for place in unknown_keys::of_pod(&bytes) {
        warn(&format!("{shown}: {place} is no key of a pod manifest, and means nothing"));
    }
    Ok(Template { file, manifest })
}

/// What a template says of the pod as a whole, and of each app with the image that it means.
///
/// # Errors
///
/// There is no app (the text is rkt's), or one does not say which image it runs from.
pub(crate) fn parts(template: Template) -> Result<(PodManifest, Vec<(ImageRef, WantedApp)>), CommandError> {
    let mut pod = template.manifest;
    if pod.apps.is_empty() {
        return Err(CommandError::failed("pod must contain at least one application")
            .during(format!("--pod-manifest={}", template.file.display()))
            .hint("name an app in the pod manifest"));
    }
    warn_of_version(&format!("--pod-manifest={}", template.file.display()), &pod.ac_version);
    // A template may leave its version out; what is made of it is of ours.
    pod.ac_version = SemVer::current();
    let app = |app: RuntimeApp| image(&app).map(|image| (image, WantedApp::Template(Box::new(app))));
    let apps = std::mem::take(&mut pod.apps).into_iter().map(app).collect::<Result<_, _>>();
    let apps = apps.during(|| format!("--pod-manifest={}", template.file.display()))?;
    Ok((pod, apps))
}

/// The image of an app: by its ID, else by its name, with the version that the labels tell.
fn image(app: &RuntimeApp) -> Result<ImageRef, CommandError> {
    if let Some(id) = &app.image.id {
        return Ok(ImageRef::Id(id.to_string()));
    }
    let Some(name) = &app.image.name else {
        return Err(CommandError::failed(format!("app {:?} names no image", app.name.as_str()))
            .hint("give it an image with an ID, as `proa fetch` prints it, or a name"));
    };
    Ok(ImageRef::Name(match app.image.labels.get("version") {
        Some(version) => format!("{name}:{version}"),
        None => name.to_string(),
    }))
}

/// The error with its place: the line with a mark below it where it is one of syntax, else the JSON path.
fn explain(error: &ManifestError) -> CommandError {
    let explained = match error {
        ManifestError::Syntax(syntax) => {
            let place = format!("line {}, column {}: {}", syntax.line, syntax.column, syntax.problem);
            CommandError::failed(place).picture(syntax.highlight())
        }
        error => CommandError::failed(error.located().to_string()),
    };
    explained.hint("correct the pod manifest")
}
