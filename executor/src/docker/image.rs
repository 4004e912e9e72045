//! Images as docker names them.

use std::ffi::OsStr;
use std::io::Read as _;

use appc::ImageId;
use fetch::ImageRef;
use serde_json::Value;
use store::{BlobRole, ImageKind, ImageRecord, Store};

use crate::config::Registries;
use crate::context::Context;
use crate::error::CommandError;
use crate::{images, request};

/// Larger than a document of an image may be, wherever it came from.
const MAX_DOCUMENT: u64 = 8 << 20;

/// What names of images are below, where docker shows none of it.
const FAMILIAR: [&str; 2] = ["docker.io/library/", "docker.io/"];

/// Fewer digits than this are a name.
const SHORTEST_ID: usize = 4;

/// A name of an image: repository and tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) repository: String,
    pub(crate) tag: String,
}

impl Name {
    /// What stands before and after the last colon that begins no port.
    pub(crate) fn parse(text: &str) -> Self {
        let text = FAMILIAR.iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
        let text = text.split_once('@').map_or(text, |(name, _)| name);
        match text.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => Self { repository: repository.into(), tag: tag.into() },
            _ => Self { repository: text.into(), tag: "latest".into() },
        }
    }

    /// As a user would type it: without the tag that every name has.
    pub(crate) fn shown(&self) -> String {
        match self.tag.as_str() {
            "latest" => self.repository.clone(),
            tag => format!("{}:{tag}", self.repository),
        }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.repository, self.tag)
    }
}

/// Its names as they are written.
pub(crate) fn names_of(image: &ImageRecord) -> impl Iterator<Item = String> {
    names(image).into_iter().map(|name| name.to_string())
}

/// The names of a stored image, newest first, each once. An ACI's own one comes first.
pub(crate) fn names(image: &ImageRecord) -> Vec<Name> {
    let mut claims: Vec<_> = image.names.iter().collect();
    claims.sort_by_key(|claim| std::cmp::Reverse(claim.claimed_ns));
    let own = own_name(image);
    let mut names: Vec<Name> = own.iter().cloned().collect();
    // Without a version an ACI's name means whichever is the latest.
    let says_more = |name: &str| own.is_none() || name != image.manifest.name.as_str();
    for name in claims.iter().filter(|claim| says_more(&claim.name)).map(|claim| Name::parse(&claim.name)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// What an ACI is called by its manifest. Nobody can take that from it.
pub(crate) fn own_name(image: &ImageRecord) -> Option<Name> {
    let tag = || image.manifest.labels.get("version").unwrap_or("latest").to_owned();
    (image.kind == ImageKind::Aci).then(|| Name { repository: image.manifest.name.to_string(), tag: tag() })
}

/// The digits of an image's ID.
pub(crate) fn digits(image: &ImageRecord) -> String {
    digits_of(&image.id)
}

/// The same of the ID.
pub(crate) fn digits_of(id: &ImageId) -> String {
    let id = id.to_string();
    id.split_once(['-', ':']).map_or(id.clone(), |(_, digits)| digits.to_owned())
}

/// The first twelve of them.
pub(crate) fn short_id(image: &ImageRecord) -> String {
    digits(image).chars().take(12).collect()
}

/// The stored image that a word means: a name with or without registry and tag, or the beginning of an ID.
///
/// # Errors
///
/// The store or the configuration cannot be read, or several images are meant.
pub(crate) fn stored(context: &Context, store: &Store, word: &str) -> Result<Option<ImageRecord>, CommandError> {
    let reference = Registries::read(context.config_dirs())?.reference(word);
    if let Ok(reference) = &reference {
        let wanted = match reference.tag() {
            Some(tag) => format!("{}:{tag}", reference.name()),
            None => reference.name(),
        };
        let named = |image: &ImageRecord| image.names().any(|name| name == wanted || name == word);
        if let Some(image) = store.list()?.images.into_iter().find(named) {
            return Ok(Some(image));
        }
    }
    let bare = word.strip_prefix("sha256:").unwrap_or(word);
    if bare.len() >= SHORTEST_ID && bare.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let found: Vec<_> =
            store.list()?.images.into_iter().filter(|image| digits(image).starts_with(&bare.to_lowercase())).collect();
        if found.len() > 1 {
            return Err(CommandError::failed(format!("image id {word} is ambiguous")));
        }
        if let Some(image) = found.into_iter().next() {
            return Ok(Some(image));
        }
    }
    Ok(images::find(context, store, word).ok())
}

/// What `run` makes of the word: a stored image by its ID, or a reference that may have to be fetched.
///
/// # Errors
///
/// As [`stored`]; the word cannot name an image.
pub(crate) fn reference(context: &Context, store: &Store, word: &OsStr) -> Result<(ImageRef, bool), CommandError> {
    // As `docker images --no-trunc` shows it, whatever the digits are of.
    if let Some(id) = word.to_str().filter(|word| word.starts_with("sha256:"))
        && let Some(image) = stored(context, store, id)?
    {
        return Ok((ImageRef::Id(image.id.to_string()), true));
    }
    let reference = request::image(word)?;
    let ImageRef::Name(name) = &reference else { return Ok((reference, true)) };
    Ok(match stored(context, store, name)? {
        Some(image) => (ImageRef::Id(image.id.to_string()), true),
        None => (ImageRef::Registry(name.clone()), false),
    })
}

/// A document of an image; none where it has none, or where it cannot be read.
pub(crate) fn document(store: &Store, image: &ImageRecord, role: BlobRole) -> Option<Value> {
    let blob = image.blobs.iter().find(|blob| blob.role == role)?;
    let mut json = Vec::new();
    store.blob(&blob.digest).ok()??.take(MAX_DOCUMENT).read_to_end(&mut json).ok()?;
    serde_json::from_slice(&json).ok()
}

/// There is no such image.
pub(crate) fn not_found(word: &str) -> CommandError {
    let bare = !word.contains(['@', ':']) || word.rsplit('/').next().is_some_and(|last| !last.contains([':', '@']));
    let tag = if bare { ":latest" } else { "" };
    CommandError::failed(format!("No such image: {word}{tag}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_as_they_are_typed() {
        for (stored, repository, tag, shown) in [
            ("docker.io/library/busybox", "busybox", "latest", "busybox"),
            ("docker.io/library/busybox:1.36", "busybox", "1.36", "busybox:1.36"),
            ("docker.io/team/app:latest", "team/app", "latest", "team/app"),
            ("localhost:5000/a", "localhost:5000/a", "latest", "localhost:5000/a"),
            ("quay.io/a/b:2@sha256:00", "quay.io/a/b", "2", "quay.io/a/b:2"),
        ] {
            let name = Name::parse(stored);
            assert_eq!((name.repository.as_str(), name.tag.as_str(), name.shown().as_str()), (repository, tag, shown));
        }
    }

    #[test]
    fn a_missing_image_is_named_with_its_tag() {
        for (word, said) in
            [("x", "x:latest"), ("x:1", "x:1"), ("h:50/x", "h:50/x:latest"), ("x@sha256:0", "x@sha256:0")]
        {
            assert_eq!(not_found(word).chain(), format!("No such image: {said}"));
        }
    }
}
