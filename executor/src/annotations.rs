//! Annotations and labels that a command line gives to a pod or an app: `NAME=VALUE`.

use std::collections::BTreeMap;

use appc::{AcIdentifier, Annotations};
use stage1::health::{HEALTHCHECK, Healthcheck};
use stage1::isolators::choices::{PIDS_LIMIT, SHM_SIZE};
use stage1::isolators::ulimits::ULIMITS;
use stage1::plan::tmpfs::TMPFS;
use stage1::plan::{DOCKERS_RULES, ENVIRONMENT, FILLED, GROUPS, IMAGE_CONTENT, STOP_SIGNAL};

use crate::error::CommandError;

/// Annotations beginning so say what proa has worked out, such as how an image's user is meant.
const RESERVED_PREFIX: &str = "proa.local/";

/// Those that are no findings of ours but somebody's choices: `--dry-run` prints them.
const CHOICES: [&str; 11] = [
    DOCKERS_RULES,
    ENVIRONMENT,
    FILLED,
    GROUPS,
    HEALTHCHECK,
    IMAGE_CONTENT,
    PIDS_LIMIT,
    SHM_SIZE,
    STOP_SIGNAL,
    TMPFS,
    ULIMITS,
];

/// Annotation of a pod: how many seconds `docker stop` gives it where none are said; negative for ever.
pub(crate) const STOP_TIMEOUT: &str = "proa.local/stop-timeout";

/// Annotation of a container's app: what its image was called on the command line. An image may have many names.
pub(crate) const TYPED_IMAGE: &str = "proa.local/typed-image";

/// What is said of a pod or an app besides what it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remarks {
    /// Annotations of the specification; names are identifiers.
    pub(crate) annotations: Annotations,
    /// Remarks for whoever runs it.
    pub(crate) user_annotations: BTreeMap<String, String>,
    /// Labels for whoever runs it.
    pub(crate) user_labels: BTreeMap<String, String>,
}

impl Remarks {
    /// What `--annotation`, `--user-annotation` and `--user-label` come to.
    ///
    /// # Errors
    ///
    /// One is malformed, given twice, or of proa's own.
    pub(crate) fn parse(
        annotations: &[String],
        user_annotations: &[String],
        user_labels: &[String],
    ) -> Result<Self, CommandError> {
        let mut all = Annotations::default();
        for (name, value) in pairs("--annotation", annotations)? {
            let refused = |why: String| CommandError::usage(format!("--annotation={name:?}: {why}"));
            let identifier: AcIdentifier = name.parse().map_err(|error| refused(format!("{error}")))?;
            if is_reserved(&name) && !CHOICES.contains(&name.as_str()) {
                return Err(refused(format!("names beginning {RESERVED_PREFIX} are proa's own")));
            }
            if name == HEALTHCHECK {
                Healthcheck::parse(&value).map_err(|error| refused(error.to_string()))?;
            }
            all.set(identifier, value);
        }
        all.validate().map_err(|error| CommandError::usage(format!("--annotation: {error}")))?;
        Ok(Self {
            annotations: all,
            user_annotations: users(user_annotations)?,
            user_labels: pairs("--user-label", user_labels)?.into_iter().collect(),
        })
    }

    /// Whether nothing is said.
    pub(crate) fn is_empty(&self) -> bool {
        self.annotations.is_empty() && self.user_annotations.is_empty() && self.user_labels.is_empty()
    }
}

/// What `--user-annotation` comes to.
fn users(texts: &[String]) -> Result<BTreeMap<String, String>, CommandError> {
    let pairs = pairs("--user-annotation", texts)?;
    match pairs.iter().find(|(name, _)| is_reserved(name)) {
        Some((name, _)) => Err(CommandError::usage(format!(
            "--user-annotation={name:?}: names beginning {RESERVED_PREFIX} are proa's own"
        ))),
        None => Ok(pairs.into_iter().collect()),
    }
}

/// Whether this is the name of a remark of proa's own.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED_PREFIX)
}

fn pairs(option: &str, texts: &[String]) -> Result<Vec<(String, String)>, CommandError> {
    let mut pairs: Vec<(String, String)> = Vec::with_capacity(texts.len());
    for text in texts {
        let refused = |why: &str| CommandError::usage(format!("{option}={text:?}: {why}"));
        let (name, value) = text.split_once('=').ok_or_else(|| refused("not of the form NAME=VALUE"))?;
        if name.is_empty() {
            return Err(refused("the name is missing"));
        }
        if pairs.iter().any(|(known, _)| known == name) {
            return Err(refused("this name is given twice"));
        }
        pairs.push((name.to_owned(), value.to_owned()));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(annotations: &[&str], labels: &[&str]) -> Result<Remarks, String> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Remarks::parse(&owned(annotations), &[], &owned(labels)).map_err(|error| error.report(None))
    }

    #[test]
    fn names_and_values() {
        let remarks = parsed(&["example.com/a=1=2", "b="], &["Any Name=x"]).unwrap();
        assert_eq!((remarks.annotations.get("example.com/a"), remarks.annotations.get("b")), (Some("1=2"), Some("")));
        assert_eq!(remarks.user_labels["Any Name"], "x");
        assert!(!remarks.is_empty() && parsed(&[], &[]).unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_one_is_named() {
        for (annotation, why) in [
            ("x", "--annotation=\"x\": not of the form NAME=VALUE"),
            ("=x", "--annotation=\"=x\": the name is missing"),
            ("A=x", "--annotation=\"A\": "),
            ("created=yesterday", "--annotation: "),
            ("proa.local/keep-id=0", "--annotation=\"proa.local/keep-id\": names beginning proa.local/ are proa's own"),
        ] {
            let report = parsed(&[annotation], &[]).unwrap_err();
            assert!(report.starts_with(&format!("proa: {why}")), "{report}");
        }
        assert!(parsed(&[], &["a=1", "a=2"]).unwrap_err().contains("given twice"));
    }
}
