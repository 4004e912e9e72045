//! What a pod's apps can ask for, made ready when the pod registers.

use std::collections::BTreeSet;
use std::sync::Arc;

use appc::{AcIdentifier, AcName, Annotations, ImageManifest, ManifestError, PodManifest};
use hyper::body::Bytes;
use metadata_api::registration::Log;

use crate::images::{Image, Images};

/// Why a registration makes no pod.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DocumentError {
    /// The pod manifest is none.
    #[error("pod manifest: {0}")]
    Pod(Box<ManifestError>),
    /// An image manifest is none.
    #[error("image manifest of app {app}: {error}")]
    Image {
        /// The app.
        app: AcName,
        /// What is wrong.
        error: Box<ManifestError>,
    },
    /// The manifest is a template.
    #[error("app {0} has no image ID in the pod manifest")]
    NoImageId(AcName),
    /// Nothing was said about the app.
    #[error("app {0} of the pod manifest was not described")]
    NotDescribed(AcName),
    /// More was said than there are apps.
    #[error("app {0} is not in the pod manifest")]
    NotInPod(AcName),
}

/// What was said about an app.
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) name: AcName,
    pub(crate) image_manifest: Vec<u8>,
    pub(crate) log: Option<Log>,
}

/// The bodies of a pod's answers.
#[derive(Debug)]
pub(crate) struct Documents {
    pub(crate) manifest: Bytes,
    pub(crate) annotations: Bytes,
    pub(crate) log: Option<Bytes>,
    /// In the order of their names.
    apps: Box<[AppDocuments]>,
}

/// The bodies of the answers about an app.
#[derive(Debug, Clone)]
pub(crate) struct AppDocuments {
    name: AcName,
    pub(crate) annotations: Bytes,
    pub(crate) image_id: Bytes,
    pub(crate) image: Arc<Image>,
    pub(crate) log: Option<Bytes>,
}

impl Documents {
    /// The documents of a pod. Apps that are not described are looked for in `old`, what was served before.
    pub(crate) fn new(
        manifest: Vec<u8>,
        log: Option<&Log>,
        described: Vec<Described>,
        old: Option<&Self>,
        images: &Images,
    ) -> Result<Self, DocumentError> {
        let pod = PodManifest::from_json(&manifest).map_err(|error| DocumentError::Pod(error.into()))?;
        let is_missing = |it: &&Described| pod.app(&it.name).is_none();
        if let Some(stray) = described.iter().find(is_missing) {
            return Err(DocumentError::NotInPod(stray.name.clone()));
        }
        let mut described = described;
        let mut apps = Vec::with_capacity(pod.apps.len());
        for app in &pod.apps {
            let position = described.iter().position(|it| it.name == app.name);
            let (image, log) = match (position, old.and_then(|old| old.app(app.name.as_str()))) {
                (Some(position), _) => {
                    let Described { image_manifest, log, .. } = described.swap_remove(position);
                    (images.intern(image_manifest), log.as_ref().map(log_body))
                }
                (None, Some(known)) => (known.image.clone(), known.log.clone()),
                (None, None) => return Err(DocumentError::NotDescribed(app.name.clone())),
            };
            let wrong = |error: ManifestError| DocumentError::Image { app: app.name.clone(), error: error.into() };
            let of_image = ImageManifest::from_json(&image.manifest).map_err(wrong)?.annotations;
            let merged = of_image.overridden_by(&app.annotations);
            let id = app.image.id.as_ref().ok_or_else(|| DocumentError::NoImageId(app.name.clone()))?;
            apps.push(AppDocuments {
                name: app.name.clone(),
                annotations: merged.to_json().map_err(wrong)?.into(),
                image_id: id.to_string().into(),
                image,
                log,
            });
        }
        if let Some(twice) = described.pop() {
            return Err(DocumentError::NotInPod(twice.name));
        }
        apps.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(Self {
            annotations: annotations(&pod)?,
            manifest: manifest.into(),
            log: log.map(log_body),
            apps: apps.into(),
        })
    }

    /// The documents of the app called `name`.
    pub(crate) fn app(&self, name: &str) -> Option<&AppDocuments> {
        let position = self.apps.binary_search_by(|app| app.name.as_str().cmp(name)).ok()?;
        Some(&self.apps[position])
    }

    /// The IDs of the pod's images, each once.
    pub(crate) fn image_ids(&self) -> Vec<&str> {
        let ids = self.apps.iter().map(|app| std::str::from_utf8(&app.image_id).unwrap_or_default());
        ids.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The value of one annotation of the pod.
    pub(crate) fn annotation(&self, name: &AcIdentifier) -> Option<Bytes> {
        // Rarely asked for, and so not worth any memory.
        let manifest = PodManifest::from_json(&self.manifest).ok()?;
        value(&manifest.annotations, name)
    }

    /// The value of one annotation of an app.
    pub(crate) fn app_annotation(&self, app: &AcName, name: &AcIdentifier) -> Option<Bytes> {
        let of_image = ImageManifest::from_json(&self.app(app.as_str())?.image.manifest).ok()?.annotations;
        let pod = PodManifest::from_json(&self.manifest).ok()?;
        value(&of_image.overridden_by(&pod.app(app)?.annotations), name)
    }
}

/// As they stand in the manifest: `null` if there are none or they are null there (appc's validator compares).
fn annotations(pod: &PodManifest) -> Result<Bytes, DocumentError> {
    if pod.annotations.is_empty() && !pod.written_empty.annotations {
        return Ok(Bytes::from_static(b"null"));
    }
    Ok(pod.annotations.to_json().map_err(|error| DocumentError::Pod(error.into()))?.into())
}

fn value(annotations: &Annotations, name: &AcIdentifier) -> Option<Bytes> {
    annotations.get(name.as_str()).map(|value| value.to_owned().into())
}

fn log_body(log: &Log) -> Bytes {
    serde_json::to_vec(log).expect("two texts").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(annotations: &str) -> Vec<u8> {
        format!(r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"a.b/c","annotations":{annotations}}}"#)
            .into_bytes()
    }

