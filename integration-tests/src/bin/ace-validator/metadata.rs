//! The checks of the metadata service, from whatever app they run in.

use appc::{Annotations, ImageManifest, PodManifest, RuntimeApp};

use super::Errors;
use super::http::{escaped, request};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=us-ascii";
const CONTENT: &str = "Old MacDonald Had A Farm";

pub(crate) fn check() -> Errors {
    let url = std::env::var("AC_METADATA_URL").unwrap_or_default();
    if url.is_empty() {
        return vec!["AC_METADATA_URL is not set".to_owned()];
    }
    let base = format!("{url}/acMetadata/v1");
    match checks(&base) {
        Ok(errors) => errors,
        Err(error) => vec![error],
    }
}

/// Stops at what nothing else can be checked without.
fn checks(base: &str) -> Result<Errors, String> {
    let manifest = get(&format!("{base}/pod/manifest"), JSON)?;
    let pod =
        PodManifest::from_json(&manifest).map_err(|error| format!("failed to unmarshal pod manifest: {error}"))?;
    let uuid = text(get(&format!("{base}/pod/uuid"), TEXT)?)?;
    let digits = uuid.replace('-', "");
    if digits.len() != 32 || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(format!("invalid UUID {uuid:?}"));
    }
    let mut errors = Errors::new();
    errors.extend(pod_annotations(base, &pod).err());
    errors.extend(pod.apps.iter().filter_map(|app| app_metadata(base, app).err()));
    errors.extend(signature(base, &uuid).err());
    Ok(errors)
}

/// An answer of status 200 and exactly this content type.
fn get(url: &str, kind: &str) -> Result<Vec<u8>, String> {
    expect(url, None, kind)
}

fn expect(url: &str, form: Option<&str>, kind: &str) -> Result<Vec<u8>, String> {
    // The token is in the URL; what follows it is enough to know what failed.
    let name = url.split("/acMetadata/").last().unwrap_or(url);
    let answer = request(url, form).map_err(|error| format!("failed to get {name}: {error}"))?;
    if answer.status != 200 {
        return Err(format!("failed to get {name}: status {}", answer.status));
    }
    if answer.content_type != kind {
        return Err(format!("{name}: Content-Type is {:?}, want {kind:?}", answer.content_type));
    }
    Ok(answer.body)
}

fn text(body: Vec<u8>) -> Result<String, String> {
    String::from_utf8(body).map_err(|error| error.to_string())
}

/// As they stand in the manifest, `null` told from `[]`.
fn pod_annotations(base: &str, pod: &PodManifest) -> Result<(), String> {
    let found = text(get(&format!("{base}/pod/annotations"), JSON)?)?;
    let value: serde_json::Value = serde_json::from_str(&found).map_err(|error| format!("pod annotations: {error}"))?;
    let null = pod.annotations.is_empty() && !pod.written_empty.annotations;
    let wanted = if null { serde_json::Value::Null } else { list(&pod.annotations) };
    if value == wanted { Ok(()) } else { Err(format!("pod annotations do not match: got {found}, want {wanted}")) }
}

fn list(annotations: &Annotations) -> serde_json::Value {
    annotations.iter().map(|it| serde_json::json!({"name": it.name.as_str(), "value": it.value})).collect()
}

fn app_metadata(base: &str, app: &RuntimeApp) -> Result<(), String> {
    let name = app.name.as_str();
    let base = format!("{base}/apps/{name}");
    let image = get(&format!("{base}/image/manifest"), JSON)?;
    let image = ImageManifest::from_json(&image).map_err(|error| format!("image manifest of {name:?}: {error}"))?;
    let id = text(get(&format!("{base}/image/id"), TEXT)?)?;
    let wanted = app.image.id.as_ref().map(ToString::to_string).unwrap_or_default();
    if id != wanted {
        return Err(format!("image ID of {name:?} does not match: got {id:?}, want {wanted:?}"));
    }
    let found: serde_json::Value = serde_json::from_slice(&get(&format!("{base}/annotations"), JSON)?)
        .map_err(|error| format!("annotations of {name:?}: {error}"))?;
    // Those of the app in the pod in place of the image's, new ones behind; here an empty list is as good as none.
    let wanted = list(&image.annotations.overridden_by(&app.annotations));
    let found = if found.is_null() { serde_json::json!([]) } else { found };
    if found == wanted {
        Ok(())
    } else {
        Err(format!("annotations of {name:?} do not match: got {found}, want {wanted}"))
    }
}

fn signature(base: &str, uuid: &str) -> Result<(), String> {
    let content = escaped(CONTENT);
    let signature = text(expect(&format!("{base}/pod/hmac/sign"), Some(&format!("content={content}")), TEXT)?)?;
    let form = format!("content={content}&uuid={}&signature={}", escaped(uuid), escaped(&signature));
    expect(&format!("{base}/pod/hmac/verify"), Some(&form), TEXT)?;
    Ok(())
}
