//! What an ACI is rendered from: itself and its dependencies, in the order in which they cover one another (appc ace.md,
//! Root Filesystems; aci.md, Dependency Matching).
//!
//! Which image a dependency means is decided here, from the records alone: rendering never uses the network.

use std::collections::BTreeSet;
use std::rc::Rc;

use appc::{Dependency, ImageId};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::layer::LayerKey;
use crate::layout::Store;
use crate::record::{ImageKind, ImageRecord};
use crate::shown::Shown;

/// A chain of dependencies longer than this is a mistake or an attack.
const DEEPEST: usize = 100;

/// More images than this are not rendered into one.
const MOST: usize = 1000;

/// Why the images that an ACI needs are not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DependencyError {
    /// An image that is needed is not in the store.
    #[error("{image} depends on {wanted}, which is not in the store")]
    Missing {
        /// The image that needs it.
        image: String,
        /// What it asks for.
        wanted: String,
        /// The same as it stands in the manifest.
        dependency: Box<Dependency>,
    },
    /// An image that depends on itself.
    #[error("dependency cycle: {0}")]
    Cycle(String),
    /// A chain beyond the limit.
    #[error("dependencies of {0} are too deep: more than {DEEPEST} images, each depending on the next")]
    TooDeep(String),
    /// More images than are rendered into one.
    #[error("{0} has more than {MOST} dependencies")]
    TooMany(String),
    /// The image of the ID that was asked for is another one.
    #[error("{image} depends on {wanted}, but the image of that ID is {found}")]
    Other {
        /// The image that needs it.
        image: String,
        /// What it asks for.
        wanted: String,
        /// What has that ID.
        found: String,
    },
    /// The image has another size than was asked for.
    #[error("{image} depends on {wanted} of {expected} bytes, but that has {found}")]
    Size {
        /// The image that needs it.
        image: String,
        /// What it asks for.
        wanted: String,
        /// The size it asks for.
        expected: u64,
        /// The size the image has.
        found: u64,
    },
    /// The index cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The only paths that are kept of an image and its dependencies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Whitelist(BTreeSet<Vec<u8>>);

impl Whitelist {
    /// The list of a manifest; `None` if that keeps everything. Paths are from the root of the image, however written.
    fn of(paths: &[String]) -> Option<Self> {
        let clean = |path: &String| {
            let mut components: Vec<&str> = Vec::new();
            for component in path.split('/') {
                match component {
                    "" | "." => {}
                    ".." => drop(components.pop()),
                    name => components.push(name),
                }
            }
            components.join("/").into_bytes()
        };
        (!paths.is_empty()).then(|| Self(paths.iter().map(clean).collect()))
    }

    /// Whether `path`, relative to the root of the image, is in the list. A directory does not include its contents.
    pub(crate) fn has(&self, path: &[u8]) -> bool {
        self.0.contains(path)
    }
}

/// One image's part in a rendering.
#[derive(Clone, Debug)]
pub struct Part {
    /// The image.
    pub image: ImageId,
    /// Its layer.
    pub layer: LayerKey,
    /// Its own list: what is not a directory must be in it.
    pub(crate) own: Option<Rc<Whitelist>>,
    /// The lists of those that depend on it: everything must be in each.
    pub(crate) above: Vec<Rc<Whitelist>>,
}

impl Part {
    /// Whether something of the image is left out.
    pub fn is_filtered(&self) -> bool {
        self.own.is_some() || !self.above.is_empty()
    }
}

impl Store {
    /// What an ACI is rendered from, highest first: of two that have a path the earlier one counts. An image without
    /// dependencies is all there is itself.
    ///
    /// # Errors
    /// [`DependencyError`].
    pub fn parts(&self, image: &ImageRecord) -> Result<Vec<Part>, DependencyError> {
        if image.manifest.dependencies.is_empty() {
            return parts(image, &[]);
        }
        parts(image, &self.list()?.images)
    }
}

