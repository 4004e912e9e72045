//! What an image holds, told by its manifest and config: the rules of the format's README, in their order.

use std::collections::BTreeSet;
use std::fmt;

use crate::descriptor::Descriptor;
use crate::document::Image;
use crate::media::{self, DiskType, Special};
use crate::role::Role;
use crate::title::{Title, TitleError};

/// Kinds of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Layers are files.
    Artifacts,
    /// Layers are archives of one file each.
    Legacy,
    /// Labels tell where in the file system the files are.
    Labels,
    /// Nothing says that there are files for a virtual machine in it.
    Regular,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Artifacts => "artifacts",
            Self::Legacy => "legacy",
            Self::Labels => "labels",
            Self::Regular => "regular OCI image",
        })
    }
}

/// One file of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is for.
    pub role: Role,
    /// A disk's format; told by its name's end where nothing else tells.
    pub disk: Option<DiskType>,
    /// What it is called when it is pulled.
    pub title: Title,
    /// Where it is.
    pub place: Place,
}

/// Where in an image a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A layer is the file.
    Blob(Descriptor),
    /// A layer is an archive of the file.
    Layer(Descriptor),
    /// The file system that all layers make has it there.
    Path(String),
}

/// Everything that [`Image`] tells of an image's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The first rule that matched.
    pub kind: Kind,
    /// The files: kernel, initrd, root disk, disks, others.
    pub items: Vec<Item>,
    /// Layers that are no file beside others that are, as `TYPE (DIGEST)`: what they hold is unknown.
    pub left_out: Vec<String>,
}

/// Why an image's description makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentsError {
    /// A role that nobody knows.
    #[error("unknown role {role:?} of layer {layer}")]
    Role {
        /// The annotation.
        role: String,
        /// The layer's digest.
        layer: String,
    },
    /// A special media type that nobody knows.
    #[error("unknown type {media_type:?} of layer {layer}")]
    Type {
        /// The type.
        media_type: String,
        /// The layer's digest.
        layer: String,
    },
    /// A layer without a title.
    #[error("layer {0} has a role and no title")]
    NoTitle(String),
    /// Two files for one place.
    #[error("two layers have the role {0}")]
    DuplicateRole(Role),
    /// Two files of one name.
    #[error("two layers have the title {0:?}")]
    DuplicateTitle(String),
    /// A name that leads elsewhere.
    #[error(transparent)]
    Title(#[from] TitleError),
    /// A label that is no path.
    #[error("path_traversal_disallowed: label {label} has the path {path:?}")]
    Path {
        /// The label.
        label: String,
        /// Its value.
        path: String,
    },
    /// A label of a disk without a number.
    #[error("label {0:?} ends in no number")]
    Number(String),
}

impl Contents {
    /// Reads an image's description.
    ///
    /// # Errors
    /// [`ContentsError`].
    pub fn of(image: &Image) -> Result<Self, ContentsError> {
        let special = |it: &Descriptor| media::special(&it.media_type).is_some();
        let blobs = of_layers(image, special, Place::Blob)?;
        if !blobs.is_empty() {
            return Ok(Self::new(Kind::Artifacts, blobs)?.without(image, special));
        }
        let annotated = |it: &Descriptor| {
            [media::ANNOTATION_TYPE, media::ANNOTATION_ROLE].iter().any(|name| it.annotation(name).is_some())
        };
        let archives = of_layers(image, annotated, Place::Layer)?;
        if !archives.is_empty() {
            return Ok(Self::new(Kind::Legacy, archives)?.without(image, annotated));
        }
        let labelled = of_labels(image)?;
        let kind = if labelled.is_empty() { Kind::Regular } else { Kind::Labels };
        Self::new(kind, labelled)
    }

    fn new(kind: Kind, mut items: Vec<Item>) -> Result<Self, ContentsError> {
        let (mut roles, mut titles) = (BTreeSet::new(), BTreeSet::new());
        for item in &items {
            if item.role.is_single() && !roles.insert(item.role) {
                return Err(ContentsError::DuplicateRole(item.role));
            }
            if !titles.insert(item.title.clone()) {
                return Err(ContentsError::DuplicateTitle(item.title.to_string()));
            }
        }
        // Stable: disks keep their order.
        items.sort_by_key(|it| it.role);
        Ok(Self { kind, items, left_out: Vec::new() })
    }

