//! Bringing small images into a store, as the program does.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use appc::{AcIdentifier, ImageId, ImageManifest};
use store::ingest::{Compression, InputFormat, run};
use store::recipe::rebuild;
use store::{BlobRole, Digest, IdMap, ImageKind, ImageRecord, Import, Keep, LayerKey, NewImage, Store, Tree};

use crate::archive::{aci, gzip};

pub(crate) fn map() -> IdMap {
    IdMap::new("single-u0.1-g0.1")
}

/// Bytes as an open file.
pub(crate) fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

/// Takes one archive into an import.
pub(crate) fn add(
    import: &mut Import<'_>,
    bytes: &[u8],
    format: InputFormat,
) -> Result<LayerKey, Box<dyn std::error::Error>> {
    let keep = if format == InputFormat::Aci { Keep::Archive } else { Keep::Recipe };
    let layer = import.new_layer(&map(), None, keep)?;
    let report = run(layer.job(file(bytes), format, true)?)?;
    Ok(import.add_layer(layer, &report)?)
}

/// Imports an ACI.
pub(crate) fn import_aci(
    store: &Store,
    bytes: &[u8],
    names: &[&str],
) -> Result<ImageRecord, Box<dyn std::error::Error>> {
    let mut import = store.begin()?;
    let layer = import.new_layer(&map(), None, Keep::Archive)?;
    let report = run(layer.job(file(bytes), InputFormat::Aci, true)?)?;
    let manifest = report.extracted.manifest.clone().unwrap();
    let key = import.add_layer(layer, &report)?;
    Ok(import.commit(NewImage {
        id: key.digest().into(),
        names: names.iter().map(ToString::to_string).collect(),
        manifest: ImageManifest::from_json(manifest.as_bytes())?,
        source: None,
    })?)
}

/// Imports an OCI image of these layers, each a tar archive, with a made-up configuration.
pub(crate) fn import_oci(
    store: &Store,
    layers: &[Vec<u8>],
    config: &str,
    names: &[&str],
) -> Result<ImageRecord, Box<dyn std::error::Error>> {
    let mut import = store.begin()?;
    for tar in layers {
        let bytes = gzip(tar);
        let diff_id = Digest::of(store::Algorithm::Sha256, tar);
        let packed = Some((Digest::of(store::Algorithm::Sha256, &bytes), bytes.len() as u64));
        if !import.reuse_layer(&LayerKey::oci(diff_id), &map(), packed, Keep::Recipe)? {
            add(&mut import, &bytes, InputFormat::OciLayer(Compression::Gzip))?;
        }
    }
    let config = import.add_document(config.as_bytes(), BlobRole::Config)?;
    Ok(import.commit(NewImage {
        id: config.into(),
        names: names.iter().map(ToString::to_string).collect(),
        manifest: manifest("example.com/oci"),
        source: None,
    })?)
}

/// No pod needs any tree.
pub(crate) fn nobody() -> Result<BTreeSet<LayerKey>, Box<dyn std::error::Error + Send + Sync>> {
    Ok(BTreeSet::new())
}

pub(crate) fn manifest(name: &str) -> ImageManifest {
    ImageManifest::new(name.parse::<AcIdentifier>().unwrap())
}

pub(crate) fn image_id(number: u8) -> ImageId {
    ImageId::sha512([number; 64])
}

/// Everything that must hold of a store whatever happened to it; returns its images.
///
/// Every image's trees and blobs are there and are what their names say, nothing is named twice, and gc finds nothing
/// that is still needed.
pub(crate) fn check(data: &Path) -> Vec<ImageRecord> {
    let store = Store::ensure(data).unwrap();
    let listing = store.list().unwrap();
    assert!(listing.bad.is_empty(), "{:?}", listing.bad);
    for image in &listing.images {
        for layer in &image.layers {
            let tree = store.tree(layer, &map()).unwrap().unwrap_or_else(|| panic!("no tree for {layer}"));
            let record = tree.record().unwrap();
            assert_eq!(record.layer, *layer);
            if image.kind == ImageKind::Oci {
                assert_eq!(given_back(&store, &tree), layer.digest(), "the archive that the tree gives back");
            }
            let rootfs = data.join("store/trees").join(format!("{layer}.{}", map())).join("rootfs");
            assert_eq!(bytes_below(&rootfs), record.content, "bytes in the tree of {layer}");
        }
        for blob in image.blobs.iter().filter(|blob| image.kind == ImageKind::Aci || blob.role != BlobRole::Layer) {
            let mut bytes = Vec::new();
            let mut file = store.blob(&blob.digest).unwrap().unwrap_or_else(|| panic!("no blob {}", blob.digest));
            std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
            assert_eq!(Digest::of(blob.digest.algorithm(), &bytes), blob.digest);
            assert_eq!(bytes.len() as u64, blob.size);
        }
    }
    listing.images
}

/// The digest of the archive that a tree and its recipe are together.
pub(crate) fn given_back(store: &Store, tree: &Tree) -> Digest {
    let recipe = store.recipe(tree).unwrap().expect("there is a recipe");
    let mut tar = Vec::new();
    rebuild(recipe, tree.dir(), &mut tar, &mut || Ok(store.scratch().unwrap())).unwrap();
    Digest::of(store::Algorithm::Sha256, &tar)
}

/// Bytes of the files below a directory, each counted once whatever its number of names.
fn bytes_below(dir: &Path) -> u64 {
    let files: std::collections::BTreeMap<u64, u64> = crate::bed::inodes(dir).into_iter().collect();
    files.values().sum()
}

/// The names in a directory of the store.
pub(crate) fn names(data: &Path, directory: &str) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(data.join("store").join(directory))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A data directory.
pub(crate) fn data() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// An ACI of one file with this content.
pub(crate) fn small_aci(marker: &str) -> Vec<u8> {
    aci(|archive| archive.file("rootfs/marker", marker))
}

/// The permissions of a file.
pub(crate) fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The manifest of such an ACI.
pub(crate) fn small_manifest() -> Vec<u8> {
    let text = crate::archive::MANIFEST.as_bytes();
    appc::ImageManifest::from_json(text).unwrap().to_json().unwrap()
}
