//! From what a user types to the pod that is meant.

use std::collections::BTreeSet;

use appc::PodUuid;

use crate::listing::{locate, look_at, uuids};
use crate::root::Pods;
use crate::{Place, PodEntry, PodError, PodName, names};

/// Why a text does not lead to a pod. The texts are rkt's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// Nothing was typed.
    #[error("UUID cannot be empty")]
    Empty,
    /// No name and no UUID begins like that.
    #[error("no matches found for {needle:?}")]
    NoMatch {
        /// What was typed, at most 80 characters of it.
        needle: String,
    },
    /// Several UUIDs begin like that.
    #[error("{needle:?}: ambiguous uuid, {matches} matches")]
    Ambiguous {
        /// What was typed.
        needle: String,
        /// How many.
        matches: usize,
    },
    /// The look failed.
    #[error(transparent)]
    Pod(#[from] PodError),
}

impl Pods {
    /// The pod that `needle` means: a whole UUID, else a name, else the beginning of exactly one UUID. UUIDs may be
    /// typed in either case, with or without dashes. Pods that are being born or are garbage are not found.
    ///
    /// # Errors
    /// [`FindError`].
    pub fn find(&self, needle: &str) -> Result<PodEntry, FindError> {
        if needle.is_empty() {
            return Err(FindError::Empty);
        }
        let no_match = || FindError::NoMatch { needle: needle.chars().take(80).collect() };
        if let Ok(uuid) = needle.parse() {
            return self.visible(uuid)?.ok_or_else(no_match);
        }
        if let Ok(name) = needle.parse::<PodName>()
            && let Some(uuid) = names::holder(&self.root, &name)?
            && let Some(entry) = self.visible(uuid)?
        {
            return Ok(entry);
        }
        let prefix = prefix(needle).ok_or_else(no_match)?;
        let mut matches = BTreeSet::new();
        for place in Place::VISIBLE {
            matches.extend(uuids(&self.root, place)?.into_iter().filter(|uuid| digits(*uuid).starts_with(&prefix)));
        }
        match (matches.len(), matches.first()) {
            (1, Some(uuid)) => self.visible(*uuid)?.ok_or_else(no_match),
            (0, _) => Err(no_match()),
            (matches, _) => Err(FindError::Ambiguous { needle: needle.to_owned(), matches }),
        }
    }

    /// The pod's entry, if it stands where users find pods.
    fn visible(&self, uuid: PodUuid) -> Result<Option<PodEntry>, PodError> {
        for place in Place::VISIBLE {
            if let Some(mut entry) = look_at(&self.root, place, uuid)? {
                entry.name = self.name_of(uuid)?;
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// The name that the pod wrote down, if it holds that name still.
    fn name_of(&self, uuid: PodUuid) -> Result<Option<PodName>, PodError> {
        let Some((place, _)) = locate(&self.root, uuid)? else { return Ok(None) };
        let Some(name) = names::written(&self.root, place, uuid)? else { return Ok(None) };
        Ok((names::holder(&self.root, &name)? == Some(uuid)).then_some(name))
    }
}

/// The lower-case digits of the beginning of a UUID; `None` if the text cannot be that.
fn prefix(needle: &str) -> Option<String> {
    let is_possible = needle.len() <= 36 && needle.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    let digits: String = needle.chars().filter(|c| *c != '-').map(|c| c.to_ascii_lowercase()).collect();
    (is_possible && !digits.is_empty()).then_some(digits)
}

fn digits(uuid: PodUuid) -> String {
    let mut text = uuid.to_string();
    text.retain(|c| c != '-');
    text
}
