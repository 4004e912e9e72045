//! Manifests written in YAML: turned into JSON before anything else looks at them.

use appc::{MAX_DEPTH, MAX_MANIFEST_BYTES};
use serde::{Deserialize, Deserializer};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Budget, Error, Options};

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

/// What the library says to programmers of a key that is there twice.
const ADVICE: &str = ", set DuplicateKeyPolicy in Options if acceptable";

fn explain(error: &Error) -> YamlError {
    // What breaks a bound is the whole document: there is no line to show.
    if let Some(breach) = breach_of(error) {
        let message = match breach {
            BudgetBreach::Documents { .. } => "more than one document, where a manifest is one",
            _ => "its aliases unfold to more than a manifest may have, or it is nested too deeply",
        };
        return YamlError { message: message.to_owned(), picture: None };
    }
    let bare = error.without_snippet().to_string();
    let message = bare.lines().next().unwrap_or_default().replace(ADVICE, "");
    // The first two lines are the message again and the name of a file that has none.
    let picture: Vec<_> = error.to_string().lines().skip(2).map(|line| line.replace(ADVICE, "")).collect();
    YamlError { message, picture: (!picture.is_empty()).then(|| picture.join("\n")) }
}

/// The bound that is broken, if it is that.
fn breach_of(error: &Error) -> Option<&BudgetBreach> {
    match error {
        Error::Budget { breach, .. } => Some(breach),
        Error::AliasError { error, .. } | Error::WithSnippet { error, .. } => breach_of(error),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(yaml: &str) -> Result<String, String> {
        yaml_to_json(yaml.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn yaml_becomes_json() {
        let manifest = "\
# A worker.
acKind: ImageManifest
name: example.com/worker   # not a string that looks like a number
app:
  exec: [/bin/worker, --quiet]
  user: \"0\"
  environment:
    - {name: PATH, value: /bin}
    - &empty {name: EMPTY, value: ''}
  ports: [{name: www, port: 80, socketActivated: true}]
volumes: [{mode: 0755, readOnly: yes}]
text: |
  two
  lines
nothing:
again: *empty
";
        assert_eq!(
            json(manifest).unwrap(),
            "{\"acKind\":\"ImageManifest\",\"name\":\"example.com/worker\",\"app\":{\"exec\":[\"/bin/worker\",\"--quiet\"],\
             \"user\":\"0\",\"environment\":[{\"name\":\"PATH\",\"value\":\"/bin\"},{\"name\":\"EMPTY\",\"value\":\"\"}],\
             \"ports\":[{\"name\":\"www\",\"port\":80,\"socketActivated\":true}]},\
             \"volumes\":[{\"mode\":\"0755\",\"readOnly\":\"yes\"}],\"text\":\"two\\nlines\\n\",\"nothing\":null,\
             \"again\":{\"name\":\"EMPTY\",\"value\":\"\"}}"
        );
        assert_eq!(json(r#"{"acKind": "PodManifest"}"#).unwrap(), r#"{"acKind":"PodManifest"}"#, "JSON is YAML");
    }

    #[test]
    fn mistakes_are_shown_where_they_are() {
        let error = yaml_to_json(b"a: 1\n b: [2\n").unwrap_err();
        assert_eq!(error.to_string(), "mapping values are not allowed in this context at line 2, column 3");
        let picture = error.picture().expect("the place is known");
        assert!(picture.contains("2 |  b: [2") && picture.contains('^') && !picture.contains("<input>"), "{picture}");
        let twice = yaml_to_json(b"a: 1\na: 2\n").unwrap_err();
        assert_eq!(twice.to_string(), "duplicate mapping key: a at line 2, column 1");
        assert!(twice.picture().is_some_and(|picture| !picture.contains("Options")), "{twice:?}");
        assert_eq!(json("a: 1\n---\na: 2\n").unwrap_err(), "more than one document, where a manifest is one");
        assert_eq!(json("---\na: 1\n...\n").unwrap(), r#"{"a":1}"#);
        let named = json("\"budget breached: Documents\": 1\n\"budget breached: Documents\": 2\n").unwrap_err();
        assert!(named.starts_with("duplicate mapping key"), "what a key is called is not the mistake: {named}");
        for bad in ["a: !custom 1\n", "--- 1\n--- 2\n", "a: *nowhere\n", ": : :", "a: .inf"] {
            assert!(json(bad).is_err(), "{bad:?} {:?}", json(bad));
        }
    }

    #[test]
    fn bombs_do_not_go_off() {
        let laughs = (1..30).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
            let before = n - 1;
            format!("{text}a{n}: &a{n} [*a{before}, *a{before}, *a{before}]\n")
        });
        let deep = "[".repeat(10_000);
        let long = format!("a: \"{}\"", "x".repeat(5 << 20));
        let keys: String = (0..100_000).map(|n| format!("k{n}: {{}}\n")).collect();
        for bad in [laughs, deep, long] {
            assert!(json(&bad).is_err());
        }
        // Many keys are no bomb, but they must not take quadratic time.
        assert_eq!(json(&keys).map(|json| json.len() > 1_000_000), Ok(true));
    }
}
