//! Writes images in the formats of other programs.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Seek as _, Write};
use std::path::Path;

use appc::{AcIdentifier, ImageManifest};
use serde_json::json;
use store::flatten::{FlattenError, Wrapping, flatten};
use store::stack::Stack;
use store::{Algorithm, Digest, ImageKind, ImageRecord};
use tar_core::EntryType;
use tar_core::builder::EntryBuilder;

use crate::error::{CommandError, Explain};
use crate::idmap;
use crate::import::Images;
use crate::layer_writer::Packing;
use crate::oci_form::{LayerFile, OciForm};
use crate::rendering::Place;
use crate::{packed, umask};

/// A tar archive consists of blocks of this many bytes.
const BLOCK: u64 = 512;

/// Writes an ACI: one that was stored as such bit for bit, another image with all its layers in one.
///
/// # Errors
///
/// The image cannot be read, or the file not be written.
pub(crate) fn aci(images: &Images, image: &ImageRecord, out: &File) -> Result<(), CommandError> {
    if let (ImageKind::Aci, [layer]) = (image.kind, image.layers.as_slice()) {
        return packed::pack(&images.store, &images.mapping, layer, out, Packing::Plain).map(drop);
    }
    let (stack, _guards) = images.stack(image)?;
    archive(images, &stack, Wrapping::Aci(&aci_manifest(image)?.to_json()?), out)
}

/// [`aci`] to a stream. That takes nothing back: an archive is checked before anybody gets it.
///
/// # Errors
///
/// As [`aci`].
pub(crate) fn aci_stream(images: &Images, image: &ImageRecord, out: &File) -> Result<(), CommandError> {
    let (ImageKind::Aci, [layer]) = (image.kind, image.layers.as_slice()) else { return aci(images, image, out) };
    let archive = packed::archive(&images.store, &images.mapping, layer)?;
    io::copy(&mut &archive, &mut &*out).map(drop).during(|| "write".into())
}

/// Writes what the trees show, in one archive.
///
/// # Errors
///
/// A tree cannot be read, or the archive not be written.
pub(crate) fn archive(images: &Images, stack: &Stack, wrapping: Wrapping<'_>, out: &File) -> Result<(), CommandError> {
    let out = out.try_clone()?;
    idmap::run_in(&images.mapping, || -> Result<(), FlattenError> {
        let mut out = BufWriter::with_capacity(256 << 10, out);
        flatten(stack, wrapping, &mut out)?;
        out.flush().map_err(|error| FlattenError::Write(error.into()))
    })??;
    Ok(())
}

/// The manifest of an OCI image as an ACI: what was derived from its configuration, and the tag as its version.
fn aci_manifest(image: &ImageRecord) -> Result<ImageManifest, CommandError> {
    let mut manifest = image.manifest.clone();
    let newest = image.names.iter().max_by_key(|claim| (claim.claimed_ns, claim.name.len()));
    let tag = newest.and_then(|claim| {
        let last = claim.name.rsplit('/').next()?;
        Some(last.split_once(':')?.1.to_owned())
    });
    if let (None, Some(tag)) = (manifest.labels.get("version"), tag) {
        manifest.labels.set("version".parse::<AcIdentifier>()?, tag);
    }
    Ok(manifest)
}

/// Writes an OCI layout in a tar archive (image-spec image-layout.md).
///
/// # Errors
///
/// The file cannot be written.
pub(crate) fn oci_archive(form: &OciForm, name: Option<&str>, out: File) -> Result<(), CommandError> {
    let mut tar = Tar::new(out);
    let index = index(form, name)?;
    let algorithms: BTreeSet<_> = form.layers.iter().map(|layer| layer.digest.algorithm()).collect();
    tar.directory("blobs/")?;
    for algorithm in algorithms.into_iter().chain([Algorithm::Sha256]).collect::<BTreeSet<_>>() {
        tar.directory(&format!("blobs/{}/", algorithm.name()))?;
    }
    tar.bytes("oci-layout", LAYOUT)?;
    tar.bytes("index.json", &index)?;
    let mut written = BTreeSet::new();
    for document in [&form.manifest, &form.config] {
        let digest = Digest::of(Algorithm::Sha256, document);
        if written.insert(digest) {
            tar.bytes(&blob_name(&digest), document)?;
        }
    }
    for layer in form.layers.iter().filter(|layer| written.insert(layer.digest)) {
        tar.layer(&blob_name(&layer.digest), layer)?;
    }
    tar.finish()
}

/// An image in an archive of several.
#[derive(Debug)]
pub(crate) struct Saved {
    pub(crate) form: OciForm,
    /// What it is called there.
    pub(crate) names: Vec<String>,
}

/// Writes what `docker load` reads: the configuration, the uncompressed layers, and a list of them.
///
/// # Errors
///
/// The file cannot be written.
pub(crate) fn docker_archive(images: &[Saved], out: File) -> Result<(), CommandError> {
    let mut tar = Tar::new(out);
    let config_of = |form: &OciForm| format!("{}.json", form.config_digest().hex());
    let file_of = |layer: &LayerFile| format!("{}.tar", layer.diff_id.hex());
    // Docker knows no image without a tag.
    let tagged = |name: &str| match name.rsplit('/').next().is_some_and(|last| last.contains(':')) {
        true => name.to_owned(),
        false => format!("{name}:latest"),
    };
    let entries = images.iter().map(|Saved { form, names, .. }| {
        let tags: Vec<String> = names.iter().map(|name| tagged(name)).collect();
        let layers: Vec<String> = form.layers.iter().map(file_of).collect();
        json!({ "Config": config_of(form), "RepoTags": tags, "Layers": layers })
    });
    tar.bytes("manifest.json", &serde_json::to_vec(&entries.collect::<Vec<_>>())?)?;
    let (mut written, mut configs) = (BTreeSet::new(), BTreeSet::new());
    for Saved { form, .. } in images {
        if configs.insert(config_of(form)) {
            tar.bytes(&config_of(form), &form.config)?;
        }
        for layer in form.layers.iter().filter(|layer| written.insert(layer.diff_id)) {
            tar.layer(&file_of(layer), layer)?;
        }
    }
    tar.finish()
}

