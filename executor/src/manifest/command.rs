//! What an app executes: the image's command, `--exec`, and arguments.

use appc::{AcName, ImageManifest};
use fetch::oci;

use super::ReifyError;
use crate::request::AppRequest;

/// The command: `--exec` replaces the image's; the arguments are appended to what an ACI executes, and take the place
/// of an OCI image's CMD.
pub(super) fn exec(name: &AcName, request: &AppRequest, manifest: &ImageManifest) -> Result<Vec<String>, ReifyError> {
    let args = request.args.clone().unwrap_or_default();
    if let Some(exec) = &request.exec {
        return Ok(std::iter::once(exec.clone()).chain(args).collect());
    }
    let app = manifest.app.as_ref().ok_or_else(|| ReifyError::NoApp(name.clone()))?;
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
