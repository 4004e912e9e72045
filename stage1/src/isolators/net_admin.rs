//! Which apps have CAP_NET_ADMIN over the pod's network, and not only over their own user namespaces.
//!
//! Neither an image nor a pod manifest can say that: the annotation is written from the operator's command line alone,
//! and taken out of manifests that come from elsewhere.

use appc::Annotations;

use super::choices::BadChoice;

/// Annotation of a pod: the names of those apps, with commas between them; with `:pre-start` behind a name it is that
/// app's pre-start handler alone.
pub const NET_ADMIN: &str = "proa.local/net-admin";

/// The word behind a name.
const PRE_START: &str = "pre-start";

/// What of an app has the right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// All that is executed in it.
    App,
    /// Its pre-start handler.
    PreStart,
}

/// The apps of a pod that have the right.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetAdmin(Vec<(String, Grant)>);

impl NetAdmin {
    /// Those of a pod with these annotations.
    ///
    /// # Errors
    /// [`BadChoice`].
    pub fn of(pod: &Annotations) -> Result<Self, BadChoice> {
        let bad = |value: &str| BadChoice {
            name: NET_ADMIN,
            value: value.to_owned(),
            wanted: "a list of names of apps, each perhaps with :pre-start",
        };
        pod.get(NET_ADMIN).map_or(Ok(Self::default()), |text| Self::parse(text).ok_or_else(|| bad(text)))
    }

    /// Reads `APP[:pre-start],…`; none if it is something else, or an app stands there twice.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut grants: Vec<(String, Grant)> = Vec::new();
        for part in text.split(',') {
            let (name, grant) = match part.split_once(':') {
                None => (part, Grant::App),
                Some((name, PRE_START)) => (name, Grant::PreStart),
                Some(_) => return None,
            };
            let is_new = grants.iter().all(|(known, _)| known != name);
            (is_new && name.parse::<appc::AcName>().is_ok()).then(|| grants.push((name.to_owned(), grant)))?;
        }
        Some(Self(grants))
    }

    /// These apps, whose names differ.
    pub fn all<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        Self(names.map(|name| (name.to_owned(), Grant::App)).collect())
    }

    /// Whether no app has it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What of this app has it, if anything.
    #[must_use]
    pub fn of_app(&self, name: &str) -> Option<Grant> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, grant)| *grant)
    }

    /// The names of the apps, in the order in which they were given.
    pub fn apps(&self) -> impl Iterator<Item = (&str, Grant)> {
        self.0.iter().map(|(name, grant)| (name.as_str(), *grant))
    }
}

/// As [`NetAdmin::parse`] reads it.
impl std::fmt::Display for NetAdmin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (name, grant)) in self.apps().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match grant {
                Grant::App => write!(f, "{comma}{name}")?,
                Grant::PreStart => write!(f, "{comma}{name}:{PRE_START}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written_alike() {
        let read = NetAdmin::parse("init,web:pre-start").unwrap();
        assert_eq!(read.of_app("init"), Some(Grant::App));
        assert_eq!(read.of_app("web"), Some(Grant::PreStart));
        assert_eq!(read.of_app("db"), None);
        assert_eq!(read.to_string(), "init,web:pre-start");
    }

    #[test]
    fn lists_that_make_no_sense() {
        for text in ["", "a,", ",a", "a,a", "a,a:pre-start", "a:post-stop", "a:", ":pre-start", "A b", "../a"] {
            assert_eq!(NetAdmin::parse(text), None, "{text:?}");
        }
    }
}