/// Makes an OCI layout directory at a place that was checked.
///
/// # Errors
///
/// Something of it cannot be written. What had its name is still there then.
pub(crate) fn layout(form: &OciForm, name: Option<&str>, place: Place<'_>) -> Result<(), CommandError> {
    place.fill_with(|draft| {
        let algorithms: BTreeSet<_> = form.layers.iter().map(|layer| layer.digest.algorithm()).collect();
        let blobs = algorithms.into_iter().chain([Algorithm::Sha256]).map(|algorithm| algorithm.name());
        make_dir(&draft.join("blobs"))?;
        for algorithm in blobs.collect::<BTreeSet<_>>() {
            make_dir(&draft.join("blobs").join(algorithm))?;
        }
        let write = |name: &str, bytes: &mut dyn io::Read| {
            let path = draft.join(name);
            let written = File::create_new(&path).and_then(|mut file| {
                io::copy(bytes, &mut file)?;
                file.set_permissions(mode(umask::file_mode()))
            });
            written.during(|| format!("write {}", path.display()))
        };
        write("oci-layout", &mut &LAYOUT[..])?;
        write("index.json", &mut &index(form, name)?[..])?;
        let mut written = BTreeSet::new();
        for document in [&form.manifest, &form.config] {
            let digest = Digest::of(Algorithm::Sha256, document);
            if written.insert(digest) {
                write(&blob_name(&digest), &mut &document[..])?;
            }
        }
        for layer in form.layers.iter().filter(|layer| written.insert(layer.digest)) {
            let mut file = &*layer.file;
            file.rewind()?;
            write(&blob_name(&layer.digest), &mut file)?;
        }
        Ok(())
    })
}

/// Makes a directory as other programs would; our own umask is narrower.
fn make_dir(path: &Path) -> Result<(), CommandError> {
    let made = fs::create_dir(path).and_then(|()| fs::set_permissions(path, mode(umask::directory_mode())));
    made.during(|| format!("make {}", path.display()))
}

fn mode(mode: u32) -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(mode)
}

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// The entry point of a layout: one image, by the name it has.
fn index(form: &OciForm, name: Option<&str>) -> Result<Vec<u8>, CommandError> {
    let digest = Digest::of(Algorithm::Sha256, &form.manifest).to_string();
    let mut entry = json!({ "mediaType": form.manifest_type, "digest": digest, "size": form.manifest.len() });
    if let Some(name) = name {
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry],
    });
    Ok(serde_json::to_vec(&index)?)
}

/// A tar archive of plain files and the directories they are in.
struct Tar {
    out: BufWriter<File>,
}

impl Tar {
    fn new(out: File) -> Self {
        Self { out: BufWriter::with_capacity(256 << 10, out) }
    }

    /// A directory, whose name ends in `/`. Where it is left out, containers' tools make it for root and fail for
    /// everybody else: `chown …/blobs/sha256: operation not permitted`.
    fn directory(&mut self, name: &str) -> Result<(), CommandError> {
        let mut entry = EntryBuilder::new_ustar();
        entry.path(name).entry_type(EntryType::Directory);
        let small = entry.mode(0o755).and_then(|entry| entry.uid(0)).and_then(|entry| entry.gid(0));
        small.and_then(|entry| entry.size(0)).and_then(|entry| entry.mtime(0)).expect("small numbers fit");
        self.out.write_all(&entry.finish_bytes()).during(|| format!("write {name}"))
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), CommandError> {
        self.member(name, bytes.len() as u64, &mut &bytes[..]).during(|| format!("write {name}"))
    }

    fn layer(&mut self, name: &str, layer: &LayerFile) -> Result<(), CommandError> {
        let mut file = &*layer.file;
        file.rewind()?;
        self.member(name, layer.size, &mut file).during(|| format!("write {name}"))
    }

    fn member(&mut self, name: &str, size: u64, from: &mut dyn io::Read) -> io::Result<()> {
        let mut entry = EntryBuilder::new_ustar();
        entry.path(name).entry_type(EntryType::Regular);
        let told = "a PAX record tells what the header cannot";
        entry.mode(0o644).and_then(|entry| entry.uid(0)).and_then(|entry| entry.gid(0)).expect("small numbers fit");
        entry.mtime(0).and_then(|entry| entry.size(size)).expect(told);
        self.out.write_all(&entry.finish_bytes())?;
        if io::copy(&mut from.take(size), &mut self.out)? != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let padding = size.next_multiple_of(BLOCK) - size;
        self.out.write_all(&[0; BLOCK as usize][..usize::try_from(padding).expect("less than a block")])
    }

    fn finish(mut self) -> Result<(), CommandError> {
        // Two blocks of zeros end an archive.
        self.out.write_all(&[0; 2 * BLOCK as usize]).and_then(|()| self.out.flush()).during(|| "write".into())
    }
}