impl ImageRecord {
    /// Whether the image is not simply what its layers show: it has dependencies or a list of paths.
    pub fn is_rendered(&self) -> bool {
        let manifest = &self.manifest;
        self.kind == ImageKind::Aci && !(manifest.dependencies.is_empty() && manifest.path_whitelist.is_empty())
    }
}

/// What an image and its dependencies among `images` are merged into, if they are.
pub(crate) fn merged(image: &ImageRecord, images: &[ImageRecord]) -> Result<Option<LayerKey>, DependencyError> {
    if !image.is_rendered() {
        return Ok(None);
    }
    Ok(Some(merged_key(&parts(image, images)?)))
}

/// The name of the tree that parts are merged into: it changes with each of them. There must be one.
pub fn merged_key(parts: &[Part]) -> LayerKey {
    let describe = |part: &Part| {
        let lists: Vec<&Whitelist> = part.own.iter().chain(&part.above).map(Rc::as_ref).collect();
        let lists = serde_json::to_string(&lists).expect("lists of bytes");
        format!("{} {} {lists}", part.layer, part.own.is_some())
    };
    parts[0].layer.merged(&parts.iter().map(describe).collect::<Vec<_>>().join("\n"))
}

/// See [`Store::parts`].
fn parts(image: &ImageRecord, images: &[ImageRecord]) -> Result<Vec<Part>, DependencyError> {
    let mut search = Search { images, chain: Vec::new(), met: BTreeSet::new(), parts: Vec::new() };
    search.visit(image, &[])?;
    Ok(search.parts)
}

struct Search<'a> {
    images: &'a [ImageRecord],
    /// The image that is looked at, and those that led to it.
    chain: Vec<ImageId>,
    /// What was met, and under which lists. Met again under the same ones it adds nothing: the first stands above.
    met: BTreeSet<(ImageId, Vec<Rc<Whitelist>>)>,
    parts: Vec<Part>,
}

impl Search<'_> {
    /// Adds an image and what it depends on. Of the dependencies the last one listed stands highest.
    fn visit(&mut self, image: &ImageRecord, above: &[Rc<Whitelist>]) -> Result<(), DependencyError> {
        if self.chain.contains(&image.id) {
            return Err(DependencyError::Cycle(self.cycle(image)));
        }
        if self.chain.len() == DEEPEST {
            return Err(DependencyError::TooDeep(self.first(image)));
        }
        if !self.met.insert((image.id, above.to_vec())) {
            return Ok(());
        }
        let Some(layer) = image.layers.first().copied() else { return Ok(()) };
        let own = Whitelist::of(&image.manifest.path_whitelist).map(Rc::new);
        self.parts.push(Part { image: image.id, layer, own: own.clone(), above: above.to_vec() });
        if self.parts.len() > MOST {
            return Err(DependencyError::TooMany(self.first(image)));
        }
        let mut lists: BTreeSet<Rc<Whitelist>> = above.iter().cloned().collect();
        lists.extend(own);
        let lists: Vec<_> = lists.into_iter().collect();
        self.chain.push(image.id);
        for dependency in image.manifest.dependencies.iter().rev() {
            let found = find(image, dependency, self.images)?;
            self.visit(found, &lists)?;
        }
        self.chain.pop();
        Ok(())
    }

    fn name(&self, id: &ImageId) -> String {
        self.images.iter().find(|image| image.id == *id).map_or_else(|| id.to_string(), called)
    }

    fn first(&self, image: &ImageRecord) -> String {
        self.chain.first().map_or_else(|| called(image), |id| self.name(id))
    }

    /// `A -> B -> A`.
    fn cycle(&self, image: &ImageRecord) -> String {
        let from = self.chain.iter().position(|id| *id == image.id).unwrap_or(0);
        let names = self.chain[from..].iter().map(|id| self.name(id)).chain([called(image)]);
        names.collect::<Vec<_>>().join(" -> ")
    }
}

