//! Takes archives in: each is extracted in a child inside the id map, and becomes visible when all is complete.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};

use appc::{ImageId, ImageManifest, ManifestError};
use fetch::{LayerMediaType, OciImage};
use rustix::fs::{Gid, MemfdFlags, Mode, Uid, fchown};
use rustix::process::umask;
use stage1::idmap::Tier;
use store::extract::Form;
use store::ingest::{self, Compression, IngestError, IngestJob, IngestReport, InputFormat};
use store::{Algorithm, BlobRef, BlobRole, Digest, ImageKind, ImageRecord, Import, Keep, LayerKey, NewImage};
use tracing::{debug, info_span};

use super::layers::Remote;
use super::{Images, Origin, Wanted, pull};
use crate::diagnostics::warn;
use crate::error::{CommandError, Explain, Hint};
use crate::hello;
use crate::idmap::{self, Remover};
use crate::packed;
use crate::signature::Voucher;

/// A layer's archive, open, and what is known of it beforehand.
struct Archive {
    file: File,
    format: InputFormat,
    compressed: Option<Digest>,
    uncompressed: Option<Digest>,
    /// Digest and size by which the image names it, if it is not in that form.
    packed: Option<(Digest, u64)>,
}

/// What an import came to.
enum Taken {
    /// An image to be made visible.
    New(NewImage),
    /// One that is there already.
    Known(ImageRecord),
}

impl Images {
    /// Stores the image that is built into this program.
    pub(super) fn import_hello(&self) -> Result<ImageRecord, CommandError> {
        let _span = info_span!("fetch", image = "hello").entered();
        let program = File::open("/proc/self/exe").during(|| "open this program".into())?;
        let mut archive = hello::image::archive(&program).during(|| "pack this program".into())?;
        // Ingest takes a file; one without a name needs no cleaning up.
        let memory =
            rustix::fs::memfd_create("hello.aci", MemfdFlags::CLOEXEC).during(|| "make a memory file".into())?;
        let mut file = File::from(memory);
        io::copy(&mut archive, &mut file).during(|| "pack this program".into())?;
        file.rewind().during(|| "pack this program".into())?;
        let origin = Origin { voucher: &Voucher::Nobody, source: Some("hello".to_owned()), wanted: None };
        self.import_aci(file, origin).during(|| "hello".into())
    }

    /// Stores an ACI. Its signature was checked; whether that is good for its name is found out here.
    ///
    /// # Errors
    ///
    /// It is no image, is another one than was asked for, is not signed for its name, or cannot be stored.
    pub(crate) fn import_aci(&self, mut file: File, origin: Origin<'_>) -> Result<ImageRecord, CommandError> {
        let Origin { voucher, source, wanted } = origin;
        let hash = match voucher.archive() {
            Some(hash) => hash,
            // Hashing costs a fraction of unpacking.
            None => Digest::of_reader(Algorithm::Sha256, &mut file)
                .and_then(|hash| file.rewind().map(|()| hash))
                .during(|| "read the image".into())?,
        };
        if let Some(stored) = self.store.find_archive(&hash)?
            && let Some(record) = self.known(&stored.id, &self.aci_names(&stored.id, &stored.manifest, wanted)?)?
        {
            check_wanted(&record.manifest, wanted)?;
            voucher.check_name(&record.manifest.name)?;
            return Ok(record);
        }
        // What was changed since it was hashed is not what was signed.
        let compressed = Some(hash);
        let archive = Archive { file, format: InputFormat::Aci, compressed, uncompressed: None, packed: None };
        self.import(|import| {
            let (layer, report) = self.take_in(import, archive)?;
            let Some(json) = report.extracted.manifest else {
                return Err(CommandError::failed("the image has no manifest"));
            };
            let manifest = ImageManifest::from_json(json.as_bytes()).map_err(explain_manifest)?;
            check_wanted(&manifest, wanted)?;
            voucher.check_name(&manifest.name)?;
            let id = ImageId::from(layer.digest());
            let names = self.aci_names(&id, &manifest, wanted)?;
            Ok(match self.known(&id, &names)? {
                Some(record) => Taken::Known(record),
                None => Taken::New(NewImage { id, names, manifest, source }),
            })
        })
    }

