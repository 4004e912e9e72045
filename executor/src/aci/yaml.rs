//! Manifests written in YAML: turned into JSON before anything else looks at them.

use appc::{MAX_DEPTH, MAX_MANIFEST_BYTES};
use serde::{Deserialize, Deserializer};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Budget, Options};

/// A text that is not the YAML of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct YamlError {
    /// What is wrong, on one line.
    message: String,
    /// The place with its line and a caret, where it is known.
    picture: Option<String>,
}

impl YamlError {
    /// The offending line with a caret under the place, for a terminal.
    pub fn picture(&self) -> Option<&str> {
        self.picture.as_deref()
    }
}

/// JSON text, gathered from whatever the YAML holds.
struct JsonText(String);

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        appc::json_text(deserializer).map(Self)
    }
}

/// The JSON text of the one YAML document in `yaml`.
///
/// YAML 1.2: `yes` and `0755` are strings. A value that looks like a number or a boolean is one, also where the schema
/// wants a string (`user: "0"`). Anchors and aliases work, within bounds that an alias bomb exceeds; the same key twice
/// is refused.
///
/// # Errors
/// Syntax, and more than a manifest may have: bytes, levels, or what aliases unfold to.
pub fn yaml_to_json(yaml: &[u8]) -> Result<String, YamlError> {
    if yaml.len() > MAX_MANIFEST_BYTES {
        let (size, limit) = (yaml.len(), MAX_MANIFEST_BYTES);
        let message = format!("manifest of {size} bytes is larger than {limit} bytes");
        return Err(YamlError { message, picture: None });
    }
    let text = serde_saphyr::from_slice_with_options::<JsonText>(yaml, options()).map_err(|error| explain(&error))?;
    Ok(text.0)
}

fn options() -> Options {
    let mut budget = Budget::default();
    budget.max_depth = MAX_DEPTH;
    budget.flow_nesting_limit = MAX_DEPTH;
    budget.max_documents = 1;
    budget.max_anchors = 1000;
    budget.max_aliases = 10_000;
    budget.max_recorded_anchor_bytes = MAX_MANIFEST_BYTES;
    budget.max_total_scalar_bytes = MAX_MANIFEST_BYTES;
    let mut options = Options::default();
    options.budget = Some(budget);
    options.duplicate_keys = DuplicateKeyPolicy::Error;
    options.strict_booleans = true;
    options.leading_zero_numbers_as_strings = true;
    options.underscored_numbers_as_strings = true;
    options.reject_unsupported_tags = true;
    options
}

fn explain(error: &serde_saphyr::Error) -> YamlError {
    let picture = error.to_string();
    let bare = error.without_snippet().to_string();
    let message = bare.lines().next().unwrap_or_default().to_owned();
    YamlError { message, picture: (picture != bare).then_some(picture) }
}