/// The image that a dependency means: that of its ID, else the one of its name and labels that was given the name last, or
/// else stored last.
fn find<'a>(
    image: &ImageRecord,
    dependency: &Dependency,
    images: &'a [ImageRecord],
) -> Result<&'a ImageRecord, DependencyError> {
    let wanted = || wanted(dependency);
    let fits = |other: &ImageRecord| {
        let manifest = &other.manifest;
        other.kind == ImageKind::Aci
            && manifest.name == dependency.image_name
            && manifest.labels.satisfy(&dependency.labels)
    };
    let found = match &dependency.image_id {
        Some(id) => images.iter().find(|other| other.id.to_string() == id.to_string()),
        None => {
            let claimed = |other: &ImageRecord| {
                let name = dependency.image_name.as_str();
                other.names.iter().find(|claim| claim.name == name).map(|claim| claim.claimed_ns)
            };
            images.iter().filter(|other| fits(other)).max_by_key(|other| (claimed(other), other.imported_ns, other.id))
        }
    };
    let missing = || DependencyError::Missing {
        image: called(image),
        wanted: wanted(),
        dependency: Box::new(dependency.clone()),
    };
    let found = found.ok_or_else(missing)?;
    if !fits(found) {
        return Err(DependencyError::Other { image: called(image), wanted: wanted(), found: called(found) });
    }
    let size = found.blobs.first().map_or(0, |blob| blob.size);
    if dependency.size != 0 && dependency.size != size {
        let expected = dependency.size;
        return Err(DependencyError::Size { image: called(image), wanted: wanted(), expected, found: size });
    }
    Ok(found)
}

/// What a dependency asks for, as one would write it.
fn wanted(dependency: &Dependency) -> String {
    let mut text = dependency.image_name.to_string();
    for label in dependency.labels.iter() {
        let value = Shown::new(label.value.as_bytes());
        match label.name.as_str() {
            "version" => text.push_str(&format!(":{}", value.as_str())),
            name => text.push_str(&format!(",{name}={}", value.as_str())),
        }
    }
    match &dependency.image_id {
        Some(id) => format!("{text} ({id})"),
        None => text,
    }
}

