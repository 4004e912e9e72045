//! Brings images into the store: opened by `fetch`, extracted in a child inside the id map, visible when complete.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use appc::{ImageId, ImageManifest, ImageString, ManifestError};
use fetch::{AciFile, ImageRef, LayerMediaType, OciImage, Source};
use rustix::fs::{Gid, MemfdFlags, Uid, fchown};
use stage1::idmap::{IdMapping, Tier};
use store::extract::{Form, Lower, Owners};
use store::ingest::{self, Compression, IngestError, IngestReport, InputFormat};
use store::stack::Stack;
use store::{
    Algorithm, BlobRef, BlobRole, Digest, FindError, IdMap, ImageKind, ImageRecord, Import, Keep, LayerKey, NewImage,
    Store, Tree,
};
use tracing::{debug, info, info_span};

use crate::config::ConfigDirs;
use crate::context::Context;
use crate::diagnostics::warn;
use crate::error::{CommandError, Explain};
use crate::hello;
use crate::idmap::{self, Remover};
use crate::insecure::Insecure;
use crate::network::Network;
use crate::packed;
use crate::progress::ProgressForm;
use crate::pull_policy::{PullPolicy, Pulling};
use crate::signature::{self, Voucher};
use crate::userns::Userns;

mod aci;
mod chunked;
mod dependencies;
mod layers;
mod pull;
mod push;
mod rendered;
mod spool;
mod writeback;

use layers::Remote;

/// The store of one user, and the id map under which its trees are extracted.
#[derive(Debug)]
pub(crate) struct Images {
    pub(crate) store: Store,
    pub(crate) mapping: IdMapping,
    pub(crate) map: IdMap,
    insecure: Insecure,
    keep_of_layers: Keep,
    policy: PullPolicy,
    progress: ProgressForm,
    config_dirs: ConfigDirs,
    network: OnceCell<Network>,
    require_signature: bool,
    trust_keys_from_https: bool,
}

/// What an ACI has to be, and where it can be had again.
#[derive(Debug)]
pub(crate) struct Origin<'a> {
    /// Who answers for it.
    pub(crate) voucher: &'a Voucher,
    /// The reference by which it can be fetched again.
    pub(crate) source: Option<String>,
    /// What it was asked for by, if by name.
    pub(crate) wanted: Option<Wanted<'a>>,
}

