//! Makes what was taken in durable, then visible: data, blobs and trees, last of all the record.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, openat, renameat, renameat_with, syncfs, unlinkat};
use rustix::io::Errno;

use crate::digest::Algorithm;
use crate::error::{StoreError, failed};
use crate::extract::Paths;
use crate::layer::LayerKey;
use crate::lock::{Guard, IndexLock};
use crate::merge::Merged;
use crate::names::{claim, draft_record};
use crate::record::{ImageKind, ImageRecord};
use crate::trees::{self, RECIPE, TreeRecord};
use crate::usage::now_ns;

use super::{Import, NewImage, PendingLayer, RECORD, blob_path};

/// How often publishing is tried again while gc removes what has the name, and how long it waits in between.
const TURNS: u32 = 1000;
const MOMENT: Duration = Duration::from_millis(1);

impl Import<'_> {
    /// Makes the image durable, then visible: data, blobs and trees, last of all its record.
    ///
    /// # Errors
    /// [`StoreError`]. Whole blobs and trees may then be in the store already; gc removes them.
    pub fn commit(mut self, image: NewImage) -> Result<ImageRecord, StoreError> {
        self.check(&image)?;
        if !self.new_blobs.is_empty() || !self.new_trees.is_empty() {
            // One call for all files of all layers. Its alternative, fsync of each of ten thousands, waits for the
            // journal as often; and errors of writing that happened since the work directory was opened are reported.
            syncfs(self.work.dir()).map_err(failed("syncfs", "tmp"))?;
        }
        let algorithms = self.publish_blobs()?;
        let trees = self.publish_trees()?;
        let _lock = IndexLock::take(self.store.dir())?;
        let record = self.record(image)?;
        // One after the other: where the file system has a journal the first call has it written for all of them.
        draft_record(&self.work, &record, None)?;
        algorithms
            .into_iter()
            .try_for_each(|algorithm| self.store.sync_directory(&format!("blobs/{}", algorithm.name())))?;
        self.sync_trees(trees)?;
        self.store.place_record(&self.work, &record)?;
        Ok(record)
    }

    /// Makes the tree visible that images were merged into, and nothing else: it belongs to images that are there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn commit_merged(mut self, layer: PendingLayer, key: LayerKey, merged: &Merged) -> Result<(), StoreError> {
        let record = TreeRecord {
            version: trees::VERSION,
            layer: key,
            map: layer.map.clone(),
            blob: key.digest(),
            blob_size: 0,
            recipe_size: 0,
            entries: merged.entries,
            content: merged.content,
            owners: merged.owners.clone(),
            implied: Paths::default(),
        };
        let json = serde_json::to_vec(&record).expect("the record has no map with other keys than strings");
        self.write_file(&format!("{}/tree.json", layer.directory), RECORD, &json)?;
        let recipe = format!("{}/{RECIPE}", layer.directory);
        unlinkat(self.work.dir(), recipe.as_str(), AtFlags::empty()).map_err(failed("unlink", recipe))?;
        self.new_trees.push((layer.directory, key.tree_name(&layer.map)));
        syncfs(self.work.dir()).map_err(failed("syncfs", "tmp"))?;
        let published = self.publish_trees()?;
        self.sync_trees(published)
    }

    fn check(&self, image: &NewImage) -> Result<(), StoreError> {
        let refuse = |reason: &str| Err(StoreError::Import { id: image.id, reason: reason.to_owned() });
        let Some(layers) = self.keys_below(self.layers.len()) else { return refuse("a layer is missing") };
        if image.id.algorithm() == appc::Algorithm::Sha512 {
            let [layer] = layers[..] else {
                return refuse("an ACI has exactly one layer");
            };
            if layer.digest().bytes() != image.id.bytes() || layer.form() != crate::extract::Form::Aci {
                return refuse("its layer is another archive");
            }
        }
        Ok(())
    }

    /// Moves the blobs to their places; returns below which algorithms there are new ones.
    fn publish_blobs(&mut self) -> Result<BTreeSet<Algorithm>, StoreError> {
        let mut touched = BTreeSet::new();
        for (name, digest) in std::mem::take(&mut self.new_blobs) {
            let guard = self.publish_blob(&name, &blob_path(&digest))?;
            self.guards.push(guard);
            touched.insert(digest.algorithm());
        }
        Ok(touched)
    }

    /// Moves a blob to its place, or finds the same one there; the lock that is returned keeps it.
    fn publish_blob(&self, name: &str, target: &str) -> Result<Guard, StoreError> {
        let guard = Guard::take(self.work.dir(), name).map_err(failed("lock", name))?;
        let guard = guard.ok_or_else(|| failed("lock", name)(Errno::NOENT))?;
        for _ in 0..TURNS {
            match renameat_with(self.work.dir(), name, self.store.dir(), target, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(guard),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed("rename", target)(errno)),
            }
            if let Some(theirs) = Guard::take(self.store.dir(), target).map_err(failed("lock", target))? {
                return Ok(theirs);
            }
            std::thread::sleep(MOMENT); // being removed
        }
        Err(failed("rename", target)(Errno::EXIST))
    }

    /// Moves the trees to their places; returns whether there are any.
    fn publish_trees(&mut self) -> Result<bool, StoreError> {
        let new = std::mem::take(&mut self.new_trees);
        let any = !new.is_empty();
        for (directory, name) in new {
            let guard = self.publish_tree(&directory, &name)?;
            self.guards.push(guard);
        }
        Ok(any)
    }

    fn sync_trees(&self, any: bool) -> Result<(), StoreError> {
        if any { self.store.sync_directory("trees") } else { Ok(()) }
    }

    /// Moves a tree to its place; the lock that is returned keeps it there.
    fn publish_tree(&mut self, directory: &str, name: &str) -> Result<Guard, StoreError> {
        let target = format!("trees/{name}");
        let lock = format!("{directory}/tree.json");
        let guard = Guard::take(self.work.dir(), &lock).map_err(failed("lock", lock.as_str()))?;
        let guard = guard.ok_or_else(|| failed("lock", lock)(Errno::NOENT))?;
        // Each turn meets another process that publishes or removes the same tree; they cannot go on for ever.
        for _ in 0..TURNS {
            match renameat_with(self.work.dir(), directory, self.store.dir(), target.as_str(), RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(guard),
                Err(Errno::EXIST | Errno::NOTEMPTY) => {}
                Err(errno) => return Err(failed("rename", target)(errno)),
            }
            let record = format!("{target}/tree.json");
            if let Some(theirs) = Guard::take(self.store.dir(), &record).map_err(failed("lock", record.as_str()))? {
                return Ok(theirs);
            }
            match openat(self.store.dir(), record.as_str(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
                // Being removed at this moment.
                Ok(_) => std::thread::sleep(MOMENT),
                // A tree without a record is dead, left by an interrupted removal: out of the way with it.
                Err(_) => {
                    let dead = self.fresh("dead");
                    match renameat(self.store.dir(), target.as_str(), self.work.dir(), dead.as_str()) {
                        Ok(()) | Err(Errno::NOENT) => {}
                        Err(errno) => return Err(failed("rename", target)(errno)),
                    }
                }
            }
        }
        Err(failed("rename", target)(Errno::EXIST))
    }

    /// The record of the image, under the index lock.
    fn record(&mut self, image: NewImage) -> Result<ImageRecord, StoreError> {
        let kind = match image.id.algorithm() {
            appc::Algorithm::Sha512 => ImageKind::Aci,
            appc::Algorithm::Sha256 => ImageKind::Oci,
        };
        let others = self.store.list()?.images;
        let earlier = others.iter().find(|other| other.id == image.id);
        let (layers, mut blobs): (Vec<_>, Vec<_>) = self.layers.iter().filter_map(|slot| slot.layer.clone()).unzip();
        blobs.append(&mut self.documents);
        let mut record = ImageRecord {
            id: image.id,
            kind,
            names: earlier.map(|earlier| earlier.names.clone()).unwrap_or_default(),
            manifest: image.manifest,
            layers,
            blobs,
            size: self.size,
            imported_ns: earlier.map_or_else(now_ns, |earlier| earlier.imported_ns),
            source: image.source.or_else(|| earlier.and_then(|earlier| earlier.source.clone())),
        };
        claim(&mut record, &others, &image.names);
        Ok(record)
    }
}