    /// Notes the layers that are not among the files.
    fn without(mut self, image: &Image, is_file: impl Fn(&Descriptor) -> bool) -> Self {
        let rest = image.layers.iter().filter(|it| !is_file(it));
        let shown =
            |it: &Descriptor| format!("{} ({})", it.media_type.chars().take(200).collect::<String>(), it.digest);
        self.left_out = rest.map(shown).collect();
        self
    }

    /// The file of a role that there is at most one of.
    #[must_use]
    pub fn single(&self, role: Role) -> Option<&Item> {
        self.items.iter().find(|it| it.role == role)
    }

    /// The further disks, in order.
    pub fn disks(&self) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(|it| it.role == Role::Disk)
    }
}

fn of_layers(
    image: &Image,
    is_file: impl Fn(&Descriptor) -> bool,
    place: impl Fn(Descriptor) -> Place,
) -> Result<Vec<Item>, ContentsError> {
    let item = |layer: &Descriptor| {
        let digest = || layer.digest.to_string();
        let media_type = match media::special(&layer.media_type) {
            Some(_) => &layer.media_type,
            None => layer.annotation(media::ANNOTATION_TYPE).unwrap_or_default(),
        };
        let special = match media::special(media_type) {
            Some(Some(special)) => Some(special),
            None if media_type.is_empty() => None,
            _ => return Err(ContentsError::Type { media_type: media_type.to_owned(), layer: digest() }),
        };
        let title = layer.annotation(media::ANNOTATION_TITLE);
        let role = match layer.annotation(media::ANNOTATION_ROLE) {
            Some(role) if !role.is_empty() => Role::of_annotation(role)
                .ok_or_else(|| ContentsError::Role { role: role.to_owned(), layer: digest() })?,
            _ => match special {
                Some(Special::Kernel) => Role::Kernel,
                Some(Special::Initrd) => Role::Initrd,
                Some(Special::Disk(_)) if title.is_some_and(|it| it.starts_with("disk-root-")) => Role::Root,
                Some(Special::Disk(_)) => Role::Disk,
                Some(Special::Other) | None => Role::Other,
            },
        };
        let title = Title::new(title.ok_or_else(|| ContentsError::NoTitle(digest()))?)?;
        let disk = match (role, special) {
            (Role::Root | Role::Disk, Some(Special::Disk(kind))) => Some(kind),
            (Role::Root | Role::Disk, _) => Some(DiskType::of_file(title.as_str())),
            _ => None,
        };
        Ok(Item { role, disk, title, place: place(layer.clone()) })
    };
    image.layers.iter().filter(|it| is_file(it)).map(item).collect()
}

fn of_labels(image: &Image) -> Result<Vec<Item>, ContentsError> {
    let mut items = Vec::new();
    for (label, path) in &image.labels {
        let (role, number) = match label.as_str() {
            media::LABEL_KERNEL => (Role::Kernel, 0),
            media::LABEL_INITRD => (Role::Initrd, 0),
            media::LABEL_ROOT => (Role::Root, 0),
            media::LABEL_OTHER => (Role::Other, 0),
            other => match other.strip_prefix(media::LABEL_DISK) {
                Some(number) => (Role::Disk, number.parse::<u32>().map_err(|_| ContentsError::Number(label.clone()))?),
                None => continue,
            },
        };
        let bad = || ContentsError::Path { label: label.clone(), path: path.chars().take(200).collect() };
        // A path in an image's file system; with a leading slash or without.
        let inside = Title::new(path.strip_prefix('/').unwrap_or(path)).map_err(|_| bad())?;
        let name = inside.parts().1;
        let title = match role {
            Role::Kernel => "kernel".to_owned(),
            Role::Initrd => "initrd".to_owned(),
            Role::Root => prefixed("disk-root-", name),
            Role::Disk => prefixed(&format!("disk-{number}-"), name),
            Role::Other => name.to_owned(),
        };
        let disk = matches!(role, Role::Root | Role::Disk).then(|| DiskType::of_file(name));
        let item = Item { role, disk, title: Title::new(&title)?, place: Place::Path(inside.to_string()) };
        items.push((number, item));
    }
    // Labels are sorted as text, disks are counted.
    items.sort_by_key(|(number, _)| *number);
    Ok(items.into_iter().map(|(_, item)| item).collect())
}

/// An image that we made and somebody built again has the names already.
fn prefixed(prefix: &str, name: &str) -> String {
    if name.starts_with(prefix) { name.to_owned() } else { format!("{prefix}{name}") }
}
