//! Bringing an image into the store: everything in a work directory first, visible in the end.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::sync::Arc;

use appc::{ImageId, ImageManifest};
use rustix::fs::{Gid, Mode, OFlags, Uid, fchown, mkdirat, openat, renameat};

use crate::digest::{Algorithm, Digest};
use crate::error::{StoreError, failed};
use crate::extract::{Below, Lower, Owners, OwnersFile};
use crate::ingest::IngestReport;
use crate::layer::{IdMap, LayerKey};
use crate::layout::Store;
use crate::lock::Guard;
use crate::record::{BlobRef, BlobRole};
use crate::removal::TreeRemover;
use crate::trees::{self, RECIPE, TreeRecord};
use crate::work::WorkDir;

mod pending;
mod publishing;

pub use pending::PendingLayer;

/// An image on its way into the store. Nothing of it is visible before [`Import::commit`]; dropped, it is removed.
#[derive(Debug)]
pub struct Import<'s> {
    store: &'s Store,
    work: WorkDir,
    /// The layers, lowest first; those that are being taken in have a place already.
    layers: Vec<Slot>,
    documents: Vec<BlobRef>,
    size: u64,
    new_blobs: Vec<(String, Digest)>,
    new_trees: Vec<(String, String)>,
    /// Locks on what this image uses, so that gc leaves it alone until the image's record names it.
    guards: Vec<Guard>,
    next: u32,
}

/// A layer's place.
#[derive(Debug)]
struct Slot {
    tree: Arc<Lower>,
    /// Where its owners will be, of one that is being taken in.
    owners: Option<Arc<OwnersFile>>,
    /// What it is, as soon as that is known.
    layer: Option<(LayerKey, BlobRef)>,
}

/// What is kept of a layer's archive beside what gives the uncompressed one back (docs/decisions/0005).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The archive as it came.
    Archive,
    /// Nothing else.
    Recipe,
}

/// What an image is, for [`Import::commit`].
#[derive(Clone, Debug)]
pub struct NewImage {
    /// Its ID.
    pub id: ImageId,
    /// Its names. A name of another image is taken from it.
    pub names: Vec<String>,
    /// Its manifest.
    pub manifest: ImageManifest,
    /// Where it came from, for fetching again what is damaged.
    pub source: Option<String>,
}

impl Store {
    /// Begins to bring in an image.
    ///
    /// # Errors
    /// [`StoreError::NewerFormat`], [`StoreError::System`].
    pub fn begin(&self) -> Result<Import<'_>, StoreError> {
        self.check_writable()?;
        self.restore_directories()?;
        Ok(Import {
            store: self,
            work: WorkDir::create(self)?,
            layers: Vec::new(),
            documents: Vec::new(),
            size: 0,
            new_blobs: Vec::new(),
            new_trees: Vec::new(),
            guards: Vec::new(),
            next: 0,
        })
    }

    /// Opens a blob for reading; `None` if the store does not have it. Its bytes are not checked again.
    ///
    /// # Errors
    /// [`StoreError::System`].
    pub fn blob(&self, digest: &Digest) -> Result<Option<File>, StoreError> {
        let path = blob_path(digest);
        for store in self.with_those_behind() {
            if let Some(guard) = Guard::take(store.dir(), &path).map_err(failed("open", path.as_str()))? {
                return Ok(Some(File::from(guard.into_fd())));
            }
        }
        Ok(None)
    }
}