    fn pod(apps: &str, rest: &str) -> Vec<u8> {
        format!(r#"{{"acKind":"PodManifest","acVersion":"0.8.11","apps":[{apps}]{rest}}}"#).into_bytes()
    }

    fn app(name: &str, annotations: &str) -> String {
        let id = format!("sha512-{}", "ab".repeat(64));
        format!(r#"{{"name":"{name}","image":{{"id":"{id}"}},"annotations":{annotations}}}"#)
    }

    fn described(name: &str, annotations: &str) -> Described {
        let log = Log { driver: "k8s-file".into(), location: name.into() };
        Described { name: name.parse().unwrap(), image_manifest: image(annotations), log: Some(log) }
    }

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn pod_annotations_are_null_or_empty_as_written() {
        for (rest, expected) in [
            ("", "null"),
            (r#","annotations":null"#, "null"),
            (r#","annotations":[]"#, "[]"),
            (r#","annotations":[{"name":"a","value":"1 < 2"}]"#, r#"[{"name":"a","value":"1 \u003c 2"}]"#),
        ] {
            let documents = Documents::new(pod("", rest), None, vec![], None, &Images::default()).unwrap();
            assert_eq!(text(&documents.annotations), expected);
            assert_eq!(documents.manifest, pod("", rest), "byte for byte");
        }
    }

    #[test]
    fn an_apps_annotations_override_the_images_in_place() {
        let of_image = r#"[{"name":"a","value":"image"},{"name":"b","value":"image"}]"#;
        let of_app = r#"[{"name":"c","value":"app"},{"name":"a","value":"app"}]"#;
        let manifest = pod(&app("web", of_app), "");
        let documents =
            Documents::new(manifest, None, vec![described("web", of_image)], None, &Images::default()).unwrap();
        let web = documents.app("web").unwrap();
        let merged = r#"[{"name":"a","value":"app"},{"name":"b","value":"image"},{"name":"c","value":"app"}]"#;
        assert_eq!(text(&web.annotations), merged);
        assert_eq!(web.image.manifest, image(of_image));
        assert_eq!(text(&web.image_id), format!("sha512-{}", "ab".repeat(64)));
        assert_eq!(text(web.log.as_ref().unwrap()), r#"{"driver":"k8s-file","location":"web"}"#);
        let name = |text: &str| text.parse::<AcIdentifier>().unwrap();
        let value = |app: &str, of: &str| documents.app_annotation(&app.parse().unwrap(), &name(of));
        assert_eq!(value("web", "b").unwrap(), "image");
        assert_eq!(value("web", "c").unwrap(), "app");
        assert_eq!((value("web", "d"), value("other", "a")), (None, None));
    }

    #[test]
    fn every_app_must_be_described_and_nothing_else() {
        let images = Images::default();
        let new = |apps: &str, said: Vec<Described>| {
            Documents::new(pod(apps, ""), None, said, None, &images).map(drop).unwrap_err().to_string()
        };
        let web = app("web", "null");
        assert_eq!(new(&web, vec![]), "app web of the pod manifest was not described");
        assert_eq!(new("", vec![described("web", "null")]), "app web is not in the pod manifest");
        let twice = vec![described("web", "null"), described("web", "null")];
        assert_eq!(new(&web, twice), "app web is not in the pod manifest");
        let bad = Described { image_manifest: b"{}".to_vec(), ..described("web", "null") };
        assert!(new(&web, vec![bad]).starts_with("image manifest of app web: "));
        assert!(new("{", vec![]).starts_with("pod manifest: "));
        let template = r#"{"name":"web","image":{}}"#;
        assert_eq!(new(template, vec![described("web", "null")]), "app web has no image ID in the pod manifest");
    }

    #[test]
    fn an_update_keeps_what_is_not_described_anew() {
        let images = Images::default();
        let first = pod(&app("a", "null"), "");
        let old = Documents::new(first, None, vec![described("a", "null")], None, &images).unwrap();
        let both = pod(&[app("b", "null"), app("a", "null")].join(","), "");
        let new = Documents::new(both, None, vec![described("b", "[]")], Some(&old), &images).unwrap();
        assert!(Arc::ptr_eq(&new.app("a").unwrap().image, &old.app("a").unwrap().image));
        assert!(new.app("b").is_some());
        let gone = Documents::new(pod(&app("b", "null"), ""), None, vec![], Some(&new), &images).unwrap();
        assert!(gone.app("a").is_none());
    }
}
