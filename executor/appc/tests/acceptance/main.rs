//! The acceptance lines of the appc schema, one test each and named after its number.

mod documents;
mod golden;
mod hostile;
mod isolators;
mod lists;
mod parameters;
mod quantities;
mod scalars;
mod serde_documents;

use appc::{ImageManifest, ManifestError, PodManifest};

/// Reads an image manifest that is complete but for `fields`.
fn image(fields: &str) -> Result<ImageManifest, ManifestError> {
    let separator = if fields.is_empty() { "" } else { "," };
    let json =
        format!(r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/test"{separator}{fields}}}"#);
    ImageManifest::from_json(json.as_bytes())
}

/// Reads an image manifest whose app is complete but for `fields`.
fn image_with_app(fields: &str) -> Result<ImageManifest, ManifestError> {
    let separator = if fields.is_empty() { "" } else { "," };
    image(&format!(r#""app":{{"exec":["/a"],"user":"0","group":"0"{separator}{fields}}}"#))
}

/// Reads a pod manifest that is complete but for `fields`.
fn pod(fields: &str) -> Result<PodManifest, ManifestError> {
    let separator = if fields.is_empty() { "" } else { "," };
    PodManifest::from_json(format!(r#"{{"acVersion":"0.8.11","acKind":"PodManifest"{separator}{fields}}}"#).as_bytes())
}

/// What is wrong with a manifest that should not have been read.
fn refusal<T: std::fmt::Debug>(read: Result<T, ManifestError>) -> String {
    read.expect_err("the manifest is refused").to_string()
}