impl Import<'_> {
    /// Uses a layer that the store already has, as the next one of the image: its tree under `map`, and what is to be
    /// kept of its archive. `packed` is the archive as this image names it, digest and size, where that is known. Returns
    /// whether everything is there; else the layer has to be taken in. Of a layer that implies directories the tree made
    /// on the same layers below counts, no other.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn reuse_layer(
        &mut self,
        layer: &LayerKey,
        map: &IdMap,
        packed: Option<(Digest, u64)>,
        keep: Keep,
    ) -> Result<bool, StoreError> {
        let layer = &match (self.store.tree(layer, map)?, self.keys_below(self.layers.len())) {
            (None, Some(below)) => layer.on(&below),
            _ => *layer,
        };
        let Some(tree) = self.store.tree(layer, map)? else { return Ok(false) };
        let Ok(record) = tree.record() else {
            return Ok(false); // damaged: extract it again
        };
        if record.layer != *layer || record.map != *map {
            return Ok(false);
        }
        let (digest, size) = packed.unwrap_or((record.blob, record.blob_size));
        let path = blob_path(&digest);
        let mut stored = 0;
        let guards = self.store.with_those_behind().map(|store| Guard::take(store.dir(), &path));
        match guards.collect::<Result<Vec<_>, _>>().map_err(failed("lock", path.as_str()))?.into_iter().flatten().next()
        {
            Some(guard) => {
                stored = rustix::fs::fstat(guard.as_fd()).map_err(failed("fstat", path))?.st_size.cast_unsigned();
                self.guards.push(guard);
            }
            None if keep == Keep::Archive => return Ok(false),
            None => {}
        }
        let (root, guard) = tree.into_root_and_guard();
        self.guards.push(guard);
        let tree = Arc::new(Lower { root, owners: record.owners });
        let blob = BlobRef { digest, size, role: BlobRole::Layer };
        self.layers.push(Slot { tree, owners: None, layer: Some((*layer, blob)) });
        self.size = [stored, record.recipe_size, record.content].into_iter().fold(self.size, u64::saturating_add);
        Ok(true)
    }

    /// Makes the places for a layer that has to be taken in under `map`, as the next one of the image. Several may be taken
    /// in at the same time: see [`PendingLayer::job`]. Where container root is another user
    /// (a root without a map of its own id), `owner` is that user and group, and the tree's root is given to it.
    ///
    /// # Errors
    /// [`StoreError::System`].
    pub fn new_layer(
        &mut self,
        map: &IdMap,
        owner: Option<(u32, u32)>,
        keep: Keep,
    ) -> Result<PendingLayer, StoreError> {
        let directory = self.fresh("layer");
        let shown = |what: &str| format!("tmp/{directory}/{what}");
        let dir = self.work.dir();
        mkdirat(dir, directory.as_str(), Mode::RWXU).map_err(failed("mkdir", shown("")))?;
        let rootfs = format!("{directory}/rootfs");
        mkdirat(dir, rootfs.as_str(), Mode::RWXU).map_err(failed("mkdir", shown("rootfs")))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = openat(dir, rootfs.as_str(), flags, Mode::empty()).map_err(failed("open", shown("rootfs")))?;
        if let Some((uid, gid)) = owner {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            fchown(&root, Some(uid), Some(gid)).map_err(failed("chown", shown("rootfs")))?;
        }
        let file = |name: &str| self.create_file(&format!("{directory}/{name}"), BLOB);
        let blob = (keep == Keep::Archive).then(|| file("blob")).transpose()?;
        let recipe = Some(file(RECIPE)?);
        let later = |(index, slot): (usize, &Slot)| Some((index, Arc::clone(slot.owners.as_ref()?)));
        let owners = self.layers.iter().enumerate().filter_map(later).collect();
        let below = Below::unfinished(self.layers.iter().map(|slot| Arc::clone(&slot.tree)).collect(), owners);
        let tree = Arc::new(Lower { root, owners: Owners::default() });
        let owners = Arc::new(OwnersFile::new().map_err(failed("memfd_create", "owners"))?);
        let slot = self.layers.len();
        self.layers.push(Slot { tree: Arc::clone(&tree), owners: Some(Arc::clone(&owners)), layer: None });
        Ok(PendingLayer { slot, directory, tree, owners, blob, recipe, map: map.clone(), below })
    }

    /// Puts a layer that was taken in into its place. Those below it come first.
    ///
    /// # Errors
    /// [`StoreError::System`].
    pub fn add_layer(&mut self, layer: PendingLayer, report: &IngestReport) -> Result<LayerKey, StoreError> {
        let key = LayerKey::new(report.form, report.uncompressed);
        let below = self.keys_below(layer.slot).expect("the layers below have been added");
        let key = if report.extracted.leans_on_below { key.on(&below) } else { key };
        let mut kept = 0;
        if layer.blob.is_some() {
            let blob = self.fresh("blob");
            let from = format!("{}/blob", layer.directory);
            renameat(self.work.dir(), from.as_str(), self.work.dir(), blob.as_str()).map_err(failed("rename", from))?;
            self.new_blobs.push((blob, report.compressed));
            kept = report.compressed_size;
        }
        let record = TreeRecord {
            version: trees::VERSION,
            layer: key,
            map: layer.map.clone(),
            blob: report.compressed,
            blob_size: report.compressed_size,
            recipe_size: report.recipe_size,
            entries: report.extracted.entries,
            content: report.extracted.content,
            owners: report.extracted.owners.clone(),
            implied: report.extracted.implied.clone(),
        };
        let json = serde_json::to_vec(&record).expect("the record has no map with other keys than strings");
        self.write_file(&format!("{}/tree.json", layer.directory), RECORD, &json)?;
        let blob = BlobRef { digest: report.compressed, size: report.compressed_size, role: BlobRole::Layer };
        let root = layer.tree.root.try_clone().map_err(|error| failed("dup", "rootfs")(error))?;
        let tree = Arc::new(Lower { root, owners: report.extracted.owners.clone() });
        self.layers[layer.slot] = Slot { tree, owners: None, layer: Some((key, blob)) };
        let sizes = [kept, report.recipe_size, report.extracted.content];
        self.size = sizes.into_iter().fold(self.size, u64::saturating_add);
        self.new_trees.push((layer.directory, key.tree_name(&layer.map)));
        Ok(key)
    }

    /// Adds a document of an OCI image. Returns its SHA-256.
    ///
    /// # Errors
    /// [`StoreError::System`].
    pub fn add_document(&mut self, bytes: &[u8], role: BlobRole) -> Result<Digest, StoreError> {
        let digest = Digest::of(Algorithm::Sha256, bytes);
        let name = self.fresh("blob");
        self.write_file(&name, BLOB, bytes)?;
        self.documents.push(BlobRef { digest, size: bytes.len() as u64, role });
        self.size = self.size.saturating_add(bytes.len() as u64);
        self.new_blobs.push((name, digest));
        Ok(digest)
    }

    /// Removes everything that was taken in, with the help of `remover` for files of mapped ids.
    ///
    /// # Errors
    /// [`StoreError::System`] if something is left, for gc to try again.
    pub fn abandon(self, remover: &dyn TreeRemover) -> Result<(), StoreError> {
        self.work.remove(remover)
    }

    /// The layers below the place `slot`, if all of them are known.
    fn keys_below(&self, slot: usize) -> Option<Vec<LayerKey>> {
        self.layers[..slot].iter().map(|slot| slot.layer.as_ref().map(|(key, _)| *key)).collect()
    }

    fn fresh(&mut self, what: &str) -> String {
        self.next += 1;
        format!("{what}-{}", self.next)
    }

    fn create_file(&self, name: &str, mode: Mode) -> Result<File, StoreError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(self.work.dir(), name, flags, mode).map_err(failed("create", format!("tmp/{name}")))?;
        Ok(File::from(file))
    }

    fn write_file(&self, name: &str, mode: Mode, bytes: &[u8]) -> Result<(), StoreError> {
        let shown = || format!("tmp/{name}");
        // Durable with everything else of the import, before it gets its name.
        self.create_file(name, mode)?.write_all(bytes).map_err(|error| failed("write", shown())(error))
    }
}

/// Blobs are written once, through the descriptor that created them.
const BLOB: Mode = Mode::RUSR;
const RECORD: Mode = Mode::RUSR.union(Mode::WUSR);

pub(crate) fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}
