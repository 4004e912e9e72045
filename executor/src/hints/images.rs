//! About images: where they are on this machine, what is in them, and how they are built.

use std::error::Error;
use std::io;

use appc::ManifestError;
use executor::aci::{ArchiveError, BuildError, LayoutError, ManifestFileError, OpenError, PatchError};
use fetch::oci::MappingError;
use fetch::{AciError, FetchError, OciError, RefError, TarIndexError};
use store::extract::ExtractError;
use store::flatten::FlattenError;
use store::ingest::IngestError;
use store::{DependencyError, StoreError};

use super::{NEWER, about, network};
use crate::import::inflated::Failure;

pub(super) const DAMAGED: &str = "the file is damaged or no image: copy, fetch or build it again";
pub(super) const DAMAGED_LAYOUT: &str = "the image is damaged where it is: copy or build it again";
pub(super) const REFUSED: &str = "an image like this is never unpacked: build it without that";
pub(super) const PATH: &str = "is the path right? Images are docker://NAME, appc://NAME, https://URL, FILE.aci, oci:DIR[:REF], oci-archive:FILE, docker-archive:FILE, hello, or the ID or name of a stored one";

pub(super) fn of(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    const HOLES: &str = "a layer has no holes: remove the file, or keep it in a volume; `proa cp` copies it as it is";
    about(cause, fetch)
        .or_else(|| about(cause, ingest))
        .or_else(|| about(cause, inflated))
        .or_else(|| about(cause, store))
        .or_else(|| about(cause, dependency))
        .or_else(|| about(cause, |error| matches!(error, FlattenError::Holes(_)).then_some(HOLES)))
        .or_else(|| about(cause, |_: &MappingError| Some("correct the image's configuration and build it again")))
        .or_else(|| about(cause, |_: &ManifestError| Some("correct the image's manifest and build it again")))
        .or_else(|| about(cause, |_: &RefError| Some(PATH)))
        .or_else(|| aci(cause))
        .or_else(|| vm_image(cause))
}

fn fetch(error: &FetchError) -> Option<&'static str> {
    match error {
        FetchError::Aci(AciError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => Some(PATH),
        FetchError::Aci(AciError::Open { .. }) => Some("the file must be readable for you"),
        FetchError::Aci(AciError::Directory(_)) => Some("an OCI layout directory is written oci:DIR"),
        FetchError::Aci(_) | FetchError::Archive { source: OciError::NotRegular(_), .. } => {
            Some("save the image to a file first")
        }
        FetchError::Oci { source, .. } | FetchError::Archive { source, .. } => Some(oci(source)),
        _ => None,
    }
}

pub(super) fn oci(error: &OciError) -> &'static str {
    match error {
        OciError::OpenDir(_) => "is the path right, and the directory readable for you?",
        OciError::NotALayout { .. } => "give the directory that holds oci-layout and index.json",
        OciError::OpenArchive(_) => "is the path right, and the file readable for you?",
        OciError::Archive(TarIndexError::Compressed(_)) => "unpack it first: gunzip, unzstd, bunzip2, unxz",
        OciError::Archive(_) | OciError::DockerArchive(_) => "the archive is damaged: save the image again",
        OciError::Open { .. } | OciError::Read { .. } => "the files of the layout must be readable for you",
        OciError::MediaType { .. } => {
            "layers may be tar, tar+gzip and tar+zstd: convert the image, for instance with `skopeo copy`"
        }
        OciError::Ambiguous { .. } | OciError::NoRef { .. } => "choose one of those that are listed",
        OciError::NoPlatform { .. } | OciError::ForeignPlatform { .. } => "get the image for this kind of machine",
        OciError::Registry(error) => network::registry(error).unwrap_or(DAMAGED_LAYOUT),
        OciError::NoLayers | OciError::TooManyLayers { .. } => {
            "build the image another way: it cannot be run like this"
        }
        _ => DAMAGED_LAYOUT,
    }
}