/// The name and labels of an image that is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// As they were typed.
    pub(crate) typed: &'a ImageString,
    /// With the labels of this machine.
    pub(crate) complete: &'a ImageString,
}

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
    /// Opens the store, making it where there is none. `pulling` says when an image's origin is asked, and what is told of
    /// that.
    ///
    /// # Errors
    ///
    /// There is no data directory, no id map, or the store cannot be trusted.
    pub(crate) fn open(context: &Context, pulling: impl Into<Pulling>) -> Result<Self, CommandError> {
        let data_dir = context.data_dir()?;
        let store = context.store()?;
        let mapping = idmap::detect(data_dir)?;
        let map = IdMap::new(&mapping.key());
        let config_dirs = context.config_dirs().clone();
        let (insecure, keep_of_layers, network) = (context.insecure, Keep::Recipe, OnceCell::new());
        let Pulling { policy, progress } = pulling.into();
        Ok(Self {
            store,
            mapping,
            map,
            insecure,
            keep_of_layers,
            policy,
            progress,
            config_dirs,
            network,
            require_signature: context.require_signature,
            trust_keys_from_https: context.trust_keys_from_https,
        })
    }

    /// Keeps the packed layers of OCI images, too.
    pub(crate) fn keeping_layers(self) -> Self {
        Self { keep_of_layers: Keep::Archive, ..self }
    }

    /// The network, with its configuration read when it is first needed.
    fn network(&self) -> Result<&Network, CommandError> {
        match self.network.get() {
            Some(network) => Ok(network),
            None => {
                let made = Network::new(&self.config_dirs, self.insecure)?;
                Ok(self.network.get_or_init(|| made))
            }
        }
    }

    /// The id map of trees and pods.
    pub(crate) fn into_mapping(self) -> IdMapping {
        self.mapping
    }

    /// Maps ids otherwise than this machine would.
    ///
    /// # Errors
    ///
    /// Root asks for it.
    pub(crate) fn map_ids(&mut self, userns: Userns) -> Result<(), CommandError> {
        if userns != Userns::Auto {
            self.mapping = userns.mapping(self.mapping.clone())?;
            self.map = IdMap::new(&self.mapping.key());
        }
        Ok(())
    }

    /// Takes another id map for good.
    pub(crate) fn set_mapping(&mut self, mapping: IdMapping) {
        self.map = IdMap::new(&mapping.key());
        self.mapping = mapping;
    }

    /// Does something with the trees of another id map.
    pub(crate) fn under<T>(&mut self, mapping: IdMapping, work: impl FnOnce(&Self) -> T) -> T {
        let map = IdMap::new(&mapping.key());
        let own = (std::mem::replace(&mut self.mapping, mapping), std::mem::replace(&mut self.map, map));
        let done = work(self);
        (self.mapping, self.map) = own;
        done
    }

    /// The stored image that `reference` means. What is named by a file or layout is brought into the store first; an
    /// ACI file with its `signature`, or the one beside it.
    ///
    /// # Errors
    ///
    /// There is no such image, or it cannot be stored. Nothing of it is left in the store then.
    pub(crate) fn resolve(&self, reference: &ImageRef, signature: Option<&Path>) -> Result<ImageRecord, CommandError> {
        let can_be_signed =
            matches!(reference, ImageRef::Aci(_) | ImageRef::Url(_) | ImageRef::Appc(_) | ImageRef::Name(_));
        if let (Some(file), false) = (signature, can_be_signed) {
            return Err(CommandError::usage(format!(
                "--signature={file:?}: {reference} is no App Container Image, and only those have such signatures"
            )));
        }
        match reference {
            ImageRef::Id(needle) => {
                let found = self.store.find(needle).map_err(|e| not_found(e, needle))?;
                self.as_policies_want(found, None)
            }
            ImageRef::Name(needle) => match self.store.find(needle) {
                Err(error @ FindError::NoName(_)) => {
                    self.fetch_by_name(needle, error, signature).and_then(|it| self.with_dependencies(it))
                }
                found => self.as_policies_want(found.map_err(|e| not_found(e, needle))?, Some(needle)),
            },
            ImageRef::Registry(name) => self.pull(name),
            ImageRef::Url(url) => {
                let fetched = self.fetch_url(url, signature, false).and_then(|it| self.with_dependencies(it));
                fetched.during(|| url.to_string())
            }
            ImageRef::Appc(wanted) => {
                let fetched = self.fetch_name(wanted, signature, false).and_then(|it| self.with_dependencies(it));
                fetched.during(|| wanted.to_string())
            }
            _ => {
                let fetched = self.fetch(reference, signature)?;
                self.with_dependencies(fetched).during(|| reference.to_string())
            }
        }
    }

    /// Brings an image into the store from where `reference` says it is, whether it is stored already or not.
    ///
    /// # Errors
    ///
    /// As [`Images::resolve`].
    pub(crate) fn fetch(&self, reference: &ImageRef, signature: Option<&Path>) -> Result<ImageRecord, CommandError> {
        match reference {
            ImageRef::Hello => return self.import_hello(),
            ImageRef::Registry(name) => return self.pull_again(name),
            ImageRef::Url(url) => return self.fetch_url(url, signature, true).during(|| url.to_string()),
            ImageRef::Appc(wanted) => return self.fetch_name(wanted, signature, true).during(|| wanted.to_string()),
            _ => {}
        }
        let span = info_span!("fetch", image = %reference);
        let source = span.in_scope(|| fetch::open(reference))?;
        let imported = span.in_scope(|| match source {
            Source::Aci(mut aci) => {
                let voucher = self.check_signature(&mut aci, signature)?;
                let origin = Origin { voucher: &voucher, source: absolute(reference), wanted: None };
                self.import_aci(aci.file, origin)
            }
            Source::Oci(_) if self.require_signature => {
                Err(CommandError::failed("--require-signature: layouts and archives have no signatures")
                    .hint("fetch it from a registry for which a policy names keys"))
            }
            Source::Oci(image) => self.import_oci(&image, absolute(reference), None),
            _ => Err(CommandError::failed("this kind of image is not supported")),
        });
        imported.during(|| reference.to_string())
    }

    /// Who owns the root of a new tree, if not this user.
    pub(crate) fn owner(&self) -> Option<(u32, u32)> {
        (self.mapping.tier() == Tier::Root).then(|| self.mapping.container_root())
    }

    /// Whether trees belong to a single id.
    pub(crate) fn single_id(&self) -> bool {
        self.mapping.tier() == Tier::Single
    }

    /// The trees of an image, lowest first. One that was never extracted under this id map is extracted now. That is
    /// a use of the image.
    ///
    /// # Errors
    ///
    /// A tree cannot be opened or made.
    pub(crate) fn trees(&self, image: &ImageRecord) -> Result<Vec<Tree>, CommandError> {
        if image.is_rendered() { self.rendered_trees(image) } else { self.own_trees(image) }
    }

    /// The trees of an image's own layers.
    fn own_trees(&self, image: &ImageRecord) -> Result<Vec<Tree>, CommandError> {
        self.store.mark_used(&image.id)?;
        if let Some(trees) = self.ready_trees(&image.layers)? {
            return Ok(trees);
        }
        info_span!("render", image = %image.id)
            .in_scope(|| self.render(image))
            .during(|| format!("unpack {}", image.id))?;
        let missing = || CommandError::failed(format!("the trees of {} were removed while it was unpacked", image.id));
        self.ready_trees(&image.layers)?.ok_or_else(missing)
    }

    /// The trees of layers that were there before.
    ///
    /// # Errors
    ///
    /// One is gone.
    pub(crate) fn trees_of(&self, layers: &[LayerKey]) -> Result<Vec<Tree>, CommandError> {
        let gone = || CommandError::failed("a tree of the pod's images was removed from the store");
        self.ready_trees(layers)?.ok_or_else(gone)
    }

    /// What an app of the image sees, and what keeps it in the store. That is a use of the image.
    ///
    /// # Errors
    ///
    /// As [`Images::trees`].
    pub(crate) fn stack(&self, image: &ImageRecord) -> Result<(Stack, Vec<Tree>), CommandError> {
        self.stack_with(self.trees(image)?, None)
    }

    /// What one sees who has these trees, lowest first, and above them what an app has changed.
    ///
    /// # Errors
    ///
    /// A tree cannot be read.
    pub(crate) fn stack_with(
        &self,
        trees: Vec<Tree>,
        upper: Option<OwnedFd>,
    ) -> Result<(Stack, Vec<Tree>), CommandError> {
        let lower = |tree: &Tree| -> Result<_, CommandError> {
            let owners = if self.single_id() { tree.record()?.owners } else { Owners::default() };
            Ok(Arc::new(Lower { root: tree.dir().try_clone_to_owned()?, owners }))
        };
        let mut lowers = trees.iter().map(lower).collect::<Result<Vec<_>, _>>()?;
        lowers.extend(upper.map(|root| Arc::new(Lower { root, owners: Owners::default() })));
        Ok((Stack::new(lowers, self.single_id()), trees))
    }

    /// The trees of layers, if all of them are there. A layer that comes again further up is left out below: what is
    /// in it stands above everything in between, and overlay refuses a tree that is there twice.
    fn ready_trees(&self, layers: &[LayerKey]) -> Result<Option<Vec<Tree>>, CommandError> {
        let mut trees = Vec::with_capacity(layers.len());
        let comes_again = |index: usize, layer: &LayerKey| layers[index + 1..].contains(layer);
        for (_, layer) in layers.iter().enumerate().filter(|&(index, layer)| !comes_again(index, layer)) {
            match self.store.tree(layer, &self.map)? {
                Some(tree) => trees.push(tree),
                None => return Ok(None),
            }
        }
        Ok(Some(trees))
    }

    /// Accepts an ACI only if a trusted key has signed it: with the given signature, or the one beside it.
    fn check_signature(&self, aci: &mut AciFile, given: Option<&Path>) -> Result<Voucher, CommandError> {
        if self.insecure.image() {
            info!("{} is accepted without a look at its signature", aci.path.display());
            return Ok(Voucher::Nobody);
        }
        let Some(path) = given.or(aci.signature.as_deref()) else {
            let place =
                format!("put it beside the image as {}.asc, or give it with --signature=FILE", aci.path.display());
            return Err(self.unsigned(CommandError::failed("the image has no signature").hint(place)));
        };
        let signature = signature::read(path)?;
        signature::vouch(&self.config_dirs, &mut aci.file, signature).during(|| path.display().to_string())
    }

    /// Adds what mends a missing signature else, unless somebody has decided that nothing does.
    fn unsigned(&self, error: CommandError) -> CommandError {
        match self.require_signature {
            true => error.hint("--require-signature accepts no image without one, whatever --insecure-options says"),
            false => error.hint("--insecure-options=image accepts the image without one"),
        }
    }

    /// Stores the image that is built into this program.
    fn import_hello(&self) -> Result<ImageRecord, CommandError> {
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
    fn import_oci(
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
    fn known(&self, id: &ImageId, names: &[String]) -> Result<Option<ImageRecord>, CommandError> {
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
    fn render(&self, image: &ImageRecord) -> Result<(), CommandError> {
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
                Err(error.hint(format!("something of it is left ({left}); `proa gc` will remove it")))
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
        let ingested = idmap::run_in(&self.mapping, || ingest::run(job))?;
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

    fn blob(&self, digest: &Digest) -> Result<File, CommandError> {
        let missing = || CommandError::failed(format!("blob {digest} is gone from the store"));
        self.store.blob(digest)?.ok_or_else(|| missing().hint("fetch the image again"))
    }
}

/// A reference that means the same from any working directory; `None` for a path that is not UTF-8.
fn absolute(reference: &ImageRef) -> Option<String> {
    let absolute = match reference {
        ImageRef::Aci(path) => ImageRef::Aci(std::path::absolute(path).ok()?),
        ImageRef::OciLayout { dir, reference } => {
            ImageRef::OciLayout { dir: std::path::absolute(dir).ok()?, reference: reference.clone() }
        }
        ImageRef::OciArchive { file, reference } => {
            ImageRef::OciArchive { file: std::path::absolute(file).ok()?, reference: reference.clone() }
        }
        ImageRef::DockerArchive { file, reference } => {
            ImageRef::DockerArchive { file: std::path::absolute(file).ok()?, reference: reference.clone() }
        }
        other => other.clone(),
    };
    let text = absolute.to_string();
    (text.parse().as_ref() == Ok(&absolute)).then_some(text)
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

fn compression(media_type: LayerMediaType) -> Compression {
    match media_type {
        LayerMediaType::Tar => Compression::None,
        LayerMediaType::TarGzip => Compression::Gzip,
        LayerMediaType::TarZstd => Compression::Zstd,
    }
}

/// One crate's digest as the other's: neither depends on the other, both write it the same way.
fn digest(digest: &fetch::Digest) -> Result<Digest, CommandError> {
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

/// Says how an image that is not in the store gets there.
pub(crate) fn not_found(error: FindError, needle: &str) -> CommandError {
    let absent = matches!(error, FindError::NoId(_) | FindError::NoName(_));
    let error = CommandError::from(error);
    if absent && Path::new(needle).exists() {
        return error.hint(format!("the file of that name is written ./{needle}, a layout oci:{needle}"));
    }
    if absent {
        error.hint("`proa fetch` stores an image; files are written ./FILE.aci, layouts oci:DIR")
    } else {
        error
    }
}