/// An image's name and version.
fn called(image: &ImageRecord) -> String {
    let version =
        image.manifest.labels.get("version").map(|version| format!(":{}", Shown::new(version.as_bytes()).as_str()));
    format!("{}{}", image.manifest.name, version.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use appc::ImageManifest;

    use super::*;
    use crate::digest::Digest;
    use crate::record::NameClaim;

    /// `a: b c` depends on b and c.
    fn image(number: u8, line: &str) -> ImageRecord {
        let (name, dependencies) = line.split_once(':').unwrap();
        let dependencies: Vec<_> =
            dependencies.split_whitespace().map(|name| format!(r#"{{"imageName":"example.com/{name}"}}"#)).collect();
        let manifest = format!(
            r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/{name}","dependencies":[{}]}}"#,
            dependencies.join(",")
        );
        ImageRecord {
            id: ImageId::sha512([number; 64]),
            kind: ImageKind::Aci,
            names: vec![NameClaim { name: format!("example.com/{name}"), claimed_ns: 1 }],
            manifest: ImageManifest::from_json(manifest.as_bytes()).unwrap(),
            layers: vec![LayerKey::aci(Digest::Sha512([number; 64]))],
            blobs: Vec::new(),
            size: 0,
            imported_ns: u64::from(number),
            source: None,
        }
    }

    fn images(lines: &[&str]) -> Vec<ImageRecord> {
        (1..).zip(lines).map(|(number, line)| image(number, line)).collect()
    }

    /// The names of the parts of the first image, highest first.
    fn order(lines: &[&str]) -> Result<String, String> {
        let images = images(lines);
        let parts = parts(&images[0], &images).map_err(|error| error.to_string())?;
        let letter =
            |part: &Part| images.iter().find(|image| image.id == part.image).unwrap().manifest.name.to_string();
        Ok(parts.iter().map(|part| letter(part).replace("example.com/", "")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn later_dependencies_cover_earlier_ones_and_their_own() {
        assert_eq!(order(&["a: b c", "b:", "c: d", "d:"]).as_deref(), Ok("a c d b"));
        assert_eq!(order(&["a:"]).as_deref(), Ok("a"));
    }

    #[test]
    fn an_image_that_is_needed_twice_stands_where_it_is_highest() {
        assert_eq!(order(&["a: b c", "b: d", "c: d", "d:"]).as_deref(), Ok("a c d b"));
        // Each level doubles the number of ways; none is gone twice.
        let lines: Vec<_> = (0..20).map(|n| format!("l{n}: l{m} r{m}", m = n + 1)).collect();
        let rights: Vec<_> = (1..20).map(|n| format!("r{n}: l{m} r{m}", m = n + 1)).collect();
        let all: Vec<_> = lines.iter().chain(&rights).map(String::as_str).chain(["l20:", "r20:"]).collect();
        assert_eq!(order(&all).unwrap().split(' ').count(), 41);
    }

    #[test]
    fn cycles_are_named() {
        let cycle = "dependency cycle: example.com/a -> example.com/b -> example.com/c -> example.com/a";
        assert_eq!(order(&["a: b", "b: c", "c: a"]).unwrap_err(), cycle);
        assert_eq!(order(&["a: a"]).unwrap_err(), "dependency cycle: example.com/a -> example.com/a");
        let inner = "dependency cycle: example.com/b -> example.com/c -> example.com/b";
        assert_eq!(order(&["a: b", "b: c", "c: b"]).unwrap_err(), inner);
        let chain: Vec<_> = (0..101).map(|n| format!("n{n}: n{}", n + 1)).chain(["n101:".to_owned()]).collect();
        let chain: Vec<_> = chain.iter().map(String::as_str).collect();
        assert!(order(&chain).unwrap_err().contains("too deep"));
    }

    #[test]
    fn an_image_is_the_one_that_was_asked_for() {
        assert_eq!(order(&["a: b"]).unwrap_err(), "example.com/a depends on example.com/b, which is not in the store");
        let mut images = images(&["a: b", "b:", "b:"]);
        let asked = |images: &[ImageRecord]| parts(&images[0], images).map(|parts| parts[1].image);
        assert_eq!(asked(&images).unwrap(), images[2].id, "stored last");
        images[1].names[0].claimed_ns = 2;
        assert_eq!(asked(&images).unwrap(), images[1].id, "named last");
        let id = images[2].id.to_string();
        images[0].manifest.dependencies[0].image_id = Some(id.parse().unwrap());
        assert_eq!(asked(&images).unwrap(), images[2].id, "an ID is exact");
        images[2].manifest.name = "example.com/c".parse().unwrap();
        assert!(matches!(asked(&images), Err(DependencyError::Other { .. })));
        images[2].manifest.name = "example.com/b".parse().unwrap();
        images[0].manifest.dependencies[0].size = 7;
        assert!(matches!(asked(&images), Err(DependencyError::Size { expected: 7, found: 0, .. })));
        images[0].manifest.dependencies[0].size = 0;
        images[0].manifest.dependencies[0].labels.set("version".parse().unwrap(), "1");
        assert!(matches!(asked(&images), Err(DependencyError::Other { .. })));
    }

    #[test]
    fn lists_are_clean_paths() {
        let list = Whitelist::of(&["/c/".into(), "a//b/./x".into(), "/".into()]).unwrap();
        assert!(list.has(b"c") && list.has(b"a/b/x") && list.has(b"") && !list.has(b"c/d"));
        assert_eq!(Whitelist::of(&[]), None);
    }

    #[test]
    fn a_rendering_has_another_name_for_other_lists() {
        let mut images = images(&["a: b", "b:"]);
        let first = merged(&images[0], &images).unwrap().unwrap();
        images[1].manifest.path_whitelist = vec!["/x".into()];
        let second = merged(&images[0], &images).unwrap().unwrap();
        assert!(first != second && first.digest() == second.digest());
        assert_eq!(merged(&images[1], &[]).unwrap().map(|key| key.digest()), Some(images[1].layers[0].digest()));
        images[1].manifest.path_whitelist.clear();
        assert_eq!(merged(&images[1], &[]).unwrap(), None, "it is what its layer shows");
    }
}