fn ingest(error: &IngestError) -> Option<&'static str> {
    Some(match error {
        IngestError::UnsupportedCompression { .. } => "compress the image with gzip, bzip2, xz or zstd, or not at all",
        IngestError::Encrypted { name } if name == "OpenPGP" => {
            "decrypt it first: gpg --output IMAGE.aci --decrypt FILE"
        }
        IngestError::Encrypted { .. } => "decrypt it first, with the program that encrypted it",
        IngestError::TooLarge { .. } | IngestError::Bomb { .. } => REFUSED,
        IngestError::Read(_) => "can the file be read to its end?",
        IngestError::Extract(ExtractError::Entry { .. } | ExtractError::Limit { .. }) => REFUSED,
        IngestError::WriteBlob(_) | IngestError::Extract(ExtractError::System { .. }) => return None,
        _ => DAMAGED,
    })
}

fn inflated(error: &Failure) -> Option<&'static str> {
    match error {
        Failure::Read(error) => ingest(error),
        Failure::Write(_) => None,
    }
}

fn store(error: &StoreError) -> Option<&'static str> {
    match error {
        StoreError::NewerFormat { .. } => Some(NEWER),
        StoreError::Mode { .. } => Some("give it to its owner alone: chmod 700"),
        StoreError::Damaged { .. } => Some("fetch the image again"),
        _ => None,
    }
}

fn dependency(error: &DependencyError) -> Option<&'static str> {
    Some(match error {
        DependencyError::Missing { .. } => "fetch what is missing; images in files come before those that need them",
        _ => "correct the images' manifests and build them again",
    })
}

/// What `proa aci` works on.
fn aci(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    about(cause, layout)
        .or_else(|| about(cause, archive))
        .or_else(|| about(cause, opening))
        .or_else(|| about(cause, manifest_file))
        .or_else(|| about(cause, build))
        .or_else(|| about(cause, |_: &PatchError| Some("`proa aci patch-manifest --help` shows the forms")))
}

fn layout(error: &LayoutError) -> Option<&'static str> {
    Some(match error {
        LayoutError::Manifest(_) => "correct the manifest of the layout",
        LayoutError::Access { .. } | LayoutError::NotDirectory(_) => {
            "give the directory that holds manifest and rootfs"
        }
        LayoutError::ManifestFile(_) | LayoutError::Directory { .. } => {
            "the files of the layout must be readable for you"
        }
        _ => "a layout has a manifest, a directory rootfs, and nothing else",
    })
}

fn archive(error: &ArchiveError) -> Option<&'static str> {
    match error {
        ArchiveError::Read(error) => ingest(error),
        ArchiveError::Manifest(_) => Some("correct the manifest and build the image again"),
        _ => Some("build the image again, with `proa aci build`"),
    }
}

fn opening(error: &OpenError) -> Option<&'static str> {
    match error {
        OpenError::Text => Some("`proa aci validate` reads manifests, too"),
        OpenError::Unreadable(error) => ingest(error),
        OpenError::Unknown => Some(DAMAGED),
        _ => None,
    }
}

fn manifest_file(error: &ManifestFileError) -> Option<&'static str> {
    Some(match error {
        ManifestFileError::Yaml(_) => "correct it there",
        ManifestFileError::TooLarge(_) => return None,
        _ => "give a manifest file that is readable for you",
    })
}

fn build(error: &BuildError) -> Option<&'static str> {
    match error {
        BuildError::Walk(_) => Some("all files of the layout must be readable for you"),
        BuildError::Shrunk(_) => Some("nothing may write to the layout meanwhile: try again"),
        BuildError::Name { .. } => Some("rename it, or leave it out of the image"),
        _ => None,
    }
}

/// About virtual machine images.
fn vm_image(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    use eci::{ArchiveError, ContentsError, DocumentError, LayoutError, PackError, TitleError};
    if let Some(ArchiveError::Taken { .. }) = cause.downcast_ref() {
        return Some("choose another file or remove this one; a layout directory holds several images");
    }
    if cause.is::<LayoutError>() || cause.is::<ArchiveError>() {
        return Some("are the path and the name right? `skopeo list-tags` or index.json say what is there");
    }
    if cause.is::<PackError>() {
        return Some("are the paths right? See `proa eci push --help`");
    }
    if cause.is::<ContentsError>() || cause.is::<TitleError>() {
        return Some("an image like this is never unpacked: push it again without that");
    }
    let damaged = cause.is::<DocumentError>() || cause.is::<eci::unpack::UnpackError>();
    damaged.then_some("if the image is damaged, push it again")
}
