//! What `docker images` is asked for: names with wildcards, and filters.

use store::{ImageRecord, Store};

use super::filters::key_and_value;
use super::image::{self, Name};
use super::images::created_ns;
use crate::context::Context;
use crate::error::CommandError;

/// What was asked for. Of several filters of one key an image has to satisfy one, but of labels all.
#[derive(Debug)]
pub(super) struct ImageFilters(Vec<(String, Wanted)>);

#[derive(Debug)]
enum Wanted {
    /// Whether it has no name.
    Dangling(bool),
    /// A name with wildcards.
    Reference(String),
    /// A label, with a value or whatever value it has.
    Label(String, Option<String>),
    /// Made before this time.
    Before(u64),
    /// Made after this time.
    Since(u64),
}

impl ImageFilters {
    /// Understands each `KEY=VALUE`.
    ///
    /// # Errors
    ///
    /// One makes no sense, or names an image that is not there; the texts are docker's.
    pub(super) fn parse(texts: &[String], context: &Context, store: &Store) -> Result<Self, CommandError> {
        let parsed = texts.iter().map(|text| {
            let (key, value) = key_and_value(text)?;
            let invalid = || CommandError::failed(format!("invalid filter '{key}={value}'"));
            let made = || {
                let found = image::stored(context, store, value)?.ok_or_else(|| image::not_found(value))?;
                Ok::<_, CommandError>(created_ns(store, &found))
            };
            let wanted = match key.as_str() {
                "dangling" => match value {
                    "true" | "1" => Wanted::Dangling(true),
                    "false" | "0" => Wanted::Dangling(false),
                    _ => return Err(invalid()),
                },
                "reference" => Wanted::Reference(value.to_owned()),
                "label" => match value.split_once('=') {
                    Some((name, value)) => Wanted::Label(name.to_owned(), Some(value.to_owned())),
                    None => Wanted::Label(value.to_owned(), None),
                },
                "before" => Wanted::Before(made()?),
                "since" => Wanted::Since(made()?),
                _ => return Err(CommandError::failed(format!("invalid filter '{key}'"))),
            };
            Ok((key, wanted))
        });
        parsed.collect::<Result<_, CommandError>>().map(Self)
    }

    /// Whether an image that was made at this time is wanted under one of its names.
    pub(super) fn admit(&self, image: &ImageRecord, created: u64, name: Option<&Name>) -> bool {
        self.0.iter().all(|(key, wanted)| {
            let mut of_key = self.0.iter().filter(|(other, _)| other == key);
            match wanted {
                Wanted::Label(..) => wanted.admits(image, created, name),
                _ => of_key.any(|(_, wanted)| wanted.admits(image, created, name)),
            }
        })
    }
}

impl Wanted {
    fn admits(&self, image: &ImageRecord, created: u64, name: Option<&Name>) -> bool {
        match self {
            Self::Dangling(wanted) => name.is_none() == *wanted,
            Self::Reference(pattern) => name.is_some_and(|name| is_called(name, pattern)),
            Self::Label(label, value) => {
                let labels = image.manifest.app.as_ref().map(|app| &app.user_labels);
                let found = labels.and_then(|labels| labels.get(label));
                found.is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
            }
            Self::Before(time) => created < *time,
            Self::Since(time) => created > *time,
        }
    }
}

/// Whether an image's name matches one with wildcards, with or without tag.
pub(super) fn is_called(name: &Name, pattern: &str) -> bool {
    let has_tag = pattern.rsplit('/').next().is_some_and(|last| last.contains(':'));
    let wanted = Name::parse(pattern);
    matches(&wanted.repository, &name.repository) && (!has_tag || matches(&wanted.tag, &name.tag))
}

/// Go's path.Match: `*` and `?` stand for anything but a slash, `[a-z]` for one of a set.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // Where to go on after the last star, if what followed it does not match: no more than one has to be tried.
    let (mut at, mut here, mut star) = (0, 0, None);
    while here < text.len() {
        let one = match pattern.get(at) {
            Some('*') => {
                star = Some((at + 1, here));
                at += 1;
                continue;
            }
            Some('?') => (text[here] != '/').then_some(1),
            Some('[') => of_set(&pattern[at..], text[here]),
            Some('\\') if at + 1 < pattern.len() => (pattern[at + 1] == text[here]).then_some(2),
            Some(c) => (*c == text[here]).then_some(1),
            None => None,
        };
        match (one, star) {
            (Some(len), _) => (at, here) = (at + len, here + 1),
            (None, Some((after, from))) if text[from] != '/' => {
                star = Some((after, from + 1));
                (at, here) = (after, from + 1);
            }
            _ => return false,
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

/// The length of the set at the beginning of a pattern, if a character is in it.
fn of_set(pattern: &[char], c: char) -> Option<usize> {
    let negated = matches!(pattern.get(1), Some('^' | '!'));
    let first = if negated { 2 } else { 1 };
    let end = pattern.iter().skip(first).position(|c| *c == ']')? + first;
    let (mut found, mut at) = (false, first);
    while at < end {
        let range = at + 2 < end && pattern[at + 1] == '-';
        let (low, high) = if range { (pattern[at], pattern[at + 2]) } else { (pattern[at], pattern[at]) };
        found |= (low..=high).contains(&c);
        at += if range { 3 } else { 1 };
    }
    (found != negated && c != '/').then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_with_wildcards() {
        for (pattern, text, expected) in [
            ("busybox", "busybox", true),
            ("b*", "busybox", true),
            ("*x", "busybox", true),
            ("b*y*x", "busybox", true),
            ("b*z*x", "busybox", false),
            ("b*", "team/b", false),
            ("*/b*", "team/box", true),
            ("*", "team/box", false),
            ("b?sybox", "busybox", true),
            ("[a-c]usybox", "busybox", true),
            ("[^a-c]usybox", "busybox", false),
            ("[ab", "b", false),
            ("b**", "b", true),
            ("", "", true),
            ("", "b", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        let hostile = format!("{}c", "a*".repeat(2_000));
        assert!(!matches(&hostile, &"a".repeat(20_000)));
    }

    #[test]
    fn tags_count_if_they_are_typed() {
        let name = Name { repository: "localhost:5000/app".into(), tag: "1.2".into() };
        for (pattern, expected) in [
            ("localhost:5000/app", true),
            ("localhost:5000/*", true),
            ("localhost:5000/app:1*", true),
            ("localhost:5000/app:2*", false),
            ("app", false),
        ] {
            assert_eq!(is_called(&name, pattern), expected, "{pattern}");
        }
    }
}