    /// What an ACI is called: its name with its version, and its name alone. That, too, belongs to the one that was fetched
    /// without asking for a version, if there is one; to the last one that was stored else.
    fn aci_names(
        &self,
        id: &ImageId,
        manifest: &ImageManifest,
        wanted: Option<Wanted<'_>>,
    ) -> Result<Vec<String>, CommandError> {
        let latest = store::latest_name(&manifest.name);
        let is_latest = wanted.is_some_and(|wanted| wanted.typed.labels.get("version").is_none());
        let other_is_latest = || {
            let images = self.store.list()?.images;
            Ok::<_, CommandError>(images.iter().any(|it| it.id != *id && it.names().any(|name| name == latest)))
        };
        let version = manifest.labels.get("version").map(|version| format!("{}:{version}", manifest.name));
        let mut names: Vec<String> = version.into_iter().collect();
        if is_latest || !other_is_latest()? {
            names.insert(0, manifest.name.to_string());
        }
        if is_latest && !names.contains(&latest) {
            names.push(latest);
        }
        Ok(names)
    }

    /// Stores an OCI image. Layers that are neither stored nor on this machine come from `remote`.
    pub(super) fn import_oci(
        &self,
        image: &OciImage,
        source: Option<String>,
        remote: Option<Remote<'_>>,
    ) -> Result<ImageRecord, CommandError> {
        let manifest = fetch::oci::to_app(image).during(|| "image config".into())?;
        let config = digest(&image.config_digest)?;
        let id = ImageId::from(config);
        let names = pull::names(image);
        if let Some(record) = self.known(&id, &names)? {
            return Ok(record);
        }
        self.import(|import| {
            self.take_in_layers(import, image, remote)?;
            import.add_document(&image.manifest, BlobRole::Manifest)?;
            import.add_document(&image.config, BlobRole::Config)?;
            Ok(Taken::New(NewImage { id, names, manifest, source }))
        })
    }

    /// Stores an image that was made here, under its name if it has one.
    ///
    /// # Errors
    ///
    /// It cannot be stored. Nothing of it is left in the store then.
    pub(crate) fn store_committed(&self, image: &OciImage, named: bool) -> Result<ImageRecord, CommandError> {
        let manifest = fetch::oci::to_app(image).during(|| "image config".into())?;
        let id = ImageId::from(digest(&image.config_digest)?);
        let names = if named { pull::names(image) } else { Vec::new() };
        self.import(|import| {
            self.take_in_layers(import, image, None)?;
            import.add_document(&image.manifest, BlobRole::Manifest)?;
            import.add_document(&image.config, BlobRole::Config)?;
            Ok(Taken::New(NewImage { id, names, manifest, source: None }))
        })
    }

    /// The image, if it is stored under this id map and has all these names. Looks at all images: of two that claim a
    /// name the later claim counts.
    pub(super) fn known(&self, id: &ImageId, names: &[String]) -> Result<Option<ImageRecord>, CommandError> {
        let Some(record) = self.store.list()?.images.into_iter().find(|image| image.id == *id) else {
            return Ok(None);
        };
        let named = names.iter().all(|name| record.names().any(|known| known == name));
        let needed = |blob: &&BlobRef| record.kind == ImageKind::Aci || blob.role != BlobRole::Layer;
        let is_there = |blob: &BlobRef| Ok::<_, CommandError>(self.store.blob(&blob.digest)?.is_some());
        let kept = record.blobs.iter().filter(needed).map(is_there).collect::<Result<Vec<_>, _>>()?;
        let kept = kept.into_iter().all(|there| there);
        let known = named && kept && self.ready_trees(&record.layers)?.is_some();
        debug!(%id, known, "stored before");
        Ok(known.then_some(record))
    }

    /// Extracts the layers of a stored image again, from its archives, for an id map that has changed.
    pub(super) fn render(&self, image: &ImageRecord) -> Result<(), CommandError> {
        let record = self.import(|import| {
            for (layer, blob) in image.layers.iter().zip(&image.blobs) {
                let keep = match layer.form() {
                    Form::Aci => Keep::Archive,
                    Form::OciLayer => Keep::Recipe,
                };
                if import.reuse_layer(layer, &self.map, Some((blob.digest, blob.size)), keep)? {
                    continue;
                }
                let archive = self.archive(layer, &blob.digest)?;
                let archive = Archive { packed: Some((blob.digest, blob.size)), ..archive };
                self.take_in(import, archive).map_err(explain_hash)?;
            }
            for document in image.blobs.iter().filter(|blob| blob.role != BlobRole::Layer) {
                let mut bytes = Vec::new();
                self.blob(&document.digest)?
                    .read_to_end(&mut bytes)
                    .during(|| format!("read blob {}", document.digest))?;
                import.add_document(&bytes, document.role)?;
            }
            let manifest = image.manifest.clone();
            Ok(Taken::New(NewImage { id: image.id, names: Vec::new(), manifest, source: None }))
        });
        record.map(drop)
    }

    /// Begins an import, lets `fill` take its layers in, and commits it. Removes what there is of it if that fails, or
    /// if it turns out to be nothing new: then nobody waits for the disk.
    fn import(
        &self,
        fill: impl FnOnce(&mut Import<'_>) -> Result<Taken, CommandError>,
    ) -> Result<ImageRecord, CommandError> {
        let mut import = self.store.begin()?;
        let unwanted = match fill(&mut import) {
            Ok(Taken::New(image)) => return Ok(import.commit(image)?),
            Ok(Taken::Known(record)) => Ok(record),
            Err(error) => Err(error),
        };
        match (import.abandon(&Remover::new(&self.mapping)), unwanted) {
            (Ok(()), unwanted) => unwanted,
            (Err(left), Ok(record)) => {
                warn(&format!("unfinished work is left ({left}); `proa gc` will remove it"));
                Ok(record)
            }
            (Err(left), Err(error)) => {
                Err(error.with(Hint::Besides(format!("something of it is left ({left}); `proa gc` will remove it"))))
            }
        }
    }

    /// Takes one archive in, in a child process that owns the mapped ids.
    fn take_in(&self, import: &mut Import<'_>, archive: Archive) -> Result<(LayerKey, IngestReport), CommandError> {
        let keep = if archive.format == InputFormat::Aci { Keep::Archive } else { self.keep_of_layers };
        let pending = import.new_layer(&self.map, self.owner(), keep)?;
        let mut job =
            pending.job(archive.file, archive.format, self.single_id()).during(|| "copy descriptors".into())?;
        job.expect_compressed = archive.compressed;
        job.expect_uncompressed = archive.uncompressed;
        let name = match archive.format {
            InputFormat::OciLayer(_) => archive.compressed.map(|digest| format!("layer {digest}")),
            _ => None,
        };
        let span = info_span!("render", layer = name.as_deref()).entered();
        if self.mapping.tier() == Tier::Range && !self.mapping.root_is_caller() {
            // The caller made the tree's root, and cannot give it to one of his subordinate ids.
            let own = || fchown(&job.root, Some(Uid::ROOT), Some(Gid::ROOT)).map_err(|errno| errno.raw_os_error());
            let owned: Result<(), i32> = idmap::run_in(&self.mapping, own)?;
            owned.map_err(io::Error::from_raw_os_error).during(|| "give the tree to its root".into())?;
        }
        let ingested = idmap::run_in(&self.mapping, || extract(job))?;
        let mut report = match (ingested, name) {
            (Ok(report), _) => report,
            (Err(error), Some(name)) => return Err(CommandError::from(error).during(name)),
            (Err(error), None) => return Err(error.into()),
        };
        drop(span);
        report.extracted.warnings.lines().for_each(|line| warn(&line));
        if let Some(packed) = archive.packed {
            (report.compressed, report.compressed_size) = packed;
        }
        let key = import.add_layer(pending, &report)?;
        Ok((key, report))
    }

    /// The archive of a layer of a stored image: as it came, or given back by a tree that was made for other ids.
    fn archive(&self, layer: &LayerKey, blob: &Digest) -> Result<Archive, CommandError> {
        let uncompressed = Some(layer.digest());
        if let Some(mut file) = self.store.blob(blob)? {
            let format = match layer.form() {
                Form::Aci => InputFormat::Aci,
                Form::OciLayer => InputFormat::OciLayer(sniff(&mut file)?),
            };
            return Ok(Archive { file, format, compressed: Some(*blob), uncompressed, packed: None });
        }
        let file = packed::archive(&self.store, &self.mapping, layer)?;
        let format = InputFormat::OciLayer(Compression::None);
        Ok(Archive { file, format, compressed: None, uncompressed, packed: None })
    }

    pub(super) fn blob(&self, digest: &Digest) -> Result<File, CommandError> {
        let missing = || CommandError::failed(format!("blob {digest} is gone from the store"));
        self.store.blob(digest)?.ok_or_else(|| missing().hint("fetch the image again"))
    }
}

/// Refuses an image that is another one than was asked for (appc discovery.md). The texts are rkt's.
fn check_wanted(manifest: &ImageManifest, wanted: Option<Wanted<'_>>) -> Result<(), CommandError> {
    let Some(Wanted { typed, complete }) = wanted else { return Ok(()) };
    let refused = |why: String| {
        Err(CommandError::failed(why).hint("the server gives another image than was asked for: tell who runs it"))
    };
    if manifest.name != typed.name {
        let (expected, found) = (typed.name.as_str(), manifest.name.as_str());
        return refused(format!("error when reading the app name: {expected:?} expected but {found:?} found"));
    }
    for label in complete.labels.iter() {
        match manifest.labels.get(label.name.as_str()) {
            Some(found) if found == label.value => {}
            // An image for every machine need not say so.
            None if typed.labels.get(label.name.as_str()).is_none() => {}
            Some(found) => {
                return refused(format!(
                    "requested value for label {:?}: {:?} differs from fetched aci label value: {found:?}",
                    label.name.as_str(),
                    label.value
                ));
            }
            None => {
                return refused(format!(
                    "requested label {:?} not provided by the image manifest",
                    label.name.as_str()
                ));
            }
        }
    }
    Ok(())
}

/// The compression of a stored layer, whose media type is in no record, from its first bytes.
///
/// # Errors
///
/// It cannot be read, or is packed in a way that is known and not read.
pub(crate) fn sniff(blob: &mut File) -> Result<Compression, CommandError> {
    let mut head = Vec::new();
    blob.take(512).read_to_end(&mut head)?;
    blob.rewind()?;
    Ok(Compression::sniff(&head)?)
}

/// Takes an archive in, in a process for nothing else.
pub(super) fn extract(job: IngestJob) -> Result<IngestReport, IngestError> {
    // Files get the modes that the archive says. With our own umask each would need one more call for that.
    let _ = umask(Mode::empty());
    ingest::run(job)
}

pub(super) fn compression(media_type: LayerMediaType) -> Compression {
    match media_type {
        LayerMediaType::Tar => Compression::None,
        LayerMediaType::TarGzip => Compression::Gzip,
        LayerMediaType::TarZstd => Compression::Zstd,
    }
}

/// One crate's digest as the other's: neither depends on the other, both write it the same way.
pub(super) fn digest(digest: &fetch::Digest) -> Result<Digest, CommandError> {
    Ok(digest.to_string().parse::<Digest>()?)
}

/// Says in appc's words that what is stored is not the image any more (schema, pkg/acirenderer).
fn explain_hash(error: CommandError) -> CommandError {
    match error.cause::<IngestError>() {
        Some(IngestError::DigestMismatch { .. }) => error
            .during("image hash does not match expected")
            .hint("`proa image verify --repair` fetches the image again"),
        _ => error,
    }
}

/// Says where in the manifest the error is, on one line: appc shows Go's picture of several lines.
fn explain_manifest(error: ManifestError) -> CommandError {
    let explained = match &error {
        ManifestError::Syntax(syntax) => {
            let place = format!("image manifest, line {}, column {}: {}", syntax.line, syntax.column, syntax.problem);
            CommandError::failed(place).picture(syntax.highlight())
        }
        error => CommandError::failed(format!("image manifest: {}", error.located())),
    };
    explained.hint("correct the manifest and build the image again")
}
